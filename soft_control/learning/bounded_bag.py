"""What is compressed in a bag may not grow beyond what it says, nor beyond a limit.

A megabyte of zstd can say a terabyte of zeros. rosbags unpacks whatever comes; the functions here
take the places of those that it does so with, in its modules, before a bag of somebody's is opened.
"""

from __future__ import annotations

import functools
from typing import Any, BinaryIO

CHUNK_MAX = 1 << 28
"""Bytes of a chunk: rosbag2 writes some megabytes, foxglove up to 16."""
MESSAGE_MAX = 1 << 28
"""Bytes of a message that is compressed by itself."""
FILE_FACTOR, FILE_FREE = 200, 1 << 28
"""A file that is compressed as a whole may become so many times as long, and this more: logs of
joint states become ten times as long, of constant ones fifty."""


class BombError(ValueError):
    """Something compressed is larger than it may be."""


@functools.cache
def bound_decompression() -> None:
    """From now on in this process. Once is enough."""
    from rosbags.rosbag2 import reader, storage_mcap

    storage_mcap.DECOMPRESSORS["zstd"] = unpack_zstd
    storage_mcap.DECOMPRESSORS["lz4"] = unpack_lz4
    reader.zstd = _Bounded(reader.zstd)


def unpack_zstd(data: bytes, size: int) -> bytes:
    """A chunk, which says that it has `size` bytes. Raises BombError for one that says more than
    it may; one that has more than it says ends there, and is of a wrong size."""
    return _unpacked(_zstd().ZstdDecompressor(), data, _allowed(size))


def unpack_lz4(data: bytes, size: int) -> bytes:
    """The same."""
    from lz4.frame import LZ4FrameDecompressor

    return _unpacked(LZ4FrameDecompressor(), data, _allowed(size))


def _allowed(size: int) -> int:
    if size > CHUNK_MAX:
        raise BombError(f"a chunk of {size} bytes: at most {CHUNK_MAX} are read")
    return size + 1


def _unpacked(decompressor: Any, data: bytes, limit: int) -> bytes:
    """Up to `limit` bytes, or a little less where it stops between two blocks."""
    unpacked = decompressor.decompress(data, limit)
    while len(unpacked) < limit and not decompressor.eof and not decompressor.needs_input:
        unpacked += decompressor.decompress(b"", limit - len(unpacked))
    return unpacked


def _zstd() -> Any:
    from rosbags.rosbag2 import storage_mcap

    return storage_mcap.zstd


class _Bounded:
    """Stands for the module zstd in rosbags' reader."""

    def __init__(self, module: Any) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)

    def decompress(self, data: bytes) -> bytes:
        """A message. Raises BombError."""
        unpacked = _unpacked(self._module.ZstdDecompressor(), data, MESSAGE_MAX + 1)
        if len(unpacked) > MESSAGE_MAX:
            raise BombError(f"a message is more than {MESSAGE_MAX} bytes")
        return unpacked

    def open(self, file: BinaryIO, mode: str) -> BoundedFile:
        """A file that is compressed as a whole."""
        file.seek(0, 2)
        limit = FILE_FACTOR * file.tell() + FILE_FREE
        file.seek(0)
        return BoundedFile(self._module.open(file, mode), limit)


class BoundedFile:
    """A file to read. `read` raises BombError beyond the limit."""

    def __init__(self, file: Any, limit: int) -> None:
        self._file, self._left = file, limit

    def read(self, size: int = -1) -> bytes:
        content = self._file.read(min(size, self._left + 1) if size >= 0 else self._left + 1)
        self._left -= len(content)
        if self._left < 0:
            raise BombError(f"it becomes more than {FILE_FACTOR} times as long")
        return content

    def __enter__(self) -> BoundedFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
