"""The flash of the STM32F405, on a model of its registers: QEMU's cannot be written."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from soft_control.paths import share

HERE = Path(__file__).parent
BOARD = share() / "firmware" / "boards" / "stm32f405"
REGISTERS = ("ACR", "KEYR", "SR", "CR")


def run(folder: Path, change: tuple[str, str] = ("", "")) -> tuple[int, str]:
    """Exit code and last line of flash.c on the model, with a text of it in place of another."""
    source = (BOARD / "flash.c").read_text()
    assert change[0] in source
    (folder / "flash_under_test.c").write_text(source.replace(*change, 1))
    header = (BOARD / "stm32f405.h").read_text()
    for register in REGISTERS:
        header, count = re.subn(
            rf"#define FLASH_{register} REGISTER\(0x\w+\)",
            f"#define FLASH_{register} (*model_register({register}))",
            header,
        )
        assert count == 1
    header, count = re.subn(
        r"#define FLASH_WORD\(address\) .*", "#define FLASH_WORD(a) (*model_word(a))", header
    )
    assert count == 1
    header = header.replace('#include "boards/cortex_m4/core.h"', "")
    (folder / "boards" / "stm32f405").mkdir(parents=True)
    (folder / "boards" / "stm32f405" / "stm32f405.h").write_text(header)
    program = folder / "program"
    subprocess.run(
        ["gcc", "-std=c99", "-Wall", "-Wextra", "-Werror", f"-I{folder}", f"-I{BOARD.parents[1]}",
         f"-I{BOARD.parents[1] / 'src'}", str(HERE / "flash_model.c"), "-o", str(program)],
        check=True,
    )  # fmt: skip
    done = subprocess.run([str(program)], capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout.strip()


def test_sectors_are_erased_and_words_written_as_the_manual_says(tmp_path):
    assert run(tmp_path) == (0, "good")


@pytest.mark.parametrize(
    "change, said",
    [
        (("FLASH_KEYR = 0x45670123u;\n", ""), "key 0xcdef89ab"),
        (("FIRST_SECTOR 10", "FIRST_SECTOR 0"), "erases sector 0"),
        (("FLASH_CR = FLASH_CR_PSIZE_WORD | FLASH_CR_PG", "FLASH_CR = FLASH_CR_PG"), "a word with"),
        (("FLASH_ACR = on & ~FLASH_ACR_CACHES;\n", ""), "caches emptied while they are on"),
        (("written = wait() && ", "written = "), "a word while busy"),
        (("FLASH_CR = FLASH_CR_LOCK;\n", ""), "not so: (registers[CR] & LOCK) != 0u"),
    ],
    ids=["key", "sector", "size", "caches", "busy", "lock"],
)
def test_the_model_finds_what_the_manual_forbids(tmp_path, change, said):
    code, line = run(tmp_path, change)
    assert code == 3 and line.startswith(said)
