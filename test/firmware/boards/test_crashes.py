"""Whatever ends a program: outputs are safe first, then it starts again and knows what it was."""

from __future__ import annotations

import subprocess
from dataclasses import replace

import pytest

from soft_control.firmware_crash import CrashCause, decode
from soft_control.link.codes import ResetCause

from .conftest import make, read_terminal

SAFE = b"safe now\n\0"

FAULTS = {
    "d": (CrashCause.USAGE_FAULT, "divide_by_zero", "DIVBYZERO"),
    "u": (CrashCause.USAGE_FAULT, "undefined_instruction", "UNDEFINSTR"),
    "f": (CrashCause.USAGE_FAULT, "undefined_instruction", "UNDEFINSTR"),
    "m": (CrashCause.USAGE_FAULT, "fault_while_masked", "DIVBYZERO"),
    "b": (CrashCause.BUS_FAULT, "read_nowhere", "address 0x60000000"),
    "k": (CrashCause.HARD_FAULT, "breakpoint", "hard fault"),
    "i": (CrashCause.INTERRUPT, "ask_for_interrupt", "interrupt 20 of the chip"),
}
"""Letter -> cause, the function at pc, a part of the text."""


def function_at(elf, address: int) -> str:
    """By binutils, which this project has not written."""
    command = ["arm-none-eabi-addr2line", "-f", "-e", str(elf), hex(address)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[0]


def crash(machine, letter: str):
    """The next BOOT. The safe bytes have come out before it: QEMU does one thing after another."""
    machine.ask(b"S" + letter.encode())
    boot = machine.boot()
    assert read_terminal(machine.actuator, len(SAFE), 0.0) == SAFE
    # It lives: no lock-up, and nothing is left of the fault.
    machine.ask(b"?")
    assert machine.read(1) == b"?"
    return boot


@pytest.mark.parametrize("letter", FAULTS)
def test_a_fault_is_kept_with_its_cause_and_place(machine, program, letter):
    cause, function, text = FAULTS[letter]
    boot = crash(machine, letter)
    assert (boot.reset_cause, boot.crash.cause) == (ResetCause.FAULT, cause)
    assert function_at(program.elf, boot.crash.pc) == function
    assert 0 < boot.crash.stack_free <= boot.stack_free
    lines = "\n".join(decode(boot.crash, program.elf))
    assert text in lines and f"in {function}, program.c:" in lines


def test_a_jump_through_a_null_pointer_names_the_caller(machine, program):
    boot = crash(machine, "j")
    assert (boot.crash.cause, boot.crash.pc) == (CrashCause.USAGE_FAULT, 0)
    assert function_at(program.elf, (boot.crash.lr & ~1) - 1) == "jump_to_zero"
    assert "INVSTATE" in "\n".join(decode(boot.crash, program.elf))


@pytest.mark.parametrize(
    ("letter", "function"),
    [("r", "recurse"), ("g", "recurse_with_floats"), ("o", "recurse"), ("l", None)],
    ids=["plain", "floats", "masked", "one frame"],
)
def test_a_stack_that_runs_over_is_caught_at_its_end(machine, program, letter, function):
    """The guard is below the RAM: not a byte of the data is overwritten."""
    boot = crash(machine, letter)
    assert (boot.reset_cause, boot.crash.cause) == (ResetCause.FAULT, CrashCause.MEMORY_FAULT)
    assert 0x1FFF0000 <= boot.crash.address < 0x20000000
    lines = "\n".join(decode(boot.crash, program.elf))
    assert "the stack has run over" in lines
    if function:  # else what is left in the frame may be of an earlier call
        assert function_at(program.elf, (boot.crash.lr & ~1) - 1) == function
        assert f"the last call on the full stack was in {function}, program.c:" in lines
        assert boot.crash.stack_free < 64


def test_a_failed_check_is_kept_with_its_line(machine, program):
    boot = crash(machine, "a")
    assert (boot.reset_cause, boot.crash.cause) == (ResetCause.FAULT, CrashCause.ASSERTION)
    source = (program.elf.parent / "program.c").read_text().splitlines()
    assert "CHECK(" in source[boot.crash.status - 1]
    assert function_at(program.elf, boot.crash.pc - 2) == "fail_assertion"
    assert decode(boot.crash, program.elf)[1].startswith("in fail_assertion, program.c:")


def test_a_fault_on_the_way_to_safety_is_not_the_end(machine, program):
    """Safe bytes that are nowhere: the record is that of the first fault, and it starts again."""
    machine.ask(b"w")
    boot = machine.boot()
    assert boot.crash.cause == CrashCause.USAGE_FAULT
    assert function_at(program.elf, boot.crash.pc) == "undefined_instruction"


def test_without_safe_bytes_nothing_is_sent(machine):
    machine.ask(b"u")
    machine.boot()
    assert read_terminal(machine.actuator, 1, 0.0) == b""


def test_the_record_outlives_other_resets_but_only_one_is_its_own(machine):
    first = crash(machine, "d")
    machine.ask(b"R")
    again = machine.boot()
    assert again.crash == first.crash and again.reset_cause != ResetCause.FAULT
    assert crash(machine, "b").crash.cause == CrashCause.BUS_FAULT


@pytest.mark.parametrize("letter", ["H", "D"], ids=["hang", "hang_deaf"])
def test_a_program_that_hangs_is_ended_by_the_watchdog(machine, program, letter):
    if letter == "D" and program.board == "stm32f405":
        pytest.skip("QEMU models no watchdog of the STM32F405")
    machine.ask(b"F")
    assert machine.read(1) == b"F"
    boot = crash(machine, letter)
    assert (boot.reset_cause, boot.crash.cause) == (ResetCause.WATCHDOG, CrashCause.WATCHDOG)
    assert function_at(program.elf, boot.crash.pc) == {"H": "hang", "D": "hang_deaf"}[letter]


def test_the_watchdog_waits_for_the_first_cycle_and_bites_when_they_end(start):
    """'t' idles for 100 subticks of 1080 a second; it is patient for 250 ms, 500 in hardware."""

    machine = start()
    name = machine.boot().name.encode() + b"\0"

    def idle(times: int) -> None:
        for _ in range(times):
            machine.ask(b"t")
            machine.words(6)

    idle(7)
    for _ in range(7):
        machine.ask(b"F")
        assert machine.read(1) == b"F"
        idle(1)
    machine.ask(b"tttt")
    # Any byte of its replies may look like the B of BOOT.
    come = b""
    while not come.endswith(name):
        come += machine.read(1)
    boot = come[-(2 + 32 + len(name)) :]
    assert boot[:2] == b"B" + bytes([ResetCause.WATCHDOG])


def test_debug_information_is_no_part_of_what_is_loaded(program, tmp_path):
    """And says nothing of the folder: same sources, same bytes."""
    again = make(tmp_path / "else where", program.board)
    for suffix in (".elf", ".bin", ".map"):
        one, other = (path.with_suffix(suffix).read_bytes() for path in (program.elf, again))
        assert one == other
        assert str(tmp_path).encode() not in other
    assert program.elf.with_suffix(".bin").stat().st_size < 8192


def test_a_record_of_what_is_not_known_is_refused(program, machine):
    from soft_control.firmware_crash import CrashError

    boot = crash(machine, "d")
    with pytest.raises(CrashError, match="crash cause 99 is unknown"):
        decode(replace(boot.crash, cause=99), program.elf)
