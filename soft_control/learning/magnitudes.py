"""Do numbers fit the unit that they are said to have? Told by commands' limits and robots' sizes.

A mistaken unit is a factor: 57 from degrees to radians, 1000 from millimetres to metres.
"""

from __future__ import annotations

import math

import numpy as np

from soft_control.robots.description import Command, Quantity
from soft_control.robots.units import UNITS, factor, of_one_kind

BEYOND = 10.0
"""Times the half range of a command. Recorded commands overshoot their limits by a few per cent;
degrees taken for radians reach 57 times as far."""
OUTSIDE = 1.2
"""Times the half range: from there on the limits are not those that the recorded robot had."""
WITHIN = 0.03
"""Of a command's range: radians taken for degrees span 1/57 of it."""
SPAN_MAX_M = 3.0
"""Of a point's coordinate: the rigs here span 0.03 to 0.12 m, the trunk 0.36 m; in millimetres 30
to 360."""
SPAN_MIN_M = 3e-4
"""Of the coordinate that moves most: metres taken for millimetres span 0.03 to 0.36 mm."""


def command_fault(command: Command, values: np.ndarray, scale: float = 1.0) -> str | None:
    """What is wrong with commands (T,), in their unit, that are far beyond the limits.

    `scale` is what a recorded number was multiplied by to be in the command's unit.
    """
    reach = _reach(command, values)
    if reach <= BEYOND:
        return None
    units = _fitting(command, reach, scale, (0.1, 2.0))
    return f"{_extent(command, values)}{_question(units)}"


def command_outside(command: Command, values: np.ndarray, scale: float = 1.0) -> str | None:
    """What may be wrong with commands (T,) that go beyond the limits."""
    outside = OUTSIDE < _reach(command, values) <= BEYOND
    return f"{_extent(command, values)}: are these its actuator's limits?" if outside else None


def small_command(command: Command, values: np.ndarray, scale: float = 1.0) -> str | None:
    """What may be wrong with commands (T,) that move, and hardly."""
    share = float(np.ptp(values)) / (command.max - command.min)
    if not 0.0 < share < WITHIN:
        return None
    question = _question(_fitting(command, share, scale, (0.1, 2.0)))
    written, shown = f"{command.max:.6g}", f"{command.factor * command.max:.6g}"
    if len(written) < len(shown) and 0.1 <= share * command.factor <= 2.0:
        # `max: 50` of what is shown in deg was meant as 50 deg, and read as 50 rad = 2864.79 deg.
        question = f": is the limit meant as `max: {written} {command.shown_in}`?"
    return f"{_extent(command, values)}, {100 * share:.2g} % of the range{question}"


def output_fault(output: Quantity, values: np.ndarray, scale: float = 1.0) -> str | None:
    """What is wrong with a length (T,) that spans more than a soft robot does."""
    span_m = _span_m(output, values)
    if not span_m > SPAN_MAX_M:
        return None
    return f"{_spans(output, span_m)}{_question(_fitting_span(output, span_m, scale))}"


def small_output(output: Quantity, values: np.ndarray, scale: float = 1.0) -> str | None:
    """What may be wrong with a length (T,) that moves less than a soft robot does."""
    span_m = _span_m(output, values)
    if not 0.0 < span_m < SPAN_MIN_M:
        return None
    return f"{_spans(output, span_m)}{_question(_fitting_span(output, span_m, scale))}"


def _reach(command: Command, values: np.ndarray) -> float:
    """Farthest from mid-range, in half ranges."""
    middle, half = (command.min + command.max) / 2, (command.max - command.min) / 2
    return float(np.max(np.abs(values - middle))) / half


def _extent(command: Command, values: np.ndarray) -> str:
    low, high, least, most = (
        f"{command.factor * value:.4g}"
        for value in (values.min(), values.max(), command.min, command.max)
    )
    unit = "" if command.shown_in == "1" else f" {command.shown_in}"
    return f"{command.name} goes from {low} to {high}{unit}, described are {least} to {most}{unit}"


def _span_m(output: Quantity, values: np.ndarray) -> float:
    """NaN of what is no length."""
    kind, size = UNITS[output.unit]
    return float(np.ptp(values)) * size if kind == "length" else math.nan


def _spans(output: Quantity, span_m: float) -> str:
    said = f"{span_m:.4g} m" if span_m > 1.0 else f"{1e3 * span_m:.3g} mm"
    usual = f"{1e3 * SPAN_MIN_M:g} mm to {SPAN_MAX_M:g} m"
    return f"{output.name} spans {said}, soft robots span {usual}"


def _fitting_span(output: Quantity, span_m: float, scale: float) -> list[str]:
    """The units in which what spans so much would span what a soft robot does, the likeliest
    first: 16 m in m are 16 mm in mm and 163 mm in cm, which is nearer to the usual 0.1 m. Both are
    asked for, as no number tells one from the other."""
    units = [unit for unit in _fitting(output, span_m, scale, (1e-3, SPAN_MAX_M)) if unit != "in"]
    spans = {unit: span_m * factor(unit, output.unit) / scale for unit in units}
    return sorted(units, key=lambda unit: abs(math.log10(spans[unit] / 0.1)))


def _question(units: list[str]) -> str:
    return f": are these numbers in {' or '.join(units[:2])}?" if units else ""


def _fitting(
    quantity: Quantity, size: float, scale: float, usual: tuple[float, float]
) -> list[str]:
    """The units in which what is of such a size would be of a usual one."""
    units = dict.fromkeys((quantity.shown_in, *of_one_kind(quantity.unit)))
    sizes = {unit: size * factor(unit, quantity.unit) / scale for unit in units}
    return [unit for unit, would in sizes.items() if usual[0] <= would <= usual[1]]
