"""The simulated tendon rig against its parameters, independent references and a recorded run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import signal

from soft_control.paths import config
from soft_control.rigs import make_rig
from soft_control.rigs.fit_tendon import (
    FIT_RUNS,
    RecordedDataError,
    fit_map,
    read_run,
    replace_values,
    replay,
    residual_mm,
)
from soft_control.rigs.tendon import SUBSTEP_S, TendonParameters, TendonRig

NEUTRAL = np.radians([-10.0, -20.0])
LIVE = [0, 5, 6, 10]
LINEAR = {
    "slack_deg": 0.0,
    "hysteresis_width_deg": (),
    "hysteresis_weight": (),
    "servo_resolution_deg": 1e-9,
}
"""Changes that leave delay, rate limit, lag and creep only."""


def random_commands(samples: int, seed: int = 0) -> np.ndarray:
    """(samples, 2), rad: all over the range and beyond, each held for a few samples."""
    rng = np.random.default_rng(seed)
    return np.repeat(np.radians(rng.uniform(-130.0, 100.0, (samples // 8 + 1, 2))), 8, 0)[:samples]


def run(rig: TendonRig, commands: np.ndarray, duration_s: float = 1.0 / 120.0) -> np.ndarray:
    """Tip position (T, 3), m, after each command."""
    tips = []
    for command in commands:
        rig.step(command, duration_s)
        tips.append(rig.outputs())
    return np.array(tips)


def figure_eight() -> tuple[TendonRig, np.ndarray, np.ndarray]:
    """A rig, the bending (361, 2) in rad that holds the figure-eight, and its positions in m."""
    rig = TendonRig()
    angle = np.linspace(0.0, 2.0 * np.pi, 361)
    wanted = 1e-3 * np.stack([12.5 * np.sin(2.0 * angle), 25.0 * np.sin(angle)], axis=1)
    bending, found = np.zeros(2), []
    for goal in wanted:
        for _ in range(20):  # Newton, from the neighbour
            slopes = [(rig.tip_at(bending + h) - rig.tip_at(bending))[1:] for h in 1e-6 * np.eye(2)]
            error = rig.tip_at(bending)[1:] - goal
            bending = bending - np.linalg.solve(np.array(slopes).T / 1e-6, error)
        assert np.abs(error).max() < 1e-9
        found.append(bending)
    return rig, np.array(found), rig.tip_at(np.array(found))


def test_neutral_point_is_the_origin():
    rig = make_rig("tendon", output_noise=())
    assert np.allclose((rig.command_min + rig.command_max) / 2, NEUTRAL)
    rig.step(NEUTRAL, 1.0)
    assert np.abs(rig.measure().outputs).max() < 1e-12


def test_servos_obey_stops_and_rate():
    rig = TendonRig()
    angles = []
    for command in random_commands(960):
        rig.step(command, SUBSTEP_S)
        angles.append([tendon["servo"] for tendon in rig.save()["tendons"]])
    angles = np.array(angles) + NEUTRAL
    top = np.radians(rig.parameters.servo_rate_deg_per_s) * SUBSTEP_S
    assert np.abs(np.diff(angles, axis=0)).max() <= top * (1 + 1e-9)
    assert np.abs(np.diff(angles, axis=0)).max() > 0.99 * top
    for end, stop in ((-9.0, rig.command_min), (9.0, rig.command_max)):
        rig.step([end, end], 2.0)
        servo = [tendon["servo"] for tendon in rig.save()["tendons"]] + NEUTRAL
        assert servo == pytest.approx(stop, abs=np.radians(0.29))  # the last whole count
        assert np.all(servo >= rig.command_min) and np.all(servo <= rig.command_max)


@pytest.mark.parametrize("delay_s", [0.002, 0.0437, 0.052])
def test_delay_is_the_parameter(delay_s: float):
    """The mean delay of a step, the area above it, is the sum of the stages' mean delays."""
    rig = TendonRig(creep_fraction=(0.0, 0.0), delay_s=delay_s, **LINEAR)
    bending = [rig.bending()[0]]
    for _ in range(480):
        rig.step(NEUTRAL + np.radians([20.0, 0.0]), SUBSTEP_S)
        bending.append(rig.bending()[0])
    area_s = np.trapezoid(1.0 - np.array(bending) / np.radians(20.0), dx=SUBSTEP_S)
    turning_s = 20.0 / rig.parameters.servo_rate_deg_per_s
    # The corner of the servo's ramp is straightened over one of its 54 substeps.
    expected = pytest.approx(delay_s + turning_s / 2 + rig.parameters.lag_s, abs=SUBSTEP_S / 50)
    assert area_s == expected


def test_lag_and_creep_match_scipy():
    ramp = 54
    rate = TendonParameters.load().servo_rate_deg_per_s
    rig = TendonRig(delay_s=44 * SUBSTEP_S, **LINEAR)
    p = rig.parameters
    size = rate * ramp * SUBSTEP_S  # the ramp of the servo takes whole substeps
    measured = [0.0]
    for _ in range(9600):
        rig.step(NEUTRAL + np.radians([0.0, size]), SUBSTEP_S)
        measured.append(np.degrees(rig.bending()[1]))

    numerator, denominator = np.poly1d([1.0 - sum(p.creep_fraction)]), np.poly1d([1.0])
    for fraction, creep_s in zip(p.creep_fraction, p.creep_s, strict=True):
        branch = np.poly1d([creep_s, 1.0])
        numerator, denominator = numerator * branch + fraction * denominator, denominator * branch
    time = SUBSTEP_S * np.arange(len(measured))
    servo = np.clip(rate * (time - p.delay_s), 0.0, size)
    system = (numerator.coeffs, (denominator * np.poly1d([p.lag_s, 1.0])).coeffs)
    _, expected, _ = signal.lsim(system, servo, time)
    assert np.abs(measured - expected).max() < 1e-6 * size  # both exact for straight pieces


def test_slack_and_hysteresis_make_the_loop_that_they_say():
    """After a large move up and one down to the same command, the bending differs by the widths."""
    rig = TendonRig(servo_resolution_deg=1e-9)
    p = rig.parameters
    rests = []
    for far in (-60.0, 60.0):
        rig.step(NEUTRAL + np.radians([far, far]), 60.0)
        rig.step(NEUTRAL, 60.0)
        rests.append(np.degrees(rig.bending()))
    plays = zip(p.hysteresis_weight, p.hysteresis_width_deg, strict=True)
    loop = p.slack_deg + sum(weight * width for weight, width in plays)
    # Creep is the only thing still moving: exp(-60 s / 4.5 s) of 60 deg.
    assert rests[1] - rests[0] == pytest.approx([loop, loop], abs=1e-3)


def test_small_commands_are_lost_in_a_count():
    rig = TendonRig()
    rig.step(NEUTRAL + np.radians([0.14, -0.14]), 1.0)
    assert not rig.bending().any()


def test_cutting_time_into_other_steps_changes_nothing():
    """Commands held for 10 ms, which is no multiple of the substep, whole and in seven pieces."""
    whole, pieces = TendonRig(), TendonRig()
    commands = random_commands(200)
    tips = run(whole, commands, 0.01)
    for command, tip in zip(commands, tips, strict=True):
        for _ in range(7):
            pieces.step(command, 0.01 / 7)
        # Rounding of the summed-up clock, 1e-14 s, times the tip's speed.
        assert np.abs(pieces.outputs() - tip).max() < 1e-12


def test_saved_state_continues_bit_for_bit():
    rig = TendonRig(seed=3)
    run(rig, random_commands(100))
    state = json.loads(json.dumps(rig.save()))
    copy = TendonRig(seed=99)
    copy.restore(state)
    for command in random_commands(100, seed=1):
        samples = []
        for each in (rig, copy):
            each.step(command, 1.0 / 120.0)
            samples.append(each.measure())
        assert np.array_equal(samples[0].outputs, samples[1].outputs)
        assert np.array_equal(samples[0].signals, samples[1].signals)


def test_seed_decides_the_noise_and_nothing_else():
    def record(rig: TendonRig) -> tuple[np.ndarray, np.ndarray]:
        tips = run(rig, random_commands(50))
        return tips, np.array([rig.measure().outputs for _ in range(50)])

    rig = TendonRig(seed=5)
    first = record(rig)
    rig.reset()
    again = record(rig)
    rig.reset(seed=6)
    other = record(rig)
    assert np.array_equal(first, again)
    assert np.array_equal(first[0], other[0])
    assert not np.array_equal(first[1], other[1])


def test_noise_has_its_standard_deviation():
    rig = TendonRig(seed=1)
    samples = [rig.measure() for _ in range(4000)]
    spread = 1e3 * np.std([sample.outputs for sample in samples], axis=0)
    # Four standard errors of a standard deviation from 4000 samples: 4 / sqrt(8000).
    assert spread == pytest.approx(rig.parameters.output_noise, rel=0.045)
    spread = np.std([sample.signals for sample in samples], axis=0)[LIVE]
    rounding = 1.0 / 12.0
    expected = np.sqrt(rig.parameters.lace_noise_counts**2 + rounding)
    # Rounding is not quite independent of noise that is narrower than a count.
    assert spread == pytest.approx(expected, rel=0.08)


def test_lace_is_whole_counts_on_the_live_channels():
    rig = TendonRig()
    signals = []
    for command in random_commands(400):
        rig.step(command, 0.05)
        signals.append(rig.measure().signals)
    signals = np.array(signals)
    assert signals.shape == (400, len(rig.signal_names))
    assert np.issubdtype(signals.dtype, np.integer)
    assert np.flatnonzero(signals.any(axis=0)).tolist() == LIVE
    assert np.all(np.ptp(signals[:, LIVE], axis=0) >= 5)  # each says something
    assert signals.max() < 200  # near the recorded full scale of 14 to 167 counts

    dead = TendonRig(dead_channels=(5,))
    dead.step(NEUTRAL, 1.0)
    assert np.flatnonzero(dead.measure().signals).tolist() == [0, 6, 10]


def test_figure_eight_is_reachable_with_margin():
    """z = 25 mm sin a, y = 12.5 mm sin 2a, statically; creep and lag need some of the margin."""
    rig, bending, _ = figure_eight()
    command = np.degrees(NEUTRAL + bending)
    p = rig.parameters
    assert np.all(command.min(axis=0) - p.command_min_deg > 8.0)
    assert np.all(p.command_max_deg - command.max(axis=0) > 8.0)


def test_positions_lie_on_a_surface():
    """Two servos reach a surface: x is a quadratic of y and z, nearly, on a slow figure-eight."""
    rig, bending, _ = figure_eight()
    position = 1e3 * run(rig, NEUTRAL + np.tile(bending[::2], (2, 1)), 0.5)[90:]
    x, y, z = position.T
    terms = np.stack([np.ones_like(y), y, z, y * y, y * z, z * z], axis=1)
    error = terms @ np.linalg.lstsq(terms, x, rcond=None)[0] - x
    assert np.abs(error).max() < 1.0


def test_mismatch_parameters():
    bending = np.radians([[20.0, -30.0], [-40.0, 15.0]])
    nominal = TendonRig().tip_at(bending)
    assert TendonRig(gain=1.2).tip_at(bending) == pytest.approx(1.2 * nominal)
    loaded = TendonParameters.load().model_copy(update={"load_offset": (0.0, 1e-3, -2e-3)})
    assert TendonRig(loaded).tip_at(bending) == pytest.approx(nominal + [0.0, 1e-3, -2e-3])


@pytest.mark.parametrize("command", [[0.0], [0.0, np.nan], [0.0, 0.0, 0.0]])
def test_bad_commands_are_refused(command: list[float]):
    with pytest.raises(ValueError, match="finite values for servo_0 in rad, servo_1 in rad"):
        TendonRig().step(command, 0.01)


def test_bad_durations_are_refused():
    with pytest.raises(ValueError, match="duration_s"):
        TendonRig().step(NEUTRAL, -0.01)


def test_bad_parameters_are_named(tmp_path: Path):
    path = tmp_path / "tendon.yaml"
    text = config("tendon").read_text(encoding="utf-8")
    path.write_text(replace_values(text, {"lag_s": -1.0}), encoding="utf-8")
    with pytest.raises(ValueError, match=r"tendon\.yaml: lag_s = -1.0: .*greater than 0"):
        TendonParameters.load(path)
    path.write_text("lag_s: [", encoding="utf-8")
    with pytest.raises(ValueError, match="not YAML"):
        TendonParameters.load(path)
    with pytest.raises(ValueError, match="unknown_field"):
        make_rig("tendon", unknown_field=1)
    said = "unknown rig 'tentacle': choose one of hasel, mass_spring_damper, mujoco_.*, tendon"
    with pytest.raises(ValueError, match=said):
        make_rig("tentacle")


def test_yaml_holds_what_was_fitted():
    report = json.loads(config("tendon").with_name("tendon_fit.json").read_text(encoding="utf-8"))
    parameters = json.loads(TendonParameters.load().model_dump_json())
    assert {key: parameters[key] for key in report["fitted"]} == report["fitted"]


def test_recorded_runs_fit_as_reported(shared_data: Path):
    """Replaying the runs gives the reported residuals, and fitting the map again the same map."""
    report = json.loads(config("tendon").with_name("tendon_fit.json").read_text(encoding="utf-8"))
    parameters = TendonParameters.load()
    runs = [read_run(shared_data / "tendon_rig", name, parameters) for name in FIT_RUNS]
    bendings = [replay(parameters, recorded) for recorded in runs]
    for recorded, bending in zip(runs, bendings, strict=True):
        error = residual_mm(parameters, recorded, bending)
        reported = report["residual_rms_mm"][recorded.name]
        # Reported to 1 um; another libm may move a servo by a count, 0.1 mm for a moment.
        assert np.sqrt((error**2).mean(axis=0)) == pytest.approx(
            [reported[axis] for axis in "xyz"], abs=2e-3
        )
        assert np.sqrt((error**2).sum(axis=1).mean()) <= reported["distance"] + 2e-3
    for axis, column in zip("xyz", fit_map(runs, bendings).T, strict=True):
        fitted = getattr(parameters, f"{axis}_mm_of_deg")
        assert column == pytest.approx(fitted, rel=2e-3)  # four digits stand in the YAML


def test_missing_recordings_are_named(tmp_path: Path):
    with pytest.raises(RecordedDataError, match="DATA_DIR must hold the recorded tendon runs"):
        read_run(tmp_path, FIT_RUNS[0], TendonParameters.load())
