"""A bag whose writer was killed becomes whole again: what is in its file, with index and metadata.

The file itself stays as it is. All whole records go into a new one beside it, which the metadata
name:

    bag/bag.mcap              header, parts of half a second each, perhaps a torn one; no index
    bag/bag_recovered.mcap    the messages of all whole parts, with an index
    bag/metadata.yaml         written last: where it is, the bag is whole
"""

from __future__ import annotations

import os
import re
import shutil
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from rosbags.interfaces import Connection
from rosbags.rosbag2 import Reader
from rosbags.rosbag2.storage_mcap import McapReader, decompress
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from soft_control.experiment.bag_writer import BagWriter, is_being_written
from soft_control.learning.bounded_bag import bound_decompression
from soft_control.learning.recording import RecordingError
from soft_control.plain_text import printable

MAGIC = b"\x89MCAP0\r\n"
RECORD_HEAD = 9
"""Bytes of operation and length before what a record holds."""
HEADER, CHUNK, DATA_END = 0x01, 0x06, 0x0F
OWN = range(0x80, 0x100)
"""Operations that a file may have of its own; others than these, and beyond DATA_END, are damage,
such as the zeros at the end of a file after a power cut."""
UNKNOWN_TYPE = "RIHS01_" + 64 * "0"
METADATA = "metadata.yaml"


@dataclass(frozen=True)
class Recovered:
    """What is in a bag now."""

    bag: Path
    messages: int
    topics: int
    duration_s: float
    """Between the first and the last message, as they were logged."""
    file: Path | None
    """The new one; None where the bag was whole already."""
    lost_bytes: int = 0
    """At the ends of its files, that make no whole part."""


def bag_in(path: Path) -> Path:
    """The bag that is meant by the directory of a run, of a bag, or a file in one. Raises
    RecordingError for what is none of these."""
    folders = (path.parent,) if path.is_file() else (path / "bag", path)
    for folder in folders:
        if (folder / METADATA).is_file() or any(folder.glob("*.mcap")):
            return folder
    what = "is not there" if not path.exists() else "is no bag and no run: no file .mcap is in it"
    raise RecordingError(f"{path} {what}: name the directory of a run or of a rosbag2 bag")


def recover(bag: Path) -> Recovered:
    """Makes the bag in a directory whole; does nothing where it is. Raises RecordingError, and
    leaves everything as it was, where it is still being written or holds no message."""
    bound_decompression()
    if (whole := _whole(bag)) is not None:
        return whole
    sources = _sources(bag)
    for file in sources:
        if is_being_written(file):
            raise RecordingError(f"{file} is being written: end its logger first")
    name = f"{bag.resolve().name}_recovered"
    folder = bag / ".recovering"
    shutil.rmtree(folder, ignore_errors=True)  # of a recovery that was broken off
    folder.mkdir()
    try:
        lost = _rewrite(sources, folder / name)
        if (bag / METADATA).exists():
            os.replace(bag / METADATA, bag / f"{METADATA}.damaged")
        os.replace(folder / name / f"{name}.mcap", bag / f"{name}.mcap")
        os.replace(folder / name / METADATA, bag / METADATA)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return _described(bag, bag / f"{name}.mcap", lost)


def _whole(bag: Path) -> Recovered | None:
    """A bag that can be read; None for another one."""
    if not (bag / METADATA).is_file():
        return None
    try:
        return _described(bag, None)
    except RecordingError:
        if any(bag.glob("*.mcap")):
            return None
        raise


def _described(bag: Path, file: Path | None, lost_bytes: int = 0) -> Recovered:
    try:
        with Reader(bag) as reader:
            topics = sum(1 for connection in reader.connections if connection.msgcount)
            duration_s = (reader.end_time - reader.start_time) * 1e-9 if topics else 0.0
            return Recovered(bag, reader.message_count, topics, duration_s, file, lost_bytes)
    except Exception as error:  # noqa: BLE001  parsers of YAML, MCAP and SQLite have many
        raise RecordingError(f"{bag}: unreadable bag: {_said(error)}") from error


def _sources(bag: Path) -> list[Path]:
    """The files of a bag in the order in which they were written: bag_2.mcap, bag_10.mcap."""
    files = [file for file in bag.glob("*.mcap") if file.is_file()]
    files = [file for file in files if not file.stem.endswith("_recovered")] or files
    numbers = {file: [int(n) for n in re.findall(r"\d+", file.stem)] for file in files}
    return sorted(files, key=lambda file: (numbers[file], file.name))


class _UnfinishedMcap(McapReader):
    """Reads the whole records of a file from its beginning, for it may have no index."""

    torn: int = 0
    """Bytes after the last whole record."""

    def _open(self) -> None:
        self.data_start, self.data_end, self.torn = _extent(self.bio, self.path)
        self.meta_scan()


def _extent(file: BinaryIO, path: Path) -> tuple[int, int, int]:
    """From where and until where the records of an MCAP file are whole, and how many bytes there
    are after that. Raises RecordingError for another file."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    if file.read(len(MAGIC)) != MAGIC:
        raise RecordingError(f"{path}: no MCAP file")
    start = at = last = len(MAGIC)
    while at + RECORD_HEAD <= size:
        file.seek(at)
        head = file.read(RECORD_HEAD)
        operation, length = head[0], int.from_bytes(head[1:], "little")
        known = HEADER <= operation < DATA_END or operation in OWN
        if operation == DATA_END:
            return start, at, 0
        if not known or at + RECORD_HEAD + length > size:
            break
        last, at = at, at + RECORD_HEAD + length
        if operation == HEADER:
            start = at
    # A disk may have put zeros in the place of its end. A damaged one before it is no torn one.
    at = at if _is_sound(file, last) else last
    return start, at, size - at


def _is_sound(file: BinaryIO, at: int) -> bool:
    """Whether the record there is what was written, where it is a chunk and has a checksum."""
    file.seek(at)
    if file.read(1) != bytes([CHUNK]):
        return True
    try:
        _, _, _, size, checksum = struct.unpack("<QQQQI", file.read(36))
        compression = file.read(int.from_bytes(file.read(4), "little")).decode()
        data = file.read(int.from_bytes(file.read(8), "little"))
        decompress(data, compression, size, checksum)
    except Exception:  # noqa: BLE001  decompressors have many
        return False
    return True


def _rewrite(sources: list[Path], folder: Path) -> int:
    """Writes all messages of the files into a new bag; returns how many bytes were left out. Raises
    RecordingError where there is none, or a file is damaged in its midst."""
    types = get_typestore(Stores.ROS2_KILTED)
    writer = BagWriter(folder)
    topics: dict[tuple[Any, ...], Connection] = {}
    count = lost = 0
    try:
        for path in sources:
            reader = _UnfinishedMcap(path)
            try:
                reader.open()
                lost += reader.torn
                for read, when_ns, data in reader.messages_scan(reader.connections):
                    key = (read.topic, read.msgtype, str(read.ext))
                    if key not in topics:
                        topics[key] = _add(writer, read, types)
                    writer.write(topics[key], when_ns, data)
                    count += 1
            except RecordingError:
                raise
            except Exception as error:  # noqa: BLE001
                raise RecordingError(f"{path}: damaged: {_said(error)}") from error
            finally:
                if reader.bio:
                    reader.close()
        if not count:
            names = ", ".join(printable(path.name) for path in sources)
            raise RecordingError(f"{sources[0].parent}: no message is in {names}: nothing to save")
        writer.close()
    finally:
        writer.abort()
    return lost


def _add(writer: BagWriter, read: Connection, types: Typestore) -> Connection:
    """A topic as it was, with the hash of its type, which a file without metadata does not say."""
    try:
        if read.msgtype not in types.types:
            types.register(get_types_from_msg(read.msgdef.data, read.msgtype))
        type_hash = types.hash_rihs01(read.msgtype)
    except Exception:  # noqa: BLE001  a type of somebody else, described in a way of his own
        type_hash = UNKNOWN_TYPE
    return writer.add_connection(
        read.topic,
        read.msgtype,
        msgdef=read.msgdef.data,
        rihs01=type_hash,
        serialization_format=read.ext.serialization_format,
        offered_qos_profiles=read.ext.offered_qos_profiles,
    )


def _said(error: Exception) -> str:
    return printable(f"{type(error).__name__}: {error}", 200)
