"""supervisor.c and reference.c, function by function."""

from __future__ import annotations

import ctypes
import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from soft_control.link.codes import Cause, State, Supervisor

any_float = st.floats(width=32, allow_nan=True, allow_infinity=True)
BUILT = {"command_min": (-1.0, -2.0), "command_max": (1.0, 0.5), "move_max": (0.1, 0.25)}
NO_LOAD = {"load_max": (math.inf, math.inf), "load_share": 0.0}
SAFE_HOLD, SAFE_NEUTRAL, SAFE_DISARM = range(3)


def floats(values):
    return (ctypes.c_float * len(values))(*values)


def gate(c, last, command, flags=0, settings=BUILT, share=1.0, limits=NO_LOAD, state=None):
    """What leaves, and the flags; the supervisor remembers what left."""
    state = state or c.Supervisor()
    state.command[:] = last
    asked = floats(command)
    pointers = ctypes.byref(c.Settings(**settings)), ctypes.byref(c.Limits(**BUILT, **limits))
    share, flags = ctypes.c_float(share), ctypes.c_uint(flags)
    found = c.lib.supervisor_gate(ctypes.byref(state), *pointers, share, asked, flags)
    assert state.driving and tuple(state.command) == tuple(asked)
    return tuple(asked), Supervisor(found)


# ------------------------------------------------------------------ the gate


def test_finite_looks_at_the_bits(c):
    for value in (0.0, -0.0, 1e-45, 3.4e38, -3.4e38):
        assert c.lib.all_finite(floats([1.0, value]), 2)
    for value in (math.nan, -math.nan, math.inf, -math.inf):
        assert not c.lib.all_finite(floats([1.0, value]), 2)


def test_a_good_command_passes_untouched(c):
    assert gate(c, (0.0, 0.0), (0.0625, -0.25)) == ((0.0625, -0.25), Supervisor(0))


def test_the_largest_move_is_not_called_a_breach(c):
    """u = last + move_max rounded to float32, as the solver computes it."""
    last, move = np.float32(0.3), np.float32(0.1)
    command, flags = gate(c, (last, 0.0), (last + move, 0.0))
    assert flags == Supervisor(0) and command[0] == last + move


def test_moves_and_limits_are_enforced(c):
    command, flags = gate(c, (0.0, 0.375), (5.0, 5.0))
    assert command == pytest.approx((0.1, 0.5), abs=1e-7)  # float32 of 0.1
    assert flags == Supervisor.LIMITED


def test_half_a_period_allows_half_a_move_and_none_allows_none(c):
    assert gate(c, (0.0, 0.0), (1.0, -1.0), share=0.5)[0] == pytest.approx((0.05, -0.125), abs=1e-7)
    assert gate(c, (0.25, 0.125), (1.0, -1.0), share=0.0)[0] == (0.25, 0.125)


def test_bounds_narrowed_around_another_place_are_reached_at_bounded_speed(c):
    narrow = BUILT | {"command_min": (0.5, -2.0), "command_max": (0.5, 0.5)}
    last, way = (-0.3, 0.0), []
    for _ in range(10):
        last, flags = gate(c, last, (0.5, 0.0), settings=narrow)
        way.append(last[0])
        assert bool(flags & Supervisor.LIMITED) == (last[0] < 0.5)
    assert np.diff([-0.3, *way]) == pytest.approx([0.1] * 8 + [0.0] * 2, abs=1e-6)


def test_a_load_is_borne_for_a_while_and_its_mean_for_ever(c):
    """A command that is asked for is cut once the running mean is above what is allowed; the mean
    stays there, as a numpy twin of the same filter says."""
    share, most = 0.02, 0.5
    limits = {"load_max": (most, math.inf), "load_share": share}
    state, last, mean, sent = c.Supervisor(), (-1.0, 0.0), 0.0, []
    for _ in range(1000):
        last, flags = gate(c, last, (1.0, 0.0), limits=limits, state=state)
        mean += share * (last[0] + 1.0 - mean)
        assert state.load[0] == pytest.approx(mean, abs=1e-5)
        sent.append(last[0])
    assert max(sent) == 1.0  # for a while
    # One move up and down around the mean is left.
    assert mean == pytest.approx(most, abs=0.02)
    assert state.limited > 500


def test_not_finite_holds_all_commands(c):
    for bad in (math.nan, math.inf, -math.inf):
        command, flags = gate(c, (0.5, 0.25), (0.5625, bad))
        assert command == (0.5, 0.25) and flags == Supervisor.NOT_FINITE
    assert gate(c, (0.5, 0.25), (0.5625, 0.25), Supervisor.NOT_FINITE)[0] == (0.5, 0.25)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    last=st.tuples(st.floats(-1, 1, width=32), st.floats(-2, 0.5, width=32)),
    command=st.tuples(any_float, any_float),
    flags=st.integers(0, 127),
    bounds=st.lists(any_float, min_size=6, max_size=6),
    share=st.floats(0, 1, width=32),
)
def test_whatever_comes_what_leaves_is_within_bounds(c, last, command, flags, bounds, share):
    """Also where the settings are of no use at all."""
    settings = {key: bounds[2 * i : 2 * i + 2] for i, key in enumerate(BUILT)}
    settings["move_max"] = [abs(move) for move in settings["move_max"]]
    settings = {key: tuple(values) for key, values in settings.items()}
    out, _ = gate(c, last, command, flags, settings, share)
    for i in range(c.M):
        assert BUILT["command_min"][i] <= out[i] <= BUILT["command_max"][i]
        move = np.float32(share) * np.float32(BUILT["move_max"][i])
        assert np.float32(last[i]) - move <= np.float32(out[i]) <= np.float32(last[i]) + move


# ------------------------------------------------------------------ states and events


def test_a_run_begins_within_the_limits_and_a_robot_under_way_is_where_it_is(c):
    state, limits = c.Supervisor(), c.Limits(**BUILT)

    def arm(command):
        c.lib.supervisor_arm(ctypes.byref(state), ctypes.byref(limits), floats(command))
        return tuple(state.command)

    assert arm((0.25, -5.0)) == (0.25, -2.0)
    gate(c, (0.25, -2.0), (0.25, -2.0), state=state)
    assert arm((-1.0, 0.5)) == (0.25, -2.0)


def test_active_is_armed_running_or_holding(c):
    active = {s for s in State if c.lib.supervisor_active(ctypes.byref(c.Supervisor(state=s)))}
    assert active == {State.ARMED, State.RUNNING, State.HOLDING}


@pytest.mark.parametrize("end", [State.STOPPED, State.FAULT])
def test_no_event_leaves_stopped_or_fault_and_the_first_cause_stays(c, end):
    state = c.Supervisor(state=State.RUNNING)
    c.lib.supervisor_enter(ctypes.byref(state), end, Cause.SENSOR_SILENT)
    for other in (State.HOLDING, State.STOPPED, State.FAULT):
        c.lib.supervisor_enter(ctypes.byref(state), other, Cause.HOST_LOST)
        assert (state.state, state.cause) == (end, Cause.SENSOR_SILENT)
    c.lib.supervisor_arm(ctypes.byref(state), ctypes.byref(c.Limits(**BUILT)), floats((0.0, 0.0)))
    assert (state.state, state.cause) == (State.ARMED, Cause.NONE)


def sensor(c, state, wrong):
    cause = Cause.SENSOR_RANGE if wrong else Cause.NONE
    c.lib.supervisor_sensor(ctypes.byref(state), cause)


def solver(c, state, wrong):
    c.lib.supervisor_solver(ctypes.byref(state), ctypes.c_bool(wrong))


def deadline(c, state, wrong):
    c.lib.supervisor_deadline(ctypes.byref(state), ctypes.c_bool(wrong))


@pytest.mark.parametrize(
    ("event", "tolerated", "end", "cause"),
    [
        (sensor, 1, State.STOPPED, Cause.SENSOR_RANGE),
        (solver, 2, State.FAULT, Cause.SOLVER_FAILED),
        (deadline, 2, State.FAULT, Cause.DEADLINE_MISSED),
    ],
    ids=["sensor", "solver", "deadline"],
)
def test_so_many_in_a_row_are_tolerated(c, event, tolerated, end, cause):
    """As the table of docs/protocol.md says; one that is good begins the count anew."""
    state = c.Supervisor(state=State.RUNNING)
    for _ in range(300):
        for _ in range(tolerated):
            event(c, state, True)
        event(c, state, False)
    assert state.state == State.RUNNING
    for _ in range(tolerated):
        event(c, state, True)
    assert state.state == State.RUNNING
    event(c, state, True)
    assert (state.state, state.cause) == (end, cause)


def test_the_safe_output_is_the_last_command_or_the_neutral_one(c):
    state, command = c.Supervisor(command=(0.5, -0.5)), floats((9.0, 9.0))
    for output, wanted in (
        (SAFE_HOLD, (0.5, -0.5)),
        (SAFE_NEUTRAL, (0.25, -1.0)),
        (SAFE_DISARM, (0.5, -0.5)),
    ):
        limits = c.Limits(neutral=(0.25, -1.0), safe_output=output)
        c.lib.supervisor_safe(ctypes.byref(state), ctypes.byref(limits), command)
        assert tuple(command) == wanted


# ------------------------------------------------------------------ the reference


class Reference:
    """reference_t with its functions; point k is (k, k, k) unless said otherwise."""

    def __init__(self, c, k=0, start=-1.0):
        self.c, self.lib, self.state = c, c.lib, c.Reference()
        self.reset(k, [start] * c.N)

    def reset(self, k, point):
        self._call("reset", ctypes.c_uint32(k), floats(point))

    def put(self, k, value=None):
        point = floats([float(k if value is None else value)] * self.c.N)
        self._call("put", ctypes.c_uint32(k), point)

    def horizon(self, now):
        """The points (N, n) at that sample, and how many were made up."""
        self._call("advance", ctypes.c_uint32(now))
        points = ((ctypes.c_float * self.c.N) * self.c.HORIZON)()
        lost = self._call("horizon", points)
        return np.array(points), lost

    def upload(self, first, points):
        points = np.ascontiguousarray(points, np.float32)
        return self._call(
            "upload", ctypes.c_uint32(first), ctypes.c_uint32(len(points)),
            points.ctypes.data_as(ctypes.c_void_p),
        )  # fmt: skip

    def follow(self, count, periodic, step, blend):
        return self._call(
            "follow", ctypes.c_uint32(count), ctypes.c_bool(periodic), ctypes.c_uint32(step),
            floats(blend),
        )  # fmt: skip

    def end(self):
        return self._call("end")

    def _call(self, name, *arguments):
        return getattr(self.lib, f"reference_{name}")(ctypes.byref(self.state), *arguments)


def column(found):
    points, lost = found
    assert (points == points[:, :1]).all()
    return points[:, 0].tolist(), lost


def test_a_streamed_reference_follows_k(c):
    stream = Reference(c, 40)
    for k in range(40, 40 + c.HORIZON):
        stream.put(k)
    for now in range(40, 40 + c.REFERENCE_POINTS + 100):  # the slots come round
        stream.put(now + c.HORIZON)
        wanted = [float(k) for k in range(now + 1, now + c.HORIZON + 1)]
        assert column(stream.horizon(now)) == (wanted, 0)
        assert stream.state.before[0] == now
    assert stream.end() == now + c.HORIZON + 1


def test_lost_points_repeat_their_predecessor_and_count_once(c):
    stream = Reference(c)
    for k in range(c.HORIZON + 1):
        if k not in (4, 5):
            stream.put(k)
    assert stream.end() == 4
    found, lost = column(stream.horizon(0))
    assert lost == 2 and found[2:6] == [3.0, 3.0, 3.0, 6.0]
    stream.put(c.HORIZON + 1)
    found, lost = column(stream.horizon(1))
    assert lost == 0 and found[1:5] == [3.0, 3.0, 3.0, 6.0]
    assert stream.state.lost == 2


def test_without_any_point_the_start_is_held(c):
    assert column(Reference(c, 7).horizon(7)) == ([-1.0] * c.HORIZON, c.HORIZON)


def test_a_stream_ends_no_later_than_its_room(c):
    stream = Reference(c, 5)
    for k in range(5, 5 + c.REFERENCE_POINTS + 3):
        stream.put(k)
    assert stream.end() == 5 + c.REFERENCE_POINTS


def test_points_outside_the_window_or_not_finite_are_dropped(c):
    stream = Reference(c, 10)
    for k in range(10, 10 + c.HORIZON + 1):
        stream.put(k)
    stream.put(9, 99.0)
    stream.put(10 + c.REFERENCE_POINTS, 99.0)
    stream.put(12, math.nan)
    wanted = [float(k) for k in range(11, 11 + c.HORIZON)]
    assert column(stream.horizon(10)) == (wanted, 0)


def twin(points, periodic, step, blend, start, samples, horizon):
    """What reference.h says, in float64 and exact shares: (samples, horizon, n)."""
    points = np.asarray(points, np.float64)
    pieces = len(points) - (0 if periodic else 1)

    def there(k):
        way = k * step / 2**32
        way = way % 1.0 if periodic else min(way, 1.0)
        at = way * pieces
        index = min(int(at), len(points) - 1)
        after = points[(index + 1) % len(points)] if periodic or at < pieces else points[index]
        return points[index] + (at - index) * (after - points[index])

    def towards(point, met, k):
        way = there(k) - point
        met = met | (np.abs(way) <= blend)
        return np.where(met, there(k), point + np.clip(way, -blend, blend)), met

    found, point, met = [], np.array(start, float), np.zeros(points.shape[1], bool)
    for now in range(samples):
        point, met = towards(point, met, now)
        ahead, ahead_met = point, met
        found.append([])
        for j in range(horizon):
            ahead, ahead_met = towards(ahead, ahead_met, now + 1 + j)
            found[-1].append(ahead)
    return np.array(found)


@pytest.mark.parametrize("periodic", [True, False], ids=["periodic", "once"])
@pytest.mark.parametrize("blend", [(0.01, 0.05, 0.0625), (math.inf,) * 3], ids=["blend", "jump"])
def test_a_trajectory_is_what_a_numpy_twin_says(c, periodic, blend):
    """Shares are float32 of 24 bits: some 1e-6 of the largest step between two points."""
    count, step, samples = 50, 2**32 // 137, 400
    angle = np.arange(count) / count * 2 * np.pi
    points = np.stack([np.sin(angle), np.cos(angle), np.sin(2 * angle)], axis=1).astype(np.float32)
    trajectory = Reference(c)
    assert trajectory.upload(0, points[:30]) and trajectory.upload(30, points[30:])
    assert trajectory.follow(count, periodic, step, blend)
    start = (0.3, -0.2, 0.1)
    for k in (7, 2**32 - 100):  # the second run wraps
        trajectory.reset(k, start)
        found = np.array([trajectory.horizon((k + j) % 2**32)[0] for j in range(samples)])
        wanted = twin(points, periodic, step, np.array(blend), start, samples, c.HORIZON)
        assert np.abs(found - wanted).max() < 2e-5
        assert trajectory.state.lost == 0
    if not periodic:
        assert (found[-1] == points[-1]).all()


def test_points_of_a_trajectory_come_in_any_order_but_all_must_come(c):
    points = np.zeros((20, 3))
    trajectory = Reference(c)
    assert trajectory.upload(0, points)
    assert trajectory.upload(40, points)
    assert not trajectory.follow(60, True, 1, (0.1,) * 3)
    assert trajectory.upload(20, points)
    assert trajectory.follow(60, True, 1, (0.1,) * 3)
    assert trajectory.upload(0, points)  # a new one
    assert not trajectory.follow(60, True, 1, (0.1,) * 3)
    assert trajectory.follow(20, True, 1, (0.1,) * 3)


def test_a_trajectory_that_is_none_is_refused(c):
    points = np.zeros((20, 3))
    trajectory = Reference(c)
    last = c.REFERENCE_POINTS - 10
    assert not trajectory.upload(last, points) and not trajectory.upload(65535, points)
    assert not trajectory.upload(0, [[0.0, math.nan, 0.0]])
    assert trajectory.upload(0, points)
    for arguments in (
        (1, True, 1, (0.1,) * 3),
        (c.REFERENCE_POINTS + 1, True, 1, (0.1,) * 3),
        (20, True, 0, (0.1,) * 3),
        (20, True, 1, (0.1, -0.1, 0.1)),
        (20, True, 1, (0.1, math.nan, 0.1)),
    ):
        assert not trajectory.follow(*arguments)
    assert trajectory.follow(20, True, 1, (0.0, math.inf, 0.1))


def test_count_zero_streams_again(c):
    stream = Reference(c)
    assert stream.upload(0, np.zeros((20, 3))) and stream.follow(20, True, 1, (1.0,) * 3)
    stream.put(1, 5.0)  # nobody's, where a trajectory is followed
    assert stream.follow(0, False, 0, (0.0,) * 3)
    stream.reset(0, (-1.0,) * 3)
    assert column(stream.horizon(0)) == ([-1.0] * c.HORIZON, c.HORIZON)
