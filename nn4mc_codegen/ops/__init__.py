"""The operators, one file each, and the table of them.

An operator is a subclass of `ir.Op` (or `ir.Rewire`, if it only rearranges) in a file of its own,
imported below: each import is an entry of the table. docs/tutorials/new_operator.md makes one. It
says:
- what it means: `output_shape`, `evaluate`, `jacobians` (NumPy, float64), which tests compare with;
- how it is read from a Keras file, if it is: `from_keras`, and the flags of `ir.Op` for the layers
  it is read from;
- how it is made of primitives: `lower(p, *x)`. Each x is an array of the numbers of the input's
  elements, of the input's shape; returned are those of the result. Rearranging is NumPy on numbers:
  slices, transposes, `take`, `concatenate`; instructions.ZERO and ONE are literals (padding).
  - `p.constant(name, data)`: elements of trained values; call it with the array the operator holds;
  - `p.linear(W, x, start)`: rows x (rows, n_in) times constant W (n_out, n_in) plus start;
  - `p.map(formula, *operands)`: elementwise; write the formula with `expression.var(k)`, `where`, +
    - * /, and call `functions.function(…)` in it; operands broadcast.
Derivatives of every order, memory and C follow from these.

A new primitive, where these do not do, is four things:
- a subclass of `instructions.Instruction`: `reads`, `shape`, `compute`, its operands as dataclass
  fields (arrays of numbers are renumbered, other fields are kept), and if only a part of its
  results can be computed, `restricted`; made by `p.make(kind, shape, **fields)`;
- its rules in derive.py's manner: `@derive.back.register` and `@derive.ahead.register`;
- templates/<kind>.j2 with a macro `kernel(k)`: a static function called @ with the parameters
  {{ k.parameters }}; `k` is a `kernels.PrintedKernel`, or a subclass of it listed in
  procedures.PRINTED, which turns element numbers into C: `k.pieces([elements])` are rectangles in
  which operands have even steps, `k.element(access, row, column)` is one element there;
- tests of values and derivatives against the operators that use it.
"""
# ruff: noqa: F401

from __future__ import annotations

from nn4mc_codegen.graph.ir import Op
from nn4mc_codegen.ops.activation import Activation
from nn4mc_codegen.ops.add import Add
from nn4mc_codegen.ops.batch_normalization import BatchNormalization
from nn4mc_codegen.ops.concatenate import Concatenate
from nn4mc_codegen.ops.constant import Constant
from nn4mc_codegen.ops.conv import Conv
from nn4mc_codegen.ops.dense import Dense
from nn4mc_codegen.ops.depthwise import DepthwiseConv
from nn4mc_codegen.ops.elementwise import Elementwise
from nn4mc_codegen.ops.flatten import Flatten
from nn4mc_codegen.ops.input_scaling import Normalization, Rescaling
from nn4mc_codegen.ops.layer_normalization import LayerNormalization
from nn4mc_codegen.ops.matmul import MatMul
from nn4mc_codegen.ops.multiply import Multiply
from nn4mc_codegen.ops.pad import Pad
from nn4mc_codegen.ops.pool import AveragePool, MaxPool
from nn4mc_codegen.ops.recurrent import GRU, LSTM, SimpleRNN
from nn4mc_codegen.ops.reduce import Reduce
from nn4mc_codegen.ops.reshape import Reshape
from nn4mc_codegen.ops.softmax import Softmax
from nn4mc_codegen.ops.take import Expand, RepeatVector, Slice, Take
from nn4mc_codegen.ops.transpose import ChannelsFirst, ChannelsLast, Transpose
from nn4mc_codegen.ops.unrolled import Bidirectional, Unrolled

KERAS_LAYERS: dict[str, type[Op]] = {
    layer: op
    for op in list(globals().values())
    if isinstance(op, type) and issubclass(op, Op)
    for layer in op.keras_layers
}
"""Operator that reads a class of Keras layers, by the class's name."""
