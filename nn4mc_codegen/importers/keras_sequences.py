"""Recurrent Keras models: at one time step, or along a sequence of a fixed length at once.

A network is one of steps where each of its layers can go from one time step to the next: it then
carries its state from call to call. Where a layer needs several steps (Bidirectional, a mean over
time, a sequence that is made of one vector) or a state comes in or goes out, nothing is carried:
all steps are in the input, and the recurrent layers are written as often as there are steps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from nn4mc_codegen.graph.check import MAX_ELEMENTS, ModelError, printable, refuse
from nn4mc_codegen.graph.ir import Tensor
from nn4mc_codegen.importers.keras_network import Call, Key

# Each step of a sequence that is read at once is code of its own.
MAX_STEPS = 256


class NeedsSequence(ModelError):
    """A network that cannot go step by step, though it may go along a whole sequence."""


def needs_sequence(name: str, reason: str, advice: str) -> NeedsSequence:
    """The error for one layer, to be raised where a network is read at one time step."""
    return NeedsSequence(f"layer '{name}': {reason}; {advice}")


class Whole:
    """All time steps at once: tensors have the axes that they have in the file."""

    carries = False

    def input_tensor(self, key: Key, shape: Any) -> Tensor:
        return _tensor(key[0], list(shape)[1:])

    def at_one_step(self, call: Call, tensors: list[Tensor]) -> Call:
        return call


class Sequences:
    """Which tensors have a time axis, and what layers mean at one time step.

    What a recurrent layer reads is a sequence, and so is what it returns with return_sequences;
    layers that treat each time step by itself read sequences where they make one, and make one
    where they read one. A sequence's tensor is one time step of it.
    """

    carries = True

    def __init__(self, calls: Sequence[Call]):
        self._keys: set[Key] = set()
        """tensors that are sequences"""
        self._steps: dict[Key, int | None] = {}
        """length of each, None where it is open"""
        # What is known of one tensor passes along both ways, until nothing new is found:
        #   input -> Dense -> GRU        the GRU makes the Dense's result a sequence, and the input
        #   GRU -> Dense -> output       with return_sequences its result is one, and the output
        before = -1
        while len(self._keys) > before:
            before = len(self._keys)
            for call in (*reversed(calls), *calls):
                stepwise = call.op.each_step
                if call.op.carries_state or (stepwise and call.result in self._keys):
                    self._keys.update(call.sources)
                stepped = stepwise and not self._keys.isdisjoint(call.sources)
                if call.returns_sequences or stepped:
                    self._keys.add(call.result)

    def input_tensor(self, key: Key, shape: Any) -> Tensor:
        name = key[0]
        if shape is None:
            raise refuse(
                name, "the model's input shape is not in the file", "build it with an Input layer"
            )
        extents = list(shape)[1:]
        if key in self._keys:
            self._steps[key] = extents.pop(0) if len(extents) > 1 else 1
        return _tensor(name, extents)

    def at_one_step(self, call: Call, tensors: list[Tensor]) -> Call:
        """The call with its config as it is for tensors without the time axis."""
        reads = [key in self._keys for key in call.sources]
        if not any(reads):
            if call.result in self._keys:
                return self._first_of_one(call, tensors[0])
            return call
        steps = [self._steps.get(key) for key in call.sources if key in self._keys]
        if call.result in self._keys:
            self._steps[call.result] = steps[0]
        if call.op.carries_state:
            return call
        if call.op.each_step:
            if not all(reads):
                raise needs_sequence(
                    call.name, "joins a sequence and a single sample", "give both a time axis"
                )
            return _without_time(call, len(tensors[0].shape))
        if steps != [1]:
            raise _needs_several_steps(call)
        return call

    def _first_of_one(self, call: Call, tensor: Tensor) -> Call:
        """A Reshape that gives one sample a time axis of extent 1."""
        target = call.config.get("target_shape", [None])
        first, *rest = target
        if call.class_name == "Reshape" and rest:
            if first == 1 or (first == -1 and math.prod(rest) == tensor.size):
                self._steps[call.result] = 1
                return replace(call, config=call.config | {"target_shape": rest})
            raise needs_sequence(
                call.name,
                "Reshape makes several time steps of one sample",
                "give the model's input a time axis",
            )
        raise _needs_several_steps(call)


def _tensor(name: str, extents: list[Any]) -> Tensor:
    if not all(type(extent) is int and extent > 0 for extent in extents):
        raise refuse(name, f"input shape {tuple(extents)} is not fixed", "give every axis a size")
    if math.prod(extents) > MAX_ELEMENTS:
        reason = f"input shape {tuple(extents)} is too large"
        raise refuse(name, reason, f"at most {MAX_ELEMENTS} elements")
    return Tensor(printable(name), tuple(extents))


def _needs_several_steps(call: Call) -> NeedsSequence:
    return needs_sequence(
        call.name,
        f"{call.class_name} needs several time steps at once, which a network that runs sample by "
        "sample does not have",
        "put it after a recurrent layer with return_sequences=False, or give the input a fixed "
        "number of steps",
    )


def _without_time(call: Call, axes: int) -> Call:
    """The axis of Concatenate, Softmax and BatchNormalization, counted from the end."""
    axis = call.config.get("axis")
    if isinstance(axis, list) and len(axis) == 1:
        (axis,) = axis
    if type(axis) is not int:
        return call
    from_end = axis - (axes + 2) if axis >= 0 else axis
    if from_end < -axes:
        raise needs_sequence(
            call.name, f"{call.class_name} along the time axis", "use an axis within one time step"
        )
    return replace(call, config=call.config | {"axis": from_end})
