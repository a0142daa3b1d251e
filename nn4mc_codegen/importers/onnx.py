"""ONNX files, opset 13 to 28, to `ir.Graph`, and what their open axes mean.

An axis of an input that is open has one sample if it is the first, and is the axis of time if
recurrent nodes walk along it; a network with such an axis is read at one time step. Then what the
file says of three time steps at once must be what the network does at three steps one after the
other, which is tried with numbers: what needs several steps at once (a mean over time, say) is
refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from nn4mc_codegen.graph.check import ModelError, refuse
from nn4mc_codegen.graph.ir import Graph, Tensor
from nn4mc_codegen.importers import (
    onnx_arithmetic,
    onnx_layers,
    onnx_recurrent,
    onnx_shapes,
)
from nn4mc_codegen.importers.onnx_file import External, OnnxFile, stripped
from nn4mc_codegen.importers.onnx_reader import Reader
from nn4mc_codegen.importers.onnx_source import OnnxSource
from nn4mc_codegen.ops.batch_normalization import folded

T = TypeVar("T")
OPERATORS = {
    **onnx_arithmetic.OPERATORS,
    **onnx_layers.OPERATORS,
    **onnx_recurrent.OPERATORS,
    **onnx_shapes.OPERATORS,
}
"""What reads each operator of ONNX, by its name."""
# What NumPy, the protocol buffers and the reader meet in a file that is nonsense.
DAMAGE = (ArithmeticError, AttributeError, LookupError, MemoryError, TypeError, ValueError)
STEPS = 3
# Both are evaluated in float64; a network that differs does so in its first digits.
TOLERANCE = 1e-7


@dataclass(frozen=True)
class _Read:
    file: OnnxFile
    graph: Graph
    outputs: tuple[Tensor, ...]
    """those of the file, of which the graph's output is made"""
    time: str | None
    """name of the open axis of time"""


def read(content: bytes, external: Mapping[External, bytes] | None = None) -> Graph:
    """Graph of an ONNX file's bytes and of the bytes of other files that it names, which stand
    there by `onnx_file.external_parts`. Raises `ModelError`."""
    return _reading(content, external, lambda found: folded(found.graph))


def read_source(content: bytes, external: Mapping[External, bytes] | None = None) -> OnnxSource:
    """What `read` makes a graph of; raises `ModelError` wherever `read` does."""

    def source(found: _Read) -> OnnxSource:
        def extent(e: int | str) -> int | str:
            return e if isinstance(e, int) else "time" if e == found.time else 1

        inputs = ((i.name, tuple(map(extent, i.extents))) for i in found.file.inputs)
        shapes = tuple(tensor.shape for tensor in found.outputs)
        return OnnxSource(stripped(content, external), tuple(inputs), shapes)

    return _reading(content, external, source)


def _reading(
    content: bytes, external: Mapping[External, bytes] | None, work: Callable[[_Read], T]
) -> T:
    try:
        with np.errstate(all="ignore"):  # what a constant becomes that is none is told by a check
            return work(_read(OnnxFile(content, external)))
    except ModelError:
        raise
    except RecursionError:
        raise ModelError("damaged: nested too deeply; export it again") from None
    except DAMAGE as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ModelError(f"damaged or not an ONNX model ({reason}); export it again") from None


def _read(file: OnnxFile) -> _Read:
    plain = Reader(file, OPERATORS, {}, carries=False)
    graph, outputs = plain.graph()
    symbols = {e for i in file.inputs for e in i.extents if isinstance(e, str)}
    times, batches, steps = _open_axes(file, symbols, plain)
    if len(times) > 1:
        raise ModelError(f"has {len(times)} open axes of time; export it with one name for both")
    time = min(times, default=None)
    if plain.steps and all(steps == 1 for steps in plain.steps):
        graph, outputs = Reader(file, OPERATORS, {}, carries=True).graph()
        if time is not None:
            _require_same_steps(file, time, steps, graph, outputs)
    elif time is not None:
        reason = f"has an open axis '{time[:40]}' of time, and a state or a way that needs its end"
        raise ModelError(f"{reason}; export it with a fixed number of steps")
    for given in file.inputs:
        for axis, extent in enumerate(given.extents):
            if isinstance(extent, str) and axis > 0 and extent not in (time, *batches):
                raise refuse(given.name[:80], f"axis {axis} is open", "export it with a size")
    return _Read(file, graph, outputs, time)


def _open_axes(file: OnnxFile, symbols: set[str], plain: Reader) -> tuple[set[str], set[str], int]:
    """Of the open axes those that recurrent nodes walk along, and those that count sequences; and a
    number of steps by which they were told apart: as many as nothing in the file has."""
    steps = STEPS
    while steps in plain.lengths | plain.batches:
        steps += 1
    times, batches = set(), set()
    for symbol in sorted(symbols) if plain.steps else ():
        reader = Reader(file, OPERATORS, {symbol: steps}, carries=False)
        try:
            reader.graph()
        except ModelError:
            pass  # of other sizes the file says nothing
        if steps in reader.lengths:
            times.add(symbol)
        elif steps in reader.batches:
            batches.add(symbol)
    return times, batches, steps


def _require_same_steps(
    file: OnnxFile, time: str, steps: int, graph: Graph, outputs: tuple[Tensor, ...]
) -> None:
    """Compare `steps` at once with as many steps of `graph`, of which `outputs` are the parts of
    the output, on random inputs. Raises `ModelError`."""
    whole, all_outputs = Reader(file, OPERATORS, {time: steps}, carries=False).graph()
    random = np.random.default_rng(0)
    at_once, by_step = [], [[] for _ in range(steps)]
    for one, long in zip(graph.inputs, whole.inputs, strict=True):
        x = random.normal(size=long.shape)
        at_once.append(x.ravel())
        for step, row in enumerate(by_step):
            row.append(_step_of(x, one.shape, step).ravel())
    meant = whole.evaluate(np.concatenate(at_once))
    found, _ = graph.run(np.array([np.concatenate(row) for row in by_step]))
    ends = np.cumsum([t.size for t in all_outputs])[:-1]
    starts = np.cumsum([0, *(t.size for t in outputs)])
    for k, (part, long) in enumerate(zip(np.split(meant, ends), all_outputs, strict=True)):
        mine = found[:, starts[k] : starts[k + 1]]
        for step in range(steps):
            wanted = _step_of(part.reshape(long.shape), outputs[k].shape, step).ravel()
            is_last = step == steps - 1
            if long.shape == outputs[k].shape and not is_last:
                continue  # it has no axis of time: the last step alone is told
            scale = max(1.0, float(np.max(np.abs(wanted))))
            if wanted.shape != mine[step].shape or not np.allclose(
                mine[step], wanted, rtol=0, atol=TOLERANCE * scale
            ):
                raise ModelError(
                    f"needs several steps of its axis '{time[:40]}' at once, which a network that "
                    "runs step by step does not have; export it with a fixed number of steps"
                )


def _step_of(x: np.ndarray, shape: tuple[int, ...], step: int) -> np.ndarray:
    """One step of what has all of them along the axes that are 1 in `shape`."""
    for axis, (extent, wanted) in enumerate(zip(x.shape, shape, strict=True)):
        if extent != wanted:
            x = np.take(x, [step], axis=axis)
    return x
