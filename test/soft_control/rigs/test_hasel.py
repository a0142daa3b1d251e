"""The HASEL rig: its magnets against magpylib, its actuators against what was measured."""

from __future__ import annotations

import json

import numpy as np
import pytest

from soft_control.rigs import make_rig
from soft_control.rigs.hasel import ACTUATORS, HaselRig
from soft_control.rigs.magnet import cuboid_field

SIZE_MM = np.array([50.0, 50.0, 5.0])


def test_the_field_is_that_of_magpylib():
    """Both are the same closed form: 1e-12 of the polarisation is rounding."""
    magpylib = pytest.importorskip("magpylib", reason="pip install soft_control[test]")
    rng = np.random.default_rng(0)
    points = rng.uniform(-60, 60, (500, 3))
    points = points[np.abs(points[:, 2]) > 3.0]
    magnet = magpylib.magnet.Cuboid(dimension=1e-3 * SIZE_MM, polarization=(0, 0, 1.0))
    np.testing.assert_allclose(
        cuboid_field(points, SIZE_MM, 1.0), magnet.getB(1e-3 * points), atol=1e-12
    )


def test_far_away_the_field_is_that_of_a_dipole_and_near_by_it_is_not():
    moment = SIZE_MM.prod() / (4 * np.pi)

    def dipole(point: np.ndarray) -> np.ndarray:
        r = np.linalg.norm(point)
        return moment * (3 * point * point[2] / r**5 - np.array([0, 0, 1.0]) / r**3)

    far, near = np.array([300.0, -200.0, 400.0]), np.array([3.0, 2.0, 12.0])
    assert cuboid_field(far[None], SIZE_MM, 1.0)[0] == pytest.approx(dipole(far), rel=0.02)
    error = np.linalg.norm(cuboid_field(near[None], SIZE_MM, 1.0)[0] - dipole(near))
    assert error > np.linalg.norm(dipole(near)) / 2


def heights(rig: HaselRig, duty: float, seconds: float) -> tuple[np.ndarray, np.ndarray]:
    """Times and the height of the first actuator, every 1/480 s."""
    t_s = np.arange(1, round(seconds * 480) + 1) / 480
    seen = []
    for _ in t_s:
        rig.step(np.full(ACTUATORS, duty), 1 / 480)
        seen.append(rig.heights_mm()[0, 0])
    return t_s, np.array(seen)


def test_rises_and_falls_as_measured():
    rig = HaselRig(retention=0.0)
    rig.step(np.full(ACTUATORS, -0.5), 40.0)
    t_s, rise = heights(rig, 0.5, 4.0)
    assert rise[0] == pytest.approx(11.0, abs=0.02) and rise[-1] == pytest.approx(23.0, abs=0.02)
    share = (rise - rise[0]) / (rise[-1] - rise[0])
    time_s = t_s[np.argmax(share > 0.9)] - t_s[np.argmax(share > 0.1)]
    assert time_s == pytest.approx(0.12, abs=0.01)
    t_s, fall = heights(rig, -0.5, 6.0)
    since_s = t_s - rig.parameters.delay_s
    measured = 6.5 * np.exp(-since_s / 0.05) + 4.4 * np.exp(-since_s / 0.43)
    measured = 11.0 + 12.0 / 13.5 * (measured + 2.6 * np.exp(-since_s / 4.8))
    # The second-order lag, which the sum of exponentials leaves out, costs 0.02 s at first.
    settled = since_s > 0.15
    assert np.abs(fall - measured)[settled].max() < 0.3


def test_charge_stays_for_minutes():
    rig = HaselRig()
    rig.step(np.full(ACTUATORS, 0.5), 60.0)
    early = rig.heights_mm().mean()
    rig.step(np.full(ACTUATORS, 0.5), 180.0)
    drift = rig.heights_mm().mean() - early
    assert 0.0 < drift < 0.05 * rig.parameters.stroke_mm


@pytest.mark.parametrize("layer", [0, 1])
def test_turning_the_commands_by_120_degrees_turns_the_tip(layer: int):
    """1e-9 m: rounding."""
    tips = []
    for actuator in range(3):
        rig = HaselRig()
        command = np.zeros(ACTUATORS)
        command[3 * layer + actuator] = 0.4
        rig.step(command, 1.0)
        tips.append(rig.outputs())
    cosine, sine = np.cos(np.radians(120)), np.sin(np.radians(120))
    turn = np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])
    assert tips[1] == pytest.approx(turn @ tips[0], abs=1e-9)
    assert tips[2] == pytest.approx(turn @ tips[1], abs=1e-9)
    assert np.linalg.norm(tips[0][:2]) > 3e-3


def test_all_actuators_together_lift_straight_up():
    rig = HaselRig()
    rig.step(np.full(ACTUATORS, 0.5), 20.0)
    x, y, z = rig.outputs()
    assert abs(x) < 1e-9 and abs(y) < 1e-9  # rounding
    assert 8e-3 < z < 13e-3


def test_sensors_tell_where_the_tip_is():
    """A linear map of the 18 signals, fitted on random moments, finds others to 0.3 of their
    spread: single readings are noisy and the map is curved. Unconnected, it would be 1."""
    rng = np.random.default_rng(1)
    signals, tips = [], []
    for i in range(120):
        rig = HaselRig(seed=i)
        rig.step(rng.uniform(-0.4, 0.4, ACTUATORS), 0.6)
        signals.append(np.append(rig.measure().signals, 1.0))
        tips.append(rig.outputs())
    signals, tips = np.array(signals), np.array(tips)
    fit = np.linalg.lstsq(signals[:80], tips[:80], rcond=None)[0]
    error = signals[80:] @ fit - tips[80:]
    assert np.sqrt(np.mean(error**2)) < 0.3 * np.sqrt(np.mean(tips[80:] ** 2))


def test_weaker_magnets_read_less():
    still = make_rig("hasel", earth_gauss=(0, 0, 0)).field_gauss()
    weak = make_rig("hasel", earth_gauss=(0, 0, 0), magnet_strength=0.99).field_gauss()
    np.testing.assert_allclose(weak, 0.99 * still, rtol=1e-12)


def test_a_saved_state_continues_with_the_same_bits():
    rig = HaselRig(seed=4)
    rig.step(np.linspace(-0.4, 0.4, ACTUATORS), 0.013)
    rig.measure()
    other = HaselRig(seed=9)
    other.restore(json.loads(json.dumps(rig.save())))
    for again in (rig, other):
        again.step(np.zeros(ACTUATORS), 0.05)
    first, second = rig.measure(), other.measure()
    np.testing.assert_array_equal(first.outputs, second.outputs)
    np.testing.assert_array_equal(first.signals, second.signals)


def test_bad_commands_and_parameters_are_refused():
    with pytest.raises(ValueError, match="finite values for hasel_0 in 1"):
        HaselRig().step(np.zeros(5), 0.01)
    with pytest.raises(ValueError, match=r"hasel\.yaml: .*add up to 1"):
        make_rig("hasel", branch_weight=(0.5, 0.5, 0.5))
