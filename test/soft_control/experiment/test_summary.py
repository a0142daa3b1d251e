"""What a run came to, measured on runs whose errors are known."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from soft_control.experiment import run_samples
from soft_control.experiment.record import RECORD_FILE, read_record, write_record
from soft_control.experiment.run_samples import read_blocks, read_run
from soft_control.experiment.summary import (
    error_figures,
    figures,
    finish,
    measure,
    summarise,
)
from soft_control.experiment.tracking_error import TrackingError
from soft_control.learning.dataset import RecordingError, RecordingWarning
from soft_control.robots.description import tip
from soft_control.topics import FIRST_NS


def test_errors_are_of_each_point_and_output_in_its_own_unit(run_dir):
    """The tip is 3 mm and 4 mm off in its plane, the force 0.5 N; nothing else moves."""
    run = read_run(run_dir(off=(3e-3, -4e-3, 0.5)))
    tip_error, force = figures([run]).errors()
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
    assert len(run.seen.t_s) == 80 and run.reference[60] == pytest.approx(
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
    with pytest.raises(
        RecordingError,
        match="/command: 3 values whose names are c0, c1, c2; wanted left, right of the robot arm",
    ):
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
    tip = [("/tip_position", "geometry_msgs/msg/PointStamped", 0, b"")]
    monkeypatch.setattr(run_samples, "messages", lambda *arguments: iter(tip))
    with pytest.raises(RecordingError, match="has /tip_position and no /outputs: make the run"):
        read_run(folder)


# ------------------------------------------------------------------------------------ part by part


@pytest.mark.parametrize("kind", ["lockstep", "cut", "mcu", "stopped", "realtime"])
def test_a_run_in_parts_has_the_figures_of_the_whole(run_dir, record, kind: str, monkeypatch):
    """Parts of half a second, with a margin of half a second; the cut is longer than both."""
    monkeypatch.setattr(run_samples, "MARGIN_NS", 5 * 10**8)
    rng = np.random.default_rng(0)
    off = rng.standard_normal((200, 3)) * [3e-3, 1e-3, 0.5]
    given = {
        "lockstep": dict(),
        "cut": dict(wiring="mcu", cut="3@4"),
        "mcu": dict(wiring="mcu", clock="realtime"),
        "stopped": dict(wiring="mcu"),
        "realtime": dict(clock="realtime", rate_hz=20.0),
    }[kind]
    options = {
        "cut": dict(unheard=range(80, 140), mcu=MCU),
        "mcu": dict(shift_ns=3_000_000, late=15, mcu=MCU),
        "stopped": dict(stopped=150, mcu=MCU),
    }.get(kind, {})
    given = record(duration_s=10.0, **given)
    folder = run_dir(off=off, given=given, samples=200, **options)
    parts = list(read_blocks(folder, block_ns=5 * 10**8))
    whole = read_run(folder)
    assert len(parts) > 15
    for name in ("t_s", "outputs", "reference", "commands", "predicted"):
        joined = np.concatenate([getattr(part, name) for part in parts])
        np.testing.assert_array_equal(joined, getattr(whole, name), err_msg=name)
    for name in ("t_s", "outputs", "reference"):
        joined = np.concatenate([getattr(part.seen, name) for part in parts])
        np.testing.assert_array_equal(joined, getattr(whole.seen, name), err_msg=name)
    assert sum((part.solver for part in parts), []) == whole.solver
    assert figures(parts).summary() == measure(whole)
    assert measure(whole)["complete"]


def test_of_a_run_in_parts_no_more_is_kept_than_a_part(run_dir, record, monkeypatch):
    kept = []
    forget = run_samples._Topic.forget

    def spy(topic, before_ns: int) -> None:
        forget(topic, before_ns)
        kept.append(len(topic.stamps))

    monkeypatch.setattr(run_samples, "MARGIN_NS", 5 * 10**8)
    monkeypatch.setattr(run_samples._Topic, "forget", spy)
    folder = run_dir(samples=2000, given=record(duration_s=100.0))
    assert len(list(read_blocks(folder, block_ns=10**9))) > 90
    assert 0 < max(kept) <= 32  # 20 a second: a margin before the part, one after it, and some


def test_a_clock_that_was_set_forward_is_no_million_of_parts(run_dir, record, monkeypatch):
    monkeypatch.setattr(run_samples, "MARGIN_NS", 5 * 10**8)
    leap_ns = 10**17  # three years

    def leaping(*arguments):
        for number, (name, kind, when_ns, raw) in enumerate(run_samples.bag_messages(*arguments)):
            if number > 200:
                seconds = int.from_bytes(raw[4:8], "little") + leap_ns // 10**9
                raw = raw[:4] + seconds.to_bytes(4, "little") + raw[8:]
            yield name, kind, when_ns, raw

    folder = run_dir(given=record(clock="realtime"))
    monkeypatch.setattr(run_samples, "bag_messages", run_samples.messages, raising=False)
    monkeypatch.setattr(run_samples, "messages", leaping)
    assert 0 < len(list(read_blocks(folder, block_ns=10**9))) < 10


def test_a_clock_that_was_set_back_is_said_and_ends_nothing(run_dir, monkeypatch):
    def back(*arguments):
        for number, (name, kind, when_ns, raw) in enumerate(run_samples.bag_messages(*arguments)):
            if number > 100:
                seconds = int.from_bytes(raw[4:8], "little") - 1000
                raw = raw[:4] + seconds.to_bytes(4, "little") + raw[8:]
            yield name, kind, when_ns, raw

    folder = run_dir()
    monkeypatch.setattr(run_samples, "bag_messages", run_samples.messages, raising=False)
    monkeypatch.setattr(run_samples, "messages", back)
    with pytest.warns(RecordingWarning, match="no summary.json: .*the stamp goes back"):
        assert finish(folder) is None


def test_what_nobody_was_told_of_is_counted(run_dir, record):
    """By what was measured; where nobody measures, by what the nodes have counted at the end."""
    returns = {
        "lightlace": {"rate_hz": 20.0, "reconnections": 2, "lost": 6},
        "mcu": {"rearmed": 4, "reconnections": 0, "lost_samples": 10},
        "analogue": {"reconnections": 0, "lost": 2},
    }
    realtime = record(clock="realtime")
    found = summarise(run_dir("seen", unheard=range(20, 50), given=realtime, statistics=returns))
    assert (found["samples"], found["lost_samples"]) == (50, 30)
    del returns["lightlace"]["rate_hz"]
    assert found["returns"] == returns
    unmeasured = record(clock="realtime", measured=False, sim=False)
    found = summarise(run_dir("blind", given=unmeasured, statistics=returns))
    assert found["lost_samples"] == 12
    found = summarise(run_dir("lockstep", statistics=returns))
    assert found["returns"] == {} and found["lost_samples"] == 0


def test_a_run_without_a_bag_has_no_summary(tmp_path, record):
    write_record(tmp_path, record())
    with pytest.warns(RecordingWarning, match="no summary.json: .*not a finished rosbag2"):
        assert finish(tmp_path) is None
    assert not (tmp_path / "summary.json").exists()


def test_in_realtime_the_clocks_need_not_count_alike(run_dir, record):
    """The microcontroller's timer was three samples slower than the rig; nothing is missing."""
    given = record(wiring="mcu", clock="realtime")
    found = measure(read_run(run_dir(given=given, unheard=range(0, 3), mcu=MCU)))
    assert found["complete"] and found["samples"] == 77


def test_in_realtime_the_errors_are_those_of_the_tracking_error(run_dir, record):
    """A tracker of another rate than the host's controller, of whose references some are lost: the
    figures are those of what the logger published, by other code."""
    given = record(clock="realtime")
    off = np.random.default_rng(3).standard_normal((80, 3)) * [2e-3, 1e-3, 0.3]
    folder = run_dir(off=off, given=given, unheard=[*range(45, 50), 60], shift_ns=0)
    run, found = read_run(folder), measure(read_run(folder))
    robot = given.robot
    told = [k for k in range(80) if k not in (*range(45, 50), 60)]
    curve = given.curve.values(np.arange(80) / 20.0)
    tracking = TrackingError(robot.output_names, [o.point or "" for o in robot.outputs], 20.0)
    errors = {}
    for k in range(80):
        if k in told:
            errors |= dict(tracking.put_reference(FIRST_NS + k * 50_000_000, curve[k]))
        errors |= dict(tracking.put_outputs(FIRST_NS + k * 50_000_000, (curve + off)[k]))
    settled = [error for at, error in errors.items() if at >= FIRST_NS + 2 * 10**9]
    assert len(settled) == 35  # sample 60 is on the line between its neighbours, 45 to 49 on none
    for group, of in zip(robot.groups, found["errors"], strict=True):
        norm = group.factor * np.abs([e[tracking.names.index(group.name)] for e in settled])
        assert error_figures(norm) == pytest.approx([of["rmse"], of["p95"], of["max"]], rel=1e-12)
    assert np.flatnonzero(np.isnan(run.seen.reference[:, 0])).tolist() == [*range(45, 50)]
    assert found["complete"] and found["samples"] == 74
