"""TensorFlow Lite's UNIDIRECTIONAL_SEQUENCE_LSTM in float32: one step, or a whole sequence.

Its inputs are x, then of the gates i, f, k (the candidate, there called cell) and o the weights of
x, the weights of h, peepholes (i, f, o) and biases, a projection and its bias, the states h and c,
and four coefficients of a layer normalisation. The states are variables of the interpreter: zero at
first, and kept from one call to the next.
"""

from __future__ import annotations

import math

import numpy as np

from nn4mc_codegen.graph.ir import Shape
from nn4mc_codegen.importers.tflite_file import Operator
from nn4mc_codegen.importers.tflite_float_tensors import FloatTensors, Value
from nn4mc_codegen.importers.tflite_reader import ACTIVATIONS, KERAS_ADVICE, Reader
from nn4mc_codegen.ops.activation import Activation
from nn4mc_codegen.ops.recurrent import LSTM
from nn4mc_codegen.ops.take import Slice
from nn4mc_codegen.ops.unrolled import Unrolled

# Each step of a sequence that is read at once is code of its own.
MAX_STEPS = 256
OPTIONS = "UnidirectionalSequenceLSTMOptions"
BY_X, BY_H, BIASES = range(1, 5), range(5, 9), range(12, 16)
STATES = (18, 19)
# What a plain LSTM has not, by the inputs that it would be.
EXTRAS = {"peepholes": range(9, 12), "a projection": (16, 17), "a normalisation": range(20, 24)}


def sequence_lstm(r: FloatTensors, operator: Operator) -> Value:
    """What the layer makes of x (1, steps, inputs), or (steps, 1, inputs) where it says so."""
    x = r.result(operator)
    steps = sequence_length(operator, x.shape)
    if steps > MAX_STEPS:
        reason = f"of {steps} steps at once is too long to be unrolled (at most {MAX_STEPS})"
        raise operator.refusal(reason, f"convert with one step, or {KERAS_ADVICE}")
    r.steps.append(steps)
    cell = _cell(r, operator, steps)
    if r.carries:
        one = r.shaped(operator, x, (1, x.shape[2]), "_step")
        h = r.node(operator, cell, one)
    else:
        rows = r.shaped(operator, x, (1, steps, x.shape[2]), "_steps")
        both = r.node(operator, Unrolled(cell), rows)
        h = r.node(operator, Slice(((None, None, 1), (0, cell.units, 1))), both, part="_h")
    return r.shaped(operator, h, (*x.shape[:2], cell.units), "_sequence")


def sequence_length(operator: Operator, shape: Shape) -> int:
    """Steps of an operator's x, which must be that of one sequence."""
    batch_axis = 1 if operator.options(OPTIONS).TimeMajor() else 0
    if len(shape) != 3 or shape[batch_axis] != 1:
        reason = f"of shape {shape} is not that of one sequence"
        raise operator.refusal(reason, "convert with a batch size of 1")
    return shape[1 - batch_axis]


def require_plain(r: Reader, operator: Operator) -> None:
    """Refuses what a plain LSTM from a state of zeros has not."""
    options = operator.options(OPTIONS)
    if not operator.has(1):
        raise operator.refusal("couples its input gate with its forget gate", KERAS_ADVICE)
    for name, positions in EXTRAS.items():
        if any(map(operator.has, positions)):
            raise operator.refusal(f"has {name}", f"use a plain LSTM, or {KERAS_ADVICE}")
    if getattr(options, "DiagonalRecurrentTensors", bool)():
        raise operator.refusal("has diagonal weights of its state", KERAS_ADVICE)
    for position in STATES:
        _require_zero(r, operator, position)


def _cell(r: FloatTensors, operator: Operator, steps: int) -> LSTM:
    options = operator.options(OPTIONS)
    require_plain(r, operator)
    fused = operator.activation(OPTIONS)
    if fused not in ("NONE", "RELU", "RELU6", "TANH"):
        raise operator.refusal(f"has the activation {fused}", "use tanh")
    by_x, by_h, biases = (
        [r.floats(operator, position) for position in part] for part in (BY_X, BY_H, BIASES)
    )
    units, inputs = by_h[0].shape[-1], r.result(operator).shape[-1]
    for arrays, shape in ((by_x, (units, inputs)), (by_h, (units, units)), (biases, (units,))):
        for array in arrays:
            if array.shape != shape:
                reason = f"has an array of shape {array.shape} where {shape} fits"
                raise operator.refusal(reason, "convert the model again")
    kernel, recurrent = (np.ascontiguousarray(np.concatenate(w).T) for w in (by_x, by_h))
    activation, gates = ACTIVATIONS[fused], Activation("sigmoid")
    # The converter always clips at 10. A step adds less than 1 to |c| where the candidate is a
    # tanh, so that fewer steps from zero never come so far. The bound of a projection concerns
    # nobody where there is none.
    clip = options.CellClip()
    if not 0.0 <= clip < math.inf:
        raise operator.refusal(f"clips its state at {clip:g}", "convert the model again")
    if fused == "TANH" and not r.carries and steps <= clip:
        clip = 0.0
    return LSTM(kernel, recurrent, np.concatenate(biases), activation, gates, clip)


def _require_zero(r: Reader, operator: Operator, position: int) -> None:
    """Of a state: a variable, or zeros."""
    if not operator.has(position):
        raise operator.refusal("lacks a state", "convert the model again")
    index = operator.inputs[position]
    stored = r.file.tensor(index)
    if stored.variable and index not in r.values:
        return
    value = r.value(operator, position)
    if not isinstance(value, np.ndarray):
        raise operator.refusal("begins with a state that it is given", KERAS_ADVICE)
    if np.any(value):
        raise operator.refusal("begins with a state that is not zero", KERAS_ADVICE)
