"""A whole firmware: bounds above all that the emulator has seen, and not far above; refusals."""

from __future__ import annotations

import subprocess

import pytest

from nn4mc_codegen.trial.qemu import missing_tools
from soft_control.proof import report
from soft_control.proof.annotations import read_notes
from soft_control.proof.execution import Executor
from soft_control.proof.image import ProofError, read_image
from soft_control.proof.stack import deepest, pointers


@pytest.fixture
def proof(tendon_proof) -> report.Proof:
    return tendon_proof


def test_a_firmware_is_bounded_and_not_far_above_the_worst_seen(proof):
    assert not proof.failures()
    assert proof.seen.step_instructions <= proof.step.instructions
    assert proof.step.instructions <= 1.5 * proof.seen.step_instructions
    assert proof.seen.stack_bytes <= proof.stack_bytes <= 1.3 * proof.seen.stack_bytes
    assert proof.step.instructions < proof.sample.instructions < proof.sample_after_gap.instructions


def test_the_stack_is_what_was_reserved(proof):
    """By the compiler's word when it was linked, by the machine code now."""
    assert proof.stack_reserved - 128 <= proof.stack_bytes <= proof.stack_reserved


def test_most_loops_are_bounded_by_the_machine_code_alone(proof):
    said = {loop.place.split(":")[0] for loop in proof.loops if loop.said}
    assert {"control_loop.c", "reference.c", "usart.c", "ring.h"} <= said
    assert sum(loop.said for loop in proof.loops) < 10
    assert len(proof.loops) > 60


def test_a_bound_that_is_wrong_or_far_above_is_told(proof):
    def failures(**seen):
        changed = proof.seen.model_copy(update=seen)
        return proof.model_copy(update={"seen": changed}).failures()

    (line,) = failures(step_instructions=proof.step.instructions + 1)
    assert "more than the bound" in line and "it is wrong" in line
    (line,) = failures(step_instructions=proof.step.instructions // 2)
    assert "2.00 times the worst seen" in line
    (line,) = failures(stack_bytes=proof.stack_bytes // 2)
    assert line.startswith("stack: ")


def test_a_period_or_a_stack_that_does_not_suffice_is_told(proof):
    slow = proof.model_copy(update={"period_cycles": proof.needed_cycles - 1})
    (line,) = slow.shortfalls()
    assert "the control period has" in line
    endless = report.Unbounded(
        function="f",
        address=0,
        place="a.c:1",
        what="a loop whose turns are not known",
        remedy="say",
    )
    unknown = slow.model_copy(update={"problems": [endless]})
    assert unknown.shortfalls() == [] and len(unknown.failures()) == 1
    narrow = proof.model_copy(update={"stack_reserved": proof.stack_bytes - 1})
    (line,) = narrow.shortfalls()
    assert line.startswith("the stack needs")
    assert report.STEP_OVER_SEEN == 1.5 and report.STACK_OVER_SEEN == 1.3


def test_notes_that_are_cut_are_refused():
    note = b"\x05\0\0\0\x09\0\0\0\x01\0\0\0src/a.c\0"
    (read,) = read_notes(note)
    assert (read.file, read.line, read.most, read.without_gap) == ("a.c", 5, 9, 1)
    with pytest.raises(ProofError, match="ends within a note"):
        read_notes(note[:-1])


def test_an_elf_without_symbols_is_refused(tendon, tmp_path):
    if problem := missing_tools():
        pytest.skip(problem)
    bare = tmp_path / "bare.elf"
    words = ["arm-none-eabi-objcopy", "-S", str(tendon.firmware / "firmware.elf"), str(bare)]
    subprocess.run(words, check=True)
    with pytest.raises(ProofError, match="no symbols"):
        read_image(bare)


def test_calls_that_nobody_explains_are_refused(tendon):
    if problem := missing_tools():
        pytest.skip(problem)
    image = read_image(tendon.firmware / "firmware.elf")
    executor = Executor(image)
    graphs = {function.start: executor.graph(function) for function in image.functions}
    assert deepest(image, graphs, pointers()).bytes > 0
    with pytest.raises(ProofError, match="its address is taken"):
        deepest(image, graphs, {})
