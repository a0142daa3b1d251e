"""The body of one C function: arrays, calls of kernels, results in their place."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from nn4mc_codegen.graph.lower import unique
from nn4mc_codegen.printing.access import Access
from nn4mc_codegen.printing.c import index
from nn4mc_codegen.printing.fusion import Kernel
from nn4mc_codegen.printing.kernels import PrintedKernel
from nn4mc_codegen.printing.linear_kernel import PrintedLinear
from nn4mc_codegen.printing.repeat import repetition
from nn4mc_codegen.printing.schedule import STACK_FLOATS, Procedure
from nn4mc_codegen.printing.source import DERIVED, Code
from nn4mc_codegen.program.instructions import Array


class PrintedProcedure:
    """The body of one C function: arrays, calls of kernels, results in their place."""

    def __init__(self, code: Code, procedure: Procedure, given: Sequence[str]):
        """`given` are the function's parameters that it reads, if it does."""
        self._names: dict[int, str] = {}
        arguments = {"state": "state->value"}
        for name, array in procedure.program.inputs.items():
            self._names[array.first] = arguments.get(name, name)
        for array, (name, offset) in procedure.results.items():
            pointer = arguments.get(name, name)
            self._names[array.first] = pointer + (f" + {offset}" if offset else "")
        locals_ = list(procedure.memory)
        reserved = [*procedure.program.inputs, *(name for name, _ in procedure.results.values())]
        labels = unique([*dict.fromkeys(reserved), *map(_local_name, locals_)])
        for array, label in zip(locals_, labels[len(labels) - len(locals_) :], strict=True):
            self._names[array.first] = label
        lines = self._arrays(code, procedure)
        for kernel in procedure.kernels:
            lines.append(self._call(code, procedure, kernel))
        words = set(re.findall(r"\w+", "\n".join(lines)))
        given = [name for name in given if name != "state" or code.recurrent]
        lines += [f"(void){name};" for name in given if name not in words]
        self.body = "\n".join(f"    {line}" for line in lines) + "\n"

    def _arrays(self, code: Code, procedure: Procedure) -> list[str]:
        """Declarations of what lives only inside."""
        places = procedure.memory.items()
        if procedure.memory_size == sum(a.size for a, _ in places) <= STACK_FLOATS:
            return [f"float {self._names[a.first]}[{a.size}];" for a, _ in places]
        if procedure.memory_size <= STACK_FLOATS:
            memory = f"float memory[{procedure.memory_size}];"
        else:
            memory = f"float *const memory = {code.name}_memory;"
        return [
            memory,
            *(
                f"float *const {self._names[a.first]} = {f'memory + {at}' if at else 'memory'};"
                for a, at in places
            ),
        ]

    def _call(self, code: Code, procedure: Procedure, kernel: Kernel) -> str:
        repeated = repetition(kernel, procedure.locator)
        if repeated is None:
            return self._once(code, procedure, kernel)
        names, variables = self._names, "gh"[: len(repeated.turns)]
        self._names = dict(names)
        for first, steps in repeated.steps.items():
            moved = index(0, *zip(steps, variables, strict=True))
            if first in names and moved != "0":
                self._names[first] += f" + {moved}"
        lines = self._once(code, procedure, repeated.kernel).split("\n    ")
        self._names = names
        for variable, turns in reversed(list(zip(variables, repeated.turns, strict=True))):
            head = f"for (int {variable} = 0; {variable} < {turns}; {variable}++) {{"
            lines = [head, *(f"    {line}" for line in lines), "}"]
        return "\n    ".join(lines)

    def _once(self, code: Code, procedure: Procedure, kernel: Kernel) -> str:
        kind = kernel.head.kind if kernel.head else "map"
        printed = PRINTED.get(kind, PrintedKernel)(code, procedure, kernel)
        if printed.array_function is not None:
            (mapped,) = kernel.maps
            access = procedure.locator.single(mapped.operands)[0]
            code.use(printed.array_function)
            code.array_functions.add(printed.array_function.symbol)
            if printed.array_function.name == "tanh":
                code.read_weights(TANH_COEFFICIENTS)
            function = f"{code.name}_{printed.array_function.symbol}_all"
            x = self._pointer(code, replace(access, row_step=0))
            y = self._names[mapped.result.first]
            return f"{function}({x}, {y}, {mapped.result.size});"
        if kind == "linear" and printed.mode == "size":
            before = dict(code.constants), set(code.helpers)
            calls = self._shared_linear(code, procedure, printed)
            if calls:
                return calls
            code.constants, code.helpers = before  # what it would have used
        template = code.environment.get_template(f"{kind}.j2").module
        text = template.kernel(printed)
        function = code.kernel(printed.label, text, inline=_inlined(code, printed))
        arguments = [self._names[a.first] for a in printed.sources + printed.stored]
        arguments += printed.range_names
        return f"{function}({', '.join(arguments)});"

    def _shared_linear(self, code: Code, procedure: Procedure, k: PrintedLinear) -> str | None:
        """Calls of the one function that all layers share, if their operands suit it."""
        lines, outputs = [], k.shape[1]
        y = self._names[k.stored[0].first]
        for rows, columns in k.regions:
            block = k.head.start[rows.begin : rows.end, columns.begin : columns.end]
            (start,) = procedure.locator.single([block])
            if k.is_literal(start) and start.array.data[start.start] == 0.0:
                bias = "0"
            elif start.step == 1 or columns.size == 1:
                bias = self._pointer(code, start)
            else:
                return None
            at = index(outputs * rows.begin + columns.begin, (outputs if rows.size > 1 else 0, "j"))
            target = y if at == "0" else f"{y} + {at}"
            calls = []
            for loop in k.loops(rows, columns, body=k.head.W.size * k.shape[0]):
                W, length = loop.W, loop.turns * loop.unroll
                if loop.x.step != 1 and length > 1:
                    return None
                if W.row_step == 1 or columns.size == 1 and W.step != 1:
                    function, stride = "linear", W.step
                elif W.step == 1 or length == 1:
                    function, stride = "linear_across", W.row_step
                else:
                    return None
                code.helpers.add(function)
                pointers = self._pointer(code, replace(W, row_step=0)), self._pointer(code, loop.x)
                sizes = f"{columns.size}, {length}, {stride}"
                words = ", ".join([target, bias, *pointers, sizes])
                calls.append(f"{code.name}_{function}({words});")
                bias = target
            if rows.size > 1:
                calls = [
                    f"for (int j = 0; j < {rows.size}; j++) {{",
                    *(f"    {call}" for call in calls),
                    "}",
                ]
            lines += calls
        return "\n    ".join(lines)

    def _pointer(self, code: Code, access: Access) -> str:
        """To an access's first element, of row j."""
        array = access.array
        if array.data is None:
            name = self._names[array.first]
        else:
            name = code.constant(array) + (".f" if array.paired else "")
        at = index(access.start, (access.row_step, "j"))
        return name if at == "0" else f"{name} + {at}"


def _local_name(array: Array) -> str:
    return array.name if array.name.startswith(("d_", "t_")) else f"h_{array.name}"


def _inlined(code: Code, kernel: PrintedKernel) -> bool:
    """Folding makes two of each function, of which a program uses one: a small kernel of both had
    better stand in each than be called."""
    if code.options.fold is None or kernel.mode == "size":
        return False
    derivative = kernel.label.startswith(DERIVED)
    return kernel.macs <= (INLINED_DERIVATIVE_MACS if derivative else INLINED_MACS)


INLINED_MACS, INLINED_DERIVATIVE_MACS = 256, 1024
"""As a call costs some 20 instructions: what runs both alone and with derivatives, and what only
runs with them."""
PRINTED = {"linear": PrintedLinear}
TANH_COEFFICIENTS = 8
"""How many templates/functions.j2 reads at once."""
