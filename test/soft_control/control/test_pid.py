from __future__ import annotations

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
