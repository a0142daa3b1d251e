"""stack_depth.py: on units made by hand, against the assembler's calls, against a run's stack."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location

import pytest

from soft_control.paths import share

from .loop.test_pil import run

SCRIPT = share() / "firmware" / "stack_depth.py"
spec = spec_from_file_location("stack_depth", SCRIPT)
stack_depth = module_from_spec(spec)
sys.modules[spec.name] = stack_depth  # dataclass looks there
spec.loader.exec_module(stack_depth)
StackError = stack_depth.StackError

LIBRARY, EXCEPTION = stack_depth.LIBRARY_BYTES, stack_depth.EXCEPTION_BYTES


def unit(functions: dict[str, tuple[int, list[str]]], kind: str = "static") -> str:
    """What gcc 12 writes of a unit a.c. Function -> its bytes, and whom it calls; "*" through a
    pointer, names with a slash are static, and those it does not hold are elsewhere."""
    lines = ['graph: { title: "src/a.c"']
    for name, (size, callees) in functions.items():
        plain = name.rpartition(":")[2]
        label = rf"{plain}\nsrc/a.c:1:2\n{size} bytes ({kind})"
        lines.append(f'node: {{ title: "{name}" label: "{label}" }}')
        for callee in callees:
            if callee == "*":
                callee = "__indirect_call"
                label = "Indirect Call Placeholder"
                lines.append(f'node: {{ title: "{callee}" label: "{label}" shape : ellipse }}')
            elif callee not in functions:
                label = rf"{callee}\n/usr/include/newlib/string.h:32:9"
                lines.append(f'node: {{ title: "{callee}" label: "{label}" shape : ellipse }}')
            lines.append(
                f'edge: {{ sourcename: "{name}" targetname: "{callee}" label: "src/a.c:3:4" }}'
            )
    return "\n".join([*lines, "}"])


def relocations(*places: tuple[str, str]) -> str:
    """As `objdump -r` writes them: a symbol whose address is put into a section."""
    lines = ["a.o:     file format elf32-littlearm", ""]
    for section, symbol in places:
        lines += [
            f"RELOCATION RECORDS FOR [{section}]:",
            "OFFSET   TYPE              VALUE",
            f"00000004 R_ARM_ABS32       {symbol}",
            "00000010 R_ARM_THM_CALL    called",
            "",
        ]
    return "\n".join(lines)


VECTORS = ((".vectors", "stack_top"), (".vectors", "reset_handler"), (".vectors", "byte_handler"))


def chain(*units: str, taken: tuple = VECTORS, may: dict | None = None) -> list[tuple[str, int]]:
    calls = stack_depth.read_calls(units)
    addresses = stack_depth.read_addresses(relocations(*taken))
    return stack_depth.worst(calls, stack_depth.resolve(calls, addresses, may or {}))


PROGRAM = {
    "reset_handler": (8, ["main"]),
    "main": (16, ["walk", "narrow"]),
    "narrow": (40, ["low"]),
    "low": (8, []),
    "walk": (24, ["src/a.c:wide", "low"]),
    "src/a.c:wide": (100, ["memcpy"]),
    "byte_handler": (12, ["low"]),
    "crash_exception": (40, []),
}


def test_the_worst_chain_is_found_with_library_and_interrupts():
    assert chain(unit(PROGRAM)) == [
        ("reset_handler", 8), ("main", 16), ("walk", 24), ("wide", 100), ("memcpy", LIBRARY),
        ("exception", EXCEPTION), ("byte_handler", 12), ("low", 8), ("exception", EXCEPTION),
    ]  # fmt: skip


def test_a_function_of_another_unit_is_no_library():
    split = dict(PROGRAM)
    low = split.pop("low")
    assert chain(unit(split), unit({"low": low})) == chain(unit(PROGRAM))


def test_the_largest_handler_counts_and_a_fault_may_need_more_than_all():
    more = PROGRAM | {"line_handler": (64, [])}
    taken = (*VECTORS, (".vectors", "line_handler"))
    assert ("line_handler", 64) in chain(unit(more), taken=taken)
    assert ("line_handler", 64) not in chain(unit(more))
    assert chain(unit(PROGRAM | {"crash_exception": (4000, [])})) == [("crash_exception", 4000)]


ANSWERS = {"src/a.c:answer_one": (24, []), "src/a.c:answer_two": (600, ["low"])}
POINTING = PROGRAM | ANSWERS | {"walk": (24, ["src/a.c:wide", "*"])}
TAKEN = (*VECTORS, (".rodata.answers", ".text.answer_one"), (".data", ".text.unlikely.answer_two"))


def test_a_call_through_a_pointer_reaches_the_worst_of_those_it_may():
    found = chain(unit(POINTING), taken=TAKEN, may={"a.c": ["answer_*"]})
    assert found[2:5] == [("walk", 24), ("answer_two", 600), ("low", 8)]
    found = chain(unit(POINTING), taken=TAKEN, may={"a.c": ["answer_one"], "b.c": ["answer_*"]})
    assert ("wide", 100) in found


def test_a_call_or_an_address_that_nobody_explains_is_refused():
    with pytest.raises(StackError, match="a.c: walk calls through a pointer: whom?"):
        chain(unit(POINTING), taken=TAKEN, may={"b.c": ["answer_*"]})
    with pytest.raises(StackError, match="answer_two: its address is taken"):
        chain(unit(POINTING), taken=TAKEN, may={"a.c": ["answer_one"]})
    debug = (*VECTORS, (".debug_info", ".text.low"))
    assert chain(unit(PROGRAM), taken=debug) == chain(unit(PROGRAM))


def test_recursion_is_refused_also_through_pointers():
    with pytest.raises(StackError, match="^low > walk > low$"):
        chain(unit(PROGRAM | {"low": (8, ["walk"])}))
    around = POINTING | {"src/a.c:answer_one": (24, ["main"])}
    with pytest.raises(StackError, match="^main > walk > answer_one > main$"):
        chain(unit(around), taken=TAKEN, may={"a.c": ["answer_*"]})


def test_a_frame_without_a_fixed_size_is_refused():
    with pytest.raises(StackError, match="reset_handler: its frame is dynamic,bounded"):
        chain(unit(PROGRAM, kind="dynamic,bounded"))


@pytest.fixture(scope="module")
def objects(firmware, has_board_compiler, tmp_path_factory):
    """The folder of the firmware's object files, and what else the compiler has left."""
    if not has_board_compiler:
        pytest.skip("arm-none-eabi-gcc is not installed")
    folder = tmp_path_factory.mktemp("objects")
    shutil.copytree(share() / "firmware", folder / "firmware")
    (folder / "build").mkdir()
    for name in ("fk.c", "fk.h", "controller_config.c", "controller_config.h"):
        shutil.copy(firmware.directory / name, folder / "build")
    command = ["make", "-C", "firmware", "BUILD=../build", "BOARD=stm32f405"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder / "build" / "obj" / "stm32f405"


def test_the_compiler_tells_of_every_call_that_the_assembler_sees(objects):
    """Each relocation of a BL: in which function's section, and to whom."""
    calls = stack_depth.read_calls(path.read_text() for path in objects.glob("*.ci"))
    told = {
        (stack_depth.plain(caller), stack_depth.plain(callee))
        for caller, callees in calls.callees.items()
        for callee in callees
    }
    seen = set()
    for path in objects.glob("*.o"):
        listing = subprocess.run(
            ["arm-none-eabi-objdump", "-r", str(path)], capture_output=True, text=True, check=True
        ).stdout
        section = ""
        for line in listing.splitlines():
            if begin := re.match(
                r"RELOCATION RECORDS FOR \[\.text\.(?:startup\.|unlikely\.)?(.*)\]", line
            ):
                section = stack_depth.plain(begin[1])
            elif call := re.search(r"R_ARM_THM_(?:CALL|JUMP24) +(?:\.text\.)?(\S+)", line):
                seen.add((section, stack_depth.plain(call[1])))
    # A handler in assembler goes on on an empty stack; `worst` knows it.
    assert seen - told == {("crash_handler", "crash_exception")}
    assert len(seen) > 100


def stack_size(elf) -> int:
    from elftools.elf.elffile import ELFFile

    with elf.open("rb") as file:
        (symbol,) = ELFFile(file).get_section_by_name(".symtab").get_symbol_by_name("stack_size")
        return symbol["st_value"]


def test_a_run_uses_less_and_not_much_less(open_target, firmware):
    """The painted stack tells how deep it went. What a run need not meet is an interrupt at the
    deepest point, with a fault on top."""
    session = open_target("pil")
    session.upload([(0.0, 0.0, 0.0)] * 20, 1 << 20, False, (0.1, 0.1, 0.1))
    run(session)
    session.stop()
    size, free = stack_size(firmware.elf), session.hello().stack_free
    assert 0 < free < 800 < size
