"""What people write is small: nothing else is taken into memory, and nothing is waited for."""

from __future__ import annotations

import os
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
from soft_control.small_files import MOST, read_small, read_small_text

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
