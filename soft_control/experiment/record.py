"""experiment.json: what a run was made with, written before it starts, read by all that judge it.

Names in it may have been written by others: whoever prints one passes it through `printable`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from soft_control.control.references import Reference
from soft_control.control.sampled_reference import SampledReference
from soft_control.learning.bag import RECORD_FILE
from soft_control.learning.dataset import RecordingError
from soft_control.plain_text import first_fault
from soft_control.robots.description import RobotDescription
from soft_control.small_files import read_small_text

SETTLE_S = 2.0
"""Errors count from so long after the start on: the rig starts at rest, the reference does not."""

Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]


class BuildFigures(BaseModel):
    """What reports say of a firmware; the rest of firmware.json is kept as it is."""

    model_config = ConfigDict(extra="allow", frozen=True, use_attribute_docstrings=True)

    flash_bytes: int | None = None
    """All that is loaded into flash."""
    flash_percent: float | None = None
    """Of 1 MiB."""
    ram_bytes: int | None = None
    """Static variables and the stack reserve."""


class RunRecord(BaseModel):
    """One run, with all that is needed to judge it where neither robot nor controller is known."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    robot: RobotDescription
    """The robot, with names, units, limits."""
    sim: bool = True
    """Whether a rig stood in for the robot."""
    measured: bool = True
    """Whether somebody measured its outputs."""
    controller: str
    """Name in control.controllers.CONTROLLERS."""
    standby: str = ""
    """Others that could be chosen while it went on, as it was asked for; empty: none."""
    title: str
    """Of the controller, in sentences and figures."""
    sees_position: bool
    """Whether the controller was told the measured outputs."""
    has_preview: bool
    """Whether it knew the reference over its horizon."""
    target: str | None
    """Where its firmware ran; None: it has none."""
    reference: str | None
    """Shape or file; None for open-loop runs."""
    curve: Reference | SampledReference | None
    """None for open-loop runs."""
    clock: Literal["lockstep", "realtime"]
    wiring: Literal["host", "mcu"] = "host"
    """Where sensor and actuators were."""
    host_lost: str = "continue"
    """Wiring mcu: what the microcontroller was to do without the host."""
    cut: str = ""
    """Wiring mcu: for how long the host's line was cut, and from when on, as it was asked for."""
    rate_hz: Positive
    duration_s: Positive
    """Of all of it."""
    calibrate_s: Annotated[float, Field(ge=0.0, allow_inf_nan=False)] = 0.0
    """For so long from its start the firmware was told the measured outputs, and learned."""
    adaptation: str = ""
    """What an earlier run had learned, with which it began; empty: nothing."""
    seed: int
    load: str
    """As it was asked for; empty: none."""
    model: str
    firmware: str
    port: str
    namespace: str = ""
    """Below which its topics are, such as /left; empty: none."""
    out: str
    sensor_port: str = ""
    """Of the robot's own sensor; empty: a rig's, or a board's."""
    actuator_port: str = ""
    """Of the robot's own actuators."""
    given: dict[str, dict[str, Any]] = {}
    """Parameters of nodes that somebody gave for this run, by node and name."""
    build: BuildFigures | None
    """None where there is no firmware."""
    model_hash: str | None
    """None where there is no model."""
    twin: str | None = None
    """Directory of the twin that stood in for the robot; None: no twin did."""

    @property
    def settled_s(self) -> float:
        """Errors count from this time on."""
        return self.calibrate_s + SETTLE_S


def write_record(run_dir: Path, record: RunRecord) -> None:
    """Writes RUN_DIR/experiment.json."""
    write_json(run_dir / RECORD_FILE, record.model_dump(mode="json"))


def read_record(run_dir: Path) -> RunRecord:
    """Reads RUN_DIR/experiment.json. Raises RecordingError in one line where it cannot be used."""
    path = run_dir / RECORD_FILE
    try:
        values = json.loads(read_small_text(path))
    except FileNotFoundError:
        raise RecordingError(f"{run_dir} is no run: it has no {RECORD_FILE}") from None
    except OSError as error:
        raise RecordingError(f"{path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise RecordingError(f"{path}: not JSON: {error}") from None
    if isinstance(values, dict) and "robot" not in values:
        raise RecordingError(f"{path} does not describe its robot: make the run again")
    curve = values.get("curve") if isinstance(values, dict) else None
    if isinstance(curve, dict) and "outputs" not in curve:
        raise RecordingError(f"{path}: its curve is not of outputs by name: make the run again")
    try:
        return RunRecord.model_validate(values)
    except ValidationError as error:
        raise RecordingError(f"{path}: {first_fault(error)}") from None


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Writes `content` as JSON that a person can read."""
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
