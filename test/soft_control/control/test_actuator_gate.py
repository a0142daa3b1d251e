"""The gate before actuators on the host: by plain numbers, and for whatever comes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from soft_control.control import actuator_gate as gate
from soft_control.control.actuator_gate import GateConfig

PERIOD_S = 0.01


def config(**changes) -> GateConfig:
    """One command from -1 to 3 that starts at 1 and may move by 0.1 in a period of 10 ms."""
    values = {
        "minimum": [-1.0], "maximum": [3.0], "neutral": [1.0], "speed_max": [10.0],
        "period_s": PERIOD_S,
    } | changes  # fmt: skip
    return GateConfig(**{k: np.array(v) if isinstance(v, list) else v for k, v in values.items()})


def told(of: GateConfig, *commands: tuple[float, float], age_s: float = 0.0) -> list[float]:
    """(when, asked) each -> what goes out."""
    state = gate.reset(of)
    return [float(gate.step(of, state, np.array([u]), age_s, at)[0]) for at, u in commands]


def test_the_first_move_is_from_the_neutral_command_as_far_as_a_period_allows():
    assert told(config(), (5.0, 3.0), (5.01, 3.0)) == pytest.approx([1.1, 1.2])


def test_a_command_moves_by_no_more_than_the_time_since_the_last_one_allows():
    """A burst comes at once: it moves the robot as far as one command does."""
    out = told(config(), (0.0, 1.0), (0.004, 3.0), (0.004, 3.0), (0.004, 3.0), (0.01, -1.0))
    assert out == pytest.approx([1.0, 1.04, 1.04, 1.04, 0.98])


def test_after_a_silence_goals_do_not_jump():
    assert told(config(), (0.0, 1.0), (3.0, 3.0)) == pytest.approx([1.0, 1.2])


def test_where_no_speed_is_known_a_command_may_jump_within_the_limits():
    out = told(config(speed_max=[math.inf]), (0.0, 7.0), (0.0, -7.0), (0.0, 0.5))
    assert out == pytest.approx([3.0, -1.0, 0.5])


def test_what_rounding_costs_is_not_cut_off():
    """A firmware's command is of float32, its move may be a hair more than the time between two
    stamps of whole nanoseconds allows: it passes as it is."""
    commands = [float(np.float32(1.0 + 0.1 * k)) for k in range(1, 4)]
    assert told(config(), *((0.00999999 * k, u) for k, u in enumerate(commands))) == commands


@pytest.mark.parametrize(
    ("asked", "age_s"),
    [(1.0, 0.0201), (1.0, -0.0201), (math.nan, 0.0), (math.inf, 0.0)],
    ids=["old", "of the future", "nan", "inf"],
)
def test_what_is_refused_counts_and_changes_nothing(asked, age_s):
    of = config(timeout_s=0.1)
    state = gate.reset(of)
    assert gate.step(of, state, np.array([1.05]), 0.02, 0.0) is not None
    assert gate.step(of, state, np.array([asked]), age_s, 0.09) is None
    assert state.refused == 1 and state.command == [1.05]
    assert gate.is_silent(of, state, 0.11)  # it was no sign of life


def test_before_the_first_command_nobody_is_missed():
    of = config(timeout_s=0.1)
    assert not gate.is_silent(of, gate.reset(of), 1e9) and gate.is_safe(of, gate.reset(of))


def silent(of: GateConfig, command: float = 1.05) -> gate.GateState:
    """Told a command at 0 s, and nothing for 0.2 s."""
    state = gate.reset(of)
    gate.step(of, state, np.array([command]), 0.0, 0.0)
    assert not gate.is_silent(of, state, 0.05) and gate.is_silent(of, state, 0.2)
    return state


def test_silence_is_left_by_a_fresh_command_alone():
    of = config(timeout_s=0.1)
    state = silent(of)
    gate.step(of, state, np.array([1.0]), 1.0, 0.21)
    assert gate.is_silent(of, state, 0.22)
    gate.step(of, state, np.array([1.0]), 0.0, 0.23)
    assert not gate.is_silent(of, state, 0.24)


def test_safe_output_neutral_is_reached_at_bounded_speed():
    of = config(timeout_s=0.1, safe_output="neutral", neutral=[-0.5], speed_max=[40.0])
    state = silent(of, 0.0)
    assert state.command == pytest.approx([-0.1])
    assert not gate.is_safe(of, state)
    path = [float(gate.safe(of, state, 0.2 + 0.001 * k)[0]) for k in range(3)]
    assert path == pytest.approx([-0.5, -0.5, -0.5])
    slow = config(timeout_s=0.1, safe_output="neutral", speed_max=[1.0])
    state = gate.reset(slow)
    state.command = np.array([1.05])
    gate.step(slow, state, np.array([1.05]), 0.0, 0.0)
    path = [float(gate.safe(slow, state, 0.2 + 0.01 * k)[0]) for k in range(5)]
    assert path == pytest.approx([1.03, 1.02, 1.01, 1.0, 1.0])
    assert gate.is_safe(slow, state)


def test_safe_output_hold_keeps_what_was_told():
    of = config(timeout_s=0.1)
    state = silent(of)
    assert gate.safe(of, state, 0.2) == pytest.approx([1.05]) and gate.is_safe(of, state)


def test_what_was_let_go_begins_anew_at_the_neutral_command():
    of = config(timeout_s=0.1, safe_output="disarm")
    state = silent(of)
    assert not gate.is_safe(of, state)
    assert gate.safe(of, state, 0.2) is None and gate.is_safe(of, state)
    assert gate.step(of, state, np.array([3.0]), 0.0, 0.21) == pytest.approx([1.1])


def test_the_mean_of_a_command_settles_at_what_is_allowed():
    """Full command at first; then at the mean that is allowed for ever, 0.5 above the minimum. The
    mean of a step of 4 reaches 0.5 after -1 s · ln(1 - 0.5 / 4) = 0.134 s."""
    of = config(speed_max=[math.inf], mean_max=0.5, mean_s=1.0)
    out = np.array(told(of, *((PERIOD_S * k, 3.0) for k in range(3000))))
    assert out[:14].tolist() == [3.0] * 14 and out[14] == -0.5
    above = out - (-1.0)
    assert np.mean(above[1000:]) == pytest.approx(0.5, rel=0.02)


@given(
    st.lists(
        st.tuples(
            st.floats(0, 0.1),
            st.floats(allow_nan=True, allow_infinity=True, width=32),
            st.floats(-0.1, 0.1),
            st.sampled_from(["step", "safe"]),
        ),
        max_size=40,
    ),
    st.sampled_from(["hold", "neutral", "disarm"]),
)
def test_whatever_comes_limits_and_speed_are_kept(events, safe_output):
    of = config(safe_output=safe_output, timeout_s=0.05)
    state, now_s, before = gate.reset(of), 0.0, None
    for wait_s, asked, age_s, what in events:
        now_s += wait_s
        if what == "step":
            out = gate.step(of, state, np.array([asked]), age_s, now_s)
            if out is None:
                continue
        elif (out := gate.safe(of, state, now_s)) is None:
            before = None
            continue
        slack = 2 * gate.ROUNDING * 4.0
        assert -1.0 - slack <= out[0] <= 3.0 + slack
        if before is None:
            assert abs(out[0] - 1.0) <= 10.0 * 2 * PERIOD_S + slack
        else:
            assert abs(out[0] - before[1]) <= 10.0 * (now_s - before[0]) + slack
        before = now_s, out[0]
