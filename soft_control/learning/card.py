"""The card of a model: all that must be known of its network to use it, checked as a whole."""

from __future__ import annotations

import hashlib
import reprlib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from soft_control.learning.fields import Name, Text
from soft_control.learning.surface import Surface
from soft_control.plain_text import first_fault
from soft_control.robots.description import AXES, PlainName

CARD_FILE = "fk.json"
NETWORK_FILE = "fk.keras"

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Range = tuple[float, float]
"""Smallest and largest value."""


class ModelError(ValueError):
    """A model directory that cannot be used, or a recording that does not suit the model."""


class _Checked(BaseModel):
    model_config = ConfigDict(
        use_attribute_docstrings=True, extra="forbid", allow_inf_nan=False, protected_namespaces=()
    )


class SignalMap(_Checked):
    """The position that the signals alone give: normalised position = weights @ normalised signals.

    Least squares; both sides are centred, so there is no constant.
    """

    weights: list[list[float]]
    """n rows of p."""
    residual_mm: list[NotNegative]
    """RMS error on the recordings of `evaluated_on`, one an axis; its square is the variance of the
    noise with which the signals show a position."""


class Trained(_Checked):
    """What the recordings of a training held: beyond it, nobody knows what the network does."""

    commands: list[Range]
    """rad or the rig's own unit, one a command."""
    position: list[Range]
    """m, one for each of x, y and z."""
    signals: list[Range]
    """Calibrated, unitless, one for each signal that the network sees."""
    frame: Text | None = None
    """Of the positions, where the recordings say it."""


class ModelCard(_Checked):
    """What goes with the network file; it works on normalised = (physical - offset) / scale."""

    rig: PlainName
    """Name of the rig that was recorded."""
    rate_hz: float = Field(gt=0, le=1e5)
    """Control rate; the network predicts one such sample ahead."""
    input_lags: int = Field(ge=1, le=1000)
    """nd: commands the network sees, u(k-d) … u(k-d-nd+1)."""
    output_lags: int = Field(ge=1, le=1000)
    """dd: positions the network sees, y(k) … y(k-dd+1)."""
    input_delay: int = Field(ge=0, le=1000)
    """d: whole samples of transport delay that the network need not learn."""
    axes: list[Literal["x", "y", "z"]] = Field(list(AXES), min_length=1)
    """The n axes along which the tip moves; on the others it stays at 0."""
    command_names: list[Name] = Field(min_length=1)
    command_offset: list[float]
    """rad or the rig's own unit, one a command."""
    command_scale: list[Positive]
    """rad or the rig's own unit, one a command."""
    output_offset: list[float]
    """m, one an axis."""
    output_scale: Positive
    """m, one for all axes, so that errors stay isotropic."""
    signal_names: list[Name]
    """The live signals that the network sees; constant ones were left out."""
    signal_offset: list[float]
    """Of the calibrated, unitless signals."""
    signal_scale: list[Positive]
    signal_map: SignalMap | None = None
    """None without signals."""
    surface: Surface | None
    """What a robot with fewer commands than outputs reaches; else none."""
    trained: Trained | None = None
    """None for a network that was not trained on recordings."""
    metrics: dict[Name, float]
    """mm, over the recordings of `evaluated_on`; see `evaluate`."""
    evaluated_on: list[Text]
    """The runs held out for validation, or the training runs where none was."""
    recordings: list[Text]
    """The training runs."""
    model_hash: str = Field(pattern="^([0-9a-f]{16})?$")
    """First 16 hex digits of the SHA-256 of the network file; empty before there is one."""

    @model_validator(mode="after")
    def _whole(self) -> ModelCard:
        for field in ("axes", "command_names", "signal_names"):
            values = getattr(self, field)
            if len(set(values)) < len(values):
                raise ValueError(f"{field} = {values}: a name is there more than once")
        lengths = {
            "command_offset": "command_names",
            "command_scale": "command_names",
            "output_offset": "axes",
            "signal_offset": "signal_names",
            "signal_scale": "signal_names",
        }
        for field, names in lengths.items():
            _check_length(field, getattr(self, field), names, getattr(self, names))
        if self.surface is not None:
            for name in (*self.surface.leading, *self.surface.following):
                if name not in self.output_names:
                    raise ValueError(f"surface: {name} is no output of the model")
        if self.signal_map is not None:
            if not self.signal_names:
                raise ValueError("signal_map: there is one, but signal_names is empty")
            weights = self.signal_map.weights
            _check_length("signal_map.weights", weights, "axes", self.axes)
            for i, row in enumerate(weights):
                _check_length(f"signal_map.weights.{i}", row, "signal_names", self.signal_names)
            residuals = self.signal_map.residual_mm
            _check_length("signal_map.residual_mm", residuals, "axes", self.axes)
        if self.trained is not None:
            ranges = self.trained
            for field, values, names, known in (
                ("trained.commands", ranges.commands, "command_names", self.command_names),
                ("trained.position", ranges.position, "x, y and z", AXES),
                ("trained.signals", ranges.signals, "signal_names", self.signal_names),
            ):
                _check_length(field, values, names, known)
                for i, (low, high) in enumerate(values):
                    if low > high:
                        raise ValueError(f"{field}.{i} = [{low}, {high}]: not in order")
        return self

    @property
    def output_names(self) -> tuple[str, ...]:
        """n names, in the order of every output vector."""
        return tuple(self.axes)

    @property
    def command_columns(self) -> int:
        """nd·m, leading entries of x."""
        return self.input_lags * len(self.command_names)

    @property
    def output_columns(self) -> int:
        """dd·n, the entries of x after the commands."""
        return self.output_lags * len(self.output_offset)

    def input_sizes(self) -> dict[str, int]:
        """The network's named inputs in their order in x; inputs of size 0 do not exist."""
        outputs = len(self.output_offset)
        sizes = {
            "commands": self.command_columns,
            "output": outputs,
            "past_outputs": self.output_columns - outputs,
            "signals": len(self.signal_names),
        }
        return {name: size for name, size in sizes.items() if size}

    def normalised_command(self, command: np.ndarray) -> np.ndarray:
        """(…, m) rad -> normalised."""
        return (command - np.array(self.command_offset)) / np.array(self.command_scale)

    def normalised_output(self, position: np.ndarray) -> np.ndarray:
        """(…, 3) m -> (…, n) normalised."""
        return (self.on_axes(position) - np.array(self.output_offset)) / self.output_scale

    def position(self, output: np.ndarray) -> np.ndarray:
        """(…, n) normalised -> (…, 3) m."""
        return self.in_space(output * self.output_scale + np.array(self.output_offset))

    def on_axes(self, position: np.ndarray) -> np.ndarray:
        """(…, 3) -> (…, n): the axes along which the tip moves; (…, n) stays as it is."""
        if np.shape(position)[-1] == len(self.axes):
            return np.asarray(position)
        return np.asarray(position)[..., [AXES.index(axis) for axis in self.axes]]

    def in_space(self, position: np.ndarray) -> np.ndarray:
        """(…, n) -> (…, 3): 0 on the other axes."""
        position = np.asarray(position)
        placed = np.zeros((*position.shape[:-1], len(AXES)))
        placed[..., [AXES.index(axis) for axis in self.axes]] = position
        return placed

    def normalised_signal(self, signal: np.ndarray) -> np.ndarray:
        """(…, p) calibrated -> normalised."""
        return (signal - np.array(self.signal_offset)) / np.array(self.signal_scale)


def _check_length(field: str, values: Sequence, names: str, known: Sequence) -> None:
    if len(values) != len(known):
        raise ValueError(
            f"{field} = {reprlib.repr(values)}: {len(values)} values, but {names} are {len(known)}"
        )


def load_card(directory: str | Path) -> ModelCard:
    """The card DIR/fk.json. Raises ModelError when it or its network is missing or broken."""
    directory = Path(directory)
    for name in (CARD_FILE, NETWORK_FILE):
        if not (directory / name).is_file():
            raise ModelError(f"{directory}: no {name}: not a model directory of softctl train")
    try:
        text = (directory / CARD_FILE).read_bytes()
        card = ModelCard.model_validate_json(text, strict=True)
    except ValidationError as error:
        raise ModelError(f"{directory / CARD_FILE}: {first_fault(error)}") from error
    network_file = directory / NETWORK_FILE
    if file_hash(network_file) != card.model_hash:
        raise ModelError(
            f"{network_file}: its hash is not the card's {card.model_hash}; train again"
        )
    return card


def file_hash(path: Path) -> str:
    """First 16 hex digits of the SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
