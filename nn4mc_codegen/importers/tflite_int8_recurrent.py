"""TensorFlow Lite's UNIDIRECTIONAL_SEQUENCE_LSTM in int8: one step, or a whole sequence.

Its inputs are those that tflite_recurrent tells. h is int8 and c int16; what the converter calls
intermediates, by which a normalised LSTM scales its gates, say of a plain one only what its h is
before a projection, the last of them.
"""

from __future__ import annotations

import math

import numpy as np

from nn4mc_codegen.importers.tflite_file import Operator
from nn4mc_codegen.importers.tflite_int8_tensors import FLOAT_ADVICE, Int8Tensors, Value
from nn4mc_codegen.importers.tflite_recurrent import (
    BIASES,
    BY_H,
    BY_X,
    OPTIONS,
    STATES,
    require_plain,
    sequence_length,
)
from nn4mc_codegen.int8.fixed_point import fixed_point
from nn4mc_codegen.int8.lstm import LSTM, Products
from nn4mc_codegen.int8.quantize import QTensor

AGAIN = "convert the model again"
HIDDEN = 4
"""which of the intermediates is h"""


def sequence_lstm(r: Int8Tensors, operator: Operator) -> Value:
    """What the layer makes of x (1, steps, inputs), or (steps, 1, inputs) where it says so."""
    x = r.int8(operator)
    steps = sequence_length(operator, x.shape)
    r.steps.append(steps)
    require_plain(r, operator)
    fused = operator.activation(OPTIONS)
    if fused != "TANH":
        raise operator.refusal(f"has the activation {fused} in int8", "use tanh")
    op = _lstm(r, operator, x, steps)
    shape = (*x.shape[:2], op.units)
    return r.node(operator, op, r.output(operator, shape), shape, x)


def _lstm(r: Int8Tensors, operator: Operator, x: Value, steps: int) -> LSTM:
    state, cell = (r.file.tensor(operator.inputs[position]) for position in STATES)
    h = r.tensor(state, state.shape, state.name)
    if not state.variable or not cell.variable:
        raise operator.refusal("begins with a state that it is given", AGAIN)
    if len(operator.intermediates) <= HIDDEN or operator.intermediates[HIDDEN] < 0:
        raise operator.refusal("does not say what its h is in int8", FLOAT_ADVICE)
    made = r.file.tensor(operator.intermediates[HIDDEN])
    made = r.tensor(made, made.shape, made.name)
    for other in (made, r.output(operator, x.shape)):
        if (other.scale, other.zero) != (h.scale, h.zero):
            raise operator.refusal("has its state in another scale than its result", AGAIN)
    if cell.type != "INT16" or cell.scales.size != 1 or np.any(cell.zeros):
        raise operator.refusal(f"has a cell state of {cell.type}", AGAIN)
    fraction, exponent = math.frexp(float(cell.scales[0]))
    if fraction != 0.5:
        reason = f"has a cell state of scale {cell.scales[0]:g}, which is no power of two"
        raise operator.refusal(reason, AGAIN)
    units = r.constant(operator, BY_H[0]).shape[-1]
    biases = [r.constant(operator, position) for position in BIASES]
    for bias in biases:
        if bias.dtype != np.int32 or bias.shape != (units,):
            reason = f"has a bias of {bias.dtype} and shape {bias.shape}"
            raise operator.refusal(reason, AGAIN)
    bias = np.concatenate(biases).astype(np.int64)
    by_x = _products(r, operator, BY_X, (units, x.shape[2]), x.tensor, bias)
    by_h = _products(r, operator, BY_H, (units, units), h, np.zeros(4 * units, np.int64))
    clip = operator.options(OPTIONS).CellClip()
    if not 0.0 <= clip < math.inf:
        raise operator.refusal(f"clips its state at {clip:g}", AGAIN)
    highest = min(int(np.float32(clip) / cell.scales[0]), (1 << 15) - 1)
    # In float32, as the kernel has its factors.
    scale = np.float32(2.0**-15) / np.float32(h.scale) * np.float32(2.0**-15)
    factor = fixed_point(float(scale))
    # A clip of less than a step is none, and without one c may be -2^15.
    highest = highest or 1 << 15
    return LSTM(by_x, by_h, *factor, h.scale, h.zero, 1 - exponent, highest, steps, r.carries)


def _products(
    r: Int8Tensors,
    operator: Operator,
    positions: range,
    shape: tuple[int, int],
    given: QTensor,
    bias: np.ndarray,
) -> Products:
    """Of x or h, the tensor `given`, with the weights (units, columns) of the four gates."""
    weights, factors = [], []
    for position in positions:
        w, stored = r.constant(operator, position), r.file.tensor(operator.inputs[position])
        if w.shape != shape:
            reason = f"has an array of shape {w.shape} where {shape} fits"
            raise operator.refusal(reason, AGAIN)
        if w.dtype != np.int8 or stored.scales.size != 1 or np.any(stored.zeros):
            reason = f"has {w.dtype} weights with {stored.scales.size} scales"
            raise operator.refusal(reason, AGAIN)
        # To gates with 12 fractional bits; in float32, as the kernel has its factors.
        scale = stored.scales[0] * np.float32(given.scale) / np.float32(2.0**-12)
        weights.append(w)
        factors.append(fixed_point(float(scale)))
    rows = np.concatenate(weights)
    multiplier, shift = np.array(factors, np.int64).T
    bias = bias - given.zero * rows.sum(axis=1, dtype=np.int64)
    return Products(rows, bias, multiplier, shift)
