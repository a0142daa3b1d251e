"""Recurrent Keras layers along a whole sequence: one way, both ways, from states and to states."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from nn4mc_codegen.graph.check import refuse
from nn4mc_codegen.graph.ir import Op, Tensor
from nn4mc_codegen.importers.keras_network import Call
from nn4mc_codegen.importers.keras_sequences import needs_sequence
from nn4mc_codegen.ops.add import Add
from nn4mc_codegen.ops.concatenate import Concatenate
from nn4mc_codegen.ops.elementwise import Elementwise
from nn4mc_codegen.ops.multiply import Multiply
from nn4mc_codegen.ops.recurrent import Recurrent
from nn4mc_codegen.ops.reshape import Reshape
from nn4mc_codegen.ops.take import Slice
from nn4mc_codegen.ops.unrolled import Unrolled

MakeNode = Callable[[Op, list[Tensor], str], Tensor]
"""A node of an operator on tensors, its name's end in the third place."""
WHOLE = (None, None, 1)
"""Of a Slice."""


def require_step(call: Call) -> None:
    """Raises `NeedsSequence` for a recurrent layer that cannot go from one step to the next."""
    advice = "give the model's input a fixed number of steps"
    if call.class_name == "Bidirectional":
        reason = "Bidirectional needs the whole sequence before its first step"
        raise needs_sequence(call.name, reason, advice)
    if call.config.get("go_backwards"):
        reason = "go_backwards: reads the sequence from its end, which is not there yet"
        raise needs_sequence(call.name, reason, advice)
    if call.config.get("return_state"):
        reason = "return_state: returns the state that it keeps from step to step"
        raise needs_sequence(call.name, reason, advice)
    if call.starts:
        reason = "initial_state: begins with a state that it is given"
        raise needs_sequence(call.name, reason, advice)


def unrolled(
    call: Call, cells: Sequence[Op], tensors: list[Tensor], node: MakeNode
) -> list[Tensor]:
    """What the layer makes of the sequence `tensors[0]` and the states after it: its output, then
    the last state of each of its `cells`, of a Bidirectional layer two."""
    x, *starts = tensors
    steps = x.shape[0]
    both = call.class_name == "Bidirectional"
    config = call.config["layer"]["config"] if both else call.config
    first_back = bool(config.get("go_backwards"))
    ways = (first_back, not first_back) if both else (first_back,)
    if starts and len(starts) != sum(len(cell.states) for cell in cells):
        reason = f"begins with {len(starts)} states"
        raise refuse(call.name, reason, "give one for each that it keeps")
    outputs, last = [], []
    for k, (cell, backwards) in enumerate(zip(cells, ways, strict=True)):
        assert isinstance(cell, Recurrent)
        count, units = len(cell.states), cell.units
        part = f"_{k}" if both else ""
        given = starts[k * count : (k + 1) * count]
        made = node(Unrolled(cell, bool(given), backwards), [x, *given], f"{part}_steps")
        end = 0 if backwards else steps - 1
        states = []
        for number in range(count):
            at = (number * units, (number + 1) * units, 1)
            row = node(Slice(((end, end + 1, 1), at)), [made], f"{part}_last_{number}")
            states.append(node(Reshape((units,)), [row], f"{part}_state_{number}"))
        if call.returns_sequences:
            # One way, Keras' rows are in the order in which they are made; both ways, in time.
            step = -1 if backwards and not both else 1
            rows = ((None, None, step), (0, units, 1))
            outputs.append(node(Slice(rows), [made], f"{part}_rows"))
        else:
            outputs.append(states[0])
        last += states
    return [_merged(call, outputs, node) if both else outputs[0], *last]


def _merged(call: Call, outputs: list[Tensor], node: MakeNode) -> Tensor:
    mode = call.config.get("merge_mode", "concat")
    if mode == "concat":
        return node(Concatenate(len(outputs[0].shape) - 1), outputs, "")
    if mode == "mul":
        return node(Multiply(), outputs, "")
    if mode == "sum":
        return node(Add(), outputs, "")
    if mode == "ave":
        total = node(Add(), outputs, "_sum")
        return node(Elementwise("multiply", (None, np.array(0.5, np.float32))), [total], "")
    raise refuse(call.name, f"merge_mode {mode!r:.40} is not supported", "use concat, sum or ave")
