"""The body of one C function: arrays, calls of kernels, results in their place."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from nn4mc_codegen.graph.lower import unique
from nn4mc_codegen.printing.access import Access
from nn4mc_codegen.printing.c import index, moved
from nn4mc_codegen.printing.fusion import Kernel
from nn4mc_codegen.printing.kernels import PrintedKernel
from nn4mc_codegen.printing.linear_kernel import PrintedLinear
from nn4mc_codegen.printing.linear_shared import shared_calls
from nn4mc_codegen.printing.repeat import repetition
from nn4mc_codegen.printing.schedule import Procedure
from nn4mc_codegen.printing.source import DERIVED, Code
from nn4mc_codegen.program.instructions import Array

PRINTED = {"linear": PrintedLinear}
"""What prints kernels, by the kind of their heads; `PrintedKernel` where none is named."""

INLINED_MACS, INLINED_DERIVATIVE_MACS = 256, 1024
"""Most multiply-accumulates of a kernel that is inlined where inputs are folded: of one that a step
runs as well, and of one that only derivatives run.

Measured in instructions under QEMU (GCC 12.2) with folded inputs. With 128 for the first, a step of
HASEL's network takes 534 instead of 529, and one of 26-16-12-9 with tanh 1515 instead of 1504, in
48 bytes more of flash; with 512 nothing changes in these. With 512 for the second, HASEL's Jacobian
takes 1577 instead of 1549; with 2048 that of 26-16-12-9 takes 10,231 instead of 10,263, in 24 bytes
more.
"""

# C expressions of parameters that are not named as they are in the program.
ARGUMENTS = {"state": "state->value"}


class PrintedProcedure:
    """The text of one function's body, as `body`; what it uses is noted in `code`."""

    def __init__(self, code: Code, procedure: Procedure, given: Sequence[str]):
        """`given` are the function's parameters that it reads, if it does."""
        self._code = code
        self._procedure = procedure
        self._pointers = self._array_pointers()
        lines = self._arrays()
        for kernel in procedure.kernels:
            lines += self._calls(kernel)
        words = set(re.findall(r"\w+", "\n".join(lines)))
        given = [name for name in given if name != "state" or code.recurrent]
        lines += [f"(void){name};" for name in given if name not in words]
        self.body = "\n".join(f"    {line}" for line in lines) + "\n"

    # ------------------------------------------------------------------ arrays

    def _array_pointers(self) -> dict[int, str]:
        """C expressions of pointers to all arrays but constants, by their first elements."""
        procedure = self._procedure
        pointers: dict[int, str] = {}
        for name, array in procedure.program.inputs.items():
            pointers[array.first] = ARGUMENTS.get(name, name)
        for array, (name, offset) in procedure.results.items():
            pointers[array.first] = moved(ARGUMENTS.get(name, name), str(offset))
        own = list(procedure.memory)
        reserved = [*procedure.program.inputs, *(name for name, _ in procedure.results.values())]
        labels = unique([*dict.fromkeys(reserved), *map(_local_name, own)])
        for array, label in zip(own, labels[len(labels) - len(own) :], strict=True):
            pointers[array.first] = label
        return pointers

    def _arrays(self) -> list[str]:
        """Declarations of the function's own arrays."""
        offsets, size = self._procedure.memory, self._procedure.memory_size
        names = {array: self._pointers[array.first] for array in offsets}
        on_stack = 4 * size <= self._code.options.stack_bytes
        if on_stack and size == sum(a.size for a in offsets):
            return [f"float {names[a]}[{a.size}];" for a in offsets]
        if on_stack:
            memory = f"float memory[{size}];"
        else:
            memory = f"float *const memory = {self._code.name}_memory;"
        return [
            memory,
            *(
                f"float *const {names[a]} = {moved('memory', str(at))};"
                for a, at in offsets.items()
            ),
        ]

    def _pointer(self, access: Access) -> str:
        """Pointer to an access's first element of row j."""
        array = access.array
        pointer = self._pointers[array.first] if array.data is None else self._code.floats(array)
        return moved(pointer, index(access.start, (access.row_step, "j")))

    # ------------------------------------------------------------------ calls

    def _calls(self, kernel: Kernel) -> list[str]:
        """The call of a kernel; for one whose groups of rows do the same, in a loop over these, in
        which the pointers move on."""
        repeated = repetition(kernel, self._procedure.locator)
        if repeated is None:
            return self._once(kernel)
        pointers, variables = self._pointers, "gh"[: len(repeated.turns)]
        self._pointers = dict(pointers)
        for first, steps in repeated.steps.items():
            if first in pointers:
                at = index(0, *zip(steps, variables, strict=True))
                self._pointers[first] = moved(pointers[first], at)
        lines = self._once(repeated.kernel)
        self._pointers = pointers
        for variable, turns in reversed(list(zip(variables, repeated.turns, strict=True))):
            head = f"for (int {variable} = 0; {variable} < {turns}; {variable}++) {{"
            lines = [head, *(f"    {line}" for line in lines), "}"]
        return lines

    def _once(self, kernel: Kernel) -> list[str]:
        code = self._code
        kind = kernel.head.kind if kernel.head else "map"
        printed = PRINTED.get(kind, PrintedKernel)(code, self._procedure, kernel)
        if printed.array_function is not None:
            return [self._array_call(printed)]
        if kind == "linear" and printed.mode == "size":
            before = dict(code.constants), set(code.helpers)
            calls = shared_calls(printed, self._pointers[printed.stored[0].first], self._pointer)
            if calls:
                return calls
            code.constants, code.helpers = before  # as if it had not been tried
        text = code.environment.get_template(f"{kind}.j2").module.kernel(printed)
        function = code.kernel(printed.label, text, inline=_inlined(code, printed))
        arguments = [self._pointers[a.first] for a in printed.sources + printed.stored]
        return [f"{function}({', '.join([*arguments, *printed.range_names])});"]

    def _array_call(self, printed: PrintedKernel) -> str:
        """Call of the function that a lone formula consists of, on a whole array."""
        code, function = self._code, printed.array_function
        (mapped,) = printed.maps
        (access,) = self._procedure.locator.single(mapped.operands)
        code.array_functions.add(function.symbol)
        x = self._pointer(replace(access, row_step=0))
        y = self._pointers[mapped.result.first]
        return f"{code.use(function)}_all({x}, {y}, {mapped.result.size});"


def _local_name(array: Array) -> str:
    return array.name if array.name.startswith(DERIVED) else f"h_{array.name}"


def _inlined(code: Code, kernel: PrintedKernel) -> bool:
    """Whether a kernel is inlined: where it is small, and folding has made two forms of each
    function, of which a program calls one; the linker leaves the other out with its copy."""
    if code.options.fold is None or kernel.mode == "size":
        return False
    derivative = kernel.label.startswith(DERIVED)
    return kernel.macs <= (INLINED_DERIVATIVE_MACS if derivative else INLINED_MACS)
