"""docs/results.md, which `make results` writes, is whole and claims no goal that its figures miss.

That the figures are those of the tables: test/soft_control/campaign/test_results_page.py."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = (DOCS / "results.md").read_text(encoding="utf-8")
DIGITS = 0.005
"""What rounding to the page's digits hides."""


def goals() -> list[list[str]]:
    """Rig, what was asked for, at most, measured, verdict."""
    part = PAGE.partition("## What was asked for")[2].partition("\n## ")[0]
    lines = [line for line in part.splitlines() if re.match(r"\| (tendon|hasel) \|", line)]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def test_every_goal_is_there_once_and_was_measured():
    rows = goals()
    said = [tuple(row[:3]) for row in rows]
    assert len(rows) >= 20 and len(set(said)) == len(said)
    assert {row[-1].partition(",")[0] for row in rows} <= {"reached", "**missed**", "open"}


@pytest.mark.parametrize("row", goals(), ids=lambda row: f"{row[0]} {row[1]}, {row[2]}")
def test_a_goal_is_reached_where_its_figures_are(row: list[str]):
    *_, limit, measured, verdict = row
    if limit == "none":
        alarms = re.findall(r"([\d,]+) of [\d,]+ samples", measured)
        surely = possible = bool(alarms) and set(alarms) == {"0"}
    elif limit.endswith(" s"):
        (late_s,) = re.findall(r"worst (\d+\.\d+) s", measured) or ["inf"]
        surely, possible = between([float(late_s)], [float(limit[:-2])])
        surely, possible = (ok and "never" not in measured for ok in (surely, possible))
    else:
        figures = [
            [float(one) for one in pair]
            for pair in re.findall(r"(\d+\.\d+) / (\d+\.\d+)", measured)
        ]
        if limit.startswith("below"):
            apart = figures[0][0] - figures[1][0]
            high = float(re.search(r" to ([-+][\d.]+)\)", measured).group(1))
            surely, possible = high < 0, high <= 0
            assert verdict != "open" or apart <= DIGITS
        else:
            surely, possible = between(figures[0], [float(one) for one in limit.split(" / ")])
            # A run that broke off reaches nothing.
            surely &= "broke off" not in measured
    assert possible if verdict == "reached" else not surely


def between(figures: list[float], limits: list[float]) -> tuple[bool, bool]:
    """Whether all are surely within their limits, and whether they may be."""
    pairs = list(zip(figures, limits, strict=False))
    return (
        all(mine < most - DIGITS for mine, most in pairs),
        all(mine <= most + DIGITS for mine, most in pairs),
    )


def test_the_pictures_are_there():
    shown = re.findall(r"!\[[^\]]*\]\((images/[^)]+)\)", PAGE)
    assert {f"images/{p.name}" for p in (DOCS / "images").glob("results_*")} == set(shown)
    assert any("tendon" in name for name in shown) and any("hasel" in name for name in shown)
    for name in shown:
        assert (DOCS / name).read_bytes().startswith(b"\x89PNG\r\n")
