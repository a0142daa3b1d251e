"""adaptation.json: what a run has learned of the robot of the day, for the next run of that day.

It belongs to one network: it says what the robot makes of that one's outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from soft_control.experiment.record import write_json
from soft_control.link.learned_map import LearnedMap
from soft_control.link.messages import CURVES
from soft_control.plain_text import first_fault, printable
from soft_control.small_files import read_small_text

LEARNED_FILE = "adaptation.json"

Number = Annotated[float, Field(allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0.0, le=1.001)]


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    model_hash: str
    output_names: list[str]
    gain: list[list[Number]]
    offset: list[Number]
    curve: list[list[Number]]
    gain_ignorance: list[Share]
    offset_ignorance: list[Share]
    curve_ignorance: list[Share]
    believed: Annotated[int, Field(ge=0)]
    doubted: Annotated[int, Field(ge=0)]


def write_learned(
    path: Path, learned: LearnedMap, output_names: Sequence[str], model_hash: str
) -> None:
    """Writes what `read_learned` reads."""
    found = _File(
        model_hash=model_hash,
        output_names=list(output_names),
        gain=learned.gain.tolist(),
        offset=learned.offset.tolist(),
        curve=learned.curve.tolist(),
        gain_ignorance=learned.gain_ignorance.tolist(),
        offset_ignorance=learned.offset_ignorance.tolist(),
        curve_ignorance=learned.curve_ignorance.tolist(),
        believed=learned.believed,
        doubted=learned.doubted,
    )
    write_json(path, found.model_dump())


def read_learned(path: Path, output_names: Sequence[str], model_hash: str) -> LearnedMap:
    """Of the file, or of the run in that folder. Raises ValueError in one line where there is none,
    or it is of other outputs or of another network."""
    path = path / LEARNED_FILE if path.is_dir() else path
    where = printable(path)
    try:
        found = _File.model_validate_json(read_small_text(path))
    except FileNotFoundError:
        raise ValueError(
            f"{where} is not there: a run with --calibrate-s, or one that adapts, writes it"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{where}: {printable(error)}") from None
    except ValidationError as error:
        raise ValueError(f"{where}: {first_fault(error)}") from None
    n = len(output_names)
    if found.output_names != list(output_names):
        raise ValueError(
            f"{where} is of {', '.join(map(printable, found.output_names))}, the robot has "
            f"{', '.join(output_names)}"
        )
    if found.model_hash != model_hash:
        raise ValueError(
            f"{where} was learned with model {printable(found.model_hash)}, this one is "
            f"{model_hash}: calibrate anew"
        )
    ignorance = found.gain_ignorance, found.offset_ignorance, found.curve_ignorance
    lengths = set(map(len, (found.gain, *found.gain, found.offset, found.curve, *ignorance)))
    if lengths != {n} or set(map(len, found.curve)) != {CURVES}:
        raise ValueError(f"{where}: gain, offset and curve are not of {n} outputs")
    return LearnedMap(
        np.array(found.gain),
        np.array(found.offset),
        np.array(found.curve),
        np.array(found.gain_ignorance),
        np.array(found.offset_ignorance),
        np.array(found.curve_ignorance),
        found.believed,
        found.doubted,
    )
