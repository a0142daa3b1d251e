from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import lsq_linear

from soft_control.control.adaptation import (
    DOUBT_S,
    FURTHEST,
    JUMP,
    RATE,
    REACH,
    Adaptation,
    covariance,
)

RATE_HZ = 120.0


def figure_eight(seconds: float, outputs: int = 2) -> np.ndarray:
    """(samples, outputs), normalised: 7.9 s once around, as the demo's; a third output bends."""
    phase = 2 * np.pi / 7.86 * np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    columns = [0.8 * np.sin(phase), 0.5 * np.sin(2 * phase), 0.3 * np.cos(2 * phase)]
    return np.column_stack(columns[:outputs])


def rich(seconds: float, outputs: int) -> np.ndarray:
    """(samples, outputs): a sine each, of its own frequency."""
    t = np.arange(int(seconds * RATE_HZ))[:, None] / RATE_HZ
    return 0.8 * np.sin(2 * np.pi * (0.3 + 0.11 * np.arange(outputs)) * t + np.arange(outputs))


def fed(adaptation: Adaptation, y: np.ndarray, z: np.ndarray) -> Adaptation:
    for sample in zip(y, z, strict=True):
        adaptation.update(*sample)
    return adaptation


@pytest.mark.parametrize("gain", [0.8, 1.25])
@pytest.mark.parametrize("outputs", [2, 3])
def test_twenty_seconds_of_figure_eight_tell_the_gain(gain, outputs):
    y = figure_eight(20.0, outputs)
    z = gain * y + 0.1 + 0.02 * np.random.default_rng(0).standard_normal(y.shape)
    adaptation = fed(Adaptation(outputs, RATE_HZ), y, z)
    assert adaptation.learned[:, :-1] == pytest.approx(gain * np.eye(outputs), abs=0.01 * gain)
    assert adaptation.learned[:, -1] == pytest.approx(np.full(outputs, 0.1), abs=0.003)
    assert np.allclose(adaptation.taken, adaptation.learned, atol=1e-3)
    first = DOUBT_S * RATE_HZ
    assert adaptation.doubted == first and adaptation.believed == len(y) - first


def test_without_forgetting_it_is_least_squares_with_a_prior():
    """scipy solves the same: rows of samples over their noise, and rows of the prior."""
    rng = np.random.default_rng(1)
    y = rich(20.0, 3)
    true = np.eye(3, 4) + rng.uniform(-0.4, 0.4, (3, 4))
    phi = np.column_stack([y, np.ones(len(y))])
    z = phi @ true.T + 0.02 * rng.standard_normal(y.shape)
    adaptation = Adaptation(3, RATE_HZ)
    adaptation._share = 0.0
    fed(adaptation, y, z)
    weight = 1.0 / np.sqrt(adaptation._noise)
    first = int(DOUBT_S * RATE_HZ)  # those before are doubted
    rows = np.vstack([weight * phi[first:], np.eye(4)])
    for i in range(3):
        seen = np.concatenate([weight * z[first:, i], np.eye(3, 4)[i]])
        assert adaptation.learned[i] == pytest.approx(lsq_linear(rows, seen).x, abs=1e-9)


@pytest.mark.parametrize(("outputs", "behind"), [(2, 0.32), (3, 0.35), (9, 0.42)])
def test_how_much_of_a_change_is_learned_in_a_half_life(outputs, behind):
    """As adaptation.h says; plain forgetting would have 0.5 of it."""
    y = rich(330.0, outputs)
    before = int(300 * RATE_HZ)
    adaptation = fed(Adaptation(outputs, RATE_HZ), y[:before], 1.05 * y[:before])
    fed(adaptation, y[before:], 0.95 * y[before:])  # too little to be a jump
    assert adaptation.doubted == DOUBT_S * RATE_HZ
    learned = (1.05 - np.diag(adaptation.learned)) / 0.1
    assert learned == pytest.approx(np.full(outputs, behind), abs=0.03)


def test_what_is_not_excited_stays_unknown_and_what_was_known_stays_known():
    """An hour at rest: seen at rest only, a gain stays as ignorant as at the start; learned before,
    it stays learned."""
    rng = np.random.default_rng(2)
    y = np.tile([0.6, 0.0], (int(3600 * RATE_HZ / 40), 1))
    noise = 0.02 * rng.standard_normal(y.shape)

    resting = fed(Adaptation(2, RATE_HZ / 40), y, 1.2 * y + noise)
    assert resting.ignorance[1] == pytest.approx(1.0)  # the second output has not moved
    assert resting.ignorance[[0, 2]].min() > 0.2  # whether gain or offset: it cannot know
    assert np.linalg.eigvalsh(covariance(resting.information[0])).max() <= 1.0 + 1e-9

    moved = figure_eight(20.0)
    adaptation = fed(Adaptation(2, RATE_HZ), moved, 1.2 * moved)
    ignorance = adaptation.ignorance
    assert ignorance.max() < 2e-3
    still = np.tile([0.6, 0.0], (20_000, 1))
    fed(adaptation, still, 1.2 * still + 0.02 * rng.standard_normal(still.shape))
    assert np.diag(adaptation.learned) == pytest.approx([1.2, 1.2], abs=0.01)
    assert adaptation.ignorance.max() < 1.1 * ignorance.max()


def test_a_jump_is_doubted_for_a_while_and_then_believed():
    y = np.tile(figure_eight(7.86), (3, 1))
    adaptation = fed(Adaptation(2, RATE_HZ), y, y)
    learned, believed = adaptation.learned.copy(), adaptation.believed
    moved = y + [0.4, 0.0]  # the tracker's frame
    fed(adaptation, y[:30], moved[:30])
    assert np.array_equal(adaptation.learned, learned)
    assert (adaptation.believed, adaptation.since_believed) == (believed, 30)
    fed(adaptation, y[30:150], moved[30:150])
    assert adaptation.believed == believed + 120
    assert adaptation.since_believed == 0
    assert adaptation.learned[0, -1] > 0.01


def test_what_jumps_all_the_time_is_never_believed():
    y = figure_eight(20.0)
    z = y.copy()
    z[::25] += 1.01 * JUMP
    adaptation = fed(Adaptation(2, RATE_HZ), y, z)
    assert adaptation.believed == 0 and adaptation.doubted == len(y)
    assert np.array_equal(adaptation.learned, np.eye(2, 3))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1.01 * FURTHEST, -1e30])
def test_a_sample_that_cannot_be_is_doubted_and_the_next_one_is_not(bad):
    y = figure_eight(5.0)
    adaptation = fed(Adaptation(2, RATE_HZ), y, y)
    learned, doubted = adaptation.learned.copy(), adaptation.doubted
    adaptation.update(y[0], np.array([bad, 0.0]))
    adaptation.update(np.array([0.0, bad]), y[0])
    assert np.array_equal(adaptation.learned, learned)
    assert adaptation.doubted == doubted + 2
    adaptation.update(y[-1], y[-1])
    assert adaptation.doubted == doubted + 2 and adaptation.since_believed == 0


def test_what_is_taken_keeps_its_rate_and_its_reach():
    y = figure_eight(20.0)
    adaptation = Adaptation(2, RATE_HZ)
    taken = adaptation.taken.copy()
    for sample in y:
        adaptation.update(sample, 2.5 * sample - 1.0)
        assert np.abs(adaptation.taken - taken).max() <= RATE / RATE_HZ * (1 + 1e-9)
        assert np.abs(adaptation.taken - np.eye(2, 3)).max() <= REACH * (1 + 1e-9)
        taken = adaptation.taken.copy()
    assert taken == pytest.approx(np.array([[1.6, 0.0, -0.6], [0.0, 1.6, -0.6]]), abs=2e-3)
    learned = np.array([[2.5, 0.0, -1.0], [0.0, 2.5, -1.0]])
    assert adaptation.learned == pytest.approx(learned, abs=2e-3)
    sent_back = Adaptation(2, RATE_HZ)
    assert sent_back.set(taken[:, :-1], taken[:, -1])


def test_a_map_that_is_sent_back_is_taken_if_it_can_be():
    adaptation = Adaptation(2, RATE_HZ)
    assert adaptation.set(np.diag([1.2, 0.9]), np.array([0.1, -0.2]))
    wanted = [[1.2, 0.0, 0.1], [0.0, 0.9, -0.2]]
    for gain, offset in [
        (np.diag([1.7, 1.0]), np.zeros(2)),
        (np.eye(2), np.array([0.0, np.nan])),
        (np.full((2, 2), np.inf), np.zeros(2)),
    ]:
        assert not adaptation.set(gain, offset)
        assert np.array_equal(adaptation.taken, wanted)
        assert np.array_equal(adaptation.learned, wanted)
    assert adaptation.ignorance == pytest.approx([1.0] * 4)
