"""Sizes of units against those of scipy, which has them from the international definitions."""

from __future__ import annotations

import pytest
from scipy import constants

from soft_control.robots.units import UNITS, factor, of_one_kind


@pytest.mark.parametrize(
    ("unit", "size"),
    [
        ("in", constants.inch),
        ("deg", constants.degree),
        ("um", constants.micron),
        ("bar", constants.bar),
        ("psi", constants.psi),
        ("kPa", constants.kilo),
        ("mN", constants.milli),
        ("G", 1e-4),
        ("mG", 1e-7),
        ("%", constants.centi),
        ("deg/s", constants.degree),
    ],
)
def test_a_unit_has_its_size(unit: str, size: float):
    """To float64's rounding."""
    assert factor(unit, of_one_kind(unit)[0]) == pytest.approx(size, rel=1e-12)


def test_each_kind_has_one_unit_of_size_1_which_is_first():
    for unit in UNITS:
        assert UNITS[of_one_kind(unit)[0]][1] == 1.0


def test_what_is_unknown_or_of_another_kind_is_said():
    with pytest.raises(ValueError, match="unknown unit 'furlong': known are 1, %"):
        factor("furlong", "m")
    with pytest.raises(ValueError, match="deg is of angle, mm of length: one of m, cm, mm, um, in"):
        factor("deg", "mm")
