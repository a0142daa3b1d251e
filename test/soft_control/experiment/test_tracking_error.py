"""The tracking error as it is published, against NumPy's interpolation and against the summary."""

from __future__ import annotations

import numpy as np
import pytest

from soft_control.experiment.run_samples import read_run
from soft_control.experiment.summary import error_figures, tracking_error
from soft_control.experiment.tracking_error import (
    SET_BACK_NS,
    WAITING_MAX,
    TrackingError,
    interpolated,
)
from soft_control.topics import FIRST_NS

RATE_HZ = 100.0
PERIOD_NS = 10_000_000


def of_a_plane() -> TrackingError:
    return TrackingError(("x", "z", "push"), ("tip", "tip", ""), RATE_HZ)


def curve(at_ns: np.ndarray) -> np.ndarray:
    """(T, 3)"""
    t_s = (np.asarray(at_ns) - FIRST_NS)[:, None] * 1e-9
    return np.sin(7.0 * t_s + np.arange(3)) * [0.02, 0.01, 3.0]


def fed(tracking: TrackingError, messages: list[tuple[int, str, np.ndarray]]) -> list:
    """The errors, from (stamp, "seen" or "told", values) in the order in which they come."""
    found = []
    for stamp, kind, values in messages:
        put = tracking.put_outputs if kind == "seen" else tracking.put_reference
        found += put(stamp, values)
    return found


def both(seen_ns, told_ns, rng) -> tuple[np.ndarray, list]:
    """Outputs (T, 3) and the messages of outputs and reference, each in order, mixed by chance."""
    seen = rng.standard_normal((len(seen_ns), 3))
    queues = [
        [(int(at), "seen", row) for at, row in zip(seen_ns, seen, strict=True)],
        [(int(at), "told", row) for at, row in zip(told_ns, curve(told_ns), strict=True)],
    ]
    mixed = []
    while any(queues):
        queue = queues[rng.integers(2)] or next(filter(None, queues))
        mixed.append(queue.pop(0))
    return seen, mixed


def test_equal_stamps_are_subtracted_whatever_comes_first():
    at = FIRST_NS + PERIOD_NS * np.arange(200)
    for seed in range(5):
        seen, messages = both(at, at, np.random.default_rng(seed))
        found = fed(of_a_plane(), messages)
        assert [stamp for stamp, _ in found] == at.tolist()
        error = seen - curve(at)
        wanted = np.column_stack([error, np.linalg.norm(error[:, :2], axis=1)])
        np.testing.assert_allclose([values for _, values in found], wanted, rtol=1e-15, atol=0)


def test_between_stamps_it_is_the_line_as_numpy_draws_it():
    """Of a tracker at another rate, with jitter, and a reference with lost samples."""
    rng = np.random.default_rng(0)
    seen_ns = FIRST_NS + np.sort(rng.integers(0, 2 * 10**9, 300))
    told_ns = FIRST_NS + PERIOD_NS * np.arange(200) + rng.integers(-(10**6), 10**6, 200)
    lost = rng.random(200) < 0.15
    lost[1:] &= ~lost[:-1]  # two in a row may be more than three periods with the jitter
    told_ns = told_ns[~lost]
    seen, messages = both(seen_ns, told_ns, rng)
    found = dict(fed(of_a_plane(), messages))
    inside = (seen_ns >= told_ns[0]) & (seen_ns <= told_ns[-1])
    at_once = interpolated(seen_ns, told_ns, curve(told_ns), RATE_HZ)
    assert np.isnan(at_once[~inside]).all()
    assert sorted(found) == np.unique(seen_ns[inside]).tolist() and len(found) > 250
    wanted = np.column_stack(
        [np.interp(seen_ns - FIRST_NS, told_ns - FIRST_NS, row) for row in curve(told_ns).T]
    )
    np.testing.assert_allclose(at_once[inside], wanted[inside], rtol=0, atol=1e-14)
    for at, output, reference in zip(seen_ns, seen, wanted, strict=True):
        if at in found:
            np.testing.assert_allclose(found[at][:3], output - reference, rtol=0, atol=1e-14)


def test_nothing_is_guessed_where_no_reference_is_told():
    """Before the first, after the last, and while the line was cut; one lost sample is bridged."""
    at = FIRST_NS + PERIOD_NS * np.arange(100)
    told = np.delete(np.arange(5, 90), [20, *range(40, 60)])
    seen, messages = both(at, at[told], np.random.default_rng(1))
    found = [stamp for stamp, _ in fed(of_a_plane(), messages)]
    heard = [k for k in range(100) if 5 <= k < 90 and not 45 <= k < 65]
    assert found == at[heard].tolist()
    at_once = interpolated(at, at[told], curve(at[told]), RATE_HZ)
    assert np.flatnonzero(~np.isnan(at_once[:, 0])).tolist() == heard
    assert np.isnan(interpolated(at, at[:0], np.zeros((0, 3)), RATE_HZ)).all()


def test_where_no_reference_comes_nothing_is_kept_for_ever():
    tracking = of_a_plane()
    for k in range(3 * WAITING_MAX):
        assert tracking.put_outputs(FIRST_NS + k, (0.0, 0.0, 0.0)) == []
    assert len(tracking._seen.waiting) == WAITING_MAX
    # The reference comes after all: the newest outputs have not been forgotten.
    assert tracking.put_reference(FIRST_NS, (0.0, 0.0, 0.0)) == []
    last = FIRST_NS + 3 * WAITING_MAX - 1
    assert len(tracking.put_reference(last, (0.0, 0.0, 0.0))) == WAITING_MAX
    alone = of_a_plane()
    for k in range(3 * WAITING_MAX):
        assert alone.put_reference(FIRST_NS + k, (0.0, 0.0, 0.0)) == []
    assert len(alone._told.waiting) == WAITING_MAX


def test_a_stamp_twice_counts_once_and_what_was_overtaken_is_left_out():
    tracking, zero, one = of_a_plane(), (0.0,) * 3, (1.0,) * 3
    then = FIRST_NS + PERIOD_NS
    messages = [
        *[(FIRST_NS, "told", zero), (FIRST_NS, "told", one)],
        *[(FIRST_NS, "seen", one), (FIRST_NS, "seen", zero)],
        *[(FIRST_NS - 1, "told", one), (FIRST_NS - 1, "seen", one)],
        *[(then, "told", zero), (then, "seen", zero)],
    ]
    found = fed(tracking, messages)
    assert [stamp for stamp, _ in found] == [FIRST_NS, then]
    assert found[0][1][:3] == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("first", ["seen", "told"])
def test_after_a_clock_was_set_back_it_begins_anew(first: str):
    """Whichever of both has heard of it first; errors go on with the new time."""
    tracking, values = of_a_plane(), (1.0, 2.0, 3.0)
    second = {"seen": "told", "told": "seen"}[first]
    back = FIRST_NS - 5 * SET_BACK_NS
    for begin in (FIRST_NS, back):
        for k in range(40):
            at = begin + k * PERIOD_NS
            messages = [(at, first, values), (at, second, values)]
            if k == 0:  # some that nobody answers any more
                messages = [(begin + j, first, values) for j in range(3)] + messages[1:]
            found = fed(tracking, messages)
            assert all(begin <= stamp <= at for stamp, _ in found)
            if k > 1:
                assert [stamp for stamp, _ in found] == [at]
    leap = back + 10**15
    assert fed(tracking, [(leap, "told", values), (leap, "seen", values)]) == [(leap, [0.0] * 4)]


def test_a_point_and_an_output_of_one_name_are_told_apart():
    assert TrackingError(("tip", "y"), ("tip", "tip"), 1.0).names == ("tip", "y", "tip_norm")
    assert TrackingError(("x", "push"), ("tip", ""), 1.0).names == ("x", "push", "tip")


@pytest.mark.parametrize("points", [("tip",), ("tip", "tip", "")])
def test_outputs_have_a_point_each(points):
    with pytest.raises(ValueError, match="wanted each output once, and of each its point"):
        TrackingError(("x", "x") if len(points) == 2 else ("x", "z"), points, 1.0)


def test_it_is_the_error_of_the_summary(run_dir):
    """The same subtraction and the same norm of the same numbers. math.hypot rounds once where
    NumPy squares, adds and takes the root, each rounded: 4 units of the last place are enough."""
    off = np.random.default_rng(2).standard_normal((80, 3)) * [1e-3, 1e-3, 0.1]
    run = read_run(run_dir(off=off))
    robot = run.record.robot
    tracking = TrackingError(robot.output_names, [o.point or "" for o in robot.outputs], 20.0)
    found = []
    for k, (output, reference) in enumerate(zip(run.outputs, run.reference, strict=True)):
        found += tracking.put_outputs(FIRST_NS + k, output)
        found += tracking.put_reference(FIRST_NS + k, reference)
    values = np.array([error for _, error in found])
    for group in robot.groups:
        norm = np.abs(values[:, tracking.names.index(group.name)]) * group.factor
        wanted = tracking_error(run, group)
        np.testing.assert_allclose(norm, wanted, rtol=1e-15, atol=0)
        assert error_figures(norm) == pytest.approx(error_figures(wanted), rel=1e-14)
