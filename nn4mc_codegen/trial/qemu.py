"""Generated C on an emulated Cortex-M4F: the exact outputs, and what they cost.

With `-icount` a timer of the emulated chip counts executed instructions exactly. The network is
linked with templates/measure.c.j2, which reads samples from a file of the host, calls one function
on each and writes results and costs back.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from elftools.elf.elffile import ELFFile

from nn4mc_codegen.printing.c import TEMPLATES, template_environment
from nn4mc_codegen.trial.chips import STM32F405, Chip
from nn4mc_codegen.trial.cycles import Cost, cost_of_trace, disassembly
from nn4mc_codegen.trial.interface import TYPES, Function, Samples, make_samples, read_function
from nn4mc_codegen.trial.programs import run_bounded
from nn4mc_codegen.trial.size import Size, elf_size

COMPILER = "arm-none-eabi-gcc"
EMULATOR = "qemu-system-arm"
PACKAGES = "gcc-arm-none-eabi libnewlib-arm-none-eabi qemu-system-arm"
FLAGS = (
    "-std=c99 -O2 -ffp-contract=off -fno-math-errno -mcpu=cortex-m4 -mthumb -mfloat-abi=hard "
    "-mfpu=fpv4-sp-d16 -ffunction-sections -fdata-sections"
).split()
LINK_FLAGS = "-nostartfiles --specs=nano.specs -Wl,--gc-sections,--build-id=none".split()

# A network of a million multiply-adds, emulated a thousand times, takes a minute.
TIMEOUT_S = 300
# Most instructions of a sample that are traced for the estimate of cycles, by default: so many took
# 6 s of processor time (2026).
MAX_TRACED = 2_000_000
_RESET, _RESTORE = 1, 2
_OVERFLOW = re.compile(r"region `(\w+)' overflowed by (\d+) bytes")
_TRACE_LINE = re.compile(r"\[[0-9a-f]+/([0-9a-f]+)/")


class QemuError(RuntimeError):
    """The toolchain is missing, or the network does not build or run; the message is one line."""


class TooLarge(QemuError):
    """The network has no room on the emulated chip; the message says by how much."""


@dataclass(frozen=True)
class Measurement:
    """What one function did on the samples, and what it costs."""

    outputs: dict[str, np.ndarray]
    """each array that the function writes, by its name in the header, (samples, elements); for a
    recurrent network also `state` (samples, states), as it is after the call"""
    instructions: int
    """the most that a sample took, from the function's first instruction to its return"""
    instructions_each: np.ndarray
    """(samples,)"""
    stack_bytes: int
    """most of a sample: how far below the caller's stack a pattern painted there was overwritten"""
    flash_bytes: int
    """code, constants and initial values, with what it needs of the C library, beyond an empty
    program; of all functions of the network if `keep` was given"""
    ram_bytes: int
    """static variables beyond an empty program; neither the stack nor the caller's arrays"""
    cycles: int | None
    """estimated, of the first sample (see cycles.py); None unless asked for, or where that sample
    takes more than `most_traced` instructions"""
    cost: Cost | None
    """the same by kinds of instruction"""
    profile: dict[tuple[str, str], int] | None
    """instructions of the first sample in each function, without those in what it calls, by C file
    and name of the function, most first; what comes from a library has an empty name as its file"""


def missing_tools() -> str | None:
    """One line that names what is not installed and how to install it, or None."""
    missing = [tool for tool in (COMPILER, EMULATOR) if shutil.which(tool) is None]
    if not missing:
        return None
    return f"{' and '.join(missing)} not found; on Debian: apt install {PACKAGES}"


def versions() -> list[str]:
    """A line of the compiler and one of the emulator. Raises `QemuError` where one is missing."""
    return [_call([tool, "--version"]).splitlines()[0] for tool in (COMPILER, EMULATOR)]


def measure(
    folder: Path | str,
    name: str,
    x: np.ndarray,
    function: str = "step",
    *,
    resets: Sequence[bool] | None = None,
    state: np.ndarray | None = None,
    keep: Sequence[str] | None = None,
    cycles: bool = False,
    sources: Sequence[Path] | None = None,
    flags: Sequence[str] = (),
    chip: Chip = STM32F405,
    most_instructions: int | None = None,
    most_traced: int = MAX_TRACED,
    **others: np.ndarray,
) -> Measurement:
    """Run `name`_`function` of the network in `folder` on samples, on the emulated Cortex-M4F.

        measure("out", "fk", x).instructions                    # fk_step on x (samples, inputs)
        measure("out", "fk", x, "vjp", v=v).outputs["g"]        # (samples, columns)
        measure("out", "gru", x, resets=[1, 0, 0]).outputs["state"]

    `x` and `others` hold the arguments of the function by their names in the header, a sample a
    row (or one sample as a vector). A recurrent network's state is reset before the first sample
    and where `resets` says so, and carried on between; or it is set to `state` (samples, states)
    before each. `keep` names the functions whose flash is counted, by default this one. `cycles`
    asks for the estimate and the profile too, which takes a second run, where a sample takes no
    more than `most_traced` instructions. `sources` are the C files, by default `name`.c in
    `folder`; `flags` are added to the reference flags. After
    `most_instructions`, all samples together, those that are left are not run; two at least are.

    Raises `QemuError` or `InterfaceError`; `TooLarge` where the chip has no room.
    """
    folder = Path(folder)
    header = (folder / f"{name}.h").read_text(encoding="utf-8")
    measured = read_function(header, name, function)
    records = _records(measured, make_samples(measured, {"x": x, **others}, resets, state))
    sources = [Path(s).resolve() for s in sources or [folder / f"{name}.c"]]
    most_ticks = None if most_instructions is None else int(most_instructions * chip.ticks)
    flags = [*chip.flags, *flags, f"-I{folder.resolve()}"]
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        (work / "measure.c").write_text(_program(name, measured, most_ticks), encoding="utf-8")
        objects = compile_objects(work, [work / "measure.c", *sources], flags)
        _link(work / "measure.elf", objects, chip)
        kept = [f"{name}_{f}" for f in keep or [function]]
        size = size_beyond_empty(work, objects[1:], kept, chip)
        results = np.frombuffer(_run(work, records, chip), _output_type(measured))
        if len(results) < min(len(records), len(records) if most_ticks is None else 2):
            raise QemuError(f"{measured.name}: {len(results)} of {len(records)} samples came back")
        instructions = _instructions(results, chip)
        cost = profile = None
        if cycles and instructions[0] <= most_traced:
            trace = _trace(work, records[:1], chip)
            listing = _call(["arm-none-eabi-objdump", "-d", str(work / "measure.elf")])
            cost = cost_of_trace(trace, disassembly(listing))
            profile = _profile(trace, work / "measure.elf", objects)
    arrays = {a.name: results[a.name].copy() for a in measured.outputs}
    if measured.states:
        arrays["state"] = results["after"].copy()
    return Measurement(
        outputs=arrays,
        instructions=int(instructions.max()),
        instructions_each=instructions,
        stack_bytes=int(results["stack_bytes"].max()),
        flash_bytes=size.flash_bytes,
        ram_bytes=size.ram_bytes,
        cycles=cost.cycles if cost else None,
        cost=cost,
        profile=profile,
    )


def compile_objects(work: Path, sources: Sequence[Path], flags: Sequence[str]) -> list[Path]:
    """Compile C files with the reference flags; raises `QemuError`."""
    objects = []
    for number, source in enumerate(sources):
        objects.append(work / f"{number}_{source.stem}.o")
        options = [*FLAGS, "-I", str(TEMPLATES), *flags]
        _call([COMPILER, *options, "-c", str(source), "-o", str(objects[-1])])
    return objects


def _instructions(results: np.ndarray, chip: Chip) -> np.ndarray:
    """From the function's first to its return, of each sample (samples,)."""
    ticks = results["ticks"].astype(np.int64) - results["ticks_of_nothing"]
    return np.rint(ticks / chip.ticks).astype(int) + 1  # the return, which nothing had too


def size_beyond_empty(
    work: Path, objects: Sequence[Path], functions: Sequence[str], chip: Chip
) -> Size:
    """Flash and RAM that the functions add to a program that does nothing."""
    empty = work / "empty.c"
    empty.write_text("int main(void)\n{\n    return 0;\n}\n", encoding="utf-8")
    _link(work / "empty.elf", [empty], chip)
    undefined = [f"-Wl,--undefined={f}" for f in functions]
    _link(work / "network.elf", [empty, *objects], chip, undefined)
    without, with_it = elf_size(work / "empty.elf"), elf_size(work / "network.elf")
    return Size(with_it.flash_bytes - without.flash_bytes, with_it.ram_bytes - without.ram_bytes)


def _program(name: str, function: Function, most_ticks: int | None) -> str:
    template = template_environment().get_template("measure.c.j2")
    return template.render(name=name, function=function, most_ticks=most_ticks)


def _input_type(function: Function) -> np.dtype:
    state = TYPES[function.state_type]
    before = [("before", state, (function.states,))] if function.states else []
    arrays = [(a.name, TYPES[a.type], (a.size,)) for a in function.inputs]
    return np.dtype([("action", np.uint32), *before, *arrays], align=True)


def _output_type(function: Function) -> np.dtype:
    state = TYPES[function.state_type]
    after = [("after", state, (function.states,))] if function.states else []
    arrays = [(a.name, TYPES[a.type], (a.size,)) for a in function.outputs]
    costs = [(name, np.uint32) for name in ("ticks", "ticks_of_nothing", "stack_bytes")]
    return np.dtype([*costs, *after, *arrays], align=True)


def _records(function: Function, samples: Samples) -> np.ndarray:
    """The samples as templates/measure.c.j2 reads them."""
    records = np.zeros(len(samples), _input_type(function))
    for name, values in samples.inputs.items():
        records[name] = values
    records["action"] = np.where(samples.resets, _RESET, 0)
    if samples.state is not None:
        records["action"] = _RESTORE
        records["before"] = samples.state
    return records


def _link(elf: Path, files: Sequence[Path], chip: Chip, options: Sequence[str] = ()) -> None:
    words = [COMPILER, *FLAGS, *chip.flags, *LINK_FLAGS, *options]
    files = [str(TEMPLATES / "cortex_m4f.c"), *map(str, files)]
    script = str(TEMPLATES / chip.script)
    try:
        _call([*words, "-T", script, *files, "-lm", "-o", str(elf)])
    except TooLarge as error:
        raise TooLarge(f"{error} than an {chip.name} has") from None


def _call(words: Sequence[str], **options) -> str:
    """Run a tool; what it printed. Raises `QemuError` with its first error as one line."""
    if problem := missing_tools():
        raise QemuError(problem)
    done = subprocess.run(words, capture_output=True, text=True, check=False, **options)
    if done.returncode == 0:
        return done.stdout
    lines = done.stderr.splitlines() or ["no message"]
    over = {name: int(n) for name, n in _OVERFLOW.findall(done.stderr)}
    if over:
        amounts = " and ".join(f"{n} B more of {name}" for name, n in sorted(over.items()))
        raise TooLarge(f"it takes {amounts}")
    telling = [x for x in lines if re.search("error|undefined|overflow", x)]
    raise QemuError(f"{words[0]}: {(telling or lines)[0].strip()}")


def _emulate(work: Path, records: np.ndarray, chip: Chip, options: Sequence[str]) -> bytes:
    """Run measure.elf on the records; what it wrote."""
    (work / "in").write_bytes(records.tobytes())
    board = [EMULATOR, "-M", chip.machine, "-display", "none", "-monitor", "none"]
    board += ["-serial", "none", "-semihosting-config", "enable=on,target=native"]
    words = [*board, *options, "-kernel", "measure.elf"]
    done = run_bounded(words, TIMEOUT_S, QemuError, f"{EMULATOR}: no end", cwd=work, text=True)
    if done.returncode:
        known = {
            2: f"it faulted (a stack of more than {chip.stack_kib} KiB, or a wild pointer)",
            3: "file error",
        }
        reason = known.get(done.returncode) or (done.stderr.splitlines() or ["no message"])[0]
        raise QemuError(f"{EMULATOR}: {reason}")
    return (work / "out").read_bytes()


def _run(work: Path, records: np.ndarray, chip: Chip) -> bytes:
    return _emulate(work, records, chip, ["-icount", f"shift={chip.shift}"])


def _trace(work: Path, records: np.ndarray, chip: Chip) -> list[int]:
    """Addresses of the instructions that the measured call executes, one block an instruction.

    The functions `marker` of the program stand before and after the call that is measured; what
    `measure` itself does is filtered out.
    """
    functions = {f.name: f for f in _functions(work / "measure.elf")}
    measure, marker = functions["measure"], functions["marker"]
    first, last = chip.code
    ranges = f"{first:#x}..{measure.start - 1:#x},{measure.end:#x}..{last:#x}"
    options = ["-d", "exec,nochain", "-dfilter", ranges, "-D", "trace"]
    _emulate(work, records, chip, [*_one_instruction_a_block(), *options])
    with (work / "trace").open() as file:
        trace = [int(m.group(1), 16) for m in map(_TRACE_LINE.search, file) if m]
    marks = [i for i, address in enumerate(trace) if address == marker.start]
    # Two marks belong to the call of `nothing`, two to the sample's. Straight through, a mark takes
    # as many instructions as it has halfwords.
    begin, end = marks[2], marks[3]
    return trace[begin + (marker.end - marker.start) // 2 : end]


def _profile(
    trace: Sequence[int], elf: Path, objects: Sequence[Path]
) -> dict[tuple[str, str], int]:
    """Instructions of a trace by function; see `Measurement.profile`."""
    # A linked file tells the source of what is static, an object that of all it has.
    own = [f for path in objects for f in _functions(path)]
    files, source = {f.source for f in own}, {f.name: f.source for f in own if not f.static}
    functions = sorted(_functions(elf), key=lambda f: f.start)
    starts = [f.start for f in functions]
    counts: Counter[tuple[str, str]] = Counter()
    for address, count in Counter(trace).items():
        place = functions[bisect_right(starts, address) - 1]
        known = place.source if place.static else source.get(place.name, "")
        known = known if known in files else ""
        # Assembler of a library, and branches that the linker puts in, may belong to no function.
        counts[(known, place.name) if address < place.end else ("", "")] += count
    return dict(counts.most_common())


@dataclass(frozen=True)
class _Placed:
    """A function in an ELF file."""

    name: str
    start: int
    """address"""
    end: int
    static: bool
    source: str
    """name of the C file, if it is static or the ELF file an object"""


def _functions(elf: Path) -> list[_Placed]:
    found, source = [], ""
    with elf.open("rb") as file:
        for symbol in ELFFile(file).get_section_by_name(".symtab").iter_symbols():
            kind, start = symbol["st_info"]["type"], symbol["st_value"] & ~1
            if kind == "STT_FILE":
                source = symbol.name
            elif kind == "STT_FUNC":
                static = symbol["st_info"]["bind"] == "STB_LOCAL"
                found.append(_Placed(symbol.name, start, start + symbol["st_size"], static, source))
    return found


@cache
def _one_instruction_a_block() -> list[str]:
    """The option has another name since QEMU 8.1."""
    version = re.search(r"version (\d+)\.(\d+)", versions()[1])
    old = version is not None and tuple(map(int, version.groups())) < (8, 1)
    return ["-singlestep"] if old else ["-accel", "tcg,one-insn-per-tb=on"]
