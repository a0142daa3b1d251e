"""Devices that come back under another name, and how often they are looked for."""

from __future__ import annotations

import os
from itertools import pairwise
from types import SimpleNamespace

import pytest

from soft_control.link.returning import LAST_S, Backoff, PortFinder
from soft_control.link.rhythm import ENOUGH, Rhythm


def usb(device, number, location="1-2", vid=0x403, pid=0x6001):
    return SimpleNamespace(device=device, vid=vid, pid=pid, serial_number=number, location=location)


def test_a_port_is_found_by_the_number_of_the_device_that_was_opened_at_its_name():
    ports = [usb("/dev/null", "LACE"), usb("/dev/zero", "SERVOS")]
    finder = PortFinder("/dev/null", lambda: ports)
    assert finder.find() == "/dev/null"
    finder.opened("/dev/null")
    ports[:] = [usb("/dev/null", "SERVOS")]
    assert finder.find() is None, "its name is now another's"
    ports.append(usb("/dev/full", "LACE", location="3-1"))
    assert finder.find() == "/dev/full"


def test_a_serial_number_alone_will_do_where_it_is_one_ports():
    ports = [usb("/dev/a", "X", "1-2:1.0"), usb("/dev/b", "X", "1-2:1.1"), usb("/dev/c", "Y")]
    assert PortFinder("usb:Y", lambda: ports).find() == "/dev/c"
    assert PortFinder("usb:Z", lambda: ports).find() is None
    assert PortFinder("usb:X:1.1", lambda: ports).find() == "/dev/b"
    with pytest.raises(ValueError, match="usb:X is /dev/a, /dev/b: say .* usb:X:1.0 or usb:X:1.1"):
        PortFinder("usb:X", lambda: ports).find()
    both = PortFinder("/dev/null", lambda: [usb("/dev/null", "X", "1-2:1.1"), *ports])
    both.opened("/dev/null")
    ports[:] = ports[:1]
    assert both.find() == "/dev/null", "the other port of the device is another one"


def test_without_a_number_a_link_is_followed_wherever_it_points_to(tmp_path):
    """As udev keeps them in /dev/serial/by-id and by-path; a pseudo-terminal is in no list."""
    link = tmp_path / "board"
    finder = PortFinder(str(link), lambda: [usb("/dev/null", None)])
    assert finder.find() is None
    for device in ("/dev/null", "/dev/zero"):
        link.symlink_to(device)
        assert finder.find() == device
        finder.opened(device)
        link.unlink()
        assert finder.find() is None


def test_pyserials_own_list_is_asked():
    finder = PortFinder(os.devnull)
    finder.opened(os.devnull)
    assert finder.find() == os.devnull


def test_the_next_look_is_farther_each_time_but_never_far():
    backoff, looks = Backoff(), []
    for now_ms in range(0, 10_000):
        if backoff.is_due(now_ms / 1e3):
            looks.append(now_ms / 1e3)
    waits = [round(after - before, 3) for before, after in pairwise(looks)]
    assert looks[0] == 0.0 and waits[0] < 0.03
    assert waits == sorted(waits) and max(waits) <= LAST_S + 0.002
    assert len(looks) < 35


def test_samples_that_passed_meanwhile_are_counted_by_the_rhythm_before():
    rhythm, now_s = Rhythm(), 0.0
    rhythm.interrupt()
    assert rhythm.sample(now_s) == 0, "nobody knows it yet"
    for k in range(200):
        now_s += 0.01
        assert rhythm.sample(now_s + (0.004 if k % 3 else 0.0)) is None
    for gap in (100, 1, 7):  # the last two after a single sample
        rhythm.interrupt()
        now_s += gap * 0.01
        assert rhythm.sample(now_s) == pytest.approx(gap - 1, abs=1)
    for _ in range(ENOUGH):  # which had waited for a busy machine
        assert rhythm.sample(now_s + 0.001) is None
    rhythm.interrupt()
    assert rhythm.sample(now_s + 0.5) == pytest.approx(49, abs=6), "they are a tenth of those known"
