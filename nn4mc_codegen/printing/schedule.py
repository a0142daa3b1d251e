"""Schedule: from a program to one C function, a `Procedure` of kernels and arrays with places.

This module calls the parts in their order, each in its own file: prune, gates, fusion, memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nn4mc_codegen.printing.access import Locator
from nn4mc_codegen.printing.fusion import Kernel, fuse
from nn4mc_codegen.printing.gates import add_gates, drop_slopes
from nn4mc_codegen.printing.memory import allocate, lay_result
from nn4mc_codegen.printing.prune import prune
from nn4mc_codegen.program.instructions import Array, Elements, Linear
from nn4mc_codegen.program.program import Program

APART_FLOATS = 1024
"""Most floats of arrays that each have memory of their own in speed mode: chosen, not measured."""


@dataclass(eq=False)
class Procedure:
    """One C function, in kernels."""

    program: Program
    locator: Locator
    kernels: list[Kernel]
    results: dict[Array, tuple[str, int]]
    """of each array that lies in what the caller gave: the result's name, and the offset in it"""
    memory: dict[Array, int]
    """offset of each array that lives only inside the function"""
    memory_size: int
    """floats that these take at most at one time"""

    @property
    def macs(self) -> int:
        return sum(i.macs for i in self.program.instructions)


def schedule(
    p: Program,
    results: Mapping[str, Elements],
    mode: str = "balanced",
    ranged: str | None = None,
) -> Procedure:
    """The function that computes `results` from the inputs that they depend on.

    `ranged` names a result, a matrix, of which the caller chooses a range of columns with each
    call.
    """
    pruned, wanted = prune(p, results)
    if mode != "size":
        add_gates(pruned)
        drop_slopes(pruned, list(wanted.values()))
    kernels = fuse(pruned, list(wanted.values()), Locator(pruned.arrays), mode)
    laid: dict[Array, tuple[str, int]] = {}
    for name in wanted:
        lay_result(pruned, kernels, name, wanted, laid)
    for kernel in kernels if ranged else ():
        kernel.ranged = _makes_columns(kernel, kernels, laid, ranged, results[ranged].shape)
    offsets, size = allocate(pruned, kernels, list(laid))
    apart = sum(a.size for a in offsets)
    if mode == "speed" and apart <= APART_FLOATS:
        # GCC keeps a small array in registers only if the array stands alone, and shares its
        # memory with no other.
        ends = np.cumsum([0, *(a.size for a in offsets)]).tolist()
        offsets, size = dict(zip(offsets, ends, strict=False)), apart
    return Procedure(pruned, Locator(pruned.arrays), kernels, laid, offsets, size)


def _makes_columns(
    kernel: Kernel,
    kernels: Sequence[Kernel],
    laid: Mapping[Array, tuple[str, int]],
    name: str,
    shape: tuple[int, int],
) -> bool:
    """Whether a kernel may leave out columns of the result `name`, a matrix of this shape.

    It may if it makes that matrix where the caller wants it, and if no other kernel reads it, but
    for one that overwrites elements by what they were.
    """
    if not isinstance(kernel.head, Linear) or kernel.target is not None or len(kernel.stored) != 1:
        return False
    made = kernel.stored[0]
    if laid.get(made.result) != (name, 0) or made.shape != shape:
        return False
    for other in kernels:
        for elements in other.reads:
            if np.isin(elements, made.result.elements).any() and (
                other.target is None or not np.array_equal(elements.ravel(), other.target.ravel())
            ):
                return False
    return True
