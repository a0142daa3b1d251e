"""soft_control.firmware_crash: a record becomes words, whatever is in it. Those of emulated crashes
are in test/firmware/boards."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soft_control.firmware_crash import CrashCause, CrashError, CrashRecord, decode

SOURCE = """\
int divide(int a, int b)
{
    return a / b;
}

int main(void)
{
    return divide(4, 2);
}
"""


@pytest.fixture(scope="module")
def elf(tmp_path_factory):
    """Any processor's will do: functions and lines are written the same way."""
    folder = tmp_path_factory.mktemp("crash")
    (folder / "some.c").write_text(SOURCE)
    command = ["gcc", "-g", "-O1", "-fno-inline", "-ffunction-sections", "-no-pie", "some.c"]
    subprocess.run([*command, "-o", "some.elf"], cwd=folder, check=True)
    return folder / "some.elf"


def address_of(elf, function: str) -> int:
    """By binutils."""
    said = subprocess.run(["nm", str(elf)], capture_output=True, text=True, check=True).stdout
    return next(int(line.split()[0], 16) for line in said.splitlines() if line.endswith(function))


def test_the_function_and_the_line_of_an_address(elf):
    place = address_of(elf, " divide")
    crash = CrashRecord(4, place, place + 3, 0, 1 << 25, 0, 96)
    assert decode(crash, elf) == [
        "ended by a usage fault",
        f"in divide, some.c:2 (0x{place:08x})",
        f"its caller, or its last call, in divide, some.c:2 (0x{place + 1:08x})",
        "DIVBYZERO: a division by zero",
        "stack: 96 bytes were never used",
    ]


def test_all_that_can_be_unknown(elf):
    nowhere = CrashRecord(1, 0x20000000, 0, 0, 0, 0, 0)
    assert decode(nowhere, elf)[1] == "in no function (0x20000000)"
    assert decode(CrashRecord(0, 0, 0, 0, 0, 0, 0), elf) == ["ended by no crash"]
    # A watchdog in hardware has left nothing but its cause.
    assert decode(CrashRecord(7, 0, 0, 0, 0, 0, 0), elf) == [
        "ended by the watchdog: a cycle took too long",
        "stack: 0 bytes were never used",
    ]


def test_without_debug_information_there_is_the_function(elf, tmp_path):
    bare = tmp_path / "bare.elf"
    subprocess.run(["objcopy", "--strip-debug", str(elf), str(bare)], check=True)
    place = address_of(elf, " divide")
    assert decode(CrashRecord(4, place, 0, 0, 0, 0, 0), bare)[1] == f"in divide (0x{place:08x})"


@given(st.builds(CrashRecord, st.sampled_from(CrashCause), *[st.integers(0, 2**32 - 1)] * 6))
def test_any_record_is_words_and_survives_as_text(elf, crash):
    lines = decode(crash, elf)
    assert lines and all(line.isprintable() for line in lines)
    assert CrashRecord.from_hex(crash.hex()) == crash


@pytest.mark.parametrize("text", ["", "00", "zz" * 25, "00" * 26])
def test_what_is_no_record_is_refused(text):
    with pytest.raises(CrashError, match="is no crash record: that is 50 hexadecimal digits"):
        CrashRecord.from_hex(text)


def test_what_is_no_elf_is_refused(tmp_path):
    (tmp_path / "some.elf").write_text("no elf")
    with pytest.raises(CrashError, match="some.elf: not a readable ELF file"):
        decode(CrashRecord(1, 0, 0, 0, 0, 0, 0), tmp_path / "some.elf")
