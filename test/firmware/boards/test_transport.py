"""PilTransport: what it is given is checked, what it has opened is closed."""

from __future__ import annotations

import array
import fcntl
import os
import signal
import tempfile
import termios
import time
from pathlib import Path

import pytest

from soft_control.link.transport import PilTransport, TransportError

from .conftest import PATIENCE_S, read_terminal


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def waiting_bytes(pipe: int) -> int:
    size = array.array("i", [0])
    fcntl.ioctl(pipe, termios.FIONREAD, size)
    return size[0]


def wait_for_boot(transport) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not transport.read(1.0):
        assert time.monotonic() < deadline


def test_nothing_is_left_open(program, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = open_files()
    transport = PilTransport(program.elf, machine=program.machine)
    pid = transport.pid
    wait_for_boot(transport)
    assert list(tmp_path.iterdir()) == []
    transport.close()
    transport.close()
    assert open_files() == before
    assert list(tmp_path.iterdir()) == []
    assert not Path(f"/proc/{pid}").exists()
    for use in (lambda: transport.read(0.0), lambda: transport.write(b"?")):
        with pytest.raises(TransportError, match="the link is closed"):
            use()


def test_what_is_written_at_once_waits_until_the_board_hears(program):
    """Its receiver is not on before it has said something, and drops what comes."""
    transport = PilTransport(program.elf, machine=program.machine)
    transport.write(b"T")
    deadline = time.monotonic() + PATIENCE_S
    came = 0
    while came < 100_000 and time.monotonic() < deadline:
        came += transport.read(1.0).count(b"x")
    assert came == 100_000
    transport.close()


def test_a_qemu_that_is_gone_is_noticed_by_reader_and_writer(program):
    transport = PilTransport(program.elf, machine=program.machine)
    wait_for_boot(transport)
    os.kill(transport.pid, signal.SIGKILL)
    with pytest.raises(TransportError, match="QEMU ended with signal SIGKILL"):
        while True:  # what had come before is read first
            assert transport.read(PATIENCE_S)
    with pytest.raises(TransportError, match="QEMU ended with signal SIGKILL"):
        transport.write(b"?")
    transport.close()


def test_a_qemu_that_stands_still_is_written_to_and_read_without_waiting(program):
    transport = PilTransport(program.elf, machine=program.machine)
    wait_for_boot(transport)
    os.kill(transport.pid, signal.SIGSTOP)
    transport.write(b"?" * 100_000)
    while transport.read(0.01):
        pass
    transport.close()


def test_a_board_that_is_not_read_at_all_waits_and_loses_nothing(program):
    """More than the pipe's 1 MB, of which none is read before the pipe is full."""
    transport = PilTransport(program.elf, machine=program.machine)
    wait_for_boot(transport)
    transport.write(b"T" * 11)
    deadline = time.monotonic() + PATIENCE_S
    while waiting_bytes(transport._in) < 1_000_000:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    came = 0
    while came < 1_100_000 and time.monotonic() < deadline:
        came += transport.read(1.0).count(b"x")
    assert came == 1_100_000
    transport.close()


@pytest.mark.parametrize("line", ["sensor", "actuator"])
def test_what_is_no_terminal_is_named(program, tmp_path, line):
    before = open_files()
    with pytest.raises(TransportError, match="nowhere: No such file or directory"):
        PilTransport(program.elf, **{line: tmp_path / "nowhere"})
    (tmp_path / "file").write_text("")
    with pytest.raises(TransportError, match="file is no terminal"):
        PilTransport(program.elf, **{line: tmp_path / "file"})
    assert open_files() == before


def test_a_terminal_may_have_any_name_and_any_settings(program, tmp_path):
    """A comma ends a value among QEMU's options; a new terminal echoes and turns returns into line
    ends."""
    ours, theirs = os.openpty()
    name = tmp_path / "a,b=c,,d"
    name.symlink_to(os.ttyname(theirs))
    transport = PilTransport(program.elf, machine=program.machine, sensor=name)
    wait_for_boot(transport)
    sent = b"\r\n\x03\x04\x11\x13\x1a\x7f\xff\x00" + bytes(byte ^ 0x55 for byte in b"\r\n\t")
    os.write(ours, sent)
    assert read_terminal(ours, len(sent)) == bytes(byte ^ 0x55 for byte in sent)
    transport.close()
    os.close(ours)
    os.close(theirs)
