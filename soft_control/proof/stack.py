"""The deepest stack, interrupts included, by the machine code alone.

firmware/stack_depth.py adds up the worst chain of calls when a firmware is linked, from what the
compiler says of each function. Here its sums are made again from the ELF: what each function pushes
and takes off, whom it calls, the library's functions included. Both have to fit into what was
reserved.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import module_from_spec, spec_from_file_location
from types import ModuleType

from nn4mc_codegen.trial.cycles import Instruction
from soft_control.paths import share
from soft_control.proof.graph import Graph
from soft_control.proof.image import Function, Image, ProofError
from soft_control.proof.operands import immediate, registers, split

MAKEFILE = "Makefile"
START = "stack_bottom"
END = "stack_top"
VECTORS = "vectors"
RESET = "reset_handler"


@dataclass(frozen=True)
class Stack:
    """What can be on the stack at once."""

    chain: list[tuple[str, int]]
    """Functions and exceptions, and the bytes of each."""
    reserved: int

    @property
    def bytes(self) -> int:
        return sum(size for _, size in self.chain)


@cache
def depth_tool() -> ModuleType:
    """firmware/stack_depth.py."""
    spec = spec_from_file_location("stack_depth", share() / "firmware" / "stack_depth.py")
    module = module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclass looks there
    spec.loader.exec_module(module)
    return module


def pointers() -> dict[str, list[str]]:
    """File -> patterns of the functions that its calls through pointers reach, as the Makefile of
    the firmware says."""
    text = (share() / "firmware" / MAKEFILE).read_text(encoding="utf-8")
    said: dict[str, list[str]] = {}
    for entry in re.findall(r"^POINTERS :=(.*)$", text, re.M)[0].split():
        place, _, pattern = entry.strip("'").partition(":")
        said.setdefault(place, []).append(pattern)
    return said


def deepest(image: Image, graphs: Mapping[int, Graph], may: Mapping[str, Sequence[str]]) -> Stack:
    """graphs: by address, of all functions; may: as `pointers`. Raises ProofError in one line for
    recursion, calls that nobody explains and frames that have no fixed size."""
    tool = depth_tool()
    titles = _titles(image)
    calls = tool.Calls()
    for graph in graphs.values():
        title = titles[graph.function.start]
        calls.frames[title] = frame_bytes(image, graph)
        if begins_anew(image, graph):
            continue  # whom it calls begins on an empty stack: FAULT of stack_depth.py
        for block in graph.blocks.values():
            if block.ends in ("call", "tail"):
                called = image.function_at(block.target or 0)
                if called is not None:
                    calls.callees.setdefault(title, set()).add(titles[called.start])
            elif block.ends == "pointer":
                calls.pointers.setdefault(title, set()).add(image.line(block.last)[0])
    try:
        handlers = tool.resolve(calls, _addresses(image), may)
        chain = tool.worst(calls, handlers)
    except tool.StackError as error:
        raise ProofError(f"{image.path}: stack: {error}") from None
    return Stack(chain, image.symbols[END][0] - image.symbols[START][0])


def _titles(image: Image) -> dict[int, str]:
    """Address -> name; two functions of a name have their address before it."""
    names = [f.name for f in image.functions]
    return {
        f.start: f.name if names.count(f.name) == 1 else f"{f.start:x}:{f.name}"
        for f in image.functions
    }


def _addresses(image: Image) -> Iterator[tuple[str, str]]:
    """(section, name) of each function whose address stands somewhere in flash."""
    starts = {f.start | 1: f for f in image.functions}
    first, size = image.symbols.get(VECTORS, (0, 0))
    for begin, content in image.sections:
        for at in range(begin, begin + len(content) - 3, 4):
            function = starts.get(int.from_bytes(content[at - begin : at - begin + 4], "little"))
            if function is not None:
                yield (".vectors" if first <= at < first + size else "", function.name)


def frame_bytes(image: Image, graph: Graph) -> int:
    """How far a function moves the stack pointer at most, its calls aside."""
    most = 0
    depths = {graph.function.start: 0}
    todo = [graph.function.start]
    while todo:
        start = todo.pop()
        depth = depths[start]
        for at, instruction in graph.blocks[start].code.items():
            moved = moves(image, graph.function, at, instruction)
            if moved is None:
                return most
            depth += moved
            most = max(most, depth)
        for to in graph.successors[start]:
            if to not in depths:
                depths[to] = depth
                todo.append(to)
    return most


def begins_anew(image: Image, graph: Graph) -> bool:
    """Does a function go to another stack, as the handlers of faults do?"""
    return any(
        moves(image, graph.function, at, instruction) is None
        for block in graph.blocks.values()
        for at, instruction in block.code.items()
    )


def moves(image: Image, function: Function, at: int, now: Instruction) -> int | None:
    """Bytes that an instruction puts on the stack; negative where it takes some off. None: it
    begins another stack."""
    words = split(now.operands)
    name = re.sub(r"(?<=.)(eq|ne|cs|cc|mi|pl|hi|ls|ge|lt|gt|le)$", "", now.mnemonic)
    if name in ("push", "vpush"):
        return 4 * len(registers(words[0]))
    if name in ("pop", "vpop"):
        return -4 * len(registers(words[0]))
    if words[:1] == ["sp!"]:
        size = 4 * len(registers(words[1]))
        return size if "stm" in name else -size
    if words[:1] == ["sp"] and name in ("sub", "subw", "add", "addw", "mov", "ldr"):
        by = immediate(words[-1])
        if name in ("mov", "ldr"):
            return None
        if by is None or (len(words) == 3 and words[1] != "sp"):
            where = f"{function.name}, {image.place(at)} (0x{at:08x})"
            raise ProofError(
                f"{image.path}: stack: {where}: a frame without a fixed size; "
                "give arrays a constant one"
            )
        return by if name.startswith("sub") else -by
    found = re.search(r"\[sp(?:, #(-?\d+)\]!|\], #(-?\d+))", now.operands)
    if found:
        return -int(found[1] or found[2])
    return None if name == "msr" and words[0] in ("MSP", "PSP") else 0
