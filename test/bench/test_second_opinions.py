"""docs/second_opinions.md, which `make second-opinions` writes, keeps what is asked of a controller
that was trained on the rigs in MuJoCo and had nothing else changed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "second_opinions.md").read_text("utf-8")
LIMITS_MM = {"mujoco_tendon": 1.5, "mujoco_hasel": 1.0}
"""RMSE, untethered, on every reference."""


def rows(of: str) -> list[list[str]]:
    """The cells after the first, of the rows of the page whose first cell is `of`."""
    cells = [[c.strip() for c in line.split("|")[1:-1]] for line in PAGE.splitlines()]
    return [row[1:] for row in cells if row and row[0] == of]


@pytest.mark.parametrize("rig", LIMITS_MM)
def test_untethered_error_is_within_what_was_asked_on_every_reference(rig: str):
    followed = [row for row in rows(rig) if len(row) == 4]
    assert {row[0] for row in followed} >= {"figure_eight", "swirl"}
    for _, untethered, *_ in followed:
        rmse, worst = re.fullmatch(r"([\d.]+) \([\d.]+\) / ([\d.]+)", untethered).groups()
        assert float(rmse) <= LIMITS_MM[rig] and float(rmse) < float(worst)


@pytest.mark.parametrize("rig", LIMITS_MM)
def test_the_emulated_microcontroller_says_the_same_as_the_library(rig: str):
    """The figure-eight, over ROS 2 and in qemu: there the error is that of what is measured, with
    0.05 mm of noise in three directions. 0.02: seeds, and the digits of the page."""
    (found,) = re.findall(rf"A run of {rig} on .*?RMSE ([\d.]+)", PAGE, re.DOTALL)
    ((_, untethered, *_),) = [row for row in rows(rig) if row[0] == "figure_eight"]
    rmse = float(untethered.partition(" ")[0])
    assert float(found) == pytest.approx((rmse**2 + 3 * 0.05**2) ** 0.5, abs=0.02)


def test_the_rigs_differ_from_those_that_they_are_an_opinion_on():
    """By more than a tenth in how they arrive, and by what no quadratic map says."""
    for rig in LIMITS_MM:
        ours = next(row for row in rows(rig.removeprefix("mujoco_")) if len(row) == 6)
        other = next(row for row in rows(rig) if len(row) == 6)
        assert abs(float(other[1]) / float(ours[1]) - 1) > 0.1
        assert float(other[-1]) > float(ours[-1])
