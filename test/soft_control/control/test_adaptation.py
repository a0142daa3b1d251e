from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.optimize import lsq_linear

from soft_control import robots
from soft_control.control.adaptation import (
    DOUBT_S,
    ERROR,
    ERROR_MAX,
    ERROR_MIN,
    FURTHEST,
    JUMP,
    RATE,
    REACH,
    TURNS,
    Adaptation,
    covariance,
    day_config,
)
from soft_control.robots.description import RobotDescription

RATE_HZ = 120.0


def figure_eight(seconds: float, outputs: int = 2) -> np.ndarray:
    """(samples, outputs), normalised: 7.9 s once around, as the demo's; a third output bends."""
    phase = 2 * np.pi / 7.86 * np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    columns = [0.8 * np.sin(phase), 0.5 * np.sin(2 * phase), 0.3 * np.cos(2 * phase)]
    return np.column_stack(columns[:outputs])


def rich(seconds: float, outputs: int, rate_hz: float = RATE_HZ) -> np.ndarray:
    """(samples, outputs): a sine each, of its own frequency."""
    t = np.arange(int(seconds * rate_hz))[:, None] / rate_hz
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
    (rows,), (taken,) = adaptation.learned, adaptation.taken
    assert rows[:, :-1] == pytest.approx((gain - 1) * np.eye(outputs), abs=0.01 * gain)
    assert rows[:, -1] == pytest.approx(np.full(outputs, 0.1), abs=0.004)
    assert np.allclose(taken, rows, atol=2e-3)
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
    adaptation._shares = [0.0]
    fed(adaptation, y, z)
    weight = 1.0 / np.sqrt(adaptation._noises[0])
    # Those before are doubted, and the turns of the last one are not over.
    told = slice(int(DOUBT_S * RATE_HZ), len(y) - TURNS + 1, TURNS)
    rows = np.vstack([weight * phi[told], np.eye(4)])
    for i in range(3):
        seen = np.concatenate([weight * (z - y)[told, i], np.zeros(4)])
        assert adaptation.learned[0][i] == pytest.approx(lsq_linear(rows, seen).x, abs=1e-9)


@pytest.mark.parametrize(("outputs", "behind"), [(2, 0.34), (3, 0.37), (9, 0.44)])
def test_how_much_of_a_change_is_learned_in_a_half_life(outputs, behind):
    """As adaptation.h says; plain forgetting would have 0.5 of it."""
    rate_hz = 40.0
    y = rich(360.0, outputs, rate_hz)
    before = int(300 * rate_hz)
    adaptation = fed(Adaptation(outputs, rate_hz), y[:before], 1.05 * y[:before])
    fed(adaptation, y[before:], 0.95 * y[before:])  # too little to be a jump
    assert adaptation.doubted == DOUBT_S * rate_hz
    learned = (0.05 - np.diag(adaptation.learned[0])) / 0.1
    assert learned == pytest.approx(np.full(outputs, behind), abs=0.03)


def test_what_is_not_excited_stays_unknown_and_what_was_known_stays_known():
    """An hour at rest: seen at rest only, a gain stays as ignorant as at the start; learned before,
    it stays learned."""
    rng = np.random.default_rng(2)
    y = np.tile([0.6, 0.0], (int(3600 * RATE_HZ / 40), 1))
    noise = 0.02 * rng.standard_normal(y.shape)

    resting = fed(Adaptation(2, RATE_HZ / 40), y, 1.2 * y + noise)
    assert resting.ignorance[0][1] == pytest.approx(1.0)  # the second output has not moved
    assert resting.ignorance[0][[0, 2]].min() > 0.2  # whether gain or offset: it cannot know
    assert np.linalg.eigvalsh(covariance(resting.information[0])).max() <= 1.0 + 1e-9

    moved = figure_eight(20.0)
    adaptation = fed(Adaptation(2, RATE_HZ), moved, 1.2 * moved)
    (ignorance,) = adaptation.ignorance
    assert ignorance.max() < 2e-3
    still = np.tile([0.6, 0.0], (20_000, 1))
    fed(adaptation, still, 1.2 * still + 0.02 * rng.standard_normal(still.shape))
    assert np.diag(adaptation.learned[0]) == pytest.approx([0.2, 0.2], abs=0.01)
    assert adaptation.ignorance[0].max() < 1.1 * ignorance.max()


def test_a_jump_is_doubted_for_a_while_and_then_believed():
    y = np.tile(figure_eight(7.86), (3, 1))
    adaptation = fed(Adaptation(2, RATE_HZ), y, y)
    learned, believed = adaptation.learned[0].copy(), adaptation.believed
    moved = y + [0.4, 0.0]  # the tracker's frame
    fed(adaptation, y[:30], moved[:30])
    assert np.array_equal(adaptation.learned[0], learned)
    assert (adaptation.believed, adaptation.since_believed) == (believed, 30)
    fed(adaptation, y[30:150], moved[30:150])
    assert adaptation.believed == believed + 120
    assert adaptation.since_believed == 0
    assert adaptation.learned[0][0, -1] > 0.01


def test_what_jumps_all_the_time_is_never_believed():
    y = figure_eight(20.0)
    z = y.copy()
    z[::25] += 1.01 * JUMP
    adaptation = fed(Adaptation(2, RATE_HZ), y, z)
    assert adaptation.believed == 0 and adaptation.doubted == len(y)
    assert not adaptation.learned[0].any()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1.01 * FURTHEST, -1e30])
def test_a_sample_that_cannot_be_is_doubted_and_the_next_one_is_not(bad):
    y = figure_eight(5.0)
    adaptation = fed(Adaptation(2, RATE_HZ), y, y)
    for _ in range(TURNS):
        adaptation.rest()
    learned, doubted = adaptation.learned[0].copy(), adaptation.doubted
    adaptation.update(y[0], np.array([bad, 0.0]))
    adaptation.update(np.array([0.0, bad]), y[0])
    assert np.array_equal(adaptation.learned[0], learned)
    assert adaptation.doubted == doubted + 2
    adaptation.update(y[-1], y[-1])
    assert adaptation.doubted == doubted + 2 and adaptation.since_believed == 0


@pytest.mark.parametrize("curved", [False, True])
def test_what_is_taken_keeps_its_rate_and_its_reach(curved):
    y = figure_eight(20.0)
    adaptation = Adaptation(2, RATE_HZ, curved=[curved])
    taken = adaptation.taken[0].copy()
    most = TURNS * RATE / RATE_HZ * (1 + 1e-9)
    for sample in y:
        adaptation.update(sample, 2.5 * sample - 1.0)
        assert np.abs(adaptation.taken[0] - taken).max() <= most
        reach = REACH * (1 + np.abs(sample).sum())
        assert np.abs(adaptation.output(sample) - sample).max() <= reach * (1 + 1e-9)
        taken = adaptation.taken[0].copy()
    learned = np.array([[1.5, 0.0, -1.0], [0.0, 1.5, -1.0]])
    assert adaptation.learned[0][:, :3] == pytest.approx(learned, abs=2e-3 * (1 + 9 * curved))
    assert Adaptation(2, RATE_HZ, curved=[curved]).set(adaptation.taken)
    assert np.allclose(taken[:, :3], learned, atol=0.02)
    assert adaptation.output(np.zeros(2)) == pytest.approx([-REACH, -REACH], abs=1e-9)


def test_a_curve_is_learned_and_only_where_it_may_be():
    """The square of the next output comes with each: on the figure-eight no gain stands for it."""
    y = figure_eight(40.0, 3)
    z = y + 0.2 * y[:, [1, 2, 0]] ** 2
    bent, straight = (fed(Adaptation(3, RATE_HZ, curved=[c]), y, z) for c in (True, False))
    errors = [np.abs([a.output(one) - other for one, other in zip(y[::60], z[::60], strict=True)])
              for a in (bent, straight)]  # fmt: skip
    assert errors[0].max() < 0.005 < 0.02 < errors[1].max()


def test_a_map_that_is_sent_back_is_taken_if_it_can_be():
    adaptation = Adaptation(2, RATE_HZ)
    wanted = np.array([[0.2, 0.0, 0.1], [0.0, -0.1, -0.2]])
    assert adaptation.set([wanted])
    for bad in (1.01 * FURTHEST, np.nan, -np.inf):
        assert not adaptation.set([np.where(wanted == 0.1, bad, wanted)])
        assert np.array_equal(adaptation.taken[0], wanted)
        assert np.array_equal(adaptation.learned[0], wanted)
    assert adaptation.ignorance[0] == pytest.approx([1.0] * 3)


# ------------------------------------------------------------------ what a robot has


def card_of(robot: RobotDescription, metrics: dict[str, float]) -> SimpleNamespace:
    names = robot.output_names
    errors = [SimpleNamespace(group=name, free_run=value) for name, value in metrics.items()]
    return SimpleNamespace(
        robot=robot,
        command_names=robot.command_names,
        output_names=names,
        output_groups=[list(group.columns) for group in robot.groups],
        output_scale=[0.01] * len(names),
        metrics=errors,
    )


def test_points_curve_where_a_position_says_how_the_robot_stands():
    tendon = day_config(card_of(robots.load("tendon"), {"tip": 0.3}))
    assert (tendon.curves, tendon.features, tendon.curved) == (6, [10], [True])
    assert tendon.errors == pytest.approx([0.3e-3 / 3**0.5 / 0.01])
    for name, points in (("hasel", 1), ("trunk", 3)):  # six commands
        found = day_config(card_of(robots.load(name), {}))
        assert found == (0, [4] * points, [False] * points, [ERROR] * points)
    spring = robots.load("mass_spring_damper")
    assert day_config(card_of(spring, {})) == (1, [3], [True], [ERROR])
    (output,) = spring.outputs
    bare = spring.model_copy(update={"outputs": (output.model_copy(update={"point": None}),)})
    assert day_config(card_of(bare, {})) == (0, [2], [False], [ERROR])


def test_an_error_that_says_nothing_is_bounded():
    for shown, wanted in ((0.0, ERROR_MIN), (1e9, ERROR_MAX)):
        assert day_config(card_of(robots.load("tendon"), {"tip": shown})).errors == [wanted]
