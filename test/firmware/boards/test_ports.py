"""Bytes and time of the boards: what board.h promises."""

from __future__ import annotations

import os
import random
import shutil

import pytest

from .conftest import make, read_terminal

SUBTICK_US = 1e6 / 1080.0
"""At a control rate of 120 Hz."""


def test_lines_do_not_mix_and_change_no_byte(machine):
    """All values of a byte, on all lines at the same time, in pieces of any size. The program
    answers on the line that a byte came from: the host's with the byte itself, others changed."""
    chance = random.Random(4)
    letters = b"?!.,;:-+*/()[]{}0123456789" * 10  # to which the program has no other answer
    data = bytes(range(256)) * 2
    sent = {"host": 0, "sensor": 0, "actuator": 0}
    while min(sent.values()) < 256:
        line = chance.choice(list(sent))
        part = slice(sent[line], sent[line] + chance.randint(1, 20))
        if line == "host":
            machine.ask(letters[part])
        else:
            os.write(getattr(machine, line), data[part])
        sent[line] = part.stop
    assert machine.read(min(sent["host"], len(letters))) == letters[: sent["host"]]
    for line, change in (("sensor", 0x55), ("actuator", 0xAA)):
        expected = bytes(byte ^ change for byte in data[: sent[line]])
        assert read_terminal(getattr(machine, line), len(expected)) == expected


def test_microseconds_are_those_of_the_virtual_clock(machine):
    """Nothing but SysTick wakes the board from its 100 idle waits, each at the next subtick. On the
    STM32F405 TIM2 counts the nanoseconds of the same virtual time."""
    for _ in range(3):
        machine.ask(b"t")
        start_us, start_ticks, end_us, end_ticks, backwards, span_us = machine.words(6)
        passed_us = (end_us - start_us) % 2**32
        assert passed_us >= 99 * SUBTICK_US
        if machine.board == "stm32f405":
            assert passed_us == pytest.approx((end_ticks - start_ticks) % 2**32 / 1e3, abs=2)
        assert backwards == 0
        # A thousand readings, some ten instructions of a nanosecond each.
        assert 5 <= span_us <= 50


def test_the_step_cost_is_instructions_to_the_last_one(machine):
    """A loop of three instructions, 100 and 200 turns."""
    machine.ask(b"c")
    short, long = machine.words(2)
    if machine.board == "stm32f405":
        assert long - short == 300 and 300 < short < 310
    else:
        assert (short, long) == (0, 0)


def test_a_host_that_does_not_read_does_not_stop_the_board(machine):
    """100 kB go out, more than a socket pair and a default pipe hold; only then the host reads."""
    machine.ask(b"T")
    assert read_terminal(machine.actuator, 5) == b"done\n"
    assert machine.read(100_000) == b"x" * 100_000


@pytest.mark.parametrize(
    "define", ["#define ACTUATOR_HALF_DUPLEX\n", "#define SENSOR_BAUD 115200\n"]
)
@pytest.mark.parametrize("board", ["stm32f405", "mps2-an386"])
def test_what_a_robot_may_set_compiles(tmp_path, board, define):
    if shutil.which("arm-none-eabi-gcc") is None:
        pytest.skip("arm-none-eabi-gcc is not installed")
    make(tmp_path / "set", board, define)
