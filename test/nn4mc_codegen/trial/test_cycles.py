"""The model of the Cortex-M4F's timings, on sequences whose cost the manuals state."""

from __future__ import annotations

import pytest

from nn4mc_codegen.trial.cycles import REFILL, Instruction, cost_of_trace, disassembly

LISTING = """
08000100 <fk_step>:
 8000100:\tb510      \tpush\t{r4, lr}
 8000102:\ted93 7a00 \tvldr\ts14, [r3]
 8000106:\td1f8      \tbne.n\t800010a <fk_step+0xa>
 800010a:\tf8d0 3004 \tldr.w\tr3, [r0, #4]\t; 0x4
 800010e:\t0000      \t.short\t0x0000
"""


def test_disassembly():
    program = disassembly(LISTING)
    assert program[0x8000100] == Instruction("push", "{r4, lr}", 2)
    assert program[0x8000102] == Instruction("vldr", "s14, [r3]", 4)
    assert program[0x8000106].mnemonic == "bne"
    assert program[0x800010A] == Instruction("ldr", "r3, [r0, #4]", 4)


def cycles(*lines: str) -> int:
    """Of a straight run of instructions; nothing but the last one can jump, so it is a nop."""
    program = {}
    for number, line in enumerate((*lines, "nop")):
        mnemonic, _, operands = line.partition(" ")
        program[4 * number] = Instruction(mnemonic, operands, 4)
    return cost_of_trace(list(program), program).cycles - 1 - REFILL


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["add r0, r1"], 1),
        (["mla r0, r1, r2, r3"], 1),
        # Pairs of loads: the manual's own examples.
        (["ldr r0, [r1]", "ldr r1, [r2]"], 3),
        (["ldr r0, [r1, r5]", "ldr r1, [r2]", "ldr r2, [r3, #4]"], 4),
        (["ldr r0, [r1, r2]", "str r0, [r3, #20]"], 3),
        (["ldr r0, [r1, r2]", "str r1, [r3, r2]"], 3),
        (["ldr r0, [r1]", "ldr r2, [r0]"], 4),  # the address is loaded
        (["ldr r0, [r1]", "add r0, r1", "ldr r2, [r3]"], 5),
        (["str r0, [r1, #4]"], 1),
        (["str r0, [r1, r2]"], 2),
        (["ldrd r0, r1, [r2]"], 3),
        (["push {r4, r5, lr}"], 4),
        (["ldmia r0!, {r1, r2}"], 3),
        (["vpush {s16-s19}"], 5),
        (["vpop {d8-d9}"], 5),
        (["vldr s0, [r0]", "vldr s1, [r0, #4]"], 3),
        (["vadd.f32 s0, s1, s2", "vadd.f32 s3, s4, s5"], 2),
        (["vadd.f32 s0, s1, s2", "vadd.f32 s3, s0, s5"], 3),
        (["vmul.f32 s0, s1, s2", "vstr s0, [r0]"], 3),
        (["vcmpe.f32 s0, s1", "vmrs APSR_nzcv, fpscr"], 2),
        (["vmov s0, r3"], 2),
        (["vmov.f32 s0, s3"], 1),
        # Multiply-adds in a row take 3 each, also along one sum; the core's work hides behind them.
        (["vfma.f32 s0, s1, s2", "vfma.f32 s3, s4, s5", "vmov.f32 s0, s1"], 7),
        (["vfma.f32 s0, s1, s2", "vfma.f32 s0, s4, s5", "vmov.f32 s6, s1"], 7),
        (["vfma.f32 s0, s1, s2", "vfma.f32 s3, s0, s5", "vmov.f32 s6, s1"], 8),
        (["vfma.f32 s0, s1, s2", "add r0, r1", "add r2, r3", "vmov.f32 s6, s1"], 4),
        (["vdiv.f32 s0, s1, s2", "vmov.f32 s3, s4"], 15),
        (["vdiv.f32 s0, s1, s2", *["add r0, r1"] * 13, "vmov.f32 s3, s4"], 15),
        (["cmp r0, #0", "bne 8"], 2),  # not taken
    ],
)
def test_timings(lines, expected):
    assert cycles(*lines) == expected


def test_taken_branches_refill_the_pipeline():
    program = {0: Instruction("subs", "r0, #1", 2), 2: Instruction("bne", "0", 2)}
    cost = cost_of_trace([0, 2, 0, 2, 0, 2], program)
    assert cost.instructions == 6
    assert cost.cycles == 3 + 3 * (1 + REFILL)  # the last one returns
    assert cost.kinds == {"branch": (3, 3 * (1 + REFILL)), "integer": (3, 3)}


def test_pop_into_pc_returns():
    program = {0: Instruction("pop", "{r4, pc}", 2)}
    assert cost_of_trace([0], program).cycles == 3 + REFILL
