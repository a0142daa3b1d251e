"""What a run learns of the robot of the day, and how the next one begins with it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from soft_control.control.adaptation import Adaptation
from soft_control.control.calibration_motion import CALIBRATION_SHAPES, after_calibration
from soft_control.experiment.closed_loop import Firmware, Trace, run
from soft_control.experiment.learned_file import LEARNED_FILE, read_learned, write_learned
from soft_control.experiment.record import SETTLE_S, read_record
from soft_control.experiment.settings import Experiment
from soft_control.experiment.setup import check, reference_curve
from soft_control.experiment.summary import read_summary
from soft_control.firmware_files import read_build
from soft_control.learning.model import ModelCard
from soft_control.link.learned_map import LearnedMap
from soft_control.link.opening import open_session
from soft_control.rigs import make_rig

NAMES = ("x", "y", "z")
AS_RECORDED = LearnedMap.as_recorded(3)
OTHER_DAY = replace(
    AS_RECORDED,
    gain=np.array([[0.8, 0.05, 0.0], [0.0, 1.2, 0.0], [-0.1, 0.0, 0.9]]),
    offset=np.array([1e-3, -5e-4, 0.0]),
    curve=np.array([[5.0, 0.0, -3.0, 0.0, 2.0, 0.0], [0.0] * 6, [0.0, 4.0, 0.0, -5.0, 0.0, 1.0]]),
    believed=12,
)


def of_the_day(card: ModelCard, known: LearnedMap, predicted: np.ndarray) -> np.ndarray:
    """What the robot of that day makes of the network's outputs (docs/protocol.md, ADAPTATION)."""
    v = predicted - np.array(card.output_offset)
    curved = known.curve @ np.outer(v, v)[np.triu_indices(3)]
    return card.output_offset + known.gain @ v + known.offset + curved


def test_measured_outputs_teach_what_the_robot_of_the_day_is_like(tendon):
    """As the NumPy twin learns it from the same pairs, so that both add the same within 50 um: they
    are read from TELEMETRY, which tells before the observer has seen the sample that they are of.
    When the measurements end, what is known stays, and the offset that followed the last of them
    goes."""
    card = tendon.card
    session, model = (open_session("sil", read_build(tendon.firmware)) for _ in range(2))
    horizon, rest = session.info.horizon, card.robot.output_rest
    wanted = reference_curve(Experiment(), card).values(np.arange(3200) / card.rate_hz)
    session.arm(card.robot.command_neutral, rest, wanted[:horizon].tolist(), adapts=True)
    model.arm(card.robot.command_neutral, rest)
    twin = Adaptation.of(card)
    network, still, seen = np.array(rest), np.array(card.signal_offset), []

    def step(k: int) -> np.ndarray:
        nonlocal network
        told = session.sample(k, still, wanted[k + horizon])
        network = np.array(model.observe(k, still, told.command).predicted)
        return np.array(told.predicted)

    for k in range(2400):
        measured = of_the_day(card, OTHER_DAY, network)
        seen.append(network)
        session.measurement(k, measured)
        twin.update(card.normalised_output(network), card.normalised_output(measured))
        step(k)
    learned = session.adaptation()
    for y in seen[::100]:
        as_told = card.outputs(twin.output(card.normalised_output(y)))
        np.testing.assert_allclose(of_the_day(card, learned, y), as_told, atol=5e-5)
    assert learned.believed == twin.believed == 2400 - 30  # it looks on before it learns
    assert learned.gain_ignorance.min() < 0.1
    for k in range(2400, 3000):
        predicted, known = step(k), of_the_day(card, learned, network)
        assert k < 2900 or np.abs(predicted - known).max() < 2e-5
    np.testing.assert_allclose(known, of_the_day(card, OTHER_DAY, network), atol=3e-4)


def test_on_a_robot_whose_gain_is_off_a_calibration_pays(tendon):
    """The quick model errs by some mm itself, so that only what the gain does is asked for."""
    card = tendon.card
    curve = {s: reference_curve(Experiment(reference=s), card) for s in ("pringle", "swirl")}
    curve["figure_eight"] = reference_curve(Experiment(), card)
    motions = [curve[name] for name in CALIBRATION_SHAPES]

    def error_mm(calibrate_s: float) -> float:
        firmware = Firmware(tendon.firmware, card, calibrate_s=calibrate_s)
        length_s, rate_hz = calibrate_s + 8.0, card.rate_hz
        samples = round(length_s * rate_hz) + firmware.preview + 1
        wanted = curve["pringle"]
        if calibrate_s:
            wanted = after_calibration(wanted, motions, calibrate_s, rate_hz, samples)
        trace = run(make_rig("tendon", gain=0.8), firmware, wanted.values, rate_hz, length_s)
        firmware.close()
        return rmse_mm(trace, calibrate_s + SETTLE_S)

    assert error_mm(12.0) < 0.8 * error_mm(0.0)


def rmse_mm(trace: Trace, from_s: float) -> float:
    error = np.linalg.norm(trace.outputs - trace.reference, axis=1)[trace.t_s >= from_s]
    return 1e3 * float(np.sqrt(np.mean(error**2)))


# ------------------------------------------------------------------ the file


def test_what_was_learned_is_read_as_it_was_written(tmp_path):
    write_learned(tmp_path / LEARNED_FILE, OTHER_DAY, NAMES, "abc")
    for path in (tmp_path, tmp_path / LEARNED_FILE):
        found = read_learned(path, NAMES, "abc")
        np.testing.assert_array_equal(found.gain, OTHER_DAY.gain)
        np.testing.assert_array_equal(found.offset, OTHER_DAY.offset)
        assert (found.believed, found.doubted) == (12, 0)


def drop_a_row(found: dict) -> None:
    del found["gain"][1]


def infinite(found: dict) -> None:
    found["offset"][0] = float("inf")


@pytest.mark.parametrize(
    ("change", "names", "model", "why"),
    [
        (None, ("x", "y"), "abc", "is of x, y, z, the robot has x, y"),
        (None, NAMES, "abd", "was learned with model abc, this one is abd: calibrate anew"),
        (drop_a_row, NAMES, "abc", "gain, offset and curve are not of 3 outputs"),
        (infinite, NAMES, "abc", "offset"),
        (lambda found: found.pop("doubted"), NAMES, "abc", "doubted"),
    ],
)
def test_what_was_learned_of_another_robot_is_refused(
    tmp_path, change: Callable | None, names, model, why
):
    path = tmp_path / LEARNED_FILE
    write_learned(path, OTHER_DAY, NAMES, "abc")
    if change:
        found = json.loads(path.read_text())
        change(found)
        path.write_text(json.dumps(found))
    with pytest.raises(ValueError, match=why) as refused:
        read_learned(path, names, model)
    assert str(path) in str(refused.value) and "\n" not in str(refused.value)


def test_what_is_not_there_is_named(tmp_path):
    with pytest.raises(ValueError, match="adaptation.json is not there: a run with --calibrate-s"):
        read_learned(tmp_path, NAMES, "abc")
    (tmp_path / LEARNED_FILE).write_bytes(b"\xff{")
    with pytest.raises(ValueError, match=LEARNED_FILE):
        read_learned(tmp_path, NAMES, "abc")


# ------------------------------------------------------------------ before and in a run


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"controller": "pid", "calibrate_s": 5.0}, "--calibrate-s is of the firmware's own"),
        ({"controller": "pid", "adaptation": "x"}, "--adaptation is of the firmware's own"),
        ({"adaptation": "nowhere"}, "nowhere is not there"),
        ({"calibrate_s": 900.0}, "samples: at most 100,000 can be told"),
    ],
)
def test_a_run_that_cannot_learn_is_refused_before_it_starts(tendon, tmp_path, asked, why):
    experiment = Experiment(
        model=tendon.model, firmware=tendon.firmware, target="sil", out=tmp_path / "run", **asked
    )
    with pytest.raises(ValueError, match=why):
        check(experiment)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("wiring", ["host", "mcu"])
def test_a_run_learns_and_the_next_one_begins_with_it(tendon, tmp_path, wiring):
    pytest.importorskip("rclpy", reason="needs soft_control[ros]")
    from soft_control.experiment.attended import watch
    from soft_control.experiment.bringup import prepare

    common = {"model": tendon.model, "firmware": tendon.firmware, "target": "sil", "wiring": wiring}

    def go(name: str, **asked: object) -> dict:
        experiment = Experiment(**common, out=tmp_path / name, **asked)
        watch(prepare(experiment), experiment.out, lambda view: None)
        return read_summary(experiment.out)

    first = go("first", calibrate_s=6.0, duration_s=4.0)
    assert first["samples"] == 1200 and first["complete"] and first["errors"]
    record = read_record(tmp_path / "first")
    assert (record.calibrate_s, record.settled_s) == (6.0, 8.0) and not record.sees_position
    learned = read_learned(tmp_path / "first", tendon.card.output_names, tendon.card.model_hash)
    assert learned.believed == 6 * 120 - 30 and learned.gain_ignorance.max() < 1.0
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(learned.gain, np.eye(3), atol=1e-3)

    plain = go("plain", duration_s=3.0)
    knowing = go("knowing", duration_s=3.0, adaptation=str(tmp_path / "first"))
    assert plain["commands_sha256"] != knowing["commands_sha256"]
    assert not (tmp_path / "knowing" / LEARNED_FILE).exists()  # it was told nothing new
