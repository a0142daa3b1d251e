from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

from soft_control.learning.dataset import (
    Recording,
    RecordingError,
    RecordingWarning,
    live_signals,
    read_recording,
    resample,
    windows,
)

HEADER = "t_s,u0_deg,u1_deg,lace_00,lace_01,x_m,y_m,z_m"
ROWS = [
    "0.00,0,10,0.5,0,0.001,0.002,0.003",
    "0.01,1,20,0.6,0,0.002,0.003,0.004",
    "0.02,2,30,0.7,0,0.003,0.004,0.005",
    "0.03,3,40,0.8,0,0.004,0.005,0.006",
]


def recording(samples: int = 30, rate_hz: float = 100.0, **changes) -> Recording:
    rng = np.random.default_rng(0)
    fields = {
        "source": "run",
        "t_s": np.arange(samples) / rate_hz,
        "commands": rng.normal(size=(samples, 2)),
        "position": rng.normal(size=(samples, 3)),
        "signals": rng.normal(size=(samples, 2)),
        "reference": None,
        "command_names": ("servo_0", "servo_1"),
        "signal_names": ("lace_00", "lace_01"),
    }
    return Recording(**(fields | changes))


def written(folder: Path, *rows: str, header: str = HEADER) -> Path:
    path = folder / "run.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


# ------------------------------------------------------------------------------------------ CSV


def test_csv_becomes_a_recording_in_si(tmp_path):
    run = read_recording(written(tmp_path, *ROWS))
    assert run.source == "run"
    assert run.command_names == ("servo_0", "servo_1")
    assert run.signal_names == ("lace_00", "lace_01")
    assert run.reference is None
    np.testing.assert_allclose(run.commands[1], np.radians([1, 20]))
    np.testing.assert_allclose(run.position[2], [0.003, 0.004, 0.005])
    np.testing.assert_allclose(run.signals[3], [0.8, 0])


def test_csv_has_a_reference_if_all_three_columns_are_there(tmp_path):
    header = HEADER + ",ref_x_m,ref_y_m,ref_z_m"
    rows = [f"{row},7,8,{k}" for k, row in enumerate(ROWS)]
    run = read_recording(written(tmp_path, *rows, header=header))
    np.testing.assert_allclose(run.reference[2], [7, 8, 2])


@pytest.mark.parametrize("bad", ["0.015,1,,0.6,0,1,2,3", "0.015,1,2,0.6,0,nan,2,3", ",,,,,,,", ""])
def test_rows_with_nan_or_blanks_are_left_out_with_their_number(tmp_path, bad):
    path = written(tmp_path, *ROWS[:2], bad, *ROWS[2:])
    with pytest.warns(RecordingWarning, match=r"run\.csv: .*row 4"):
        run = read_recording(path)
    assert len(run) == 4


def test_many_bad_rows_are_counted_not_listed(tmp_path):
    path = written(tmp_path, *ROWS, *([",,,,,,,"] * 20))
    with pytest.warns(RecordingWarning, match="row 6, row 7, .* and 15 more"):
        read_recording(path)


def test_repeated_stamps_are_left_out_with_their_number(tmp_path):
    path = written(tmp_path, *ROWS[:2], "0.01,9,9,9,9,9,9,9", *ROWS[2:])
    with pytest.warns(RecordingWarning, match=r"run\.csv: .*row 4"):
        run = read_recording(path)
    np.testing.assert_allclose(run.commands[1], np.radians([1, 20]))
    assert len(run) == 4


@pytest.mark.parametrize(
    ("header", "rows", "message"),
    [
        (HEADER.replace("y_m", "why"), ROWS, r"run\.csv: missing column y_m"),
        (HEADER.replace("u0_deg", "a").replace("u1_deg", "b"), ROWS, "missing column u0_deg"),
        (HEADER, [], "no rows"),
        (HEADER, ROWS[:1], "at least 2"),
        (HEADER, [ROWS[0], "0.01,1,2"], "row 3 has 3 fields, the header has 8"),
        (HEADER, [ROWS[0], "0.01,1,two,0,0,1,2,3"], "row 3, column u1_deg: not a number: 'two'"),
        (HEADER, [ROWS[1], ROWS[0]], r"row 3: time goes back from 0\.01 to 0\.0 s"),
    ],
)
def test_what_cannot_be_used_is_an_error_that_says_where(tmp_path, header, rows, message):
    with pytest.raises(RecordingError, match=message):
        read_recording(written(tmp_path, *rows, header=header))


def test_empty_missing_and_foreign_files_are_errors(tmp_path):
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "binary.csv").write_bytes(b"\x89PNG\r\n\x1a\n\xff\xfe")
    (tmp_path / "notes.txt").write_text("hello")
    for name, message in (
        ("empty.csv", "empty file"),
        ("binary.csv", "not a text file"),
        ("notes.txt", "neither a .csv file nor a rosbag2 directory"),
        ("nowhere.csv", "no such file"),
        (".", "no metadata.yaml"),
    ):
        with pytest.raises(RecordingError, match=message):
            read_recording(tmp_path / name)


def test_unequal_lengths_are_an_error():
    with pytest.raises(RecordingError, match="run: unequal lengths: t_s 30, commands 29"):
        recording(commands=np.zeros((29, 2)))


def test_recorded_runs_are_read_without_a_warning(shared_data):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        runs = [read_recording(path) for path in sorted((shared_data / "tendon_rig").glob("*.csv"))]
    assert [len(run) for run in runs] == [1000] + [2000] * 7 + [5000] * 2


# ---------------------------------------------------------------------------------------- rosbag2


def write_bag(path: Path, samples: int, lost: dict[str, int], nan_at: int | None = None) -> None:
    """A bag as the logger writes it; of each topic in `lost` that sample is missing."""
    from rosbags.rosbag2 import StoragePlugin, Writer
    from rosbags.typesys import Stores, get_typestore

    store = get_typestore(Stores.ROS2_KILTED)
    types = store.types
    point, point_stamped = types["geometry_msgs/msg/Point"], types["geometry_msgs/msg/PointStamped"]
    joints, header = types["sensor_msgs/msg/JointState"], types["std_msgs/msg/Header"]
    path_type = types["nav_msgs/msg/Path"]
    pose, pose_stamped = types["geometry_msgs/msg/Pose"], types["geometry_msgs/msg/PoseStamped"]
    still = types["geometry_msgs/msg/Quaternion"](x=0.0, y=0.0, z=0.0, w=1.0)

    def joint_state(head, names, values):
        values = np.array(values, dtype=float)
        none = np.zeros(0)
        return joints(header=head, name=names, position=values, velocity=none, effort=none)

    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connections = {
            topic: writer.add_connection(topic, kind, typestore=store)
            for topic, kind in (
                ("/tip_position", point_stamped.__msgtype__),
                ("/command", joints.__msgtype__),
                ("/signals/calibrated", joints.__msgtype__),
                ("/reference", path_type.__msgtype__),
            )
        }
        for k in range(samples):
            stamp_ns = 5 * 10**9 + round(k * 1e9 / 120)
            time = types["builtin_interfaces/msg/Time"](
                sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9
            )
            head = header(stamp=time, frame_id="rig_base")
            x = np.nan if k == nan_at else 0.001 * k
            where = pose(position=point(x=7.0, y=8.0, z=float(k)), orientation=still)
            messages = {
                "/tip_position": point_stamped(header=head, point=point(x=x, y=0.0, z=1.0)),
                "/command": joint_state(head, ["servo_0", "servo_1"], [k, -k]),
                "/signals/calibrated": joint_state(head, ["lace_00"], [0.1 * k]),
                "/reference": path_type(header=head, poses=[pose_stamped(header=head, pose=where)]),
            }
            for topic, message in messages.items():
                if lost.get(topic) != k:
                    raw = store.serialize_cdr(message, message.__msgtype__)
                    writer.write(connections[topic], stamp_ns + 1000, raw)


def test_bag_topics_are_joined_by_stamp(tmp_path):
    write_bag(tmp_path / "bag", 10, lost={})
    run = read_recording(tmp_path / "bag")
    k = np.arange(10)
    assert run.on_grid(120.0)
    np.testing.assert_allclose(run.commands, np.column_stack([k, -k]))
    np.testing.assert_allclose(run.position[:, 0], 0.001 * k)
    np.testing.assert_allclose(run.signals[:, 0], 0.1 * k)
    np.testing.assert_allclose(run.reference[:, 2], k)
    assert (run.command_names, run.signal_names) == (("servo_0", "servo_1"), ("lace_00",))


def test_bag_samples_that_lack_a_topic_are_left_out(tmp_path):
    write_bag(tmp_path / "bag", 10, lost={"/command": 4, "/tip_position": 6}, nan_at=8)
    with pytest.warns(RecordingWarning) as caught:
        run = read_recording(tmp_path / "bag")
    np.testing.assert_allclose(run.commands[:, 0], [0, 1, 2, 3, 5, 7, 9])
    text = "\n".join(str(warning.message) for warning in caught)
    assert "2 samples lack a message" in text
    assert "not finite" in text


def test_a_broken_bag_is_an_error(tmp_path):
    write_bag(tmp_path / "bag", 10, lost={})
    storage = next((tmp_path / "bag").glob("*.mcap"))
    storage.write_bytes(storage.read_bytes()[:100])
    with pytest.raises(RecordingError, match="bag: unreadable bag"):
        read_recording(tmp_path / "bag")


def test_a_bag_without_commands_is_an_error(tmp_path):
    write_bag(tmp_path / "bag", 1, lost={"/command": 0})
    with pytest.raises(RecordingError, match="no message on /command"):
        read_recording(tmp_path / "bag")


# ------------------------------------------------------------------------------- grid and windows


def test_a_recording_on_the_grid_is_not_touched():
    run = recording()
    assert resample(run, 100.0) is run


def test_resampling_holds_commands_and_interpolates_positions():
    irregular = np.array([3.0, 3.004, 3.011, 3.029])
    run = recording(4, t_s=irregular)
    on_grid = resample(run, 100.0)
    np.testing.assert_allclose(on_grid.t_s, [3.0, 3.01, 3.02])
    np.testing.assert_array_equal(on_grid.commands, run.commands[[0, 1, 2]])
    np.testing.assert_array_equal(on_grid.signals, run.signals[[0, 1, 2]])
    np.testing.assert_allclose(on_grid.position[1], (run.position[1] + 6 * run.position[2]) / 7)


def test_a_dropped_sample_is_bridged():
    run = recording(10)
    kept = np.delete(np.arange(10), 4)
    gap = recording(9, t_s=run.t_s[kept], position=run.position[kept], commands=run.commands[kept])
    bridged = resample(gap, 100.0)
    assert len(bridged) == 10
    np.testing.assert_allclose(bridged.position[4], (run.position[3] + run.position[5]) / 2)
    np.testing.assert_array_equal(bridged.commands[4], run.commands[3])


@pytest.mark.parametrize(("nd", "dd", "d"), [(1, 1, 0), (3, 3, 5), (2, 4, 0), (4, 1, 2)])
def test_windows_are_those_of_the_obvious_loop(nd, dd, d):
    run = recording()
    x, y, newest = windows(run, nd, dd, d, ["lace_01"])
    rows, labels = [], []
    for k in range(len(run) - 1):
        if k - d - nd + 1 < 0 or k - dd + 1 < 0:
            continue
        row = [run.commands[k - d - lag] for lag in range(nd)]
        row += [run.position[k - lag] for lag in range(dd)]
        row += [run.signals[k, 1:]]
        rows.append(np.concatenate(row))
        labels.append(run.position[k + 1])
        assert k == newest[len(rows) - 1]
    np.testing.assert_array_equal(x, rows)
    np.testing.assert_array_equal(y, labels)


def test_too_short_a_recording_has_no_window():
    with pytest.raises(RecordingError, match="run: 8 samples are too few"):
        windows(recording(8), 3, 3, 5)


def test_a_signal_that_is_not_there_is_named():
    with pytest.raises(RecordingError, match="run: no signal lace_07"):
        windows(recording(), 1, 1, 0, ["lace_07"])


def test_live_signals_vary_in_every_run():
    still = np.column_stack([np.arange(30.0), np.ones(30)])
    first, second = recording(), recording(source="second", signals=still)
    assert live_signals([first]) == ["lace_00", "lace_01"]
    with pytest.warns(RecordingWarning, match="second: constant, left out: signal lace_01"):
        assert live_signals([first, second]) == ["lace_00"]
