"""Sizes of ELF files, by section."""

from __future__ import annotations

import subprocess

import pytest

from nn4mc_codegen.trial.size import SizeError, elf_size


def test_sections_are_counted_where_they_lie(tmp_path):
    source = tmp_path / "a.c"
    source.write_text("const char in_flash[1000] = {1}; char in_both[300] = {1}; char in_ram[200];")
    subprocess.run(["cc", "-c", str(source), "-o", str(tmp_path / "a.o")], check=True)
    size = elf_size(tmp_path / "a.o")
    # The compiler may add a few bytes of its own to flash (unwind tables, notes).
    assert 1300 <= size.flash_bytes <= 1400
    assert size.ram_bytes == 500


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("no ELF")
    with pytest.raises(SizeError, match=r"a\.txt: not an ELF file"):
        elf_size(path)
