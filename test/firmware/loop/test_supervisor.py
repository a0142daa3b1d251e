"""supervisor.c and reference_ring.c, function by function."""

from __future__ import annotations

import ctypes
import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from soft_control.link import Supervisor

any_float = st.floats(width=32, allow_nan=True, allow_infinity=True)
BUILT = {"command_min": (-1.0, -2.0), "command_max": (1.0, 0.5), "move_max": (0.1, 0.25)}


def floats(values):
    return (ctypes.c_float * len(values))(*values)


def gate(c, last, command, flags=0, settings=BUILT):
    """What leaves, and the flags; the supervisor remembers what left."""
    state = c.Supervisor(command=tuple(last))
    asked = floats(command)
    limits = (c.Settings(**settings), c.Settings(**BUILT))
    pointers = [ctypes.byref(limit) for limit in limits]
    found = c.lib.supervisor_gate(ctypes.byref(state), *pointers, asked, ctypes.c_uint(flags))
    assert state.driving and tuple(state.command) == tuple(asked)
    return tuple(asked), Supervisor(found)


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


def test_bounds_narrowed_around_another_place_are_reached_at_bounded_speed(c):
    narrow = BUILT | {"command_min": (0.5, -2.0), "command_max": (0.5, 0.5)}
    last, way = (-0.3, 0.0), []
    for _ in range(10):
        last, flags = gate(c, last, (0.5, 0.0), settings=narrow)
        way.append(last[0])
        assert bool(flags & Supervisor.LIMITED) == (last[0] < 0.5)
    assert np.diff([-0.3, *way]) == pytest.approx([0.1] * 8 + [0.0] * 2, abs=1e-6)


def test_a_run_begins_within_the_limits_and_a_robot_under_way_is_where_it_is(c):
    state, built = c.Supervisor(), c.Settings(**BUILT)

    def reset(command):
        c.lib.supervisor_reset(
            ctypes.byref(state), ctypes.byref(built), floats(command), 0, ctypes.c_uint16(0)
        )
        return tuple(state.command)

    assert reset((0.25, -5.0)) == (0.25, -2.0)
    c.lib.supervisor_gate(
        ctypes.byref(state), ctypes.byref(built), ctypes.byref(built), floats((0.25, -2.0)), 0
    )
    assert reset((-1.0, 0.5)) == (0.25, -2.0)


def test_not_finite_holds_all_commands(c):
    for bad in (math.nan, math.inf, -math.inf):
        command, flags = gate(c, (0.5, 0.25), (0.5625, bad))
        assert command == (0.5, 0.25) and flags == Supervisor.NOT_FINITE


def test_stale_host_holds(c):
    command, flags = gate(c, (0.5, 0.25), (0.5625, 0.25), Supervisor.HOST_STALE)
    assert command == (0.5, 0.25) and flags == Supervisor.HOST_STALE


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    last=st.tuples(st.floats(-1, 1, width=32), st.floats(-2, 0.5, width=32)),
    command=st.tuples(any_float, any_float),
    flags=st.integers(0, 31),
    bounds=st.lists(any_float, min_size=6, max_size=6),
)
def test_whatever_comes_what_leaves_is_within_bounds(c, last, command, flags, bounds):
    """Also where the settings are of no use at all."""
    settings = {key: bounds[2 * i : 2 * i + 2] for i, key in enumerate(BUILT)}
    settings["move_max"] = [abs(move) for move in settings["move_max"]]
    settings = {key: tuple(values) for key, values in settings.items()}
    out, _ = gate(c, last, command, flags, settings)
    for i in range(c.M):
        assert BUILT["command_min"][i] <= out[i] <= BUILT["command_max"][i]
        move = np.float32(BUILT["move_max"][i])
        assert np.float32(last[i]) - move <= np.float32(out[i]) <= np.float32(last[i]) + move


def test_stale_is_reported_once_a_silence(c):
    state = c.Supervisor()
    lib, this = c.lib, ctypes.byref(state)
    u32 = ctypes.c_uint32
    start = 2**32 - 50  # the millisecond clock wraps on the way
    built = c.Settings(**BUILT)
    rest = floats((0.0, 0.0))
    lib.supervisor_reset(this, ctypes.byref(built), rest, u32(start), ctypes.c_uint16(100))
    assert not lib.supervisor_became_stale(this, u32(start + 100))
    assert lib.supervisor_became_stale(this, u32(start + 101))
    assert not lib.supervisor_became_stale(this, u32(start + 102))
    assert lib.supervisor_sample(this, u32(start + 200)) == Supervisor.HOST_STALE
    assert lib.supervisor_sample(this, u32(start + 210)) == 0
    assert lib.supervisor_became_stale(this, u32(start + 311))


def test_no_timeout_is_never_stale(c):
    state = c.Supervisor()
    built, rest = c.Settings(**BUILT), floats((0.0, 0.0))
    c.lib.supervisor_reset(ctypes.byref(state), ctypes.byref(built), rest, 0, ctypes.c_uint16(0))
    assert not c.lib.supervisor_stale(ctypes.byref(state), ctypes.c_uint32(2**31))


class Ring:
    """reference_ring_t with its functions; point k is (k, k, k) unless said otherwise."""

    def __init__(self, c, k):
        self.c, self.lib, self.state = c, c.lib, c.ReferenceRing()
        self.lib.reference_ring_reset(
            ctypes.byref(self.state), ctypes.c_uint32(k), floats([-1.0] * c.N)
        )

    def put(self, now, k, value=None):
        point = floats([float(k if value is None else value)] * self.c.N)
        u32 = ctypes.c_uint32
        self.lib.reference_ring_put(ctypes.byref(self.state), u32(now), u32(k), point)

    def horizon(self, now):
        points = ((ctypes.c_float * self.c.N) * self.c.HORIZON)()
        lost = self.lib.reference_ring_horizon(
            ctypes.byref(self.state), ctypes.c_uint32(now), points
        )
        return [point[0] for point in points], lost


def test_reference_follows_k(c):
    ring = Ring(c, 40)
    for k in range(40, 40 + c.HORIZON):
        ring.put(40, k)
    for now in range(40, 100):
        ring.put(now, now + c.HORIZON)
        assert ring.horizon(now) == ([float(k) for k in range(now + 1, now + c.HORIZON + 1)], 0)


def test_lost_points_repeat_their_predecessor_and_count_once(c):
    ring = Ring(c, 0)
    for k in range(c.HORIZON):
        if k not in (4, 5):
            ring.put(0, k)
    ring.put(0, c.HORIZON)
    found, lost = ring.horizon(0)
    assert lost == 2 and found[2:6] == [3.0, 3.0, 3.0, 6.0]
    ring.put(1, c.HORIZON + 1)
    found, lost = ring.horizon(1)
    assert lost == 0 and found[1:5] == [3.0, 3.0, 3.0, 6.0]
    assert ring.state.lost == 2


def test_without_any_point_the_start_is_held(c):
    ring = Ring(c, 7)
    assert ring.horizon(7) == ([-1.0] * c.HORIZON, c.HORIZON)


def test_the_point_before_the_horizon_is_remembered(c):
    """After a gap neither k nor k + 1 has a point: the last one in use goes on."""
    ring = Ring(c, 0)
    for k in range(c.HORIZON + 1):
        ring.put(0, k)
    ring.horizon(0)
    now = 2 * c.HORIZON
    assert ring.horizon(now) == ([1.0] * c.HORIZON, c.HORIZON)


def test_points_outside_the_window_or_not_finite_are_dropped(c):
    ring = Ring(c, 10)
    for k in range(10, 10 + c.HORIZON + 1):
        ring.put(10, k)
    ring.put(10, 9, 99.0)
    ring.put(10, 10 + c.HORIZON + 1, 99.0)
    ring.put(10, 12, math.nan)
    assert ring.horizon(10) == ([float(k) for k in range(11, 11 + c.HORIZON)], 0)
