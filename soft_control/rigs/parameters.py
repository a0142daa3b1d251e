"""What the parameters of all simulated rigs share: their file, and how a rig may differ from it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, ClassVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from typing_extensions import Self

from soft_control.paths import config

Positive = Annotated[float, Field(gt=0.0)]
NotNegative = Annotated[float, Field(ge=0.0)]
Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]

NODES = "nodes"
"""Section of config/<rig>.yaml that is for the nodes of a run, not for the rig: see bringup."""


class Strict(BaseModel):
    """Refuses what it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class RigParameters(Strict):
    """A subclass adds its physics; config/<rig_name>.yaml says where each value comes from."""

    rig_name: ClassVar[str]

    gain: Positive = 1.0
    """Mismatch: factor on how far the rig goes for a command."""
    load_offset: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Mismatch: displacement of the tip by a constant load, m."""
    load_after_s: NotNegative = 0.0
    """When the load is put on."""

    @classmethod
    def load(cls, path: Path | None = None, **changes: Any) -> Self:
        """Read `path`, by default config/<rig_name>.yaml, and put `changes` over it.

        Raises ValueError naming the file and the field.
        """
        path = path or config(cls.rig_name)
        try:
            values = yaml.safe_load(path.read_text(encoding="utf-8"))
            if isinstance(values, dict):
                values = {k: v for k, v in {**values, **changes}.items() if k != NODES}
            return cls.model_validate(values)
        except OSError as error:
            raise ValueError(f"{path}: {error.strerror}") from error
        except yaml.YAMLError as error:
            raise ValueError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"]) or "file"
            raise ValueError(f"{path}: {field}: {first['msg']}") from error

    @classmethod
    def chosen(cls, parameters: Self | None, **changes: Any) -> Self:
        """`parameters`, by default those of config/<rig_name>.yaml, but for `changes`.

        Raises ValueError for a bad or unknown one.
        """
        if parameters is None:
            return cls.load(**changes)
        return cls.model_validate({**parameters.model_dump(), **changes}) if changes else parameters


def check_step(command: Any, commands: int, unit: str, duration_s: float) -> list[float]:
    """The command as a list. Raises ValueError unless it is `commands` finite values and the
    duration is finite and not negative."""
    values = [float(value) for value in command]
    if len(values) != commands or not all(map(math.isfinite, values)):
        number = {1: "one", 2: "two", 6: "six"}.get(commands, str(commands))
        raise ValueError(f"command must be {number} finite {unit}, got {values}")
    if not 0.0 <= duration_s < math.inf:
        raise ValueError(f"duration_s must be finite and not negative, got {duration_s}")
    return values
