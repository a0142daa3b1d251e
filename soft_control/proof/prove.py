"""Bounds of one build, from its ELF: time of a step, stack, and the learned model's derivatives."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import numpy as np

from soft_control.experiment.energy import OWN, Wiring, lines_of, microcontrollers
from soft_control.firmware_files import FirmwareBuild
from soft_control.learning.model import Model
from soft_control.link.opening import open_session
from soft_control.proof import stack
from soft_control.proof.adversary import Adversary
from soft_control.proof.annotations import bounds_of, read_notes
from soft_control.proof.execution import Executor
from soft_control.proof.findings import Problem, Result
from soft_control.proof.image import Image, ProofError, read_image
from soft_control.proof.network import bound_jacobian, mpc_gain
from soft_control.proof.pieces import Count
from soft_control.proof.report import (
    LoopBound,
    NetworkBound,
    Proof,
    Seen,
    StackPiece,
    Unbounded,
    Work,
)
from soft_control.proof.rules import endless
from soft_control.proof.state import SP, State

SAMPLE = "loop_sample"
STEP = ("board_step_cost_begin", "board_step_cost_end")
"""Between their calls is the step whose cost the firmware tells."""
TICKS = "board_ticks_per_us"
LOOP_TYPE = "control_loop_t"
SET_ONCE = {"board": "board", "config": "controller_config"}
"""Members of it that control_loop_start sets, and nobody after it -> what they point to."""
LOOP = "loop."
"""The one control_loop_t: a static variable of main, which the linker gives a number."""
CRASH = "crash_exception"
FAULTS = "crash_handler"
"""What a fault begins, and where every crash ends: the program is over then."""
FINAL = (CRASH, FAULTS, "crash_reset")
"""They end the program, and wait for the restart."""
ALLOCATION = ("malloc", "calloc", "realloc", "free", "_sbrk", "sbrk")
LEAST_MHZ = 8
"""Ticks of a microsecond, below which they are no cycles of the core."""
INTERRUPT_CYCLES = 24
"""Entry and exit (Cortex-M4 Technical Reference Manual, exceptions)."""
BELOW_TOP = 1024
"""Bytes of stack that the callers of a sample are taken to have used: which do not matter."""


def prove(build: FirmwareBuild, samples: int = 0, model: Model | None = None) -> Proof:
    """All bounds of a build.

    samples: of the emulated board, which look for the worst; 0: none. model: the one that it was
    built from, for the bounds of its derivatives; None: without those.

    Raises ProofError where its ELF cannot be read; what cannot be bounded is in the result.
    """
    image = read_image(build.elf)
    for name in (stack.START, stack.END, stack.VECTORS):
        if name not in image.symbols:
            raise ProofError(f"{image.path}: it has no {name}; is it this firmware's ELF?")
    executor = executor_of(image)
    sample = run_sample(executor)
    interrupts = [run_alone(executor, name) for name in handlers_of(image)]
    problems = [*sample.problems, *(p for result in interrupts for p in result.problems)]
    problems += allocations(image)
    problems += _endless(image, executor, [sample, *interrupts])
    regular = run_sample(executor_of(image, gap=False))
    chain, reserved = _stack(image, executor, problems)
    work = _work("sample", regular.whole)
    handlers = [
        _work(name, r.whole) for name, r in zip(handlers_of(image), interrupts, strict=True)
    ]
    period, needed, with_waits = _period(build, executor, work, handlers)
    return Proof(
        build_id=build.build_id,
        model_hash=build.model_hash,
        step=None if sample.part is None else _work("step", sample.part),
        sample=work,
        sample_after_gap=_work("sample after a gap", sample.whole),
        interrupts=handlers,
        period_cycles=period,
        needed_cycles=needed,
        needed_with_waits=with_waits,
        stack=chain,
        stack_reserved=reserved,
        loops=[
            LoopBound(
                function=loop.function,
                place=image.place(loop.head),
                turns=loop.turns if loop.annotated is None else min(loop.turns, loop.annotated),
                said=loop.annotated is not None,
            )
            for loop in sample.loops
        ],
        by_function=by_function(image, sample.part or sample.whole),
        blind_stores=[image.place(at) for at in sample.blind],
        problems=[_unbounded(problem) for problem in problems],
        seen=worst_seen(build, samples, reserved) if samples > 0 else None,
        network=None if model is None else network_bound(build, model),
    )


def executor_of(image: Image, gap: bool = True) -> Executor:
    """With the bounds that the sources say, and the marks of a step. gap: samples may be missing
    before a sample."""
    marks = STEP if all(name in image.named for name in STEP) else None
    executor = Executor(image, marks=marks, ends=(CRASH,), pointers=stack.pointers())
    graphs = [executor.graph(function) for function in image.functions]
    notes = bounds_of(image, graphs, read_notes(image.notes))
    bounds = {head: note.most if gap else note.without_gap for head, note in notes.items()}
    return replace(executor, bounds=bounds)


def run_sample(executor: Executor) -> Result:
    """A whole sample, of any number, observed or not, in any state of the loop."""
    state = State()
    image = executor.image
    state.registers[SP] = image.symbols[stack.END][0] - BELOW_TOP
    found = [at for name, (at, size) in image.symbols.items() if name.startswith(LOOP) and size]
    if len(found) == 1:
        state.registers[0] = found[0]
        for member, points_to in SET_ONCE.items():
            offset = image.members.get((LOOP_TYPE, member))
            if offset is not None and points_to in image.symbols:
                state.memory[found[0] + offset] = 4, image.symbols[points_to][0], True
    return executor.run(SAMPLE, state)


def run_alone(executor: Executor, name: str) -> Result:
    """A function that is called with nothing that is known."""
    state = State()
    state.registers[SP] = executor.image.symbols[stack.END][0] - BELOW_TOP
    return executor.run(name, state)


def handlers_of(image: Image) -> list[str]:
    """Of interrupts that a running program is to expect: all in the table but the start and
    faults."""
    first, size = image.symbols.get(stack.VECTORS, (0, 0))
    found = []
    for at in range(first + 8, first + size, 4):
        function = image.function_at((image.constant(at, 4) or 0) & ~1)
        if function is not None and function.name not in (FAULTS, stack.RESET):
            found.append(function.name)
    return sorted(set(found))


def allocations(image: Image) -> list[Problem]:
    """Memory of a size that is not known before is nowhere asked for."""
    return [
        Problem(
            "memory is allocated",
            name,
            image.named[name].start,
            "",
            "give what needs it a static variable of its largest size",
        )  # fmt: skip
        for name in ALLOCATION
        if name in image.named
    ]


def _endless(image: Image, executor: Executor, results: list[Result]) -> list[Problem]:
    """Loops of the whole image that neither execution nor a note bounds, and that do not count."""
    bounded = set(executor.bounds) | {loop.head for result in results for loop in result.loops}
    graphs = [executor.graph(function) for function in image.functions]
    return endless(image, graphs, bounded, set(FINAL))


def by_function(image: Image, count: Count) -> dict[str, int]:
    """Instructions of the longest way in each function, most first."""
    found: Counter[str] = Counter()
    trail = count.trail
    while trail is not None:
        function = image.function_at(trail.block)
        found[function.name if function else "?"] += trail.instructions
        trail = trail.before
    return dict(found.most_common())


def _work(name: str, count: Count) -> Work:
    return Work(name=name, instructions=count.instructions, cycles=count.cycles)


def _unbounded(problem: Problem) -> Unbounded:
    return Unbounded(
        function=problem.function,
        address=problem.address,
        place=problem.place,
        what=problem.what,
        remedy=problem.remedy,
    )


def _stack(
    image: Image, executor: Executor, problems: list[Problem]
) -> tuple[list[StackPiece], int]:
    graphs = {function.start: executor.graph(function) for function in image.functions}
    try:
        found = stack.deepest(image, graphs, stack.pointers())
    except ProofError as error:
        start = image.function(stack.RESET).start
        what = str(error).removeprefix(f"{image.path}: ")
        problems.append(Problem(what, stack.RESET, start, "", "see firmware/stack_depth.py"))
        return [], 0
    return [StackPiece(name=name, bytes=size) for name, size in found.chain], found.reserved


def _period(
    build: FirmwareBuild, executor: Executor, sample: Work, handlers: list[Work]
) -> tuple[int | None, int, int]:
    """Cycles that a control period has, and needs at the worst, without and with wait states.

    An interrupt a byte, of all that the robot's lines have to bring and take, with either wiring; a
    host that says more than it has to can take more.
    """
    robot = build.robot
    if robot is None:
        raise ProofError(f"{build.directory}: an old build; build the firmware again")
    ticks = run_alone(executor, TICKS)
    mhz = ticks.returned
    if type(mhz) is not int:
        raise ProofError(f"{build.elf}: {TICKS} does not return a constant")
    wirings: tuple[Wiring, ...] = ("host", "mcu")
    lines = max(sum(lines_of(robot, robot.rate_hz, wiring).values()) for wiring in wirings)
    data = microcontrollers()
    clocks = data.part(OWN).clocks
    waits = max((clock.wait_states for clock in clocks if clock.mhz <= mhz), default=0)
    stall = data.model.stall_per_wait_state * waits

    def needs(stalls: float) -> int:
        handler = max((w.cycles + stalls * w.instructions for w in handlers), default=0.0)
        own = sample.cycles + stalls * sample.instructions
        return math.ceil(own + math.ceil(lines) * (handler + INTERRUPT_CYCLES))

    period = math.floor(1e6 * mhz / robot.rate_hz) if mhz >= LEAST_MHZ else None
    return period, needs(0.0), needs(stall)


def worst_seen(build: FirmwareBuild, samples: int, reserved: int) -> Seen:
    """On the emulated board. Raises LinkError where it does not answer."""
    with open_session("pil", build) as session:
        steps = max(answer.step_cost for answer in Adversary(session, build).steps(samples))
        used = reserved - session.hello().stack_free
    return Seen(samples=samples, step_instructions=steps, stack_bytes=used)


def network_bound(build: FirmwareBuild, model: Model) -> NetworkBound:
    """Raises ProofError for another model than that of the build."""
    card = model.card
    if card.model_hash != build.model_hash:
        raise ProofError(
            f"{build.directory} was built from model {build.model_hash}, not {card.model_hash}"
        )
    bound = bound_jacobian(model)
    robot = card.robot
    factors = np.divide.outer(
        np.array([o.factor for o in robot.outputs]), np.array([c.factor for c in robot.commands])
    )
    scales = np.divide.outer(np.array(card.output_scale), np.array(card.command_scale))
    return NetworkBound(
        lipschitz=bound.lipschitz,
        command_gain=(bound.command_gain * factors).tolist(),
        units=[[f"{o.shown_in}/{c.shown_in}" for c in robot.commands] for o in robot.outputs],
        loop_gain=bound.loop_gain,
        mpc_gain=mpc_gain(build.mpc, card) if build.mpc is not None else math.inf,
        forgetting=bound.forgetting,
        horizon_gain=float((bound.horizon_gain(build.horizon - card.input_delay) / scales).max()),
    )
