from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy import signal

from soft_control.control import pid

DT = 1 / 120


def config(**changes) -> pid.PidConfig:
    defaults = dict(
        decoupling=np.eye(2, 3),
        kp=np.array([0.5, 0.8]),
        ki=np.array([2.0, 3.0]),
        kd=np.array([0.02, 0.01]),
        command_neutral=np.zeros(2),
        command_min=np.full(2, -10.0),
        command_max=np.full(2, 10.0),
    )
    return pid.PidConfig(**defaults | changes)


def commands(law: pid.PidConfig, errors: np.ndarray) -> np.ndarray:
    state = pid.reset(law)
    return np.array([pid.step(law, state, error, np.zeros(3), DT) for error in errors])


def test_is_the_discrete_transfer_function_while_unsaturated():
    """scipy filters the same error by kp + ki dt / (1 - q) + kd (1 - q) / dt behind the filter."""
    law = config()
    rng = np.random.default_rng(0)
    errors = np.cumsum(rng.normal(0, 0.05, (200, 3)), axis=0)
    errors[0] = 0.0  # the law takes the slope of the very first sample for zero
    blend = DT / (law.derivative_time_constant + DT)
    got = commands(law, errors)
    for i in range(2):
        e = errors[:, i]
        wanted = law.kp[i] * e
        wanted = wanted + signal.lfilter([law.ki[i] * DT], [1, -1], e)
        slope = signal.lfilter([1 / DT, -1 / DT], [1], e)
        wanted = wanted + law.kd[i] * signal.lfilter([blend], [1, blend - 1], slope)
        np.testing.assert_allclose(got[:, i], wanted, atol=1e-12)  # rounding of float64


def test_commands_stay_within_limits_and_leave_them_at_once():
    law = config(command_min=np.full(2, -0.5), command_max=np.full(2, 0.5))
    push = np.tile([3.0, 3.0, 0.0], (600, 1))
    got = commands(law, np.vstack([push, -0.2 * push]))
    assert (np.abs(got) <= 0.5).all()
    assert (got[599] == 0.5).all()
    # Wound up over 5 s the integral would be 30; without it the sign turns with the error.
    assert (got[605] < 0).all()


def test_decoupling_maps_axes_to_commands():
    law = config(decoupling=np.array([[0, 0, 2.0], [0, 3.0, 0]]), ki=np.zeros(2), kd=np.zeros(2))
    np.testing.assert_allclose(commands(law, np.array([[9.0, 0.1, 0.2]])), [[0.5 * 0.4, 0.8 * 0.3]])


def test_a_fixed_error_of_a_first_order_plant_is_driven_to_zero():
    law = config()
    state, tip = pid.reset(law), np.zeros(3)
    for _ in range(3000):
        command = pid.step(law, state, np.array([1.0, -2.0, 0.0]), tip, DT)
        tip[:2] += DT / 0.1 * (command - tip[:2])
    assert tip[:2] == pytest.approx([1.0, -2.0], abs=1e-6)


def test_a_feed_forward_takes_the_place_of_the_neutral_command():
    """Sample by sample, and in a takeover as well: the integral is what the rest leaves."""
    law, other = config(), config(command_neutral=np.array([1.0, -2.0]))
    error = np.array([0.1, -0.1, 0.0])
    forward = np.array([3.0, 4.0])
    state, usual = pid.reset(law), pid.reset(other)
    for _ in range(5):
        alone = pid.step(other, usual, error, np.zeros(3), DT)
        found = pid.step(law, state, error, np.zeros(3), DT, forward)
        np.testing.assert_allclose(found - forward, alone - [1.0, -2.0], atol=1e-12)
        forward = forward + 0.01
    pid.track(law, state, np.array([0.5, 0.5]), error, np.zeros(3), DT, forward)
    found = pid.step(law, state, error, np.zeros(3), DT, forward)
    assert found == pytest.approx([0.5 + 2 * 0.1 * DT, 0.5 - 3 * 0.1 * DT], abs=1e-12)


# ------------------------------------------------------------------ takeover


def tracked(law: pid.PidConfig, applied: np.ndarray, errors: np.ndarray) -> pid.PidState:
    state = pid.reset(law)
    for command, error in zip(applied, errors, strict=True):
        pid.track(law, state, command, error, np.zeros(3), DT)
    return state


def test_takes_over_from_the_applied_command():
    """By hand: at rest at an error of 0.2 the next step adds ki error dt to the command that was
    applied, 3 and -4, and nothing else: 2 * 0.2 / 120 and 3 * -0.2 / 120."""
    error = np.array([0.2, -0.2, 0.0])
    state = tracked(config(), np.tile([3.0, -4.0], (50, 1)), np.tile(error, (50, 1)))
    command = pid.step(config(), state, error, np.zeros(3), DT)
    assert command == pytest.approx([3 + 0.4 / 120, -4 - 0.6 / 120], abs=1e-12)


def test_what_it_would_have_found_itself_is_tracked_without_a_trace():
    """Beside itself it tracks its own commands: taking over at any sample changes none."""
    law, rng = config(), np.random.default_rng(3)
    errors = np.cumsum(rng.normal(0, 0.05, (100, 3)), axis=0)
    whole = commands(law, errors)
    for taken in (1, 40, 99):
        state = tracked(law, whole[:taken], errors[:taken])
        rest = [pid.step(law, state, error, np.zeros(3), DT) for error in errors[taken:]]
        np.testing.assert_allclose(rest, whole[taken:], atol=1e-12)


def test_a_command_beyond_its_limits_is_tracked_as_the_limit():
    """So that it leaves the limit with the first error that asks for it: 0.5 - 2 * 0.3 / 120."""
    law = config(command_min=np.full(2, -0.5), command_max=np.full(2, 0.5), kp=np.zeros(2))
    away = np.array([-0.3, -0.3, 0.0])
    state = tracked(law, np.tile([4.0, 0.1], (5, 1)), np.tile(away, (5, 1)))
    command = pid.step(law, state, away, np.zeros(3), DT)
    assert command == pytest.approx([0.5 - 0.6 / 120, 0.1 - 0.9 / 120], abs=1e-12)


def test_other_gains_take_over_from_the_command_of_the_ones_before():
    """The moving error's own terms go on: the step between is that of the new law alone."""
    law, other = config(), config(kp=np.array([2.0, 0.1]), kd=np.array([0.1, 0.0]))
    errors = np.array([[0.1 * np.sin(k / 9), 0.2 * np.cos(k / 7), 0.0] for k in range(60)])
    state = pid.reset(law)
    for error in errors[:-2]:
        pid.step(law, state, error, np.zeros(3), DT)
    before = dataclasses.replace(state)
    last = pid.step(law, state, errors[-2], np.zeros(3), DT)
    state = before
    pid.track(other, state, last, errors[-2], np.zeros(3), DT)
    derivative = state.derivative
    moved = pid.step(other, state, errors[-1], np.zeros(3), DT) - last
    change, error = (errors[-1] - errors[-2])[:2], errors[-1][:2]
    wanted = other.kp * change + other.ki * error * DT + other.kd * (state.derivative - derivative)
    np.testing.assert_allclose(moved, wanted, atol=1e-12)
