"""The control-flow graph of one function, and its loops as a tree.

A block ends where control may go elsewhere, and after a call. Blocks stand in the weak topological
order of Bourdoncle, "Efficient chaotic iteration strategies with widenings", 1993: loops are nested
in it with their heads first, and the edges that go backwards are those to the head of a loop that
they are in.

    a -> (b c (d) e) -> f        b and d are heads: c -> d -> d -> e -> b are in the loop of b

The position of a block in that order, with the number of the turn of each loop around it, is a key
that grows along every path: see `Graph.key`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from nn4mc_codegen.trial.cycles import Instruction
from soft_control.proof.image import Function, Image
from soft_control.proof.meaning import conditions_of
from soft_control.proof.operands import immediate, register, registers, split
from soft_control.proof.state import PC
from soft_control.proof.values import CONDITIONS

_TARGET = re.compile(r"(?:^|, )([0-9a-f]+) <")


@dataclass
class Block:
    """Instructions that are executed one after the other."""

    start: int
    code: dict[int, Instruction]
    conditions: dict[int, str]
    """Of those that an IT makes conditional."""
    ends: str = "next"
    """What its last instruction does: next, jump, branch (to `target` or on), call, tail (a call
    that does not come back), pointer (a call through a register), table, return, stop."""
    target: int | None = None
    condition: str | None = None
    """Under which a branch is taken, or a conditional return."""
    tested: tuple[str, int] | None = None
    """cbz or cbnz, and the register."""
    register: int | None = None
    """Of a call through a pointer; of the index into a table."""
    next: int = 0
    """Address behind it."""

    @property
    def last(self) -> int:
        return next(reversed(self.code))


@dataclass
class Loop:
    """Blocks that are passed again and again."""

    head: int
    function: str
    depth: int
    body: set[int] = field(default_factory=set)


@dataclass
class Graph:
    """Blocks of a function and their order."""

    function: Function
    blocks: dict[int, Block]
    successors: dict[int, list[int]]
    order: dict[int, tuple[tuple[int, int], ...]] = field(default_factory=dict)
    """Block -> (position, head) of each loop around it, from the outermost on, and its own position
    with 0 for a head."""
    loops: dict[int, Loop] = field(default_factory=dict)
    """By head."""

    def key(self, turns: tuple[int, ...], block: int) -> tuple[int, ...]:
        """What orders the passes through blocks: positions and turns in turn."""
        *around, own = self.order[block]
        flat: list[int] = []
        for (position, _), turn in zip(around, turns, strict=True):
            flat += position, turn
        return (*flat, own[0])

    def turns(
        self, source: int, turns: tuple[int, ...], to: int
    ) -> tuple[tuple[int, ...], int, int]:
        """The turns at block `to`, when `source` was passed in `turns`; the head of the loop that
        another turn begins of, or 0; and how many loops around `source` are not left."""
        mine = [head for _, head in self.order[source][:-1]]
        other = [head for _, head in self.order[to][:-1]]
        common = 0
        while common < min(len(mine), len(other)) and mine[common] == other[common]:
            common += 1
        after = list(turns[:common]) + [0] * (len(other) - common)
        if common == len(other) and common > 0 and other[-1] == to:
            after[-1] += 1
            return tuple(after), to, common
        return tuple(after), 0, common


def build_graph(image: Image, function: Function, tables: dict[int, list[int]]) -> Graph:
    """tables: address of a tbb, tbh or jump through a register -> where it may go; filled here for
    those whose table stands behind them."""
    code = {a: i for a, i in image.code.items() if function.start <= a < function.end}
    conditions = conditions_of(code)
    return arrange(function, *_blocks(image, function, code, conditions, tables))


def _blocks(
    image: Image,
    function: Function,
    code: dict[int, Instruction],
    conditions: dict[int, str],
    tables: dict[int, list[int]],
) -> tuple[dict[int, Block], dict[int, list[int]]]:
    """Follows control from the start on; data between the instructions are never reached."""
    ends: dict[int, Block] = {}
    starts, todo, reached = {function.start}, [function.start], set()
    while todo:
        at = todo.pop()
        while at in code and at not in reached:
            reached.add(at)
            block = ending(image, function, at, code[at], conditions.get(at))
            after = at + code[at].size
            if block is None:
                at = after
                continue
            block.next = after
            ends[at] = block
            if block.ends == "table":
                tables[at] = table_of(image, at, code, function)
            goes = _next_of(block, tables.get(at, []))
            starts.update(goes)
            todo += goes
            break
    blocks: dict[int, Block] = {}
    successors: dict[int, list[int]] = {}
    for start in sorted(starts & reached):
        block_code, at, last = {}, start, start
        while at in code:
            block_code[at], last = code[at], at
            at += code[at].size
            if last in ends or at in starts:
                break
        block = ends.get(last) or Block(start, {}, {}, next=at)
        block.start, block.code = start, block_code
        block.conditions = {a: c for a, c in conditions.items() if a in block_code}
        blocks[start] = block
        goes = _next_of(block, tables.get(last, []))
        successors[start] = [to for to in goes if to in reached]
    return blocks, successors


def _next_of(block: Block, table: list[int]) -> list[int]:
    """Addresses in the same function where it goes on."""
    if block.ends in ("jump", "branch") and block.target is not None:
        own = [block.target]
    else:
        own = sorted(set(table))
    goes_on = block.ends in ("next", "branch", "call", "pointer")
    if goes_on or (
        block.condition is not None and block.ends in ("return", "jump", "tail", "leave")
    ):
        own.append(block.next)
    return own


def ending(
    image: Image, function: Function, at: int, now: Instruction, condition: str | None
) -> Block | None:
    """The block that this instruction ends, without its code; None for one that does not."""
    name = now.mnemonic
    words = split(now.operands)
    block = Block(at, {}, {}, condition=condition)
    if condition is not None and name != "bl":
        name = name.removesuffix(condition)
    if name in ("bkpt", "udf", "svc"):
        block.ends = "stop"
        return block
    if name in ("cbz", "cbnz"):
        block.ends, block.tested = "branch", (name, register(words[0]))
        block.target = _address(now.operands)
        return block
    if name in ("bx", "blx"):
        which = register(words[0])
        if name == "bx" and which == 14:
            block.ends = "return"
        else:
            block.ends, block.register = ("pointer" if name == "blx" else "leave"), which
        return block
    if name in ("tbb", "tbh"):
        block.ends, block.register = "table", _index(words[0])
        return block
    if (
        name == "bl"
        or re.fullmatch(r"b(?:\.w)?", name)
        or (name[:1] == "b" and name[1:] in CONDITIONS)
    ):
        target = _address(now.operands)
        if target is None:
            return None
        block.target = target
        inside = function.start <= target < function.end
        if name == "bl":
            block.ends = "call"
        elif name == "b" and inside and condition is None:
            block.ends = "jump"
        elif inside:
            block.ends, block.condition = "branch", condition or name[1:]
        else:
            block.ends, block.condition = "tail", condition or name[1:] or None
        return block
    return _writes_pc(block, name, words)


def _writes_pc(block: Block, name: str, words: list[str]) -> Block | None:
    """A return by a load, or a jump through a register."""
    lists = [w for w in words if w.startswith("{") and w[1] not in "sd"]
    if name in ("pop", "ldmia", "ldmdb") and lists and PC in registers(lists[0]):
        block.ends = "return"
    elif name == "ldr" and words[0] == "pc":
        block.ends = "return" if words[1].startswith("[sp") else "leave"
        if words[1].endswith("lsl #2]"):
            block.ends, block.register = "table", _index(words[1])
    elif words[:1] == ["pc"] and name in ("mov", "add"):
        block.ends, block.register = "leave", register(words[1]) if name == "mov" else None
    else:
        return None
    return block


def _address(operands: str) -> int | None:
    found = _TARGET.search(operands)
    return int(found[1], 16) if found else None


def table_of(image: Image, at: int, code: dict[int, Instruction], function: Function) -> list[int]:
    """Where a jump by a table goes, by its index: tbb [pc, rN] and tbh, with the table right behind
    them, and ldr pc, [rM, rN, lsl #2] after add rM, pc, #n. The table ends where objdump sees code
    again, and before the first place behind its start that an entry of it names."""
    now = code[at]
    size = {"tbb": 1, "tbh": 2}.get(now.mnemonic, 4)
    start = at + 4 if size < 4 and now.operands.startswith("[pc") else _adr(at, code)
    if start is None:
        return []
    targets: list[int] = []
    place = start
    while place < min([function.end, *(t for t in targets if t > start)]) and _is_data(place, code):
        entry = image.constant(place, size)
        if entry is None:
            break
        target = start + 2 * entry if size < 4 else entry & ~1
        if target < place + size and size < 4:  # a byte that aligns what follows
            break
        targets.append(target)
        place += size
    return targets if all(function.start <= t < function.end for t in targets) else []


def _index(address: str) -> int:
    """Register of the index in [pc, r3], [pc, r3, lsl #1] or [r2, r3, lsl #2]."""
    return register(address.strip("[]").split(",")[1].strip())


def _adr(at: int, code: dict[int, Instruction]) -> int | None:
    """The address that the instruction before makes of pc."""
    before = [a for a in (at - 2, at - 4) if a in code and a + code[a].size == at]
    if not before or code[before[0]].mnemonic not in ("add", "adr", "addw"):
        return None
    words = split(code[before[0]].operands)
    offset = immediate(words[-1])
    return None if words[1] != "pc" or offset is None else (before[0] + 4 & ~3) + offset


def _is_data(place: int, code: dict[int, Instruction]) -> bool:
    """Does objdump print a .word, .short or .byte there?"""
    for at in range(place, place - 4, -1):
        if at in code:
            return code[at].mnemonic.startswith(".") and at + code[at].size > place
    return False


# ---------------------------------------------------------------------------------------- order


def arrange(
    function: Function, blocks: dict[int, Block], successors: dict[int, list[int]]
) -> Graph:
    """Finds loops and order."""
    graph = Graph(function, blocks, successors)
    _decompose(graph, set(blocks), function.start, ())
    return graph


def _decompose(
    graph: Graph, nodes: set[int], first: int, around: tuple[tuple[int, int], ...]
) -> None:
    """Gives each node its place; edges to the head of a loop around are not counted."""
    heads = {head for _, head in around}
    edges = {n: [s for s in graph.successors[n] if s in nodes and s not in heads] for n in nodes}
    position = 1
    for component in _components(sorted(nodes), edges):
        (single,) = component if len(component) == 1 else (0,)
        if single and single not in graph.successors[single]:
            graph.order[single] = (*around, (position, single))
        else:
            head = _head(graph, component, first)
            loop = Loop(head, graph.function.name, len(around) + 1, set(component))
            graph.loops[head] = loop
            inner = (*around, (position, head))
            graph.order[head] = (*inner, (0, head))
            _decompose(graph, set(component) - {head}, head, inner)
        position += 1


def _head(graph: Graph, component: Iterable[int], first: int) -> int:
    """Where a loop is entered; of several such places the first."""
    inside = set(component)
    if first in inside:
        return first
    entered = {
        to
        for source, goes in graph.successors.items()
        if source not in inside
        for to in goes
        if to in inside
    }
    return min(entered or inside)


def _components(nodes: list[int], edges: dict[int, list[int]]) -> list[list[int]]:
    """Strongly connected components in topological order (Tarjan, without recursion)."""
    index: dict[int, int] = {}
    low: dict[int, int] = {}
    stack: list[int] = []
    on_stack: set[int] = set()
    found: list[list[int]] = []
    for root in nodes:
        if root in index:
            continue
        work = [(root, iter(edges[root]))]
        index[root] = low[root] = len(index)
        stack.append(root)
        on_stack.add(root)
        while work:
            node, following = work[-1]
            for other in following:
                if other not in index:
                    index[other] = low[other] = len(index)
                    stack.append(other)
                    on_stack.add(other)
                    work.append((other, iter(edges[other])))
                    break
                if other in on_stack:
                    low[node] = min(low[node], index[other])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    component = []
                    while True:
                        other = stack.pop()
                        on_stack.discard(other)
                        component.append(other)
                        if other == node:
                            break
                    found.append(component)
    return found[::-1]


__all__ = ["Block", "Graph", "Loop", "build_graph"]
