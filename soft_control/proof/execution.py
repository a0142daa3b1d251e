"""The longest way through a program, by executing it on values of which only some are known.

Gustafsson, Ermedahl, Sandberg and Lisper, "Automatic derivation of loop bounds and infeasible paths
for WCET analysis using abstract execution", 2006. From the first instruction of a function on,
block after block: what the image says is known (constants, sizes, addresses, counters of loops),
what depends on sensors, the host or floats is not. A branch that is not decided goes both ways, and
both ways go on as one where they meet again, with what both agree in and the larger count. Since a
turn of a loop is a place of its own in the order of blocks (graph.py), a loop whose counter is
known takes as many turns as it takes, and one that is left early is left in every turn.

That way is at least as long as any real one: an unknown value stands for all values, and where two
meet, the longer one stays. What it rests on is in docs/proof.md.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import partial

from soft_control.proof.findings import LoopFound, Problem, Result
from soft_control.proof.frames import Frame, Pending
from soft_control.proof.graph import Block, Graph, build_graph
from soft_control.proof.image import Function, Image
from soft_control.proof.meaning import Effect, either_way, meaning
from soft_control.proof.operands import UnknownInstruction
from soft_control.proof.pieces import (
    Code,
    Count,
    asked,
    asked_by_branch,
    cycles_of,
    narrow,
    without,
)
from soft_control.proof.state import FLOATS, LR, PC, SP, Memory, State
from soft_control.proof.values import (
    ALL_FLAGS,
    ANY,
    CONDITIONS,
    Value,
    join,
    numbers_of,
)

MOST_TURNS = 300
"""Of a loop that nobody bounds, since it could first end, at which it counts as endless."""
FIRST_LOOK = 8
"""Turns from which on it is looked whether anything changes: at 7 and 8, 15 and 16, 31 and 32."""
MOST_BLOCKS = 5_000_000
SAVED = (*range(4, 12), SP, *range(FLOATS + 16, FLOATS + 32))
"""Registers that a function gives back as they were (Procedure Call Standard for the Arm
Architecture, 6.1)."""


@dataclass
class Executor:
    """Executes functions of one image."""

    image: Image
    bounds: Mapping[int, int] = field(default_factory=dict)
    """Head of a loop -> how often it may go round again, where that is said."""
    pointers: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """File -> patterns of the functions that its calls through pointers reach, where the machine
    code does not say whom."""
    counted: tuple[str, ...] = ()
    """Functions whose calls are counted."""
    ends: tuple[str, ...] = ()
    """Functions that end the program: the way ends where one is called."""
    marks: tuple[str, str] | None = None
    """Functions: what is between their calls is counted by itself."""

    def __post_init__(self) -> None:
        self.memory = Memory(self.image.constant)
        self.graphs: dict[int, Graph] = {}
        self.codes: dict[int, Code] = {}
        self.tables: dict[int, list[int]] = {}

    def graph(self, function: Function) -> Graph:
        if function.start not in self.graphs:
            self.graphs[function.start] = build_graph(self.image, function, self.tables)
        return self.graphs[function.start]

    def run(self, name: str, state: State) -> Result:
        return _Run(self, self.image.function(name), state).result()

    def code(self, graph: Graph, start: int) -> Code:
        if start not in self.codes:
            self.codes[start] = self._prepare(graph.blocks[start])
        return self.codes[start]

    def _prepare(self, block: Block) -> Code:
        effects: list[Effect] = []
        group: list[Effect] = []  # what one IT makes conditional
        refused = None
        jump = block.last if block.ends not in ("next", "return", "stop") else None
        for at, instruction in block.code.items():
            if at == jump or instruction.mnemonic == "bx":
                continue
            condition = block.conditions.get(at)
            try:
                effect = meaning(at, instruction, condition, self.memory)
            except UnknownInstruction as error:
                refused = error
                continue
            if condition is None:
                group = []
                effects.append(effect)
            else:
                if not group:
                    before = [item for item in block.code.items() if item[0] < at]
                    narrows = partial(narrow, asked(block, before[:-1]))
                    effects.append(either_way(group, CONDITIONS[condition], narrows))
                group.append(effect)
        cycles = cycles_of(block.code, block.ends == "next")
        return Code(block, effects, len(block.code), cycles, asked_by_branch(block), refused)


class _Run:
    """One execution from the start of a function to its return."""

    def __init__(self, executor: Executor, function: Function, state: State) -> None:
        self.executor, self.image = executor, executor.image
        self.pending: dict[tuple[int, ...], Pending] = {}
        self.queue: list[tuple[int, ...]] = []
        self.problems: dict[tuple[str, int], Problem] = {}
        self.heads: dict[tuple[int, ...], tuple[int, tuple]] = {}
        self.loops: dict[int, LoopFound] = {}
        self.ways_out: dict[tuple[int, ...], int] = {}  # key of a loop: first turn that had one
        self.endless: set[int] = set()  # heads of those that are not bounded: once is enough
        self.returned: Value = ANY
        self.ended: Count | None = None
        self.part: Count | None = None
        self.blocks = 0
        frame = Frame(executor.graph(function), None, -1, ())
        start = Count(0, 0, calls=(0,) * len(executor.counted))
        state.registers[LR] = -1
        self._push(frame, function.start, self._entry(frame), state, start, None)
        while self.queue:
            key = heapq.heappop(self.queue)
            self._step(key, self.pending.pop(key))
            self.blocks += 1
            if self.blocks > MOST_BLOCKS:
                self._problem(
                    f"more than {MOST_BLOCKS:,} blocks", frame, function.start,
                    "bound the loops that turn most with LOOP_BOUND",
                )  # fmt: skip
                break

    def result(self) -> Result:
        executor = self.executor
        return Result(
            whole=self.ended or Count(0, 0),
            part=self.part,
            problems=list(self.problems.values()),
            loops=sorted(self.loops.values(), key=lambda loop: loop.head),
            blind=sorted(executor.memory.blind),
            blocks=self.blocks,
            returned=self.returned,
        )

    # ------------------------------------------------------------------ from block to block

    def _entry(self, frame: Frame) -> tuple[int, ...]:
        start = frame.graph.function.start
        return (0,) * (len(frame.graph.order[start]) - 1)

    def _push(
        self,
        frame: Frame,
        block: int,
        turns: tuple[int, ...],
        state: State,
        whole: Count,
        part: Count | None,
    ) -> None:
        """`state` belongs to nobody else."""
        key = (*frame.key, *frame.graph.key(turns, block))
        there = self.pending.get(key)
        if there is None:
            self.pending[key] = Pending(frame, block, turns, state, whole, part)
            heapq.heappush(self.queue, key)
            return
        there.state.join(state)
        there.whole = there.whole.most(whole)
        if part is not None:
            there.part = part if there.part is None else there.part.most(part)

    def _go(self, at: Pending, to: int, state: State, whole: Count, part: Count | None) -> None:
        """To another block of the same function."""
        graph = at.frame.graph
        if to not in graph.blocks:
            self._problem(
                "control runs on behind its end", at.frame, at.block,
                "a call of a function that does not return needs an endless loop behind it",
            )  # fmt: skip
            return
        turns, again, stays = graph.turns(at.block, at.turns, to)
        key, first = (*at.frame.key, *graph.key(at.turns, at.block)), len(at.frame.key) + 1
        for depth in range(stays, len(at.turns)):
            self.ways_out.setdefault(key[: first + 2 * depth], at.turns[depth])
        if again:
            bound = self.executor.bounds.get(again)
            if bound is not None and turns[-1] > bound:
                return
            most = FIRST_LOOK if again in self.endless else MOST_TURNS
            most += self.ways_out.get(key[: first + 2 * (stays - 1)], turns[-1])
            if bound is None and turns[-1] >= most:
                self._unbounded(at.frame, again)
                return
        self._push(at.frame, to, turns, state, whole, part)

    def _step(self, key: tuple[int, ...], at: Pending) -> None:
        graph, state = at.frame.graph, at.state
        if at.block in graph.loops and not self._turn(key, at):
            return
        code = self.executor.code(graph, at.block)
        block = code.block
        whole = at.whole.plus(code)
        part = at.part.plus(code) if at.part is not None else None
        if code.refused is not None:
            self._problem(
                f"unknown {code.refused}", at.frame, at.block,
                "its meaning belongs into soft_control/proof/meaning.py",
            )  # fmt: skip
        for effect in code.effects:
            effect(state)
        if block.ends in ("next", "jump"):
            self._go(at, block.next if block.ends == "next" else block.target, state, whole, part)
        elif block.ends == "branch":
            self._branch(at, code, state, whole, part)
        elif block.ends == "table":
            self._table(at, block, state, whole, part)
        elif block.ends == "stop":
            pass
        else:
            if block.condition is not None:
                holds = CONDITIONS[block.condition]
                if state.flags & ~holds:
                    other = state.copy()
                    other.flags &= ~holds
                    self._go(at, block.next, other, whole, part)
                if not state.flags & holds:
                    return
                state.flags &= holds
            self._leave(at, block, state, whole, part)

    def _turn(self, key: tuple[int, ...], at: Pending) -> bool:
        """Another turn of a loop begins; False if it can go on for ever."""
        head, turn = at.block, at.turns[-1]
        loop = self.loops.setdefault(
            head, LoopFound(at.frame.graph.function.name, head, 0, self.executor.bounds.get(head))
        )
        loop.turns = max(loop.turns, turn + 1)
        if loop.annotated is not None:
            return True
        if turn + 1 >= FIRST_LOOK and (turn & turn - 1 == 0 or turn & turn + 1 == 0):
            now = turn, at.state.without_names()
            before = self.heads.get(key[:-2])
            if before == (turn - 1, now[1]):  # nothing has changed that would end it some time
                self._unbounded(at.frame, head)
                return False
            self.heads[key[:-2]] = now
        return True

    def _branch(
        self, at: Pending, code: Code, state: State, whole: Count, part: Count | None
    ) -> None:
        block = code.block
        if block.tested is not None:
            name, index = block.tested
            for takes in (True, False):
                zero = takes == (name == "cbz")
                value = without(state.registers[index], zero)
                if value == frozenset():
                    continue
                to = state.copy()
                to.registers[index] = value
                self._go(at, block.target if takes else block.next, to, whole, part)
            return
        holds = CONDITIONS[block.condition]
        ways = [(block.target, holds), (block.next, ALL_FLAGS ^ holds)]
        ways = [(to, mask) for to, mask in ways if state.flags & mask]
        for number, (to, mask) in enumerate(ways, 1):
            other = state if number == len(ways) else state.copy()
            other.flags &= mask
            if len(ways) == 2:
                narrow(code.asked, other, mask)
            self._go(at, to, other, whole, part)

    def _table(
        self, at: Pending, block: Block, state: State, whole: Count, part: Count | None
    ) -> None:
        targets = self.executor.tables.get(block.last, [])
        if not targets:
            self._problem(
                "the table of this jump is not behind it", at.frame, block.last,
                "compile with -fno-jump-tables",
            )  # fmt: skip
        chosen = numbers_of(state.registers[block.register])
        if targets and (chosen is None or max(chosen) >= len(targets)):
            self._problem(
                "the index of this jump by a table is not known", at.frame, block.last,
                "compare it with the number of cases first",
            )  # fmt: skip
            chosen = None
        for to in {targets[n] for n in chosen or range(len(targets))}:
            self._go(at, to, state.copy(), whole, part)

    # ------------------------------------------------------------------ calls and returns

    def _leave(
        self, at: Pending, block: Block, state: State, whole: Count, part: Count | None
    ) -> None:
        if block.ends == "return":
            self._return(at, block, state, whole, part)
            return
        if block.ends in ("call", "tail"):
            function = self.image.function_at(block.target or 0)
            functions = [function] if function is not None else []
        else:
            functions = self._pointed_to(at, block, state)
            if functions is None:
                self._return(at, block, state, whole, part)
                return
        comes_back = block.ends in ("call", "pointer")
        for number, function in enumerate(functions):
            other = state if number == len(functions) - 1 else state.copy()
            self._call(at, block, function, comes_back, other, whole, part)
        if not functions:
            self._problem(
                "a call of something that is no function of the image", at.frame, block.last,
                "say which functions it may reach, in POINTERS of firmware/Makefile",
            )  # fmt: skip
            self._come_back_unknown(at, block, comes_back, state, whole, part)

    def _pointed_to(self, at: Pending, block: Block, state: State) -> list[Function] | None:
        """Whom a call through a pointer reaches; None: its caller, it is a return."""
        value: Value = ANY
        if block.register is not None:
            value = state.registers[block.register]
        if value == at.frame.returns_to and at.frame.returns_to != -1:
            return None
        if value is ANY:
            file = self.image.line(block.last)[0]
            patterns = self.executor.pointers.get(file, ())
            return [
                f
                for f in self.image.functions
                if any(fnmatchcase(f.name.partition(".")[0], pattern) for pattern in patterns)
            ]
        found = [self.image.function_at(n & ~1) for n in numbers_of(value) or ()]
        functions = [f for f in found if f is not None]
        return functions if len(functions) == len(found) else []

    def _call(
        self,
        at: Pending,
        block: Block,
        function: Function,
        comes_back: bool,
        state: State,
        whole: Count,
        part: Count | None,
    ) -> None:
        frame: Frame | None = at.frame
        if function.name in self.executor.ends:
            return
        if function.name in self.executor.counted:
            number = self.executor.counted.index(function.name)
            whole, part = whole.called(number), part and part.called(number)
        if self.executor.marks is not None and function.name == self.executor.marks[1] and part:
            self.part = part if self.part is None else self.part.most(part)
            part = None
        while frame is not None:
            if frame.graph.function is function:
                self._problem(
                    f"recursion: it calls {function.name}, in which it is", at.frame, block.last,
                    "write it as a loop",
                )  # fmt: skip
                self._come_back_unknown(at, block, comes_back, state, whole, part)
                return
            frame = frame.before
        key = (*at.frame.key, *at.frame.graph.key(at.turns, at.block), function.start)
        if comes_back:
            returns_to = block.next | 1
            state.registers[LR] = returns_to
            inner = Frame(
                self.executor.graph(function), at.frame, returns_to, key, at.turns, at.block
            )
        else:
            outer = at.frame
            inner = Frame(
                self.executor.graph(function),
                outer.before, outer.returns_to, key, outer.turns, outer.called_in,
            )  # fmt: skip
        self._push(inner, function.start, self._entry(inner), state, whole, part)

    def _return(
        self, at: Pending, block: Block, state: State, whole: Count, part: Count | None
    ) -> None:
        frame = at.frame
        goes_to = state.registers[LR if block.code[block.last].mnemonic[:2] == "bx" else PC]
        if goes_to != frame.returns_to:
            self._problem(
                "it is not known where it returns to", frame, block.last,
                "the stack must be kept by push and pop",
            )  # fmt: skip
        if frame.before is None:
            value = state.registers[0]
            self.returned = value if self.ended is None else join(self.returned, value)
            self.ended = whole if self.ended is None else self.ended.most(whole)
            return
        if self.executor.marks is not None and frame.graph.function.name == self.executor.marks[0]:
            part = Count(0, 0, calls=(0,) * len(self.executor.counted))
        caller = Pending(frame.before, frame.called_in, frame.turns, state, whole, part)
        self._go(caller, frame.returns_to & ~1, state, whole, part)

    def _come_back_unknown(
        self,
        at: Pending,
        block: Block,
        comes_back: bool,
        state: State,
        whole: Count,
        part: Count | None,
    ) -> None:
        """Goes on as if the function had returned, and had changed all that it may."""
        for index in range(len(state.registers)):
            if index not in SAVED:
                state.registers[index] = ANY
        state.flags = ALL_FLAGS
        state.memory = {a: kept for a, kept in state.memory.items() if kept[2]}
        if comes_back:
            self._go(at, block.next, state, whole, part)

    # ------------------------------------------------------------------ what is wrong

    def _unbounded(self, frame: Frame, head: int) -> None:
        self.endless.add(head)
        self._problem(
            "a loop whose turns are not known", frame, head,
            "say LOOP_BOUND(most turns) in its body, or make its bound a constant",
        )  # fmt: skip

    def _problem(self, what: str, frame: Frame, address: int, remedy: str) -> None:
        name, place = frame.graph.function.name, self.image.place(address)
        self.problems.setdefault((what, address), Problem(what, name, address, place, remedy))
