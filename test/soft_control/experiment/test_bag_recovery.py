"""Bags of writers that were killed, at any byte, and what is left of them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rosbags.rosbag2 import Reader

from soft_control.experiment.bag_recovery import bag_in, recover
from soft_control.experiment.bag_writer import BagWriter
from soft_control.learning.cdr import JOINT_STATE, NamedVectorWriter
from soft_control.learning.recording import RecordingError
from soft_control.topics import FIRST_NS

FLUSHES, EACH = 6, 10
serialized = NamedVectorWriter(["x", "y"])


def write(writer: BagWriter, flushes: int = FLUSHES) -> None:
    """So many flushes of EACH messages on two topics, 10 ms apart."""
    topics = [writer.add_topic(name, JOINT_STATE) for name in ("/outputs", "/command")]
    for k in range(flushes * EACH):
        at = FIRST_NS + k * 10_000_000
        writer.write(topics[k % 2], at, serialized(at, [k, -k]))
        if k % EACH == EACH - 1:
            writer.flush()


def read(bag: Path) -> list[tuple[str, int, bytes]]:
    with Reader(bag) as reader:
        return [(c.topic, at, bytes(data)) for c, at, data in reader.messages()]


@pytest.fixture(scope="module")
def unfinished(tmp_path_factory) -> Path:
    """A bag as it is on the disk when its writer is killed after the last flush."""
    folder = tmp_path_factory.mktemp("unfinished") / "bag"
    writer = BagWriter(folder)
    write(writer)
    size = (folder / "bag.mcap").stat().st_size
    writer.close()
    (folder / "metadata.yaml").unlink()
    os.truncate(folder / "bag.mcap", size)
    return folder


@pytest.fixture(scope="module")
def all_messages(tmp_path_factory) -> list:
    folder = tmp_path_factory.mktemp("finished") / "bag"
    writer = BagWriter(folder)
    write(writer)
    writer.close()
    return read(folder)


def copy(unfinished: Path, to: Path) -> Path:
    shutil.rmtree(to, ignore_errors=True)
    return Path(shutil.copytree(unfinished, to))


def test_all_that_was_flushed_is_saved_and_the_file_stays(unfinished, all_messages, tmp_path):
    bag = copy(unfinished, tmp_path / "bag")
    before = (bag / "bag.mcap").read_bytes()
    found = recover(bag)
    assert read(bag) == all_messages and len(all_messages) == FLUSHES * EACH
    assert (found.messages, found.topics, found.lost_bytes) == (60, 2, 0)
    assert found.duration_s == pytest.approx(0.59)
    assert found.file == bag / "bag_recovered.mcap"
    assert (bag / "bag.mcap").read_bytes() == before
    assert sorted(p.name for p in bag.iterdir()) == [
        "bag.mcap", "bag_recovered.mcap", "metadata.yaml",
    ]  # fmt: skip
    # The library of the format's makers reads it by its index.
    from mcap.reader import make_reader

    with found.file.open("rb") as file:
        assert make_reader(file).get_summary().statistics.message_count == 60


def test_a_second_time_nothing_happens(unfinished, tmp_path):
    bag = copy(unfinished, tmp_path / "bag")
    recover(bag)
    files = {path: path.stat().st_mtime_ns for path in bag.iterdir()}
    again = recover(bag)
    assert (again.messages, again.file) == (60, None)
    assert files == {path: path.stat().st_mtime_ns for path in bag.iterdir()}


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(cut=st.integers(0, 10**6), tail=st.binary(max_size=40), zeros=st.integers(0, 50))
def test_cut_off_at_any_byte_the_whole_parts_are_saved(
    unfinished, all_messages, tmp_path, cut, tail, zeros
):
    """And what a disk leaves behind it: some bytes, or zeros."""
    bag = copy(unfinished, tmp_path / "bag")
    file = bag / "bag.mcap"
    whole = file.read_bytes()
    file.write_bytes(whole[: cut % len(whole)] + tail[:zeros] + bytes(zeros))
    torn = file.read_bytes()
    try:
        found = recover(bag)
    except RecordingError as refused:
        said = str(refused)
        assert "\n" not in said
        assert any(what in said for what in ("nothing to save", "no MCAP file", "damaged"))
        assert [p.name for p in bag.iterdir()] == ["bag.mcap"]
    else:
        kept = read(bag)
        assert kept == all_messages[: len(kept)] and len(kept) == found.messages
        assert len(kept) % EACH == 0
    assert file.read_bytes() == torn


def test_zeros_in_the_place_of_the_end_of_a_part_do_not_become_messages(
    unfinished, all_messages, tmp_path
):
    """A part is of the right length then: its checksum tells. All others are saved."""
    bag = copy(unfinished, tmp_path / "bag")
    file = bag / "bag.mcap"
    whole = file.read_bytes()
    end = whole.rindex(all_messages[-1][2]) + len(all_messages[-1][2])
    file.write_bytes(whole[: end - 40] + bytes(60))
    found = recover(bag)
    assert read(bag) == all_messages[:-EACH]
    assert found.lost_bytes > 1000


def test_a_part_that_is_damaged_before_the_last_is_no_torn_one(unfinished, tmp_path):
    bag = copy(unfinished, tmp_path / "bag")
    file = bag / "bag.mcap"
    damaged = bytearray(file.read_bytes())
    damaged[len(damaged) // 4] ^= 1
    file.write_bytes(damaged)
    with pytest.raises(RecordingError, match="damaged: .*checksum"):
        recover(bag)


def test_a_writer_that_is_killed_leaves_what_it_has_flushed(tmp_path, all_messages):
    """A process of its own, killed while it waits; half a part that was never flushed is lost."""
    folder = Path(__file__).parent
    code = (
        "import sys, time; from pathlib import Path; sys.path.insert(0, sys.argv[2]); "
        "from test_bag_recovery import *; writer = BagWriter(Path(sys.argv[1])); write(writer); "
        "topic = writer.add_topic('/more', JOINT_STATE); "
        "[writer.write(topic, FIRST_NS, serialized(FIRST_NS, [0, 0])) for _ in range(5)]; "
        "print('written', flush=True); time.sleep(60)"
    )
    bag = tmp_path / "bag"
    process = subprocess.Popen(
        [sys.executable, "-c", code, bag, folder], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline() == "written\n"
        with pytest.raises(RecordingError, match="bag.mcap is being written: end its logger first"):
            recover(bag)
        assert [path.name for path in bag.iterdir()] == ["bag.mcap"]
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    assert recover(bag).messages == 60
    assert read(bag) == all_messages


def test_killed_before_its_metadata_it_is_whole_but_for_these(all_messages, tmp_path):
    bag = tmp_path / "bag"
    writer = BagWriter(bag)
    write(writer)
    writer.close()
    (bag / "metadata.yaml").unlink()
    assert recover(bag).messages == 60 and read(bag) == all_messages


def test_metadata_that_nobody_can_read_are_kept_beside(unfinished, all_messages, tmp_path):
    bag = copy(unfinished, tmp_path / "bag")
    (bag / "metadata.yaml").write_text("rosbag2_bagfile_information: [")
    assert recover(bag).messages == 60 and read(bag) == all_messages
    assert (bag / "metadata.yaml.damaged").read_text() == "rosbag2_bagfile_information: ["


def test_files_of_a_bag_that_was_split_are_joined_in_their_order(all_messages, tmp_path):
    """Of another recorder: bag_2 comes before bag_10."""
    whole = tmp_path / "bag"
    whole.mkdir()
    for number, flushes in ((2, 1), (10, 2)):
        part = tmp_path / f"part_{number}"
        writer = BagWriter(part)
        write(writer, flushes)
        writer.close()
        shutil.copy(part / f"part_{number}.mcap", whole / f"bag_{number}.mcap")
    assert recover(whole).messages == 3 * EACH
    assert len(read(whole)) == 3 * EACH


@pytest.mark.parametrize("name", ["nothing", "file.txt", "empty"])
def test_what_is_no_bag_is_refused_in_one_line(tmp_path, name):
    (tmp_path / "file.txt").write_text("hello")
    (tmp_path / "empty").mkdir()
    with pytest.raises(RecordingError, match="name the directory of a run or of a") as refused:
        bag_in(tmp_path / name)
    assert "\n" not in str(refused.value)


def test_a_run_a_bag_and_a_file_of_it_mean_the_same(unfinished):
    for path in (unfinished.parent, unfinished, unfinished / "bag.mcap"):
        assert bag_in(path) == unfinished


def test_types_of_others_are_kept(tmp_path):
    bag = tmp_path / "bag"
    writer = BagWriter(bag)
    mine = writer.add_connection(
        "/mine", "my_msgs/msg/Two", msgdef="float64 a\nfloat64 b\n", rihs01="RIHS01_" + 64 * "1"
    )
    strange = writer.add_connection(
        "/strange", "x_msgs/msg/X", msgdef="???", rihs01="RIHS01_" + 64 * "2"
    )
    for connection in (mine, strange):
        writer.write(connection, FIRST_NS, b"\0\1\0\0" + bytes(16))
    writer.close()
    (bag / "metadata.yaml").unlink()
    assert recover(bag).topics == 2
    with Reader(bag) as reader:
        said = {c.topic: (c.msgtype, c.msgdef.data) for c in reader.connections}
    assert said["/mine"] == ("my_msgs/msg/Two", "float64 a\nfloat64 b\n")
    assert said["/strange"] == ("x_msgs/msg/X", "???")
