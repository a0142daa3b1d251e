"""Units: one table of names, what each measures, and its size in the SI unit of that."""

from __future__ import annotations

import math

UNITS: dict[str, tuple[str, float]] = {
    "1": ("number", 1.0),
    "%": ("number", 1e-2),
    "m": ("length", 1.0),
    "cm": ("length", 1e-2),
    "mm": ("length", 1e-3),
    "um": ("length", 1e-6),
    "in": ("length", 0.0254),
    "rad": ("angle", 1.0),
    "deg": ("angle", math.pi / 180.0),
    "s": ("time", 1.0),
    "ms": ("time", 1e-3),
    "us": ("time", 1e-6),
    "ns": ("time", 1e-9),
    "m/s": ("speed", 1.0),
    "mm/s": ("speed", 1e-3),
    "rad/s": ("angular speed", 1.0),
    "deg/s": ("angular speed", math.pi / 180.0),
    "N": ("force", 1.0),
    "mN": ("force", 1e-3),
    "Pa": ("pressure", 1.0),
    "kPa": ("pressure", 1e3),
    "MPa": ("pressure", 1e6),
    "mbar": ("pressure", 1e2),
    "bar": ("pressure", 1e5),
    "psi": ("pressure", 6894.757293168361),
    "V": ("voltage", 1.0),
    "mV": ("voltage", 1e-3),
    "A": ("current", 1.0),
    "mA": ("current", 1e-3),
    "T": ("magnetic flux density", 1.0),
    "mT": ("magnetic flux density", 1e-3),
    "G": ("magnetic flux density", 1e-4),
    "mG": ("magnetic flux density", 1e-7),
}
"""Name to what it measures and its size in the first unit of that, which is the SI one. The number
1 is the unit of what has none. No unit here has an offset, as degrees Celsius have."""


def check_unit(unit: str) -> str:
    """`unit` itself. Raises ValueError naming all that are known for one that is not."""
    if unit not in UNITS:
        raise ValueError(f"unknown unit {unit!r}: known are {', '.join(UNITS)}")
    return unit


def factor(unit: str, to: str) -> float:
    """value in `to` = factor · value in `unit`: 1000 from m to mm.

    Raises ValueError for an unknown unit, and for two that measure different things.
    """
    kind, size = UNITS[check_unit(unit)]
    kind_to, size_to = UNITS[check_unit(to)]
    if kind != kind_to:
        same = ", ".join(of_one_kind(to))
        raise ValueError(f"{unit} is of {kind}, {to} of {kind_to}: one of {same} is needed")
    return size / size_to


def of_one_kind(unit: str) -> tuple[str, ...]:
    """All units that measure what `unit` does."""
    return tuple(name for name, (kind, _) in UNITS.items() if kind == UNITS[unit][0])
