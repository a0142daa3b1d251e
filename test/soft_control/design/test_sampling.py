from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

pytest.importorskip("optuna", minversion="5", reason="needs soft_control[design]")

from soft_control.design import sampling  # noqa: E402
from soft_control.design.sampling import Told, distributions, propose  # noqa: E402
from soft_control.design.settings import DesignSettings  # noqa: E402

SETTINGS = DesignSettings(units=(4, 24), layers=(1, 2))
SPACE = distributions(SETTINGS, signals=True)


def told_of(points, limit=16):
    """Cheaper and worse with fewer units; beyond the budget with more than `limit`."""
    return [
        Told(
            p,
            (50.0 / p["units_0"], float(p["units_0"]), float(p["beyond_delay"])),
            {"instructions": p["units_0"] / limit - 1.0},
        )
        for p in points
    ]


def searched(count: int, seed: int) -> list[dict]:
    points: list[dict] = []
    for first in range(0, count, 4):
        points += propose(SPACE, told_of(points), 4, seed, first)
    return points


def test_the_same_seed_proposes_the_same_and_another_something_else():
    assert searched(24, 1) == searched(24, 1) != searched(24, 2)


def test_a_batch_begins_as_a_longer_one_would():
    before = told_of(searched(20, 0))
    assert propose(SPACE, before, 2, 0, 20) == propose(SPACE, before, 4, 0, 20)[:2]


def test_proposals_turn_to_what_is_within_the_budget():
    units = [point["units_0"] for point in searched(60, 0)]
    random, learned = units[:12], units[24:]

    def share(of):
        return sum(u <= 16 for u in of) / len(of)

    assert share(learned) > 0.85 > share(random)


def test_failed_points_are_told_too():
    points = searched(8, 0)
    failed = [Told(point, None, {}) for point in points]
    assert len(propose(SPACE, failed, 4, 0, 8)) == 4


def test_what_may_be_chosen():
    blind = distributions(SETTINGS, signals=False)
    assert blind["signals"].choices == (False,)
    assert {"units_0", "units_1"} <= blind.keys() and "units_2" not in blind
    for point in searched(12, 5):
        assert 4 <= point["units_1"] <= 24 and point["method"] in SETTINGS.methods


@pytest.mark.parametrize("name", sampling.VERSIONS)
@pytest.mark.parametrize("there", [None, SimpleNamespace(__version__="4.9.0")])
def test_a_missing_package_is_said_in_one_line(name, there, monkeypatch):
    monkeypatch.setitem(sys.modules, name, there)
    with pytest.raises(ValueError, match=rf"needs {name} .* pip install 'soft_control\[design\]'"):
        sampling.check_packages()
