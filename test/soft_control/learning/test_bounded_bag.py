"""A small bag cannot become a large one, and its metadata lead nowhere else."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import lz4.frame
import numpy as np
import pytest
import yaml
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.rosbag2.storage_mcap import decompress, zstd
from rosbags.typesys import Stores, get_typestore

from soft_control.experiment.bag_recovery import recover
from soft_control.learning import bounded_bag
from soft_control.learning.bag_messages import bag_topics, read_topics
from soft_control.learning.bounded_bag import BombError, bound_decompression
from soft_control.learning.recording import RecordingError

TYPE = "sensor_msgs/msg/JointState"
LIMIT = 100_000


def write_bag(folder: Path, mode: str, size: int, count: int = 1) -> Path:
    """One whose messages have so many bytes of zeros in them."""
    store = get_typestore(Stores.ROS2_KILTED)
    message = store.types[TYPE](
        header=store.types["std_msgs/msg/Header"](
            stamp=store.types["builtin_interfaces/msg/Time"](sec=0, nanosec=0), frame_id=""
        ),
        name=["a" * size], position=np.zeros(0), velocity=np.zeros(0), effort=np.zeros(0),
    )  # fmt: skip
    data = bytes(store.serialize_cdr(message, TYPE))
    writer = Writer(folder, version=9, storage_plugin=StoragePlugin.MCAP)
    if mode != "none":
        modes = {"file": CompressionMode.FILE, "message": CompressionMode.MESSAGE,
                 "chunk": CompressionMode.STORAGE}  # fmt: skip
        writer.set_compression(modes[mode], CompressionFormat.ZSTD)
    with writer:
        connection = writer.add_connection("/command", TYPE, typestore=store)
        for k in range(count):
            writer.write(connection, k, data)
    return folder


@pytest.fixture
def small_limits(monkeypatch):
    for name in ("CHUNK_MAX", "MESSAGE_MAX"):
        monkeypatch.setattr(bounded_bag, name, LIMIT)
    monkeypatch.setattr(bounded_bag, "FILE_FACTOR", 1)
    monkeypatch.setattr(bounded_bag, "FILE_FREE", LIMIT)


@pytest.mark.parametrize("mode", ["file", "message", "chunk"])
def test_what_is_compressed_is_read_up_to_the_limit(mode, tmp_path, small_limits):
    small = write_bag(tmp_path / "small", mode, 1000)
    assert bag_topics(small) == {"/command": TYPE}
    (message,) = read_topics(small, ["/command"])[0]["/command"].values()
    assert len(message.name[0]) == 1000
    bomb = write_bag(tmp_path / "bomb", mode, 50 * LIMIT)
    assert sum(p.stat().st_size for p in bomb.iterdir()) < 10_000
    said = {"file": "it becomes more than 1 times", "message": "a message is more than 100000",
            "chunk": "at most 100000 are read"}  # fmt: skip
    with pytest.raises(RecordingError, match=f"unreadable bag: BombError: .*{said[mode]}"):
        read_topics(bomb, ["/command"])


def test_a_bag_that_is_recovered_is_bounded_too(tmp_path, small_limits):
    bomb = write_bag(tmp_path / "bomb", "chunk", 50 * LIMIT)
    (bomb / "metadata.yaml").unlink()
    with pytest.raises(RecordingError):
        recover(bomb)


@pytest.mark.parametrize("name", ["zstd", "lz4"])
def test_a_chunk_that_says_less_than_it_has_ends_there(name):
    bound_decompression()
    whole = bytes(64 << 20)
    packed = zstd.compress(whole) if name == "zstd" else lz4.frame.compress(whole)
    del whole
    tracemalloc.start()
    try:
        with pytest.raises(Exception, match="Chunk size mismatch: expected 1000 bytes"):
            decompress(packed, name, 1000, 0)
        assert tracemalloc.get_traced_memory()[1] < 10 << 20
        with pytest.raises(BombError, match="a chunk of 1099511627776 bytes"):
            decompress(packed, name, 1 << 40, 0)
    finally:
        tracemalloc.stop()
    good = bytes(range(256)) * 100
    packed = zstd.compress(good) if name == "zstd" else lz4.frame.compress(good)
    assert decompress(packed, name, len(good), 0) == good


@pytest.mark.parametrize("path", ["../other/other.mcap", "/etc/passwd", "..", ".", ""])
def test_metadata_name_no_file_outside_of_the_bag(path, tmp_path):
    """rosbags takes the last part of a path, in the bag's folder."""
    write_bag(tmp_path / "other", "none", 10)
    bag = write_bag(tmp_path / "bag", "none", 20)
    file = bag / "metadata.yaml"
    metadata = yaml.safe_load(file.read_text())
    metadata["rosbag2_bagfile_information"]["relative_file_paths"] = [path]
    file.write_text(yaml.safe_dump(metadata))
    with pytest.raises(RecordingError):
        read_topics(bag, ["/command"])
