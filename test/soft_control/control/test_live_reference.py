"""A reference that changes while it is followed: no jump, no other phase, the new one is met."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from soft_control.control.live_reference import LiveReference
from soft_control.control.references import Reference
from soft_control.learning.surface import Surface

PERIOD_S = 1 / 120
EIGHT = Reference(("x", "y"), "figure_eight", (0.01, 0.02), (0.0, 0.001), (0, 1), angular_rate=0.8)
FASTEST = 0.8 * np.array([0.01, 2 * 0.02])
"""Of sin(phase) and sin(2 phase) with these amplitudes, a second."""


def followed(changes: dict[int, Reference], samples: int, ahead: int = 0) -> np.ndarray:
    """(samples, 1 + ahead, n)"""
    live, rows = LiveReference(EIGHT, PERIOD_S), []
    for k in range(samples):
        rows.append(live.values(k * PERIOD_S, ahead))
        if k in changes:
            live.change(changes[k])
    return np.array(rows)


def fastest(rows: np.ndarray) -> np.ndarray:
    return np.abs(np.diff(rows, axis=0)).max(axis=0) / PERIOD_S


def test_unchanged_it_is_the_reference_to_the_bit():
    found = followed({}, 300, 5)
    at_s = np.arange(300)[:, None] * PERIOD_S + np.arange(6) * PERIOD_S
    assert (found.reshape(-1, 2) == EIGHT.values(at_s.ravel())).all()


def test_the_same_reference_again_changes_nothing():
    again = dataclasses.replace(EIGHT)
    np.testing.assert_allclose(followed({77: again}, 300), followed({}, 300), atol=1e-15)


def test_another_pace_goes_on_at_the_same_phase():
    """Phase 0.8 t until sample 100, 1.6 from there."""
    found = followed({100: dataclasses.replace(EIGHT, angular_rate=1.6)}, 300)[:, 0]
    t_s = np.arange(300) * PERIOD_S
    phase = np.where(np.arange(300) <= 100, 0.8 * t_s, 0.8 * 100 * PERIOD_S)
    phase += np.where(np.arange(300) > 100, 1.6 * (t_s - 100 * PERIOD_S), 0.0)
    np.testing.assert_allclose(found, EIGHT._at(phase), atol=1e-15)


@pytest.mark.parametrize(
    "change",
    [
        {"amplitude": (0.02, 0.01)},
        {"centre": (0.03, -0.02)},
        {"shape": "pringle"},
        {"shape": "swirl", "amplitude": (0.005, 0.005)},
        {"shape": "fixed", "centre": (0.0, 0.0)},
        {"angular_rate": 0.0},
    ],
    ids=lambda change: "-".join(change),
)
def test_it_goes_over_no_faster_than_either_moves_and_meets_the_new_one(change):
    other = dataclasses.replace(EIGHT, **change)
    found = followed({100: other}, 3000)[:, 0]
    probe = LiveReference(other, PERIOD_S)
    allowed = np.maximum(FASTEST, probe._fastest(other))
    assert (fastest(found) <= allowed * (1 + 1e-9)).all()
    phase = 0.8 * 100 * PERIOD_S + other.angular_rate * np.arange(1, 2900) * PERIOD_S
    wanted = other._at(phase)
    met = np.abs(found[101:] - wanted).max(axis=1) < 1e-12
    first = int(met.argmax())
    assert met[first] and met[first:].all()
    assert first <= 10.0 / PERIOD_S


def test_from_a_place_to_a_place_it_takes_a_second():
    """Neither moves: 0.03 goes at 0.03 a second."""
    still = dataclasses.replace(EIGHT, angular_rate=0.0)
    live = LiveReference(still, PERIOD_S)
    before = live.values(0.0)[0]
    live.change(dataclasses.replace(still, centre=(0.03, 0.001)))
    found = np.array([live.values(k * PERIOD_S)[0] for k in range(1, 150)])
    assert found[59] == pytest.approx(before + (0.015, 0.0), abs=1e-6)
    assert found[121] == pytest.approx(before + (0.03, 0.0), abs=1e-12)


def test_what_it_says_ahead_is_what_will_come():
    found = followed({50: dataclasses.replace(EIGHT, amplitude=(0.0, 0.04))}, 200, 9)
    for k in range(52, 150):
        for j in (1, 9):
            assert found[k, j] == pytest.approx(found[k + j, 0], abs=1e-12)


def test_a_change_before_the_last_is_met_begins_where_it_is():
    first = dataclasses.replace(EIGHT, centre=(0.05, 0.0))
    found = followed({50: first, 60: EIGHT, 70: first, 90: EIGHT}, 600)[:, 0]
    assert (fastest(found) <= FASTEST * (1 + 1e-9)).all()
    np.testing.assert_allclose(found[400:], EIGHT._at(0.8 * np.arange(400, 600) * PERIOD_S))


def test_a_sample_that_was_missed_is_time_that_passed():
    live = LiveReference(EIGHT, PERIOD_S)
    before = live.values(0.0)[0]
    live.change(dataclasses.replace(EIGHT, centre=(1.0, 0.001)))
    found = live.values(5 * PERIOD_S)[0]
    assert found[0] - before[0] == pytest.approx(5 * PERIOD_S * FASTEST[0], rel=1e-4)


def test_outputs_that_follow_a_surface_stay_on_it():
    surface = Surface(
        leading=["x"], factors=[100.0], degree=2, following={"y": [0.0, 0.001, 0.002]}
    )
    curve = dataclasses.replace(EIGHT, amplitude=(0.01, 0.0), centre=(0.0, 0.0), surface=surface)
    live = LiveReference(curve, PERIOD_S)
    live.values(0.0)
    live.change(dataclasses.replace(curve, centre=(0.02, 0.0), shape="pringle"))
    for k in range(1, 200):
        x, y = live.values(k * PERIOD_S)[0]
        followed_ = surface.follow(np.array([[x]]))["y"][0]
        assert y == pytest.approx(followed_, abs=1e-12)
    assert math.isfinite(y)
