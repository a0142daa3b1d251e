"""Estimated cycles: a documented model of the Cortex-M4F's timings on executed instructions.

QEMU executes instructions and knows no pipeline; this model adds up what each costs. Memory answers
without wait states: code and constants in flash cost more on silicon where its cache misses.

From Arm's Cortex-M4 Technical Reference Manual (tables of the processor's and the FPU's
instructions, section on pairs of loads and stores):
- integer instructions, multiplications and multiply-adds included, take 1; divisions 2 to 12;
- a load takes 2; directly after another load 1, unless that one loads its address; a store with an
  immediate offset 1, with a register offset 2, directly after a load 1;
- multiple loads and stores, push and pop take 1 + N registers; LDRD and STRD 1 + 2;
- a branch that is taken takes 1 + P, one that is not 1; P, refilling the pipeline, is 1 to 3;
- VADD, VSUB, VMUL, VCMP, VCVT, VABS, VNEG take 1; VMLA, VFMA and their kin 3; VDIV and VSQRT 14;
  VLDR 2, VLDM and VSTM 1 + N; VMOV within the FPU 1, to or from the core 2 (1 for half a double).

From the pipeline description in GCC (config/arm/cortex-m4-fpu.md):
- a result of VADD, VSUB, VMUL, VCVT, VFMA or VDIV that the very next instruction uses costs 1 more,
  but not as the addend of a VFMA; VLDR pairs like LDR; VSTR takes 1;
- the core goes on while a VFMA's last 2 or a VDIV's last 13 cycles run, until the next instruction
  of the FPU.

Assumed: P = 2; an integer division 7; IT 1 (it can be 0); memory without wait states.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

REFILL = 2
INTEGER_DIVISION = 7

_CONDITION = "(?:eq|ne|cs|hs|cc|lo|mi|pl|vs|vc|hi|ls|ge|lt|gt|le|al)?"
_BRANCH = re.compile(rf"(?:b|bl|bx|blx){_CONDITION}|cbz|cbnz|tbb|tbh")
_LATE = ("vadd", "vsub", "vmul", "vnmul", "vcvt", "vfm", "vfnm", "vml", "vnml", "vdiv", "vsqrt")
_FUSED = ("vfm", "vfnm", "vml", "vnml")


@dataclass(frozen=True)
class Instruction:
    """One line of a disassembly."""

    mnemonic: str
    """without .n and .w"""
    operands: str
    size: int
    """bytes"""


@dataclass(frozen=True)
class Cost:
    """What a run of instructions costs, in all and by kind."""

    instructions: int
    cycles: int
    kinds: dict[str, tuple[int, int]]
    """instructions and cycles of each kind"""


def disassembly(text: str) -> dict[int, Instruction]:
    """Instructions by address, from what `objdump -d` prints."""
    found = {}
    for line in text.splitlines():
        columns = line.split("\t")
        if len(columns) < 3 or not re.fullmatch(r"\s*[0-9a-f]+:", columns[0]):
            continue
        operands = columns[3].split(";")[0].split("@")[0].strip() if len(columns) > 3 else ""
        mnemonic = re.sub(r"\.[nw]$", "", columns[2].strip())
        size = len(columns[1].replace(" ", "")) // 2
        found[int(columns[0].strip(" :"), 16)] = Instruction(mnemonic, operands, size)
    return found


def cost_of_trace(trace: Sequence[int], program: Mapping[int, Instruction]) -> Cost:
    """Cost of the instructions at the addresses of `trace`, in the order of execution.

    After the last one the function has returned. Raises KeyError for an address that is not in
    `program`.
    """
    kinds: dict[str, tuple[int, int]] = {}
    total = fpu_free = 0  # cycles so far, and when the FPU takes the next instruction
    fpu_kind = ""  # what it does until then
    before = Instruction("nop", "", 2)
    for position, address in enumerate(trace):
        now = program[address]
        last = position + 1 == len(trace)
        jumps = last or trace[position + 1] != address + now.size
        kind, cycles, busy = _cost(now, before, jumps)
        waits = max(0, fpu_free - total) if now.mnemonic.startswith("v") else 0
        total += waits + cycles
        count, spent = kinds.get(kind, (0, 0))
        kinds[kind] = count + 1, spent + cycles
        if waits:
            count, spent = kinds[fpu_kind]
            kinds[fpu_kind] = count, spent + waits
        if now.mnemonic.startswith("v"):
            fpu_free, fpu_kind = total + busy, kind
        before = now
    return Cost(len(trace), total, dict(sorted(kinds.items())))


def _cost(now: Instruction, before: Instruction, jumps: bool) -> tuple[str, int, int]:
    """Kind, cycles that the core is held, and cycles that the FPU is busy after that."""
    name, operands = now.mnemonic, now.operands
    refill = REFILL if jumps else 0
    late = _waits_for_result(now, before)
    if _BRANCH.fullmatch(name):
        return "branch", (2 if name.startswith("tb") else 1) + refill, 0
    if name.startswith(_FUSED):
        return "multiply-add", 1 + late, 2
    if name.startswith(("vdiv", "vsqrt")):
        return "division", 1 + late, 13
    if name.startswith(("vldm", "vpop", "ldm", "pop")):
        return "load", 1 + _registers(operands) + refill, 0
    if name.startswith(("vstm", "vpush", "stm", "push")):
        return "store", 1 + _registers(operands), 0
    if name.startswith(("ldrd", "strd")):
        return ("load" if name[0] == "l" else "store"), 3, 0
    if name.startswith(("vldr", "ldr")):
        double = 1 if operands.startswith("d") else 0
        paired = _is_load(before) and _destination(before) not in _address(operands)
        return "load", (1 if paired else 2) + double + refill, 0
    if name.startswith(("vstr", "str")):
        by_register = re.search(r"\[\w+, r\d+", operands) is not None
        slow = by_register and not _is_load(before)
        double = 2 if operands.startswith("d") else 0
        return "store", (2 if slow else 1) + double + late, 0
    if name.startswith(("sdiv", "udiv")):
        return "division", INTEGER_DIVISION, 0
    if name.startswith(("vmov", "vmrs", "vmsr")):
        crosses = re.search(r"\b(?:r\d+|ip|lr|sl|fp|r9)\b", operands) is not None
        return "move", (2 if crosses else 1) + late, 0
    if name.startswith("v"):
        return "float", 1 + late, 0
    return "integer", 1 + refill, 0


def _is_load(instruction: Instruction) -> bool:
    name = instruction.mnemonic
    return name.startswith(("ldr", "vldr")) and not name.startswith("ldrd")


def _destination(instruction: Instruction) -> str:
    return instruction.operands.split(",")[0].strip()


def _address(operands: str) -> list[str]:
    """The registers within the brackets."""
    inside = re.search(r"\[([^]]*)\]", operands)
    return re.findall(r"\w+", inside.group(1)) if inside else []


def _waits_for_result(now: Instruction, before: Instruction) -> int:
    """1 where an instruction needs what the one before it in the FPU only just computes."""
    if not now.mnemonic.startswith("v") or not before.mnemonic.startswith(_LATE):
        return 0
    words = [w.strip() for w in now.operands.split(",")]
    # The first operand is the result, except of a comparison or a store; of a VFMA it is the
    # addend, which is needed a cycle later.
    sources = words if now.mnemonic.startswith(("vcmp", "vstr")) else words[1:]
    return 1 if _destination(before) in sources else 0


def _registers(operands: str) -> int:
    """How many 32-bit registers a list in braces names."""
    count = 0
    for word in operands[operands.index("{") + 1 : operands.index("}")].split(","):
        first, _, last = word.strip().partition("-")
        number = int(last[1:]) - int(first[1:]) + 1 if last else 1
        count += number * (2 if first.startswith("d") else 1)
    return count
