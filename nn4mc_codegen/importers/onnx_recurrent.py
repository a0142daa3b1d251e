"""ONNX' RNN, GRU and LSTM: a step that carries its state, or a whole sequence at once.

Where every recurrent node of a network goes ahead, takes one step of one sequence (of an axis that
is open or of extent 1) and is given no state, the network is one of steps: it carries its state
from call to call, as one made of Keras layers does. In any other network nothing is carried:
sequences of a fixed length, from the end too, are unrolled, and a state that comes in as an input
of the network goes out as an output.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from nn4mc_codegen.graph.check import ModelError
from nn4mc_codegen.importers.onnx_file import OnnxNode
from nn4mc_codegen.importers.onnx_reader import Reader, Value
from nn4mc_codegen.ops.activation import Activation
from nn4mc_codegen.ops.concatenate import Concatenate
from nn4mc_codegen.ops.recurrent import GRU, LSTM, Recurrent, SimpleRNN
from nn4mc_codegen.ops.take import Slice
from nn4mc_codegen.ops.transpose import Transpose
from nn4mc_codegen.ops.unrolled import Unrolled

# Each step of an unrolled sequence is code of its own.
MAX_STEPS = 256
# Of each kind the operator, its gates in the order of ONNX as their places in the operator's, the
# activations that ONNX takes where none are named, and the states that it can begin with.
KINDS = {
    "RNN": (SimpleRNN, (0,), ("Tanh",), 1),
    "GRU": (GRU, (0, 1, 2), ("Sigmoid", "Tanh"), 1),
    "LSTM": (LSTM, (0, 3, 1, 2), ("Sigmoid", "Tanh", "Tanh"), 2),  # i, o, f, c; here i, f, c, o
}
# Activations by their names in lower case; of those with parameters what stands for none given.
PLAIN = ("Tanh", "Sigmoid", "Relu", "Softsign", "Softplus")
WITH_ALPHA = {"LeakyRelu": ("leaky_relu", 0.01), "Elu": ("elu", 1.0), "HardSigmoid": ("", 0.2)}


def recurrent(r: Reader, node: OnnxNode, kind: str) -> tuple[Value | ModelError, ...]:
    """Y of all steps, then the last state h, of an LSTM also c."""
    count = KINDS[kind][-1]
    by_batch = node.integer("layout", 0)
    x = r.value(node)
    if len(x.shape) != 3:
        raise node.refusal(f"of shape {x.shape}", "give it steps of sequences of inputs")
    if by_batch:
        x = r.apply(node, Transpose((1, 0, 2)), x, part="_steps")
    steps, batch, _ = x.shape
    r.lengths.add(steps)
    r.batches.add(batch)
    if steps > MAX_STEPS:
        reason = f"of {steps} steps at once is too long to be unrolled (at most {MAX_STEPS})"
        raise node.refusal(reason, "export it with one step, or with that axis open")
    _require_whole_sequences(r, node, steps)
    direction = node.word("direction", "forward")
    ways = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}.get(direction)
    if ways is None:
        raise node.refusal(f"has direction '{direction}'", "use forward, reverse or bidirectional")
    cells = [_cell(r, node, kind, way, len(ways)) for way in range(len(ways))]
    starts = [_start(r, node, 5 + k, by_batch) for k in range(count)]
    can_carry = ways == (False,) and batch == 1 and all(s is None for s in starts)
    r.steps.append(steps if can_carry else None)
    if r.carries:
        flat = r.shaped(node, x, x.shape[2:], "_step")
        h = r.apply(node, cells[0], flat)
        y = r.shaped(node, h, (1, 1, 1, cells[0].units), "_sequence")
        reason = "hands out its state c, which it keeps from step to step"
        kept = node.refusal(reason, "leave that output out, or make the states inputs")
        return y, r.shaped(node, h, (1, 1, y.shape[-1]), "_state"), kept
    return _unrolled(r, node, cells, ways, x, starts, by_batch)


def _unrolled(
    r: Reader,
    node: OnnxNode,
    cells: Sequence[Recurrent],
    ways: Sequence[bool],
    x: Value,
    starts: Sequence[Value | None],
    by_batch: int,
) -> tuple[Value, ...]:
    steps, batch, inputs = x.shape
    units, directions = cells[0].units, len(ways)
    rows, last = [], [[] for _ in starts]
    given = any(s is not None for s in starts)
    nothing = np.zeros((directions, batch, units), np.float32)
    ops = [Unrolled(cell, given, way) for cell, way in zip(cells, ways, strict=True)]
    for d, op in enumerate(ops):
        for b in range(batch):
            part = f"_{d}_{b}" if directions * batch > 1 else ""
            whole = (None, None, 1)
            one = r.apply(node, Slice((whole, (b, b + 1, 1), whole)), x, part=f"{part}_sequence")
            one = r.shaped(node, one, (steps, inputs), f"{part}_steps")
            states = [_one(r, node, nothing if s is None else s, d, b) for s in starts]
            made = r.apply(node, op, one, *(states if given else ()), part=part)
            for k, found in enumerate(last):
                at = (k * units, (k + 1) * units, 1)
                h = r.apply(node, Slice((whole, at)), made, part=f"{part}_{'hc'[k]}")
                if k == 0:
                    rows.append(r.shaped(node, h, (steps, 1, 1, units), f"{part}_rows"))
                end = 0 if op.backwards else steps - 1
                state = r.apply(node, Slice(((end, end + 1, 1), whole)), h, part=f"{part}_last{k}")
                found.append(r.shaped(node, state, (1, 1, units), f"{part}_state{k}"))
    y = _joined(r, node, rows, directions, batch, 1)
    states = [_joined(r, node, found, directions, batch, 0) for found in last]
    if by_batch:
        y = r.apply(node, Transpose((2, 0, 1, 3)), y, part="_batches")
        states = [r.apply(node, Transpose((1, 0, 2)), s, part="_batch") for s in states]
    return y, *states


def _joined(
    r: Reader, node: OnnxNode, parts: Sequence[Value], directions: int, batch: int, axis: int
) -> Value:
    """Parts of extent 1 in both, direction by direction, along `axis` and the batch after it."""
    rows = []
    for d in range(directions):
        some = parts[d * batch : (d + 1) * batch]
        rows.append(some[0] if batch == 1 else r.apply(node, Concatenate(axis + 1), *some))
    return rows[0] if directions == 1 else r.apply(node, Concatenate(axis), *rows)


def _one(r: Reader, node: OnnxNode, states: Value, d: int, b: int) -> Value:
    """The state (units,) of one direction and one sequence."""
    at = ((d, d + 1, 1), (b, b + 1, 1), (None, None, 1))
    return r.shaped(node, r.apply(node, Slice(at), states, part="_start"), states.shape[2:])


def _start(r: Reader, node: OnnxNode, position: int, by_batch: int) -> Value | None:
    """A state to begin with (directions, batch, units); None where it is zero."""
    if not node.has(position):
        return None
    value = r.value(node, position)
    if len(value.shape) != 3:
        raise node.refusal(f"begins with a state of shape {value.shape}", "export it again")
    if isinstance(value, np.ndarray) and not np.any(value):
        return None
    return r.apply(node, Transpose((1, 0, 2)), value, part="_starts") if by_batch else value


def _require_whole_sequences(r: Reader, node: OnnxNode, steps: int) -> None:
    if node.has(4) and np.any(r.constant(node, 4, "lengths") != steps):
        raise node.refusal("stops within sequences", "give sequences of one length")


def _cell(r: Reader, node: OnnxNode, kind: str, way: int, ways: int) -> Recurrent:
    """The operator of one direction, its arrays with the gates in their order here."""
    op, order, defaults, _ = KINDS[kind]
    if node.attributes.get("clip") is not None:
        raise node.refusal("clips its sums", "export it without clip")
    if node.integer("input_forget", 0) or node.has(7):
        raise node.refusal("has peepholes or coupled gates", "use a plain LSTM")
    W, R = r.floats(node, 1, "weights"), r.floats(node, 2, "weights")
    gates = len(order)
    units = node.integer("hidden_size", R.shape[-1])
    inputs = r.value(node).shape[-1]
    bias = r.floats(node, 3, "biases") if node.has(3) else None
    if (
        W.shape != (ways, gates * units, inputs)
        or R.shape != (ways, gates * units, units)
        or (bias is not None and bias.shape != (ways, 2 * gates * units))
    ):
        shapes = f"{W.shape} and {R.shape}"
        raise node.refusal(f"has weights {shapes} for {units} units", "export it again")
    if bias is None:
        bias = np.zeros((ways, 2 * gates * units), np.float32)

    def arranged(array: np.ndarray) -> np.ndarray:
        parts = np.split(array, gates, axis=0)
        by_place = [parts[order.index(place)] for place in range(gates)]
        return np.concatenate(by_place)

    kernel, inner = arranged(W[way]).T, arranged(R[way]).T
    biases = [arranged(half) for half in np.split(bias[way], 2)]
    acts = _activations(node, defaults, way, ways)
    both = (biases[0].astype(np.float64) + biases[1]).astype(np.float32)
    arrays = np.ascontiguousarray(kernel), np.ascontiguousarray(inner)
    if op is SimpleRNN:
        return SimpleRNN(*arrays, both, acts[0])
    if op is LSTM:
        if acts[1] != acts[2]:
            raise node.refusal("has two activations for its state", "use one for both")
        return LSTM(*arrays, both, acts[1], acts[0])
    if node.integer("linear_before_reset", 0):
        return GRU(*arrays, np.stack(biases), acts[1], acts[0], True)
    return GRU(*arrays, both, acts[1], acts[0], False)


def _activations(node: OnnxNode, defaults: Sequence[str], way: int, ways: int) -> list[Activation]:
    names = node.attributes.get("activations") or list(defaults) * ways
    if len(names) != len(defaults) * ways:
        raise node.refusal(f"names {len(names)} activations", f"name {len(defaults) * ways}")
    if node.attributes.get("activation_beta"):
        raise node.refusal("has activation_beta", "use activations without it")
    alphas = list(node.attributes.get("activation_alpha") or [])
    found = []
    for name in names:  # alphas belong to those that take one, in their order
        if name in PLAIN:
            found.append(Activation(name.lower()))
            continue
        if name not in WITH_ALPHA:
            known = ", ".join((*PLAIN, *WITH_ALPHA))
            raise node.refusal(f"has the activation '{name}'", f"use one of {known}")
        word, alpha = WITH_ALPHA[name]
        alpha = float(alphas.pop(0)) if alphas else alpha
        if not 0.0 < alpha < 1e6:
            raise node.refusal(f"has activation_alpha {alpha:g}", "use one above 0")
        found.append(Activation(word or "hard_sigmoid", (("a", alpha),)))
    return found[way * len(defaults) : (way + 1) * len(defaults)]


OPERATORS: dict[str, Callable] = {kind: partial(recurrent, kind=kind) for kind in KINDS}
