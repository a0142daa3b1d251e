"""What the MPC is asked to do: horizons, weights and bounds, checked against a model.

Numbers are limited so that everything the firmware makes of them is a finite float32; the limits of
weights and ratio are within those of firmware/src/loop/settings.h.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from soft_control.learning.model import ModelCard
from soft_control.plain_text import first_fault

VALUE_MAX = 1e9
"""Of commands and outputs, in their own units."""
WEIGHT_MAX = 1e8
"""Times 1e6 from 1/mm² to 1/m², and 100 for bounds: the 1e16 of settings.h."""
TIME_BUDGET_MAX_MS = 25_000.0
"""In cycles of 168 MHz it still fits 32 bits."""

Weight = Annotated[float, Field(ge=0.0, le=WEIGHT_MAX, allow_inf_nan=False)]
BoundWeight = Annotated[float, Field(ge=0.0, le=100.0 * WEIGHT_MAX, allow_inf_nan=False)]
Value = Annotated[float, Field(ge=-VALUE_MAX, le=VALUE_MAX, allow_inf_nan=False)]
Move = Annotated[float, Field(gt=0.0, le=VALUE_MAX, allow_inf_nan=False)]


def _not_too_large(value: float) -> float:
    if math.isnan(value) or VALUE_MAX < abs(value) < math.inf:
        raise ValueError(f"must be infinite or within ±{VALUE_MAX:g}")
    return value


OutputBound = Annotated[float, AfterValidator(_not_too_large)]


class MpcSettings(BaseModel):
    """What the MPC is asked to do. Commands are in the unit that the robot describes: rad, or one
    of its own."""

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
    method: Literal["gauss_newton", "newton", "soloway"] = "gauss_newton"
    """Second derivatives of the network left out; taken; taken, with the barrier of Soloway and
    Haley's cost, for comparison."""
    barrier: float = Field(1e-4, gt=0, le=1e6, allow_inf_nan=False)
    """Of the method soloway: cost of a command at a normalised distance of 1 from a bound."""
    time_budget_ms: float | None = Field(None, ge=0.001, le=TIME_BUDGET_MAX_MS, allow_inf_nan=False)
    """A step ends with the best plan so far after this long; by default after a control period."""
    output_weight: list[Weight]
    """Cost of a squared tracking error, 1/mm², one an axis."""
    terminal_weight: list[Weight] | None = None
    """The same for the last sample of the horizon; by default no other."""
    output_min: list[OutputBound] | None = None
    """Soft lower bounds of the position, m, one an axis; by default none."""
    output_max: list[OutputBound] | None = None
    """Soft upper bounds of the position, m."""
    bound_weight: list[BoundWeight] | None = None
    """Cost of a squared excess over them, 1/mm²; by default 100 times output_weight."""
    disturbance_ratio: float = Field(0.0, ge=0, le=1000.0, allow_inf_nan=False)
    """Offset estimate: variance of its change in a sample over that of a measured position's noise;
    0: none. 0.0026 makes a gain of 0.05, 1000 one of 0.999."""
    signal_estimate: bool = False
    """Where no position is measured, the signals' own one moves the offset estimate: on rigs whose
    signals feel what moves the tip, with models that have signals."""
    position_noise_mm: float = Field(0.05, gt=0, le=1e3, allow_inf_nan=False)
    """Standard deviation of a measured position, each axis. The signals' own one is noisier, and
    moves the estimate so much less; see firmware/src/loop/estimate.h."""
    move_weight: list[Weight]
    """Cost of a squared move, 1/deg² or 1/unit² (see command_unit), one a command."""
    command_weight: list[Weight] | None = None
    """Cost of a squared distance from command_reference, 1/deg² or 1/unit²; by default none."""
    command_reference: list[Value] | None = None
    """Commands to prefer, rad or unit; by default the middle of the limits."""
    command_unit: Literal["deg", "unit"]
    """deg: commands are in rad and move_weight counts degrees; unit: both are in the robot's own
    unit. There is no default: the robot's description says it."""
    command_min: list[Value]
    """Lower limits of the commands, rad or unit."""
    command_max: list[Value]
    """Upper limits of the commands, rad or unit."""
    move_max: list[Move]
    """Largest change of a command in one sample, rad or unit."""


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
    soft = zip(settings.output_min or [], settings.output_max or [], strict=False)
    for axis, (low, high) in enumerate(soft):
        if not low <= high:
            raise ValueError(f"output_min, output_max of axis {axis}: {low} .. {high} is no range")


def first_cost_stage(settings: MpcSettings, card: ModelCard) -> int:
    """The first sample of the horizon that counts, the default filled in."""
    return settings.first_cost_stage or card.input_delay + 1


def budget_us(settings: MpcSettings, card: ModelCard) -> int:
    """The time that a step may take, the default of a control period filled in."""
    return round(1e3 * min(settings.time_budget_ms or 1e3 / card.rate_hz, TIME_BUDGET_MAX_MS))


def physical_settings(settings: MpcSettings) -> dict[str, list[float] | float]:
    """settings_t of firmware/src/wire/message.h, field by field in its order: m, rad or unit."""
    commands, outputs = len(settings.move_weight), len(settings.output_weight)
    per_rad2 = math.degrees(1.0) ** 2 if settings.command_unit == "deg" else 1.0
    per_m2 = 1e6
    middle = [
        (low + high) / 2
        for low, high in zip(settings.command_min, settings.command_max, strict=True)
    ]
    tracking = settings.output_weight
    return {
        "command_min": [_inwards(low, math.inf) for low in settings.command_min],
        "command_max": [_inwards(high, -math.inf) for high in settings.command_max],
        "move_max": [_inwards(move, 0.0) for move in settings.move_max],
        "move_weight": [per_rad2 * w for w in settings.move_weight],
        "command_weight": [per_rad2 * w for w in settings.command_weight or [0.0] * commands],
        "command_reference": settings.command_reference or middle,
        "output_weight": [per_m2 * w for w in tracking],
        "terminal_weight": [per_m2 * w for w in settings.terminal_weight or tracking],
        "output_min": settings.output_min or [-math.inf] * outputs,
        "output_max": settings.output_max or [math.inf] * outputs,
        "bound_weight": [
            per_m2 * w for w in settings.bound_weight or [100.0 * w for w in tracking]
        ],
        "disturbance_ratio": settings.disturbance_ratio,
    }


def _inwards(limit: float, inside: float) -> float:
    """The float32 nearest to limit that is not beyond it."""
    single = np.float32(limit)
    beyond = float(single) < limit if inside > limit else float(single) > limit
    return float(np.nextafter(single, np.float32(inside)) if beyond else single)
