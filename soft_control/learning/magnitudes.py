"""Do numbers fit the unit that they are said to have? Told by commands' limits and robots' sizes.

A mistaken unit is a factor: 57 from degrees to radians, 1000 from millimetres to metres.
"""

from __future__ import annotations

import numpy as np

from soft_control.robots.description import Command, Quantity
from soft_control.robots.units import UNITS, factor, of_one_kind

BEYOND = 10.0
"""Times the half range of a command. Recorded commands overshoot their limits by a few per cent;
degrees taken for radians reach 57 times as far."""
WITHIN = 0.03
"""Of a command's range: radians taken for degrees span 1/57 of it."""
SPAN_MAX_M = 3.0
"""Of a point's coordinate: the rigs here span 0.03 to 0.12 m, the trunk 0.36 m; in millimetres 30
to 360."""


def command_fault(command: Command, values: np.ndarray, scale: float = 1.0) -> str | None:
    """What is wrong with commands (T,), in their unit, that are far beyond the limits.

    `scale` is what a recorded number was multiplied by to be in the command's unit.
    """
    middle, half = (command.min + command.max) / 2, (command.max - command.min) / 2
    away = np.abs(values - middle) / half
    reach = float(np.max(away))
    if reach <= BEYOND:
        return None
    return (
        f"{command.name} reaches {values[np.argmax(away)]:.4g} {command.unit}, its limits are "
        f"{command.min:.4g} to {command.max:.4g}{_guess(command, reach, scale, (0.1, 2.0))}"
    )


def small_command(command: Command, values: np.ndarray, scale: float = 1.0) -> str | None:
    """What may be wrong with commands (T,) that move, and hardly."""
    share = float(np.ptp(values)) / (command.max - command.min)
    if not 0.0 < share < WITHIN:
        return None
    return (
        f"{command.name} spans {np.ptp(values):.3g} {command.unit}, {100 * share:.2g} % of its "
        f"range{_guess(command, share, scale, (0.1, 2.0))}"
    )


def output_fault(output: Quantity, values: np.ndarray, scale: float = 1.0) -> str | None:
    """What is wrong with a length (T,) that spans more than a soft robot does."""
    kind, size = UNITS[output.unit]
    span_m = float(np.ptp(values)) * size
    if kind != "length" or span_m <= SPAN_MAX_M:
        return None
    guess = _guess(output, span_m, scale, (1e-3, SPAN_MAX_M))
    return f"{output.name} spans {span_m:.4g} m{guess}"


def _guess(quantity: Quantity, size: float, scale: float, usual: tuple[float, float]) -> str:
    """The unit in which what is of such a size would be of a usual one."""
    units = dict.fromkeys((quantity.shown_in, *of_one_kind(quantity.unit)))
    sizes = {unit: size * factor(unit, quantity.unit) / scale for unit in units}
    fits = [unit for unit, would in sizes.items() if usual[0] <= would <= usual[1]]
    return f": are these numbers in {fits[0]}?" if fits else ""
