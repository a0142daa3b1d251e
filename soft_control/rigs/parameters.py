"""What the parameters of all simulated rigs share: file, calibration, noise, and mismatch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from typing_extensions import Self

from soft_control.paths import config
from soft_control.plain_text import first_fault
from soft_control.robots.config_files import read_yaml

Positive = Annotated[float, Field(gt=0.0)]
NotNegative = Annotated[float, Field(ge=0.0)]
Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]
Share = Annotated[float, Field(gt=0.0, le=1.0)]


class Strict(BaseModel):
    """Refuses what it does not know."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class RigParameters(Strict):
    """A subclass adds its physics; config/<rig_name>.yaml says where each value comes from."""

    rig_name: ClassVar[str]

    full_scale_counts: tuple[NotNegative, ...] = ()
    """Calibration of the signals: the counts that read 1, one a signal, 0 for a dead channel. Of a
    rig that puts them over those of its description."""
    output_noise: tuple[NotNegative, ...] = ()
    """Standard deviation of each measured output, in its unit on paper; none: 0."""
    gain: Positive = 1.0
    """Mismatch: factor on how far the rig goes for a command."""
    load_offset: tuple[float, ...] = ()
    """Mismatch: displacement of each output by a constant load, in its unit; none: 0."""
    load_after_s: NotNegative = 0.0
    """When the load is put on."""
    test_load: tuple[float, ...] = ()
    """The load that comparisons put on this rig: displacement of each output, in its unit on paper.
    No part of it moves the rig by itself."""

    @classmethod
    def load(cls, path: Path | None = None, **changes: Any) -> Self:
        """Read `path`, by default config/<rig_name>.yaml, and put `changes` over it.

        Raises ValueError naming the file and the field.
        """
        path = path or config(cls.rig_name)
        if not path.is_file():
            raise ValueError(f"{path}: no such file")
        try:
            return cls.model_validate({**read_yaml(path), **changes})
        except ValidationError as error:
            raise ValueError(f"{path}: {first_fault(error)}") from error

    @classmethod
    def chosen(cls, parameters: Self | None, **changes: Any) -> Self:
        """`parameters`, by default those of config/<rig_name>.yaml, but for `changes`.

        Raises ValueError for a bad or unknown one.
        """
        if parameters is None:
            return cls.load(**changes)
        return cls.model_validate({**parameters.model_dump(), **changes}) if changes else parameters
