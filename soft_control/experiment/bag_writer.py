"""A rosbag2 MCAP bag that is readable to its last flush, however its writer ends."""

from __future__ import annotations

import fcntl
from binascii import crc32
from pathlib import Path

from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.rosbag2.storage_mcap import McapWriter
from rosbags.typesys import Stores, get_typestore

FLUSH_S = 0.5
"""A writer that is killed loses at most so much, and what came while the last part was written."""


CHECKSUM_AT = 1 + 8 + 3 * 8
"""Bytes of a chunk before its CRC-32: operation, length, first and last time, size (MCAP)."""


class _FlushedMcap(McapWriter):
    """rosbags keeps what comes in memory until it is a megabyte, four seconds of a run, and Python
    keeps the end of that.

    The file is locked while it is written, so that nobody takes it for one whose writer has died.
    """

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)
        fcntl.flock(self.bio.fileno(), fcntl.LOCK_EX)

    def close_chunk(self) -> None:
        """With the checksum that rosbags leaves out, by which a torn part is told from a whole."""
        checksum = crc32(self.chunk.bio.getbuffer())
        at = self.bio.tell() + CHECKSUM_AT
        super().close_chunk()
        end = self.bio.tell()
        self.bio.seek(at)
        self.bio.write(checksum.to_bytes(4, "little"))
        self.bio.seek(end)

    def flush(self) -> None:
        """To the operating system, which keeps it when the process is killed. A power cut may take
        more: waiting for the disk could hold up a run."""
        if self.chunk.msgs:
            self.close_chunk()
            self.bio.flush()


class BagWriter(Writer):
    """A new bag of messages as they are on the wire. One that is killed is whole again after
    `softctl bag recover`."""

    STORAGE_PLUGINS = {StoragePlugin.MCAP: _FlushedMcap}

    def __init__(self, bag: Path) -> None:
        """Makes the folder. Raises WriterError where there is one, OSError where it cannot."""
        super().__init__(bag, version=9, storage_plugin=StoragePlugin.MCAP)
        self._types = get_typestore(Stores.ROS2_KILTED)
        self.open()

    def add_topic(self, topic: str, message_type: str) -> object:
        """What `write` takes. Raises KeyError for a message type that ROS 2 does not come with."""
        return self.add_connection(topic, message_type, typestore=self._types)

    def flush(self) -> None:
        """Puts in the file what has come since; to be called every FLUSH_S."""
        if self.storage:
            self.storage.flush()


def is_being_written(file: Path) -> bool:
    """Whether a BagWriter that lives has it open."""
    with file.open("rb") as opened:
        try:
            fcntl.flock(opened.fileno(), fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
