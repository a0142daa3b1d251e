"""The rigs in MuJoCo against formulas of textbooks, and against what every rig has to keep."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("mujoco", reason="MuJoCo is not installed: pip install soft_control[mujoco]")

from soft_control import robots  # noqa: E402
from soft_control.rigs import make_rig  # noqa: E402
from soft_control.rigs.mujoco_hasel import ACTUATORS, MujocoHaselRig  # noqa: E402
from soft_control.rigs.mujoco_rig import GRAVITY  # noqa: E402
from soft_control.rigs.mujoco_tendon import MujocoTendonRig  # noqa: E402

NAMES = ("mujoco_tendon", "mujoco_hasel")
LOOSE = {"line_n_per_m": 1e-6, "line_friction": 0.0, "pretension_n": 0.0}
"""A block whose lines do nothing."""


def bending_stiffness(rig: MujocoTendonRig) -> float:
    """EI, N m², of the silicone's square and the rod's circle."""
    p = rig.parameters
    silicone = 1e6 * p.modulus_mpa * (1e-3 * p.width_mm) ** 4 / 12
    return silicone + 1e6 * p.rod_modulus_mpa * np.pi * (1e-3 * p.rod_mm) ** 4 / 64


def mass_per_m(rig: MujocoTendonRig) -> float:
    return rig.parameters.density_kg_m3 * (1e-3 * rig.parameters.width_mm) ** 2


# ---------------------------------------------------------------------------- the block is a beam


@pytest.mark.parametrize("payload_g", [0.0, 10.0])
def test_the_block_sags_as_a_cantilever(payload_g: float):
    """w L⁴/8EI of its own weight and m g L³/3EI of a payload: 2 % is ten pieces for a beam, and
    that the formula is of small angles."""
    rig = MujocoTendonRig(payload_g=payload_g, **LOOSE)
    long, stiff = 1e-3 * rig.parameters.length_mm, bending_stiffness(rig)
    own = GRAVITY * mass_per_m(rig) * long**4 / 8 / stiff
    hung = GRAVITY * 1e-3 * payload_g * long**3 / 3 / stiff
    assert rig._neutral[2] == pytest.approx(-(own + hung), rel=0.02)


def test_the_block_swings_at_the_frequency_of_a_cantilever():
    """(1.875)²/2pi (EI/mass L⁴)^0.5 of its first mode by Euler and Bernoulli, less what turning the
    pieces costs: Rayleigh's quotient with 4.65 w²/12L² for that mode. 1 %: ten pieces."""
    rig = MujocoTendonRig(damping_s=6e-4, creep_share=(), creep_s=(), **LOOSE)
    long = 1e-3 * rig.parameters.length_mm
    expected_hz = 1.87510**2 / (2 * np.pi)
    expected_hz *= np.sqrt(bending_stiffness(rig) / mass_per_m(rig) / long**4)
    turning = 4.65 * (1e-3 * rig.parameters.width_mm) ** 2 / 12 / long**2
    expected_hz /= np.sqrt(1 + turning)
    rig._data.qvel[1::2] = 1.0  # forward, where no weight pulls
    step_s = 1 / 960
    y = np.array([_stepped(rig, step_s)[1] for _ in range(960)])
    turns = np.flatnonzero((y[:-1] < 0) & (y[1:] >= 0))
    passed = turns - y[turns] / (y[turns + 1] - y[turns])
    assert len(passed) > 5
    assert 1 / np.diff(passed).mean() / step_s == pytest.approx(expected_hz, rel=0.01)


def test_stiff_lines_bend_the_block_into_an_arc():
    """A drum of radius r that turns by a pulls a line at d from the axis by r a: an arc of r a/d.
    1 %: pieces for an arc, and a servo that its load holds back."""
    still = {"servo_stall_nm": 1e6, "backlash_deg": 0.0, "servo_resolution_deg": 1e-3}
    rig = MujocoTendonRig(line_n_per_m=1e6, line_friction=0.0, **still)
    p, angle = rig.parameters, 0.6
    rig.step(rig.description.command_neutral + [0.0, angle], 3.0)
    arc, long = p.drum_mm * angle / p.line_offset_mm, 1e-3 * p.length_mm
    x, y, _ = rig.outputs()
    assert y == pytest.approx(long * (1 - np.cos(arc)) / arc, rel=0.01)
    assert x == pytest.approx(long * (np.sin(arc) / arc - 1), rel=0.01)


def test_a_block_that_nobody_drives_only_loses_energy():
    """Pushed at rest: what springs, weight and motion hold falls to what they held before. 1e-3 of
    the push: the integrator is of first order."""
    rig = MujocoTendonRig(creep_share=(), creep_s=(), **LOOSE)
    rest = sum(rig.energy())
    rig._data.qvel[:] = np.tile([2.0, -1.0], rig.parameters.pieces)
    held = [sum(rig.energy())]
    for _ in range(960):
        _stepped(rig, 1 / 960)
        held.append(sum(rig.energy()))
    pushed = held[0] - rest
    assert pushed > 1e-4
    assert np.diff(held).max() < 1e-3 * pushed
    assert held[-1] == pytest.approx(rest, abs=1e-3 * pushed)


def test_lines_pull_and_do_not_push():
    rig, rng = MujocoTendonRig(), np.random.default_rng(0)
    hanging = 0
    for command in rng.uniform(rig.command_min, rig.command_max, (40, 2)):
        for _ in range(12):
            rig.step(command, 1 / 120)
            assert (rig._forces <= 0.0).all()
            hanging += (rig._forces == 0.0).any()
    assert hanging > 20, "a line that is let out hangs loose at times"


def test_friction_in_the_guides_makes_the_way_up_another_than_the_way_down():
    """A line that is pulled in pulls the less, so that the block lags behind on both ways; what the
    servo's gears leave is there without friction, too."""
    apart = []
    for share in (0.0, 0.1):
        rig = MujocoTendonRig(line_friction=share, output_noise=())
        middle = rig.description.command_neutral
        z = []
        for angle in (-1.0, 0.6, 1.0, 0.6):
            rig.step(middle + [angle, 0.0], 2.0)
            z.append(rig.outputs()[2])
        apart.append(z[1] - z[3])
    assert 1e-4 < apart[0] < apart[1] - 1e-4 < 2e-3


def test_guides_dim_where_they_are_stretched():
    """Bent up, what runs above the axis is short and bright, what runs below is long and dim."""
    rig = MujocoTendonRig(guide_noise_counts=0.0)
    above = [g.z_mm > 0 for g in rig.parameters.guides]
    below = [g.z_mm < 0 for g in rig.parameters.guides]
    before = rig.measure().signals
    rig.step(rig.description.command_neutral - [0.7, 0.0], 1.0)
    assert rig.outputs()[2] > 5e-3
    after = rig.measure().signals
    assert (after[above] > before[above]).all() and (after[below] < before[below]).all()
    assert (MujocoTendonRig(dead_channels=(0, 4)).measure().signals[[0, 4]] == 0).all()


def test_a_load_holds_the_servo_back_and_backlash_remains():
    rig = MujocoTendonRig()
    rig.step(rig.description.command_neutral + [1.2, 0.0], 2.0)
    goal, servo, drum = rig._goal[0], rig._servo[0], rig._drum[0]
    half = np.radians(rig.parameters.backlash_deg) / 2
    # The motor holds the lines' torque with what is left of its way within the slope.
    torque = 1e-3 * rig.parameters.drum_mm * (rig._forces[1] - rig._forces[0])
    left = torque / rig.parameters.servo_stall_nm * np.radians(rig.parameters.servo_slope_deg)
    assert goal - servo == pytest.approx(left, rel=0.01) and left > 1e-3
    assert servo - drum == pytest.approx(half)


# ----------------------------------------------------------------------- the stacks are pouches


@pytest.mark.parametrize("duty", [0.3, 0.5, 0.8])
def test_stacks_stand_where_force_meets_spring_and_weight(duty: float):
    """F (1 - s/S) v² - k s = W/3, a layer: the upper one carries plate, magnet and mast, the lower
    one a plate and a magnet more. 0.1 %: 10 s of a share that comes late."""
    rig = MujocoHaselRig(absorbed_share=(), absorbed_s=(), pwm_steps=1000)
    p = rig.parameters
    rig.step(np.full(ACTUATORS, duty - 0.5), 10.0)
    slope = 1e-3 * p.closed_mm
    for layer, mass_g in ((0, 2 * (p.plate_g + p.magnet_g)), (1, p.plate_g + p.magnet_g)):
        weight = GRAVITY * 1e-3 * (mass_g + p.mast_g) / 3
        push = p.blocked_n * duty**2
        stretch = (push - weight) / (push / slope + p.film_n_per_m)
        wanted_mm = p.flat_mm + 1e3 * stretch
        heights = rig.heights_mm()[3 * layer : 3 * layer + 3]
        assert heights == pytest.approx([wanted_mm] * 3, rel=1e-3)


@pytest.mark.parametrize("layer", [0, 1])
def test_turning_the_commands_by_120_degrees_turns_the_tip(layer: int):
    """5e-5 m of 3e-3: a plate turns about x before it turns about y."""
    tips = []
    for actuator in range(3):
        rig = MujocoHaselRig()
        command = np.zeros(ACTUATORS)
        command[3 * layer + actuator] = 0.4
        rig.step(command, 1.0)
        tips.append(rig.outputs())
    cosine, sine = np.cos(np.radians(120)), np.sin(np.radians(120))
    turn = np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])
    assert tips[1] == pytest.approx(turn @ tips[0], abs=5e-5)
    assert tips[2] == pytest.approx(turn @ tips[1], abs=5e-5)
    assert np.linalg.norm(tips[0][:2]) > 1e-3


def test_it_spans_what_the_real_stacks_do():
    """11 to 23 mm, as published; half a millimetre: nothing was fitted."""
    rig = MujocoHaselRig()
    rig.step(np.full(ACTUATORS, -0.5), 30.0)
    low = rig.heights_mm()[:3]
    rig.step(np.full(ACTUATORS, 0.5), 30.0)
    assert low == pytest.approx([11.0] * 3, abs=0.5)
    assert rig.heights_mm()[:3] == pytest.approx([23.0] * 3, abs=0.5)


def test_weaker_magnets_read_less():
    still = make_rig("mujoco_hasel", earth_gauss=(0, 0, 0)).field_gauss()
    weak = make_rig("mujoco_hasel", earth_gauss=(0, 0, 0), magnet_strength=0.99).field_gauss()
    np.testing.assert_allclose(weak, 0.99 * still, rtol=1e-9)


# --------------------------------------------------------------------------------- what both keep


@pytest.mark.parametrize("name", NAMES)
def test_commands_outputs_and_settings_are_those_of_the_rig_that_it_is_an_opinion_on(name: str):
    """Nothing is tuned here, so nothing may differ but the calibration of the lace."""
    ours, other = robots.load(name), robots.load(name.removeprefix("mujoco_"))
    assert (ours.commands, ours.outputs) == (other.commands, other.outputs)
    assert ours.signal_names == other.signal_names
    assert ours.instruments == other.instruments and ours.training == other.training
    assert ours.rate_hz == other.rate_hz
    assert {k: v for k, v in ours.nodes.items() if k != "pid"} == other.nodes


@pytest.mark.parametrize("name", NAMES)
def test_it_stands_still_at_mid_range_and_sees_no_command_before_its_delay(name: str):
    rig = make_rig(name)
    rig.step(rig.description.command_neutral, 1.0)
    assert np.abs(rig.outputs()).max() < 2e-5  # m: PWM has no step at one half
    rig = make_rig(name)
    middle, delay_s = rig.description.command_neutral, rig.parameters.delay_s
    rig.step(middle + 0.4 * (rig.command_max - middle), delay_s - 1e-3)
    assert np.abs(rig.outputs()).max() < 1e-7
    rig.step(middle + 0.4 * (rig.command_max - middle), 0.05)
    assert np.abs(rig.outputs()).max() > 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_a_saved_state_continues_with_the_same_bits_and_so_does_one_that_is_cut(name: str):
    first = make_rig(name, seed=4)
    rng = np.random.default_rng(1)
    asked = rng.uniform(first.command_min, first.command_max, (60, first.command_min.size))
    for command in asked[:30]:
        first.step(command, 0.0131)
    first.measure()
    other = make_rig(name, seed=9)
    other.restore(json.loads(json.dumps(first.save())))
    for command in asked[30:]:
        first.step(command, 0.012)
        other.step(command, 0.005)
        other.step(command, 0.007)
        np.testing.assert_array_equal(first.outputs(), other.outputs())
    seen, again = first.measure(), other.measure()
    np.testing.assert_array_equal(seen.outputs, again.outputs)
    np.testing.assert_array_equal(seen.signals, again.signals)
    first.reset(3)
    fresh = make_rig(name, seed=3)
    for command in asked[:20]:
        first.step(command, 1 / 120)
        fresh.step(command, 1 / 120)
    np.testing.assert_array_equal(first.measure().outputs, fresh.measure().outputs)


@pytest.mark.parametrize("name", NAMES)
def test_gain_is_how_far_it_goes_and_rest_stays(name: str):
    """Within a fifth: neither is a straight line."""
    plain, further = make_rig(name), make_rig(name, gain=1.25)
    np.testing.assert_array_equal(plain._neutral, further._neutral)
    command = plain.description.command_neutral + 0.15 * (plain.command_max - plain.command_min)
    for rig in (plain, further):
        rig.step(command, 2.0)
    ratio = np.linalg.norm(further.outputs()) / np.linalg.norm(plain.outputs())
    assert ratio == pytest.approx(1.25, abs=0.2)


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("mujoco_tendon", {"creep_s": (1.0,)}, r"mujoco_tendon\.yaml: .*differ in length"),
        ("mujoco_tendon", {"guides": []}, "guides of the rig mujoco_tendon are 0, .* 11 signals"),
        ("mujoco_tendon", {"line_offset_mm": 20.0}, "must be within the block"),
        ("mujoco_tendon", {"damping_s": 1e-6}, "damping_s = 1e-06: .*0.00053"),
        ("mujoco_hasel", {"liquid_n_s_per_m": 1e-3}, "does not come to rest at mid-range"),
        ("mujoco_tendon", {"dead_channels": (11,)}, r"dead_channels .* 0 to 10"),
        ("mujoco_hasel", {"absorbed_share": (0.6, 0.6)}, "add up to less than 1"),
        ("mujoco_hasel", {"film_n_per_m": -1.0}, "film_n_per_m"),
    ],
)
def test_bad_parameters_are_refused_in_one_line(name: str, changes: dict, said: str):
    with pytest.raises(ValueError, match=said) as refused:
        make_rig(name, **changes)
    assert "\n" not in str(refused.value)


def test_where_mujoco_is_missing_one_line_says_what_to_do(tmp_path):
    """And nothing is written; other rigs do not ask for it."""
    (tmp_path / "mujoco.py").write_text("raise ImportError('not here')")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); "
        "from soft_control.rigs import make_rig; make_rig('hasel'); "
        "from soft_control.cli import main; main()"
    )
    out = tmp_path / "data"
    for asked in (["collect", "--out", out], ["run", "--out", out]):
        done = subprocess.run(
            [sys.executable, "-c", code, asked[0], "--rig", "mujoco_tendon", *map(str, asked[1:])],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 2, done.stderr
        (line,) = done.stderr.strip().splitlines()
        assert "the rig mujoco_tendon needs MuJoCo" in line and "soft_control[mujoco]" in line
        assert not out.exists()


def _stepped(rig: MujocoTendonRig, duration_s: float) -> np.ndarray:
    """Outputs (3,), m, after so long at mid-range."""
    rig.step(rig.description.command_neutral, duration_s)
    return rig.outputs()
