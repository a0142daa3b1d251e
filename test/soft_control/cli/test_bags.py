"""softctl bag recover: what it saves, and what it refuses in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from soft_control.experiment.bag_writer import BagWriter
from soft_control.learning.cdr import JOINT_STATE, NamedVectorWriter
from soft_control.topics import FIRST_NS


@pytest.fixture
def unfinished(tmp_path: Path) -> Path:
    """A run's folder whose bag has no metadata, and of whose file the last bytes are torn."""
    writer = BagWriter(tmp_path / "run" / "bag")
    topic, serialized = writer.add_topic("/command", JOINT_STATE), NamedVectorWriter(["a"])
    for k in range(151):
        writer.write(topic, FIRST_NS + k * 10_000_000, serialized(FIRST_NS, [k]))
    writer.flush()
    size = (tmp_path / "run" / "bag" / "bag.mcap").stat().st_size
    writer.close()
    (tmp_path / "run" / "bag" / "metadata.yaml").unlink()
    with (tmp_path / "run" / "bag" / "bag.mcap").open("r+b") as file:
        file.truncate(size + 5)
    return tmp_path / "run"


def test_it_says_how_much_it_saved_and_does_it_once(softctl, unfinished):
    ended = softctl("bag", "recover", "run")
    assert ended.code == 0
    assert ended.out == "saved 151 messages on 1 topics, 1.5 s, in run/bag/bag_recovered.mcap\n"
    assert ended.err == "warning: 5 bytes at the end were torn, left out\n"
    again = softctl("bag", "recover", "run/bag")
    assert (again.code, again.err) == (0, "")
    assert again.out == "run/bag is whole: 151 messages on 1 topics, 1.5 s\n"


def test_of_a_run_it_also_writes_the_summary_or_says_why_not(softctl, unfinished):
    (unfinished / "experiment.json").write_text("{}")
    ended = softctl("bag", "recover", "run")
    assert ended.code == 0 and ended.out.startswith("saved 151 messages")
    assert "no summary.json: run/experiment.json does not describe its robot" in ended.err.replace(
        str(unfinished.parent) + "/", ""
    )
    assert not (unfinished / "summary.json").exists()


@pytest.mark.parametrize("name", ["nothing", "file.txt", "."])
def test_what_is_no_bag_is_a_mistake_in_one_line(softctl, name):
    Path("file.txt").write_text("hello")
    said = softctl("bag", "recover", name).mistake()
    assert "name the directory of a run or of a rosbag2 bag" in said


def test_what_only_looks_like_a_bag_is_a_mistake_too(softctl):
    Path("bag").mkdir()
    Path("bag/bag.mcap").write_bytes(b"hello, this is no MCAP file")
    assert softctl("bag", "recover", "bag").mistake() == "bag/bag.mcap: no MCAP file"
    assert [path.name for path in Path("bag").iterdir()] == ["bag.mcap"]
