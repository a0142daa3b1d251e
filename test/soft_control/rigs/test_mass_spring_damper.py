"""The mass-spring-damper against scipy's integrator, and after the rig protocol."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from soft_control.rigs import make_rig
from soft_control.rigs.mass_spring_damper import COUNTS, MassSpringDamperRig


def driven(rig: MassSpringDamperRig, commands: np.ndarray, duration_s: float) -> np.ndarray:
    positions = []
    for command in commands:
        rig.step(np.array([command]), duration_s)
        positions.append(rig.outputs()[0])
    return np.array(positions)


def test_moves_as_its_equation_says():
    """1e-6 m: Runge-Kutta 4 at 2 ms against scipy at tolerances of 1e-11, on strokes of 0.1 m,
    where the hardened spring is five times as stiff as at rest."""
    rig = MassSpringDamperRig(gain=1.1)
    p = rig.parameters
    commands = np.random.default_rng(0).uniform(-1.5 * p.force_max, 1.5 * p.force_max, 60)
    got = driven(rig, commands, 0.05)
    state, wanted = np.zeros(2), []
    forces = np.clip(commands, -p.force_max, p.force_max)
    before = 0.0
    for force in forces:
        for push, until in ((before, p.delay_s), (force, 0.05 - p.delay_s)):

            def slope(_, s, push=push):
                x, v = s
                spring = p.stiffness * x + p.cubic_stiffness * x**3
                return [v, (1.1 * push - p.damping * v - spring) / p.mass_kg]

            state = solve_ivp(slope, (0, until), state, rtol=1e-11, atol=1e-13).y[:, -1]
        before = force
        wanted.append(state[0])
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-6)
    assert np.abs(wanted).max() > 0.04  # far enough for the spring to harden


def test_what_it_reads_does_not_depend_on_how_time_is_cut():
    coarse, fine = MassSpringDamperRig(), MassSpringDamperRig()
    for command in (3.0, -5.0, 1.0):
        coarse.step(np.array([command]), 0.1)
        for _ in range(25):
            fine.step(np.array([command]), 0.004)
    assert fine.outputs() == pytest.approx(coarse.outputs(), abs=1e-6)  # the same tolerance


def test_a_saved_state_continues_with_the_same_bits():
    rig = MassSpringDamperRig(seed=4)
    driven(rig, np.array([5.0, -2.0]), 0.013)
    rig.measure()
    saved = json.loads(json.dumps(rig.save()))
    other = MassSpringDamperRig(seed=9)
    other.restore(saved)
    for again in (rig, other):
        again.step(np.array([1.0]), 0.05)
    np.testing.assert_array_equal(rig.measure().outputs, other.measure().outputs)
    np.testing.assert_array_equal(rig.measure().signals, other.measure().signals)


def test_the_load_comes_when_it_is_due_and_shifts_the_rest():
    rig = make_rig("mass_spring_damper", load_offset=(1e-3,), load_after_s=2.0)
    rig.step(np.zeros(1), 1.99)
    assert rig.outputs()[0] == 0.0
    rig.step(np.zeros(1), 8.0)
    assert rig.outputs()[0] == pytest.approx(1e-3, rel=1e-3)  # 4e-4: the spring hardens


def test_sensors_are_counts_of_position_and_speed():
    rig = MassSpringDamperRig()
    p = rig.parameters
    rig.step(np.array([4.0]), 0.06)
    before = rig.outputs()[0]
    counts = np.mean([rig.measure().signals for _ in range(400)], axis=0)
    rig.step(np.array([4.0]), 1e-4)
    speed = (rig.outputs()[0] - before) / 1e-4
    # 0.5: five standard deviations of the mean of the noise, and the way within 0.1 ms.
    assert counts[0] == pytest.approx(COUNTS / 2 + p.strain_counts_per_m * before, abs=0.5)
    assert counts[1] == pytest.approx(COUNTS / 2 + p.tachometer_counts_per_m_s * speed, abs=2.0)


@pytest.mark.parametrize("command", [[], [np.inf], [1.0, 2.0]])
def test_bad_commands_are_refused(command: list[float]):
    with pytest.raises(ValueError, match="finite values for force in N"):
        MassSpringDamperRig().step(command, 0.01)


def test_bad_parameters_are_named(tmp_path: Path):
    with pytest.raises(ValueError, match=r"mass_spring_damper\.yaml: mass_kg"):
        make_rig("mass_spring_damper", mass_kg=-1.0)
