"""The description of a robot: its commands, outputs and signals by name, with units and limits.

Nothing else in the project knows a name, a unit or an axis of any robot: what prints, checks or
scales takes them from here. A robot is a YAML file, config/robots/<name>.yaml or any other
(`soft_control.robots.load`), and a run and a model keep the description that they were made with.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import AfterValidator, Field, JsonValue, ValidationError, model_validator

from soft_control.plain_text import first_fault
from soft_control.robots import units
from soft_control.robots.config_files import PLAIN_NAME
from soft_control.robots.instruments import Instruments
from soft_control.robots.recording_format import Column, RecordingFormat, Strict, Topics

AXES = ("x", "y", "z")
"""Components of a message that carries outputs, in their order."""


def _printable(text: str) -> str:
    """Names go on into C, HTML and terminals, where a line feed has no business."""
    if not text.isprintable():
        raise ValueError("holds a control character")
    return text


Text = Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_printable)]
PlainName = Annotated[str, Field(pattern=rf"^{PLAIN_NAME.pattern}$")]
Finite = Annotated[float, Field(allow_inf_nan=False)]


class Quantity(Strict):
    """Anything with a name and a unit."""

    name: Text
    """As in messages, model cards and files."""
    unit: Text = "1"
    """Of every value inside the project: SI where the quantity has an SI unit; 1 without unit.
    All units are in `units.UNITS`."""
    display_unit: str = ""
    """What tables and figures show it in; empty: `unit` itself."""

    @model_validator(mode="after")
    def _can_be_shown(self) -> Quantity:
        try:
            units.factor(self.unit, self.shown_in)
        except ValueError as error:
            raise ValueError(f"{self.name}: {error}") from None
        return self

    @property
    def shown_in(self) -> str:
        """The unit on paper."""
        return self.display_unit or self.unit

    @property
    def factor(self) -> float:
        """value in `shown_in` = factor · value in `unit`."""
        return units.factor(self.unit, self.shown_in)

    @property
    def title(self) -> str:
        """Name and unit on paper, as an axis of a figure says them: `servo_0, deg`."""
        return self.name if self.shown_in == "1" else f"{self.name}, {self.shown_in}"


class Command(Quantity):
    """What an actuator is told. A limit is a number in `unit`, or text with a unit: `-50 deg`."""

    min: Finite
    """Lower limit, in `unit`; its actuator saturates there."""
    max: Finite
    """Upper limit, in `unit`."""
    speed_max: Annotated[float, Field(gt=0.0, allow_inf_nan=False)] | None = None
    """Largest change a second, in `unit`/s; None where nobody knows it."""

    @model_validator(mode="before")
    @classmethod
    def _limits_with_unit(cls, values: Any) -> Any:
        return _without_units(values, {"min": "", "max": "", "speed_max": "/s"})

    @model_validator(mode="after")
    def _is_a_range(self) -> Command:
        if not self.min < self.max:
            low, high = (f"{self.factor * limit:.6g}" for limit in (self.min, self.max))
            unit = "" if self.shown_in == "1" else f" {self.shown_in}"
            raise ValueError(f"{self.name}: min {low}{unit} is not below max {high}{unit}")
        return self


LIMIT = re.compile(r"\s*([-+]?[\d.]+(?:[eE][-+]?\d+)?)\s*([A-Za-z%1]\S*)?\s*")
"""A number and a unit, or a number alone: YAML takes 9e4, which has no point, for text."""


def _without_units(values: Any, fields: dict[str, str]) -> Any:
    """What YAML says of a quantity, with text such as `-50 deg` in `fields` as a number in its
    unit; behind each field what its unit ends in."""
    if not isinstance(values, dict):
        return values
    unit = values.get("unit", "1")
    changes = {
        key: _number_in(values[key], key, unit, per)
        for key, per in fields.items()
        if isinstance(values.get(key), str)
    }
    return {**values, **changes}


def _number_in(text: str, what: str, unit: Any, per: str) -> float:
    """`-50 deg`, and `110 deg/s` of a speed, in `unit`."""
    match = LIMIT.fullmatch(text)
    try:
        if match is None:
            raise ValueError(f"must be a number and a unit, such as -5 {unit}{per}")
        if match[2] is None:
            return float(match[1])
        if not match[2].endswith(per):
            raise ValueError(f"must end in {per}")
        return float(match[1]) * units.factor(match[2].removesuffix(per), str(unit))
    except ValueError as error:
        raise ValueError(f"{what} {text!r}: {error}") from None


class Output(Quantity):
    """What the robot does: a coordinate of a point, or any other quantity that is controlled."""

    axis: Literal["x", "y", "z"] | None = None
    """Of a point's coordinate, its axis in the frame; None: it is no coordinate."""
    point: str = ""
    """The point whose coordinate it is; empty: it is no position."""
    rest: Finite = 0.0
    """At rest under commands in the middle of their range, where a run starts and references are
    about: a number in `unit`, or text with a unit."""

    @model_validator(mode="before")
    @classmethod
    def _rest_with_unit(cls, values: Any) -> Any:
        return _without_units(values, {"rest": ""})

    @model_validator(mode="after")
    def _coordinate_has_axis(self) -> Output:
        if self.point and self.axis is None:
            raise ValueError(f"{self.name}: a coordinate of point {self.point} needs its axis")
        return self


class Signal(Quantity):
    """What a sensor tells."""

    full_scale_counts: Annotated[float, Field(ge=0.0, allow_inf_nan=False)] = 1.0
    """Of its sensor: calibrated = counts / full_scale_counts; 0: a dead channel, which reads 0.
    Recordings hold calibrated values."""


class OutputGroup(Strict):
    """Outputs whose errors make one distance: a point's coordinates, or one output by itself."""

    name: str
    """Of the point or of the output."""
    columns: tuple[int, ...]
    """Numbers of its outputs."""
    unit: str
    """The unit on paper of its outputs and of distances between them."""
    factor: float
    """value on paper = factor · value inside."""
    is_point: bool
    axes: tuple[int, ...] = ()
    """Of a point, the number of the frame's axis along which each of its outputs lies."""

    def distance(self, difference: np.ndarray) -> np.ndarray:
        """(…,) Euclidean distance on paper, from a difference of all outputs (…, n)."""
        return self.factor * np.linalg.norm(difference[..., list(self.columns)], axis=-1)

    def place(self, outputs: np.ndarray) -> np.ndarray:
        """(…, 3) coordinates of the point, from all outputs (…, n); 0 where it has none."""
        outputs = np.asarray(outputs, dtype=float)
        placed = np.zeros((*outputs.shape[:-1], len(AXES)))
        placed[..., list(self.axes)] = outputs[..., list(self.columns)]
        return placed


class RobotDescription(Strict):
    """A robot, real or simulated: m commands, n outputs, p signals.

    Raises pydantic.ValidationError, which is a ValueError, for what no robot can be.
    """

    name: PlainName
    """Of the robot, which names its files too; of a simulated rig its name in rigs.RIGS."""
    commands: Annotated[tuple[Command, ...], Field(min_length=1)]
    """m of them, in the order of every command vector."""
    outputs: Annotated[tuple[Output, ...], Field(min_length=1)]
    """n of them, in the order of every output vector."""
    signals: tuple[Signal, ...] = ()
    """p of them, in the order of every signal vector."""
    frame: Text = "rig_base"
    """Coordinate frame of all points."""
    rate_hz: Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
    """Control rate that the robot is made for."""
    instruments: Instruments = Instruments()
    """Its sensor and its actuators, as they hang on a wire."""
    recording: RecordingFormat | None = None
    """How its recordings are read; a bag of this project's needs none."""
    training: dict[str, JsonValue] = {}
    """Settings of a training (TrainingSettings) that suit it better than the defaults."""
    nodes: dict[str, dict[str, JsonValue]] = {}
    """By node of a run, parameters that hold for this robot: they go over config/<node>.yaml."""

    @model_validator(mode="after")
    def _consistent(self) -> RobotDescription:
        groups = {
            "commands": [c.name for c in self.commands],
            "outputs": [o.name for o in self.outputs],
            "signals": [s.name for s in self.signals],
        }
        for point in dict.fromkeys(o.point for o in self.outputs):
            axes = [o.axis for o in self.outputs if o.point == point and o.axis]
            groups[f"axes of point {point}" if point else "outputs' axes"] = axes
        for what, names in groups.items():
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f"{what} {', '.join(twice)}: twice")
        for point in {o.point for o in self.outputs if o.point}:
            units = {(o.unit, o.shown_in) for o in self.outputs if o.point == point}
            if len(units) > 1:
                raise ValueError(f"the coordinates of point {point} have different units")
        self._check_recording()
        return self

    def _check_recording(self) -> None:
        if self.recording is None:
            return
        quantities: dict[str, Quantity] = {}
        for quantity in (*self.commands, *self.outputs, *self.signals):
            if quantity.name in quantities:
                raise ValueError(
                    f"recording: {quantity.name} is the name of two of commands, outputs and "
                    "signals: rename one, and say its column in recording.columns"
                )
            quantities[quantity.name] = quantity
        outputs = {o.name: o for o in self.outputs}
        signals = {signal.name for signal in self.signals}
        for section, known in (("columns", quantities), ("reference", outputs)):
            for name, column in getattr(self.recording, section).items():
                if name not in known:
                    raise ValueError(
                        f"recording.{section}: {name} is none of {', '.join(known) or 'nothing'}"
                    )
                if column.full_scale is not None and name not in signals:
                    raise ValueError(
                        f"recording.{section}.{name}: full_scale is of signals alone; say the unit"
                    )
                try:
                    units.factor(column.unit or known[name].shown_in, known[name].unit)
                except ValueError as error:
                    raise ValueError(f"recording.{section}.{name}: {error}") from None
        unknown = set((self.recording.topics or Topics()).points) - {o.point for o in self.outputs}
        if unknown:
            raise ValueError(f"recording.topics.points: no output is of {', '.join(unknown)}")

    def column_of(self, quantity: Quantity, section: str = "columns") -> tuple[str, float]:
        """Name of the quantity's column in a recording's table, and the factor that brings its
        numbers to the quantity's unit. `section` is `columns` or `reference` of `recording`."""
        columns = getattr(self.recording, section) if self.recording else {}
        column = columns.get(quantity.name, Column())
        recorded = column.unit or quantity.shown_in
        scale = column.full_scale
        factor = 1.0 / scale if scale else units.factor(recorded, quantity.unit)
        return column.column or quantity.name, factor

    def bare(self) -> RobotDescription:
        """The robot alone: without what its trainings and runs are told."""
        return self.model_copy(update={"training": {}, "nodes": {}})

    def limited(self, minimum: np.ndarray, maximum: np.ndarray) -> RobotDescription:
        """The same robot with other limits (m,) of its commands, in their units."""
        commands = tuple(
            command.model_copy(update={"min": float(low), "max": float(high)})
            for command, low, high in zip(self.commands, minimum, maximum, strict=True)
        )
        return self.model_copy(update={"commands": commands})

    def calibrated(self, full_scale_counts: Sequence[float]) -> RobotDescription:
        """The same robot with other calibration maxima, one a signal.

        Raises ValueError where there is not one for each.
        """
        if len(full_scale_counts) != len(self.signals):
            raise ValueError(
                f"full_scale_counts needs {len(self.signals)} values, one a signal of "
                f"{self.name}, not {len(full_scale_counts)}"
            )
        signals = tuple(
            signal.model_copy(update={"full_scale_counts": counts})
            for signal, counts in zip(self.signals, full_scale_counts, strict=True)
        )
        return self.model_copy(update={"signals": signals})

    @property
    def command_names(self) -> tuple[str, ...]:
        """m names."""
        return tuple(command.name for command in self.commands)

    @property
    def command_min(self) -> np.ndarray:
        """(m,) in the commands' units."""
        return np.array([command.min for command in self.commands])

    @property
    def command_max(self) -> np.ndarray:
        """(m,) in the commands' units."""
        return np.array([command.max for command in self.commands])

    @property
    def command_neutral(self) -> np.ndarray:
        """(m,) mid-range, where a run starts."""
        return (self.command_min + self.command_max) / 2

    @property
    def output_names(self) -> tuple[str, ...]:
        """n names."""
        return tuple(output.name for output in self.outputs)

    @property
    def output_rest(self) -> np.ndarray:
        """(n,) where a run starts, in the outputs' units."""
        return np.array([output.rest for output in self.outputs])

    @property
    def output_factors(self) -> np.ndarray:
        """(n,) value on paper = factor · value inside."""
        return np.array([output.factor for output in self.outputs])

    @property
    def signal_names(self) -> tuple[str, ...]:
        """p names."""
        return tuple(signal.name for signal in self.signals)

    @property
    def full_scale_counts(self) -> tuple[float, ...]:
        """p calibration maxima; 0 for a dead channel."""
        return tuple(signal.full_scale_counts for signal in self.signals)

    @property
    def axes(self) -> tuple[int, ...]:
        """For each output the number of its axis. Raises ValueError where the outputs are not the
        coordinates of one point."""
        axes = [output.axis for output in self.outputs]
        if None in axes or len(set(axes)) < len(axes):
            raise ValueError(
                f"robot {self.name}: its outputs {', '.join(self.output_names)} are more than the "
                "coordinates of one point"
            )
        return tuple(map(AXES.index, axes))

    def outputs_of(self, carried: np.ndarray) -> np.ndarray:
        """(…, n) outputs from the (…, 3) components of the messages that carry them."""
        return np.asarray(carried)[..., list(self.axes)]

    @property
    def groups(self) -> tuple[OutputGroup, ...]:
        """The points, and the outputs that are no positions, in the order of the outputs."""
        members: dict[str, list[int]] = {}
        for i, output in enumerate(self.outputs):
            # A point and an output may share a name: the key keeps them apart.
            key = f"point {output.point}" if output.point else f"output {output.name}"
            members.setdefault(key, []).append(i)
        return tuple(self._group(columns) for columns in members.values())

    def _group(self, columns: list[int]) -> OutputGroup:
        first = self.outputs[columns[0]]
        return OutputGroup(
            name=first.point or first.name,
            columns=tuple(columns),
            unit=first.shown_in,
            factor=first.factor,
            is_point=bool(first.point),
            axes=tuple(AXES.index(self.outputs[i].axis) for i in columns) if first.point else (),
        )


def described(values: Any, source: str) -> RobotDescription:
    """The description in `values`, read from YAML or JSON. A name without a value, such as what is
    left of `signals:` when all below it are deleted, is as if it were not there.

    Raises ValueError naming `source` and the first field that is wrong, in one line.
    """
    try:
        return RobotDescription.model_validate(_without_nothing(values, 3))
    except ValidationError as error:
        raise ValueError(f"{source}: {first_fault(error)}") from None


def _without_nothing(values: Any, depth: int) -> Any:
    """Without names that have no value, so many mappings and lists deep: 3 reach
    recording.columns; YAML may hold itself."""
    if isinstance(values, dict) and depth:
        there = {name: value for name, value in values.items() if value is not None}
        return {name: _without_nothing(value, depth - 1) for name, value in there.items()}
    if isinstance(values, list) and depth:
        return [_without_nothing(value, depth - 1) for value in values]
    return values


def tip(unit: str = "m", display_unit: str = "mm", axes: str = "xyz") -> tuple[Output, ...]:
    """The coordinates of a robot's tip along `axes`: the outputs of most robots."""
    return tuple(
        Output(name=axis, unit=unit, display_unit=display_unit, axis=axis, point="tip")
        for axis in axes
    )
