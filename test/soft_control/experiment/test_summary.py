"""What a run came to, measured on runs whose errors are known."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from soft_control.experiment import summary
from soft_control.experiment.record import RECORD_FILE, read_record
from soft_control.experiment.summary import errors, measure, read_run, summarise
from soft_control.learning.dataset import RecordingError
from soft_control.robots.description import tip


def test_errors_are_of_each_point_and_output_in_its_own_unit(run_dir):
    """The tip is 3 mm and 4 mm off in its plane, the force 0.5 N; nothing else moves."""
    run = read_run(run_dir(off=(3e-3, -4e-3, 0.5)))
    tip_error, force = errors(run)
    assert (tip_error.of, tip_error.unit) == ("tip", "mm")
    assert tip_error.rmse == pytest.approx(5.0) and tip_error.max == pytest.approx(5.0)
    assert (force.of, force.unit) == ("push", "N")
    assert force.rmse == force.p95 == pytest.approx(0.5)
    # A line is followed, so the path error is the distance across it: 5 mm less the part along it.
    along = np.array([2.0, 1.0]) / math.sqrt(5.0)
    across = math.sqrt(25.0 - (np.array([3.0, -4.0]) @ along) ** 2)
    assert tip_error.path_rmse == pytest.approx(
        across, rel=0.02
    )  # the curve's points are 1 % apart


def test_the_summary_names_mm_and_keeps_the_rest(run_dir, record):
    folder = run_dir(off=(3e-3, -4e-3, 0.5))
    found = summarise(folder)
    assert json.loads((folder / "summary.json").read_text()) == found
    assert found["rmse_mm"] == pytest.approx(5.0)
    assert [e["unit"] for e in found["errors"]] == ["mm", "N"]
    assert (found["rig"], found["samples"], found["complete"]) == ("arm", 80, True)
    assert found["commands_outside_bounds"] > 0  # `left` goes below 0, its lower limit


def test_a_robot_that_is_not_measured_in_mm_has_no_error_in_mm(run_dir, record, robot, diagonal):
    force = robot(outputs=tip(unit="Pa", display_unit="kPa", axes="x"))
    curve = diagonal(x=5e3)
    run = read_run(run_dir(off=(2e3,), given=record(robot=force, curve=curve)))
    found = measure(run)
    assert found["rmse_mm"] is None
    assert found["errors"][0]["rmse"] == pytest.approx(2.0)  # kPa


def test_a_run_too_short_has_no_errors(run_dir):
    found = measure(read_run(run_dir(samples=30)))
    assert found["errors"] == [] and found["rmse_mm"] is None and not found["complete"]


MCU = {"state": "running", "cause": "none", "missed_samples": 2, "telemetry_lost": 20}


def in_three_parts(cut_from: int, cut_to: int, samples: int = 80) -> np.ndarray:
    """(T, n) the tip is 3 mm off before the cut, 6 mm in it, 1 mm after it."""
    k = np.arange(samples)
    x = np.where(k < cut_from, 3e-3, np.where(k < cut_to, 6e-3, 1e-3))
    return np.column_stack([x, 0 * x, 0 * x])


def test_errors_before_during_and_after_a_cut(run_dir, record):
    """The bag has nothing of 20 samples but where the robot was; that is known all the same."""
    cut = record(wiring="mcu", cut="1@2.5")
    folder = run_dir(off=in_three_parts(50, 70), given=cut, unheard=range(50, 70), mcu=MCU)
    run = read_run(folder)
    found = measure(run)
    assert found["cut_rmse"]["tip"] == pytest.approx({"before": 3.0, "during": 6.0, "after": 1.0})
    assert found["cut_rmse"]["push"] == pytest.approx({"before": 0, "during": 0, "after": 0})
    assert run.heard.tolist() == [k not in range(50, 70) for k in range(80)]
    assert run.unanswered == 0 and run.reference[60] == pytest.approx(
        run.outputs[60] - [6e-3, 0, 0]
    )
    assert np.isnan(run.commands[50:70]).all() and not np.isnan(run.commands[70:]).any()
    assert (found["samples"], found["complete"], found["duration_s"]) == (60, True, 4.0)
    # Of 40 samples after 2 s, 10, 20 and 10 in each part.
    assert found["rmse_mm"] == pytest.approx(math.sqrt((10 * 9.0 + 20 * 36.0 + 10 * 1.0) / 40))
    assert found["max_mm"] == pytest.approx(6.0)
    assert (found["cut"], found["wiring"], found["deadline_misses"]) == ("1@2.5", "mcu", 2)
    assert found["mcu"] == MCU
    assert json.loads(json.dumps(found)) == found


def test_a_cut_counts_from_when_errors_count(run_dir, record):
    cut = record(wiring="mcu", cut="1@0.5")
    found = measure(read_run(run_dir(off=in_three_parts(10, 30), given=cut, mcu=MCU)))
    assert found["cut_rmse"]["tip"] == {
        "before": None,
        "during": None,
        "after": pytest.approx(1.0),
    }
    assert (found["rmse_mm"], found["max_mm"]) == pytest.approx((1.0, 1.0))
    across = record(wiring="mcu", cut="2@0.5")
    found = measure(read_run(run_dir("across", in_three_parts(10, 50), across, mcu=MCU)))
    parts = {"before": None, "during": pytest.approx(6.0), "after": pytest.approx(1.0)}
    assert found["cut_rmse"]["tip"] == parts
    assert found["rmse_mm"] == pytest.approx(math.sqrt((10 * 36.0 + 30 * 1.0) / 40))


def test_a_run_without_a_cut_has_none(run_dir, record):
    host = measure(read_run(run_dir()))
    assert (host["wiring"], host["cut"], host["cut_rmse"], host["mcu"]) == ("host", "", {}, {})
    missed = measure(read_run(run_dir("host", unheard=range(50, 70))))
    assert (missed["samples"], missed["complete"]) == (60, False)  # nobody else went on
    alone = measure(read_run(run_dir("mcu", given=record(wiring="mcu"), unheard=range(0, 80, 2))))
    assert (alone["cut_rmse"], alone["samples"], alone["complete"]) == ({}, 40, True)
    assert (alone["mcu"], alone["deadline_misses"]) == ({}, 0)  # it was not asked any more


def test_a_robot_that_was_stopped_is_as_far_off_as_it_stands(run_dir, record, diagonal):
    """It stays where it is, and so does the reference that it tells; the curve goes on."""
    given = record(wiring="mcu", curve=diagonal(x=0.02, z=0.0, push=0.0))
    t_s = np.arange(80) / 20.0
    x = 0.02 * np.sin(t_s)
    off = np.zeros((80, 3))
    off[60:, 0] = x[60] - x[60:]
    run = read_run(run_dir(off=off, given=given, stopped=60, mcu=MCU))
    assert run.outputs[60:, 0] == pytest.approx(x[60])
    settled = 1e3 * (run.outputs[40:, 0] - x[40:])
    assert measure(run)["rmse_mm"] == pytest.approx(np.sqrt(np.mean(settled**2)))
    assert measure(run)["max_mm"] == pytest.approx(settled.max()) and settled.max() > 10.0


def test_what_the_microcontroller_does_after_the_rig_has_ended_is_no_part_of_the_run(
    run_dir, record
):
    for clock, kept in (("lockstep", 80), ("realtime", 81)):
        mcu = record(wiring="mcu", clock=clock)
        run = read_run(run_dir(clock, given=mcu, late=25, mcu=MCU))
        assert len(run.t_s) == kept and run.heard.all(), clock
    run = read_run(run_dir("host", given=record(), late=25))
    assert len(run.t_s) == 105


def test_in_realtime_the_microcontroller_has_stamps_of_its_own(run_dir, record):
    """A PID at its gate follows a reference that has those of the tracker."""
    given = record(wiring="mcu", clock="realtime", controller="pid", title="PID")
    run = read_run(run_dir(off=(3e-3, -4e-3, 0.5), given=given, shift_ns=3_000_000, mcu=MCU))
    found = measure(run)
    assert (found["samples"], found["complete"]) == (80, True)
    # Outputs and reference are taken at one instant, between two of the tracker's: both in straight
    # lines, but after its last one.
    assert found["rmse_mm"] == pytest.approx(5.0) and found["errors"][1]["rmse"] == pytest.approx(
        0.5
    )
    between = (run.reference[10] - run.record.curve.values(10 / 20.0)[0]).tolist()
    step = (run.record.curve.values(11 / 20.0) - run.record.curve.values(10 / 20.0))[0]
    assert between == pytest.approx((0.003 * 20.0 * step).tolist())
    with pytest.raises(RecordingError, match="ends before the first sample was answered"):
        read_run(run_dir("host", given=record(clock="realtime"), shift_ns=3_000_000))


def test_commands_that_are_not_the_robots_are_refused(run_dir):
    with pytest.raises(RecordingError, match="/command has c0, c1, c2, but arm has left, right"):
        read_run(run_dir(commands=3))


HOSTILE = [
    "",
    "[",
    "[]",
    "null",
    "3",
    '"x"',
    "{}",
    "[" * 100_000,
    '{"robot": 1}',
    '{"robot": {"name": "a"}, "rate_hz": NaN}',
]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_record_is_one_line(tmp_path, text: str):
    (tmp_path / RECORD_FILE).write_text(text)
    with pytest.raises(RecordingError) as refused:
        read_record(tmp_path)
    assert "\n" not in str(refused.value) and RECORD_FILE in str(refused.value)


CURVE = dict(outputs=["x"], shape="fixed", amplitude=[0], centre=[0], component=[0], angular_rate=1)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("curve", CURVE | {"amplitude": [0, 1]}),
        ("curve", {"outputs": ["x"], "t_s": [0, 0], "rows": [[1], [2]]}),
        ("rate_hz", 0),
        ("rate_hz", math.inf),
        ("rate_hz", "fast"),
        ("clock", "sundial"),
        ("curve", {"shape": "diagonal", "outputs": ["x"]}),
        ("curve", 3),
        ("curve", CURVE | {"shape": "spiral\n"}),
        ("build", {"flash_bytes": "many"}),
        ("sees_position", "perhaps"),
        ("more", 1),
    ],
)
def test_a_record_with_a_wrong_value_names_it(run_dir, key: str, value: object):
    folder = run_dir()
    values = json.loads((folder / RECORD_FILE).read_text()) | {key: value}
    (folder / RECORD_FILE).write_text(json.dumps(values))
    with pytest.raises(RecordingError, match=f"{RECORD_FILE}: {key}") as refused:
        read_run(folder)
    assert "\n" not in str(refused.value)


def test_a_record_of_an_older_version_says_so(tmp_path):
    (tmp_path / RECORD_FILE).write_text('{"rig": "tendon"}')
    with pytest.raises(RecordingError, match="does not describe its robot: make the run again"):
        read_record(tmp_path)
    curve = {"shape": "diagonal", "amplitude_x": 1.0}
    (tmp_path / RECORD_FILE).write_text(json.dumps({"robot": {}, "curve": curve}))
    with pytest.raises(RecordingError, match="curve is not of outputs by name: make the run again"):
        read_record(tmp_path)
    with pytest.raises(RecordingError, match="is no run"):
        read_record(tmp_path / "none")


def test_a_bag_of_an_older_version_says_so(run_dir, record, monkeypatch):
    folder = run_dir(given=record(curve=None, reference=None))
    tips = {0: None}
    monkeypatch.setattr(
        summary, "read_topics", lambda path, names: ({"/tip_position": tips, "/command": {}}, {})
    )
    with pytest.raises(RecordingError, match="has /tip_position and no /outputs: make the run"):
        read_run(folder)
