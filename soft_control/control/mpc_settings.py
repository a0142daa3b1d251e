"""What the MPC is asked to do: horizons, weights and bounds, checked against a model.

Numbers are limited so that everything the firmware makes of them is a finite float32; the limits of
weights and ratio are within those of firmware/src/loop/settings.h.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from soft_control.plain_text import first_fault
from soft_control.robots.description import Quantity, RobotDescription

if TYPE_CHECKING:  # the card knows the compiler, which no node shall import
    from soft_control.learning.card import ModelCard

VALUE_MAX = 1e9
"""Of commands and outputs, in their units inside."""
WEIGHT_MAX = 1e8
"""Per display unit squared; 100 times as much of a bound."""
WEIGHT_INSIDE_MAX = 1e16
"""Per unit inside squared, as in settings.h: 1e10 per mm² are 1e16 per m²."""
TIME_BUDGET_MAX_MS = 25_000.0
"""In cycles of 168 MHz it still fits 32 bits."""

Weight = Annotated[float, Field(ge=0.0, le=WEIGHT_MAX, allow_inf_nan=False)]
BoundWeight = Annotated[float, Field(ge=0.0, le=100.0 * WEIGHT_MAX, allow_inf_nan=False)]
Noise = Annotated[float, Field(gt=0.0, le=VALUE_MAX, allow_inf_nan=False)]
Value = Annotated[float, Field(ge=-VALUE_MAX, le=VALUE_MAX, allow_inf_nan=False)]
Move = Annotated[float, Field(gt=0.0, le=VALUE_MAX, allow_inf_nan=False)]


def _not_too_large(value: float) -> float:
    if math.isnan(value) or VALUE_MAX < abs(value) < math.inf:
        raise ValueError(f"must be infinite or within ±{VALUE_MAX:g}")
    return value


OutputBound = Annotated[float, AfterValidator(_not_too_large)]


class MpcSettings(BaseModel):
    """What the MPC is asked to do. Weights and noise count in the units in which the robot's
    description shows its commands and outputs, such as deg and mm; bounds, limits and moves are in
    the units inside, such as rad and m."""

    model_config = ConfigDict(use_attribute_docstrings=True, extra="forbid")

    horizon: int = Field(14, ge=1, le=100)
    """N: samples that the MPC looks ahead."""
    control_horizon: int = Field(3, ge=1, le=100)
    """Nc: moves that it plans; at most horizon - input_delay, later ones reach no output."""
    first_cost_stage: int | None = Field(None, ge=1, le=100)
    """First sample of the horizon that counts; by default input_delay + 1, the first in reach."""
    iterations: int = Field(1, ge=1, le=255)
    """Newton-Raphson iterations a sample."""
    line_search_trials: int = Field(4, ge=1, le=4)
    """Step lengths 1, ½, ¼, ⅛ that are tried before an iteration gives up."""
    tail_continues: bool = True
    """Beyond Nc the last move goes on; otherwise the command is held."""
    trajectory_points: int = Field(1200, ge=2, le=10_000)
    """Points of a reference that the firmware holds: uploaded once, or streamed ahead."""
    method: Literal["gauss_newton", "newton", "soloway"] = "gauss_newton"
    """Second derivatives of the network left out; taken; taken, with the barrier of Soloway and
    Haley's cost, for comparison."""
    barrier: float = Field(1e-4, gt=0, le=1e6, allow_inf_nan=False)
    """Of the method soloway: cost of a command at a normalised distance of 1 from a bound."""
    time_budget_ms: float | None = Field(None, ge=0.001, le=TIME_BUDGET_MAX_MS, allow_inf_nan=False)
    """A step ends with the best plan so far after this long; by default after a control period."""
    output_weight: list[Weight]
    """Cost of a squared tracking error, per display unit squared (1/mm²), one an output."""
    terminal_weight: list[Weight] | None = None
    """The same for the last sample of the horizon; by default no other."""
    output_min: list[OutputBound] | None = None
    """Soft lower bounds of the outputs, in their units inside; by default none."""
    output_max: list[OutputBound] | None = None
    """Soft upper bounds of the outputs, in their units inside; by default none."""
    bound_weight: list[BoundWeight] | None = None
    """Cost of a squared excess over them, per display unit squared; by default 100 times
    output_weight."""
    disturbance_ratio: float = Field(0.0, ge=0, le=1000.0, allow_inf_nan=False)
    """Offset estimate: variance of its change in a sample over that of a measured output's noise;
    0: none. 0.0026 makes a gain of 0.05, 1000 one of 0.999."""
    observer: float = Field(1.0, ge=0, le=1000.0, allow_inf_nan=False)
    """The signals correct the outputs that the network predicts, whose errors are taken for so many
    times those of free runs in the recordings; 0: they correct nothing."""
    signal_doubt: float = Field(1.75, ge=0, le=1000.0, allow_inf_nan=False)
    """A signal that is so many times as far from what it should be as any in the recordings is not
    believed, as is one that is dead or stuck; 0: all are believed."""
    move_weight: list[Weight]
    """Cost of a squared move, per display unit squared (1/deg²), one a command."""
    command_weight: list[Weight] | None = None
    """Cost of a squared distance from command_reference, per display unit squared; by default
    none."""
    command_reference: list[Value] | None = None
    """Commands to prefer, in their units inside (rad); by default the middle of the limits."""
    command_min: list[Value]
    """Lower limits of the commands, in their units inside."""
    command_max: list[Value]
    """Upper limits of the commands, in their units inside."""
    move_max: list[Move]
    """Largest change of a command in one sample, in its unit inside; by default what the robot's
    speed_max allows."""


def check(settings: MpcSettings, card: ModelCard) -> MpcSettings:
    """The settings, if each is within its limits and all suit the model.

    Raises ValueError naming the first setting that does not.
    """
    try:  # once more: `model_copy` does not look at what it is given
        settings = MpcSettings.model_validate(settings.model_dump())
    except ValidationError as error:
        raise ValueError(first_fault(error)) from None
    _check_lengths(settings, card)
    _check_ranges(settings, card)
    reachable = settings.horizon - card.input_delay
    if settings.control_horizon > reachable:
        raise ValueError(
            f"control_horizon {settings.control_horizon} is more than "
            f"horizon - input_delay = {reachable}: later moves reach no output"
        )
    first = first_cost_stage(settings, card)
    if not card.input_delay < first <= settings.horizon:
        raise ValueError(
            f"first_cost_stage {first} is outside {card.input_delay + 1} .. {settings.horizon}: "
            "no command reaches an earlier sample"
        )
    return settings


def _check_lengths(settings: MpcSettings, card: ModelCard) -> None:
    commands, outputs = len(card.command_names), len(card.output_offset)
    for name, given in settings:
        if isinstance(given, list):
            of_outputs = name.startswith(("output", "terminal", "bound"))
            needed, what = (outputs, "output") if of_outputs else (commands, "command")
            if len(given) != needed:
                raise ValueError(
                    f"{name} needs {needed} values, one for each {what} of the model, "
                    f"not {len(given)}"
                )


def _check_ranges(settings: MpcSettings, card: ModelCard) -> None:
    limits = zip(settings.command_min, settings.command_max, strict=True)
    for command, (low, high) in zip(card.command_names, limits, strict=True):
        if not low < high:
            raise ValueError(f"limits of {command!r}: {low} .. {high} is not a range")
    outputs = len(card.output_offset)
    lows = settings.output_min or [-math.inf] * outputs
    highs = settings.output_max or [math.inf] * outputs
    for output, (low, high) in enumerate(zip(lows, highs, strict=True)):
        if not low <= high or low == math.inf or high == -math.inf:
            raise ValueError(f"output_min, output_max.{output}: {low} .. {high} is no range")


def first_cost_stage(settings: MpcSettings, card: ModelCard) -> int:
    """The first sample of the horizon that counts, the default filled in."""
    return settings.first_cost_stage or card.input_delay + 1


def budget_us(settings: MpcSettings, card: ModelCard) -> int:
    """The time that a step may take, the default of a control period filled in."""
    return round(1e3 * min(settings.time_budget_ms or 1e3 / card.rate_hz, TIME_BUDGET_MAX_MS))


def physical_settings(
    settings: MpcSettings, robot: RobotDescription
) -> dict[str, list[float] | float]:
    """settings_t of firmware/src/wire/message.h, field by field in its order, in units inside.

    Raises ValueError naming the setting that does not suit the robot, or is too large for it.
    """
    commands, outputs = len(robot.commands), len(robot.outputs)

    def inside(name: str, weights: Sequence[float], of: Sequence[Quantity]) -> list[float]:
        if len(weights) != len(of):
            raise ValueError(f"{name} has {len(weights)} values, {robot.name} needs {len(of)}")
        return [_weight_inside(name, w, quantity) for w, quantity in zip(weights, of, strict=True)]

    middle = [
        (low + high) / 2
        for low, high in zip(settings.command_min, settings.command_max, strict=True)
    ]
    tracking = settings.output_weight
    return {
        "command_min": [_inwards(low, math.inf) for low in settings.command_min],
        "command_max": [_inwards(high, -math.inf) for high in settings.command_max],
        "move_max": [_inwards(move, 0.0) for move in settings.move_max],
        "move_weight": inside("move_weight", settings.move_weight, robot.commands),
        "command_weight": inside(
            "command_weight", settings.command_weight or [0.0] * commands, robot.commands
        ),
        "command_reference": settings.command_reference or middle,
        "output_weight": inside("output_weight", tracking, robot.outputs),
        "terminal_weight": inside(
            "terminal_weight", settings.terminal_weight or tracking, robot.outputs
        ),
        "output_min": settings.output_min or [-math.inf] * outputs,
        "output_max": settings.output_max or [math.inf] * outputs,
        "bound_weight": inside(
            "bound_weight", settings.bound_weight or [100.0 * w for w in tracking], robot.outputs
        ),
        "disturbance_ratio": settings.disturbance_ratio,
    }


def _weight_inside(name: str, weight: float, quantity: Quantity) -> float:
    """Per unit inside squared, from per display unit squared: 1 per mm² is 1e6 per m²."""
    inside = quantity.factor**2 * weight
    if inside > WEIGHT_INSIDE_MAX:
        raise ValueError(
            f"{name} of {quantity.name!r}: {weight:g} per {quantity.shown_in}² is {inside:g} per "
            f"{quantity.unit}², more than {WEIGHT_INSIDE_MAX:g}"
        )
    return inside


def _inwards(limit: float, inside: float) -> float:
    """The float32 nearest to limit that is not beyond it."""
    single = np.float32(limit)
    beyond = float(single) < limit if inside > limit else float(single) > limit
    return float(np.nextafter(single, np.float32(inside)) if beyond else single)
