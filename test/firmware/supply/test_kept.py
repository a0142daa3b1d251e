"""Settings and the map of the day outlast the power, wherever that is cut."""

from __future__ import annotations

import ctypes
import json
import os
import random
import shutil
import socket
import struct
import threading
import tty
import zlib
from pathlib import Path

import numpy as np
import pytest

from soft_control.cli import terminal
from soft_control.cli.app import NAME, app
from soft_control.link import codes
from soft_control.link.errors import LinkError
from soft_control.link.keeping import forget, kept, store
from soft_control.link.learned_map import LearnedMap
from soft_control.link.messages import Configure, Keep
from soft_control.link.opening import open_session
from soft_control.link.session import McuSession
from soft_control.link.transport import PilTransport, Port, SilTransport

PAGE = 512
FOR_EVER = 2**64 - 1
WORDS = 40
CONTENT = 4 * WORDS
CHANGES = PAGE + 12 + CONTENT + 4
"""Bytes that a copy changes: the page that is erased, header, content and checksum."""


class Memory:
    """Two pages, as new ones are."""

    def __init__(self, page: int = PAGE) -> None:
        self.page = page
        self.bytes = (ctypes.c_uint8 * (2 * page))(*(b"\xff" * (2 * page)))


class KeepingSil(SilTransport):
    """The firmware in this process, with memory that outlasts it."""

    def __init__(self, library, memory: Memory, changes: int = FOR_EVER) -> None:
        super().__init__(library, clock=lambda: 1.0)
        self._memory = memory  # the library only has its address
        self._library.sil_start_with(
            self._sil,
            ctypes.c_uint32(0),
            memory.bytes,
            ctypes.c_size_t(memory.page),
            ctypes.c_uint64(changes),
        )


class Board:
    """pages.c on a board of the host whose power may be cut."""

    def __init__(self, lib: ctypes.CDLL, memory: Memory, changes: int = FOR_EVER) -> None:
        lib.sil_size.restype = ctypes.c_size_t
        self.lib, self.memory = lib, memory
        self.sil = (ctypes.c_uint64 * (lib.sil_size() // 8 + 1))()
        lib.pages_read.restype = lib.pages_write.restype = ctypes.c_uint32
        lib.pages_forget.restype = ctypes.c_bool
        self.start(changes)

    def start(self, changes: int = FOR_EVER) -> None:
        """Power on."""
        page, count = ctypes.c_size_t(self.memory.page), ctypes.c_uint64(changes)
        self.lib.sil_start_with(self.sil, ctypes.c_uint32(0), self.memory.bytes, page, count)

    def write(self, content: bytes) -> int:
        return self.lib.pages_write(self.sil, content, ctypes.c_size_t(len(content) // 4))

    def read(self, size: int = CONTENT) -> tuple[int, bytes]:
        content = ctypes.create_string_buffer(b"\xee" * size, size)
        number = self.lib.pages_read(self.sil, content, ctypes.c_size_t(size // 4))
        return number, content.raw

    def forget(self) -> bool:
        return self.lib.pages_forget(self.sil)


def contents(seed: int, count: int) -> list[bytes]:
    chance = random.Random(seed)
    return [chance.randbytes(CONTENT) for _ in range(count)]


def test_the_newest_copy_counts_and_the_pages_take_turns(c):
    board = Board(c.lib, memory := Memory())
    assert board.read() == (0, b"\xee" * CONTENT)
    for number, content in enumerate(contents(0, 5), 1):
        old = bytes(memory.bytes)
        assert board.write(content) == number
        assert board.read() == (number, content)
        page = (number - 1) % 2
        other = slice((1 - page) * PAGE, (2 - page) * PAGE)
        assert bytes(memory.bytes)[other] == old[other]
        board.start()
        assert board.read() == (number, content)
    same = bytes(memory.bytes)
    assert board.write(content) == number  # is there already
    assert bytes(memory.bytes) == same


@pytest.mark.parametrize("before", [0, 1, 2, 3])
def test_a_cut_at_any_byte_leaves_the_copy_before_or_the_new_one(c, before):
    """Every byte that is changed, of the first copy and of those that take another's place; then
    the next start goes on, and the next copy is kept."""
    *old, new, later = contents(before, before + 2)
    memory = Memory()
    board = Board(c.lib, memory)
    for content in old:
        assert board.write(content)
    start = bytes(memory.bytes)
    known = board.read()
    seen = set()
    for cut in range(CHANGES + 2):
        memory.bytes[:] = start
        board.start(cut)
        board.write(new)
        board.start()
        found = board.read()
        whole = (before + 1, new)
        assert found in (known, whole), cut
        seen.add(found)
        assert board.write(later) == found[0] + 1
        assert board.read() == (found[0] + 1, later), cut
    assert seen == {known, whole}  # the cut was early enough and late enough


def test_a_cut_while_it_is_forgotten_leaves_the_newest_or_nothing(c):
    memory = Memory()
    board = Board(c.lib, memory)
    for content in contents(7, 3):
        board.write(content)
    start, known = bytes(memory.bytes), board.read()
    seen = set()
    for cut in range(0, 2 * PAGE + 2):
        memory.bytes[:] = start
        board.start(cut)
        board.forget()
        board.start()
        found = board.read()
        assert found in (known, (0, b"\xee" * CONTENT)), cut
        seen.add(found[0])
        assert board.forget()
        assert board.read()[0] == 0
    assert seen == {0, known[0]}


def test_memory_that_is_damaged_or_anothers_is_no_copy(c):
    first, second = contents(3, 2)
    memory = Memory()
    board = Board(c.lib, memory)
    board.write(first), board.write(second)
    whole = bytes(memory.bytes)
    for at in range(PAGE, PAGE + 12 + CONTENT + 4):
        for bit in range(8):
            memory.bytes[:] = whole
            memory.bytes[at] ^= 1 << bit
            assert board.read() == (1, first), (at, bit)
    memory.bytes[:] = whole
    assert board.read(CONTENT - 4)[0] == board.read(CONTENT + 4)[0] == 0  # of another firmware
    chance = random.Random(1)
    for _ in range(300):
        memory.bytes[:] = chance.randbytes(2 * PAGE)
        assert board.read()[0] == 0
        assert board.write(first) and board.read()[1] == first


def test_numbers_go_round_and_pages_may_be_too_small(c):
    memory = Memory()
    board = Board(c.lib, memory)
    crc = c.lib.crc32_add
    crc.restype = ctypes.c_uint32
    newest, next_ = contents(4, 2)
    page = b"SCKP" + (2**32 - 1).to_bytes(4, "little")
    page += WORDS.to_bytes(4, "little") + newest
    page += crc(0, page, ctypes.c_size_t(len(page))).to_bytes(4, "little")
    memory.bytes[: len(page)] = page
    assert board.read() == (2**32 - 1, newest)
    assert board.write(next_) == 1
    assert board.read() == (1, next_)
    small = Board(c.lib, Memory(12 + CONTENT))
    assert small.write(newest) == 0 and small.read()[0] == 0
    none = Board(c.lib, Memory(0))
    assert none.write(newest) == 0 and none.read()[0] == 0 and not none.forget()


# ------------------------------------------------------------------ the firmware's own


def narrow(built) -> Configure:
    """Bounds around a tenth of what the commands may be."""
    limits = built.mpc
    wide = (limits.command_min, limits.command_max)
    low, high = ([0.1 * v for v in side] for side in wide)
    m, n = len(low), 3
    return Configure(
        *map(tuple, (low, high, limits.move_max, limits.move_weight)),
        *((0.0,) * m, (0.0,) * m, (1e6,) * n, (1e6,) * n),
        *((-10.0,) * n, (10.0,) * n, (0.0,) * n, 0.0),
    )


def learned() -> LearnedMap:
    gain = np.array([[1.1, 0.02, 0.0], [0.01, 0.9, -0.03], [0.0, 0.05, 1.2]])
    curve = np.zeros((3, 6))
    curve[:, 1] = [0.02, -0.01, 0.03]
    offset = np.array([1e-3, -2e-3, 5e-4])
    return LearnedMap(gain, offset, curve, np.ones(3), np.ones(3), np.zeros(3), 0, 0)


def far_commands(session: McuSession) -> np.ndarray:
    """Where the controller goes if the reference is out of reach, (T, m)."""
    far = (0.05, -0.05, 0.05)
    session.arm((0.0, 0.0), (0.001, 0.002, 0.003), [far] * 12)
    told = [session.sample(k, (0.5,) * 4, far).command for k in range(30)]
    session.stop()
    return np.array(told)


def test_settings_and_map_are_in_force_after_the_next_start(firmware):
    memory = Memory(4096)
    with McuSession(KeepingSil(firmware.library, memory)) as session:
        assert (kept(session).can_keep, kept(session).number) == (1, 0)
        built = far_commands(session)
        session.request(narrow(firmware))
        narrowed = far_commands(session)
        session.adapt(learned())
        told = session.adaptation()
        asked = far_commands(session)
        assert np.abs(narrowed).max() < 0.2 < np.abs(built).max()
        assert store(session).number == store(session).number == 1
    with McuSession(KeepingSil(firmware.library, memory)) as session:
        assert kept(session).number == 1
        assert np.array_equal(session.adaptation().gain, told.gain)
        assert np.array_equal(session.adaptation().offset, told.offset)
        assert np.array_equal(far_commands(session), asked)
        session.adapt(LearnedMap.as_recorded(3))
        assert store(session).number == 2
        assert forget(session).number == 0
    with McuSession(KeepingSil(firmware.library, memory)) as session:
        assert kept(session).number == 0
        assert np.array_equal(far_commands(session), built)


def test_nothing_is_stored_while_anything_may_be_driven(firmware):
    memory = Memory(4096)
    with McuSession(KeepingSil(firmware.library, memory)) as session:
        session.arm((0.0, 0.0), (0.001, 0.002, 0.003))
        for change in (store, forget):
            with pytest.raises(LinkError, match="refused KEEP: wrong state"):
                change(session)
        session.sample(0, (0.5,) * 4, (0.0,) * 3)
        with pytest.raises(LinkError, match="refused KEEP: wrong state"):
            store(session)
        assert kept(session).number == 0  # asked is at any time
        session.stop()
        assert store(session).number == 1


def test_a_fault_is_not_idle(firmware):
    transport = KeepingSil(firmware.library, Memory(4096))
    with McuSession(transport) as session:
        transport.crash(1)
        session.hello()
        with pytest.raises(LinkError, match="refused KEEP: wrong state"):
            store(session)
        session.stop()
        assert store(session).number == 1


def test_a_firmware_without_memory_says_so(firmware):
    with open_session("sil", firmware) as session:
        assert (kept(session).can_keep, kept(session).number) == (0, 0)
        for change in (store, forget):
            with pytest.raises(LinkError, match="refused KEEP: not kept"):
                change(session)


def test_another_build_does_not_take_it(firmware, estimating):
    memory = Memory(4096)
    with McuSession(KeepingSil(firmware.library, memory)) as session:
        store(session)
    with McuSession(KeepingSil(estimating.library, memory)) as session:
        assert kept(session).number == 0
        assert store(session).number == 2
    with McuSession(KeepingSil(firmware.library, memory)) as session:
        assert kept(session).number == 0  # the newest is the other's, though ours is still there


def rewritten(memory: Memory, at: int, value: bytes) -> None:
    """The first page's copy with other bytes there in its content, and a checksum that is right."""
    words = int.from_bytes(bytes(memory.bytes[8:12]), "little")
    end = 12 + 4 * words
    memory.bytes[12 + at : 12 + at + len(value)] = value
    memory.bytes[end : end + 4] = zlib.crc32(bytes(memory.bytes[:end])).to_bytes(4, "little")


@pytest.mark.parametrize(
    ("at", "value", "taken"),
    [
        (32, struct.pack("<f", -1.0), True),  # command_min of the first command, narrower
        (32, struct.pack("<f", -9.0), False),  # wider than what was built in
        (32, struct.pack("<f", float("nan")), False),
        (-4, struct.pack("<f", 0.25), True),  # the last element of the map
        (-4, struct.pack("<f", float("inf")), False),
        (-4, struct.pack("<f", 1e6), False),  # no map is so far away
        (0, b"another model   ", False),
        (16, b"other settings  ", False),
    ],
)
def test_a_copy_that_is_whole_has_to_be_valid_as_well(firmware, at, value, taken):
    memory = Memory(4096)
    with McuSession(KeepingSil(firmware.library, memory)) as session:
        built = far_commands(session)
        assert store(session).number == 1
    size = 4 * int.from_bytes(bytes(memory.bytes[8:12]), "little")
    rewritten(memory, at % size, value)
    with McuSession(KeepingSil(firmware.library, memory)) as session:
        assert kept(session).number == taken
        assert session.adaptation().says_something is (taken and at == -4)
        assert taken or np.array_equal(far_commands(session), built)


def test_what_is_to_be_kept_is_asked_for_in_words_that_are_known(firmware):
    with McuSession(KeepingSil(firmware.library, Memory(4096))) as session:
        for choice in (len(codes.Keep), 255):
            with pytest.raises(LinkError, match="refused KEEP: bad value"):
                session.request(Keep(choice))
        assert kept(session).number == 0


def test_the_power_is_cut_while_the_firmware_stores(firmware):
    """At every byte again, through the wire."""
    memory = Memory(1024)
    with McuSession(KeepingSil(firmware.library, memory)) as session:
        session.adapt(learned())
        store(session)
    start = bytes(memory.bytes)
    seen = set()
    for cut in range(1024 + 300):
        memory.bytes[:] = start
        with McuSession(KeepingSil(firmware.library, memory, cut)) as session:
            session.adapt(LearnedMap.as_recorded(3))
            try:
                store(session)
            except LinkError:
                pass
        with McuSession(KeepingSil(firmware.library, memory)) as session:
            number, gain = kept(session).number, session.adaptation().gain
        assert np.allclose(gain, {1: learned().gain, 2: np.eye(3)}[number], atol=1e-6), cut
        seen.add(number)
    assert seen == {1, 2}


class ResettablePil(PilTransport):
    """Whose power comes back: QEMU's own reset, asked for on a socket."""

    def __init__(self, elf: Path, machine: str, folder: Path) -> None:
        self._socket = folder / "qmp"
        wrapper = folder / "qemu"
        program = shutil.which("qemu-system-arm")
        wrapper.write_text(
            f'#!/bin/sh\nexec "{program}" "$@" -qmp "unix:{self._socket},server=on,wait=off"\n'
        )
        wrapper.chmod(0o755)
        super().__init__(elf, qemu=str(wrapper), machine=machine)

    def reset(self) -> None:
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(20.0)
            line.connect(str(self._socket))
            with line.makefile("rw") as talk:
                talk.readline()
                for command in ("qmp_capabilities", "system_reset"):
                    talk.write(json.dumps({"execute": command}) + "\n")
                    talk.flush()
                    while "return" not in json.loads(talk.readline()):
                        pass


def test_a_board_that_resets_goes_on_with_what_it_has_kept(with_ram, tmp_path):
    """On the emulated board whose flash is a RAM, which outlasts a reset."""
    transport = ResettablePil(with_ram.elf, with_ram.machine, tmp_path)
    with McuSession(transport) as session:
        assert kept(session).can_keep == 1
        session.adapt(learned())
        told = session.adaptation()
        assert store(session).number == 1
        session.adapt(LearnedMap.as_recorded(3))
        transport.reset()
        session.hello()
        assert kept(session).number == 1
        assert np.array_equal(session.adaptation().gain, told.gain)
        assert forget(session).number == 0
        transport.reset()
        session.hello()
        assert np.array_equal(session.adaptation().gain, np.eye(3))


class OnALine(threading.Thread):
    """A firmware with memory at the other end of a pseudo-terminal, until that is closed."""

    def __init__(self, library: Path, memory: Memory) -> None:
        super().__init__(daemon=True)
        self._ours, self._theirs = os.openpty()
        tty.setraw(self._theirs)
        self.port = os.ttyname(self._theirs)
        self._firmware = KeepingSil(library, memory)
        self.start()

    def run(self) -> None:
        while True:
            self._firmware.write(os.read(self._ours, 4096))
            if told := self._firmware.read_from(Port.HOST):
                os.write(self._ours, told)


def test_softctl_keep_asks_stores_and_forgets(firmware, capsys):
    def keep(port: str, *do: str) -> str:
        code = terminal.carry_out(app, NAME, ["keep", "--port", port, *do])
        said = capsys.readouterr()
        return said.out.strip() if code == 0 else f"{code}: {said.err.strip()}"

    board = OnALine(firmware.library, Memory(4096))
    nothing = "nothing is kept; host starts as it was built"
    assert keep(board.port) == nothing
    assert keep(board.port, "--do", "store") == "copy 1 is kept; host starts with it"
    assert keep(board.port) == "copy 1 is kept; host starts with it"
    assert keep(board.port, "--do", "forget") == nothing
    board = OnALine(firmware.library, Memory(0))
    assert keep(board.port) == "host has no memory that outlasts the power"
    assert "refused KEEP: not kept" in keep(board.port, "--do", "store")
    assert keep("/dev/none-here").startswith("2: error: /dev/none-here: ")
