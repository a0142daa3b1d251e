"""Layers of a network that was trained elsewhere, in the form of those that are trained here.

What is known here, by host, firmware and oracle alike, is y(k+1) = y(k) + W·h + b, with h = tanh(…)
of tanh(…) of a linear function of the inputs. Of a network with a state of its own, h is that of
recurrent layers and of layers with any activation between and after them, and y(k) may be left out.
Other frameworks write the same in other words: with scales before and after, sums and products of
constants, parts of the input cut out and joined. So each tensor of the graph is followed as a
linear function of the inputs and of the layers before it, and what cannot be one is refused by its
name.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from nn4mc_codegen.graph.ir import Graph, Node, Op, Rewire, Tensor
from nn4mc_codegen.ops.activation import LINEAR, Activation
from nn4mc_codegen.ops.add import Add
from nn4mc_codegen.ops.batch_normalization import BatchNormalization
from nn4mc_codegen.ops.constant import Constant
from nn4mc_codegen.ops.dense import Dense
from nn4mc_codegen.ops.elementwise import Elementwise
from nn4mc_codegen.ops.recurrent import Recurrent
from nn4mc_codegen.ops.reduce import Reduce
from soft_control.learning.card import ModelError

Hidden = Dense | Recurrent
LINEAR_OPS = (Rewire, Add, BatchNormalization, Constant, Reduce)
ROUNDING = 1e-5
"""Of a factor 1 that float32 scales have made, such as by dividing and multiplying again."""


@dataclass
class Chain:
    """Layers one after the other: y(k+1) = h @ kernel + bias with h of the last hidden one, and
    y(k) more where it is `increments`; float64."""

    hidden: list[Hidden] = field(default_factory=list)
    kernel: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    """(units, outputs)"""
    bias: np.ndarray = field(default_factory=lambda: np.zeros(0))
    increments: bool = True

    def scaled(
        self, x_scale: np.ndarray, x_offset: np.ndarray, y_scale: np.ndarray, y_offset: np.ndarray
    ) -> Chain:
        """The same from and to other numbers: x_scale @ z + x_offset is what this one takes of z,
        and y_scale times the result plus y_offset what it gives."""
        first, *others = self.hidden
        bias = self.bias if self.increments else self.bias - y_offset
        return Chain(
            [_fed(first, x_scale, x_offset), *others],
            self.kernel / y_scale,
            bias / y_scale,
            self.increments,
        )


@dataclass
class _Linear:
    """matrices[k] times layer k, added up, plus `constant`; layer 0 is the network's flat input."""

    matrices: dict[int, np.ndarray]
    constant: np.ndarray
    """of the tensor's shape"""


def read_chain(graph: Graph, newest: slice) -> Chain:
    """The layers of a network whose newest outputs y(k) are the elements `newest` of its flat
    input, and which gives y(k+1).

    Raises ModelError, naming the layer of the graph and what it should be.
    """
    recurrent = bool(graph.states)
    chain = Chain()
    values: dict[Tensor, _Linear] = {}
    column = 0
    for tensor in graph.inputs:
        matrix = np.eye(graph.input_size)[column : column + tensor.size]
        values[tensor] = _Linear({0: matrix}, np.zeros(tensor.shape))
        column += tensor.size
    for node in graph.nodes:
        values[node.output] = _value(node, [values[t] for t in node.inputs], chain, recurrent)
    _end(values[graph.output], chain, newest, recurrent)
    return chain


def _value(node: Node, given: list[_Linear], chain: Chain, recurrent: bool) -> _Linear:
    op = node.op
    if isinstance(op, Recurrent):
        return _hidden(node, op, given[0], chain)
    activation = LINEAR
    if isinstance(op, Dense) and op.activation != LINEAR:
        op, activation = replace(op, activation=LINEAR), op.activation
    elif isinstance(op, Activation):
        activation = op
    found = given[0] if isinstance(op, Activation) else _applied(node, op, given)
    if activation == LINEAR:
        return found
    if activation.name != "tanh" and not recurrent:
        raise ModelError(
            f"layer '{node.name}': {activation.name}; the controller's networks have tanh alone"
        )
    units = found.constant.size
    return _hidden(node, Dense(np.eye(units), np.zeros(units), activation), found, chain)


def _applied(node: Node, op: Op, given: list[_Linear]) -> _Linear:
    scaled = isinstance(op, Elementwise) and (
        op.name in ("add", "subtract")
        or (op.name == "multiply" and None in op.operands and op.operands != (None, None))
        or (op.name == "divide" and op.operands[0] is None and op.operands[1] is not None)
    )
    if not isinstance(op, LINEAR_OPS + (Dense,)) and not scaled:
        raise ModelError(
            f"layer '{node.name}' ({op.kind}, {op.formula}): the controller knows networks of "
            "linear layers with tanh between them, and recurrent ones"
        )
    points = [g.constant for g in given]
    matrices: dict[int, np.ndarray] = {}
    for jacobian, one in zip(op.jacobians(*points), given, strict=True):
        for layer, matrix in one.matrices.items():
            matrices[layer] = matrices.get(layer, 0.0) + jacobian @ matrix
    return _Linear(matrices, op.evaluate(*points))


def _hidden(node: Node, op: Hidden, inner: _Linear, chain: Chain) -> _Linear:
    """The next layer of the chain: `op` on `inner`, which is folded into its kernel and bias."""
    before = len(chain.hidden)
    others = [k for k, matrix in inner.matrices.items() if k != before and np.any(matrix)]
    if others or before not in inner.matrices:
        raise ModelError(
            f"layer '{node.name}': reads something else than all of the layer before it; the "
            "controller knows layers one after the other"
        )
    chain.hidden.append(_fed(op, inner.matrices[before], inner.constant.ravel()))
    units = node.output.size
    return _Linear({before + 1: np.eye(units)}, np.zeros(node.output.shape))


def _fed(op: Hidden, matrix: np.ndarray, constant: np.ndarray) -> Hidden:
    """The layer that does with x what `op` does with matrix @ x + constant. Of a GRU's two biases
    that of the inputs takes the constant."""
    bias = op.bias.astype(float)
    given, *others = np.atleast_2d(bias)
    bias = np.vstack([given + constant @ op.kernel, *others]).reshape(bias.shape)
    return replace(op, kernel=matrix.T @ op.kernel, bias=bias)


def _end(output: _Linear, chain: Chain, newest: slice, recurrent: bool) -> None:
    last = len(chain.hidden)
    if not chain.hidden:
        raise ModelError("it has no tanh layer; the controller's networks have at least one")
    between = [k for k, m in output.matrices.items() if k not in (0, last) and np.any(m)]
    if between or last not in output.matrices:
        what = "last layer" if recurrent else "last tanh layer"
        raise ModelError(f"its output reads other layers than the {what} and the input")
    matrix = output.matrices[last]
    skip = output.matrices.get(0, np.zeros((len(matrix), newest.stop)))
    if len(matrix) != newest.stop - newest.start:
        raise ModelError(f"it has {len(matrix)} outputs, the robot {newest.stop - newest.start}")
    wanted = np.zeros_like(skip)
    wanted[:, newest] = np.eye(len(matrix))
    chain.increments = not recurrent or bool(np.any(skip))
    if chain.increments and not np.allclose(skip, wanted, rtol=0, atol=ROUNDING):
        raise ModelError(
            "its outputs are no increments: let it give y(k) + f(x), with the newest outputs y(k) "
            "added at the end"
        )
    chain.kernel, chain.bias = matrix.T, output.constant.ravel()
