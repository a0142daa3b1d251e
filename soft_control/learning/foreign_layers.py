"""Layers of a network that was trained elsewhere, in the form of those that are trained here.

What is known here, by host, firmware and oracle alike, is y(k+1) = y(k) + W·h + b, with h = tanh(…)
of tanh(…) of a linear function of the inputs. Other frameworks write the same in other words: with
scales before and after, sums and products of constants, parts of the input cut out and joined. So
each tensor of the graph is followed as a linear function of the inputs and of the tanh layers
before it, and what cannot be one is refused by its name.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from nn4mc_codegen.graph.ir import Graph, Node, Op, Rewire, Tensor
from nn4mc_codegen.ops.activation import LINEAR, Activation
from nn4mc_codegen.ops.add import Add
from nn4mc_codegen.ops.batch_normalization import BatchNormalization
from nn4mc_codegen.ops.constant import Constant
from nn4mc_codegen.ops.dense import Dense
from nn4mc_codegen.ops.elementwise import Elementwise
from nn4mc_codegen.ops.reduce import Reduce
from soft_control.learning.card import ModelError

Layers = list[tuple[np.ndarray, np.ndarray]]
"""Kernel (inputs, units) and bias (units,) of each, float64; the last one has no tanh."""
LINEAR_OPS = (Rewire, Add, BatchNormalization, Constant, Reduce)
ROUNDING = 1e-5
"""Of a factor 1 that float32 scales have made, such as by dividing and multiplying again."""


@dataclass
class _Linear:
    """matrices[k] times layer k, added up, plus `constant`; layer 0 is the network's flat input."""

    matrices: dict[int, np.ndarray]
    constant: np.ndarray
    """of the tensor's shape"""


def increment_layers(graph: Graph, newest: slice) -> Layers:
    """The layers of y(k+1) = y(k) + f(x), where y(k) are the elements `newest` of the flat input.

    Raises ModelError, naming the layer of the graph and what it should be.
    """
    if graph.states:
        raise ModelError(
            f"it carries the state {graph.states[0].name}; the controller knows networks of lags"
        )
    layers: Layers = []
    values: dict[Tensor, _Linear] = {}
    column = 0
    for tensor in graph.inputs:
        matrix = np.eye(graph.input_size)[column : column + tensor.size]
        values[tensor] = _Linear({0: matrix}, np.zeros(tensor.shape))
        column += tensor.size
    for node in graph.nodes:
        op = node.op
        activation = LINEAR
        if isinstance(op, Dense) and op.activation != LINEAR:
            op, activation = replace(op, activation=LINEAR), op.activation
        elif isinstance(op, Activation):
            activation = op
        given = [values[tensor] for tensor in node.inputs]
        found = given[0] if isinstance(op, Activation) else _applied(node, op, given)
        if activation != LINEAR:
            found = _hidden(node, activation, found, layers)
        values[node.output] = found
    return [*layers, _last(values[graph.output], len(layers), newest)]


def _applied(node: Node, op: Op, given: list[_Linear]) -> _Linear:
    scaled = isinstance(op, Elementwise) and (
        op.name in ("add", "subtract")
        or (op.name == "multiply" and None in op.operands and op.operands != (None, None))
        or (op.name == "divide" and op.operands[0] is None and op.operands[1] is not None)
    )
    if not isinstance(op, LINEAR_OPS + (Dense,)) and not scaled:
        raise ModelError(
            f"layer '{node.name}' ({op.kind}, {op.formula}): the controller knows networks of "
            "linear layers with tanh between them"
        )
    points = [g.constant for g in given]
    matrices: dict[int, np.ndarray] = {}
    for jacobian, one in zip(op.jacobians(*points), given, strict=True):
        for layer, matrix in one.matrices.items():
            matrices[layer] = matrices.get(layer, 0.0) + jacobian @ matrix
    return _Linear(matrices, op.evaluate(*points))


def _hidden(node: Node, activation: Activation, inner: _Linear, layers: Layers) -> _Linear:
    if activation.name != "tanh":
        raise ModelError(
            f"layer '{node.name}': {activation.name}; the controller's networks have tanh alone"
        )
    others = [k for k, matrix in inner.matrices.items() if k != len(layers) and np.any(matrix)]
    if others or len(layers) not in inner.matrices:
        raise ModelError(
            f"layer '{node.name}': reads something else than all of the layer before it; the "
            "controller knows layers one after the other"
        )
    layers.append((inner.matrices[len(layers)].T, inner.constant.ravel()))
    shape = inner.constant.shape
    units = inner.constant.size
    return _Linear({len(layers): np.eye(units)}, np.zeros(shape))


def _last(output: _Linear, hidden: int, newest: slice) -> tuple[np.ndarray, np.ndarray]:
    if not hidden:
        raise ModelError("it has no tanh layer; the controller's networks have at least one")
    between = [k for k, m in output.matrices.items() if k not in (0, hidden) and np.any(m)]
    if between or hidden not in output.matrices:
        raise ModelError("its output reads other layers than the last tanh layer and the input")
    matrix = output.matrices[hidden]
    skip = output.matrices.get(0, np.zeros((len(matrix), newest.stop)))
    if len(matrix) != newest.stop - newest.start:
        raise ModelError(f"it has {len(matrix)} outputs, the robot {newest.stop - newest.start}")
    wanted = np.zeros_like(skip)
    wanted[:, newest] = np.eye(len(matrix))
    if not np.allclose(skip, wanted, rtol=0, atol=ROUNDING):
        raise ModelError(
            "its outputs are no increments: let it give y(k) + f(x), with the newest outputs y(k) "
            "added at the end"
        )
    return matrix.T, output.constant.ravel()
