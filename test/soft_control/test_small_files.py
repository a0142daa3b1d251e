"""What people write is small: nothing else is taken into memory, and nothing is waited for."""

from __future__ import annotations

import os
import resource
import signal
from pathlib import Path

import pytest

from soft_control.experiment.learned_file import read_learned
from soft_control.experiment.record import read_record
from soft_control.firmware_files import BuildError, read_build
from soft_control.learning.card import ModelError, load_card
from soft_control.learning.recording import RecordingError
from soft_control.learning.rest import read_rest
from soft_control.rigs.twin_files import read_card
from soft_control.robots.config_files import read_yaml
from soft_control.small_files import MOST, read_small, read_small_text, write_whole

READERS = {
    "fk.json": (load_card, ModelError),
    "experiment.json": (read_record, RecordingError),
    "firmware.json": (read_build, BuildError),
    "twin.json": (read_card, ValueError),
    "robot.yaml": (lambda folder: read_yaml(folder / "robot.yaml"), ValueError),
    "learned.json": (lambda folder: read_learned(folder / "learned.json", ["x"], ""), ValueError),
    "rest.json": (lambda folder: read_rest(folder / "rest.json"), ValueError),
}


@pytest.mark.parametrize("name", READERS)
def test_a_file_of_a_terabyte_is_refused_at_once(name, tmp_path):
    """It takes no room on the disk; in memory it would."""
    (tmp_path / name).touch()
    os.truncate(tmp_path / name, 1 << 40)
    (tmp_path / "fk.keras").write_bytes(b"")
    read, mistake = READERS[name]
    with pytest.raises((mistake, OSError)) as refused:
        read(tmp_path)
    assert name in f"{refused.value}"


def test_what_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="it is no file"):
        read_small(tmp_path / "pipe")
    with pytest.raises(OSError, match="it is no file"):
        read_small(Path("/dev/zero"))
    with pytest.raises(IsADirectoryError):
        read_small(tmp_path)
    with pytest.raises(FileNotFoundError):
        read_small(tmp_path / "none")


def test_the_rest_is_read_as_it_is(tmp_path):
    path = tmp_path / "a"
    for content in (b"", b"x", "é\r\n".encode(), bytes(1000)):
        path.write_bytes(content)
        assert read_small(path) == content
        assert read_small_text(path) == content.decode()
    path.write_bytes(b"\xff")
    with pytest.raises(UnicodeDecodeError):
        read_small_text(path)
    os.truncate(path, MOST)
    assert len(read_small(path)) == MOST
    os.truncate(path, MOST + 1)
    with pytest.raises(OSError, match="larger than 64 MiB"):
        read_small(path)


def test_a_file_is_written_whole_or_stays_as_it_was(tmp_path):
    path = tmp_path / "new" / "page.html"
    write_whole(path, "é\n")
    assert path.read_text(encoding="utf-8") == "é\n"
    write_whole(path, "second")
    assert [p.name for p in path.parent.iterdir()] == ["page.html"] and path.read_text() == "second"
    (link := tmp_path / "link").symlink_to(path)
    write_whole(link, "third")
    assert link.is_symlink() and path.read_text() == "third"


def test_nothing_is_written_through_a_link_that_lies_where_a_file_is_prepared(tmp_path):
    (others := tmp_path / "others").write_text("theirs")
    (tmp_path / ".page.html.new").symlink_to(others)
    write_whole(tmp_path / "page.html", "ours")
    assert others.read_text() == "theirs" and (tmp_path / "page.html").read_text() == "ours"
    assert not (tmp_path / "page.html").is_symlink()


def test_where_nothing_can_be_written_the_file_is_named_and_kept(tmp_path):
    (path := tmp_path / "page.html").write_text("first")
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limit[1]))  # as a disk that is full
    try:
        with pytest.raises(OSError, match="too large") as refused:
            write_whole(path, "x" * 1000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, before)
    assert refused.value.filename == str(path)
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"] and path.read_text() == "first"
    with pytest.raises(OSError, match="No space left"):
        write_whole(Path("/dev/full"), "x")
