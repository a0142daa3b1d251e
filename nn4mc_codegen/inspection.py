"""What is in a model file, layer by layer, and what each layer costs."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nn4mc_codegen.compile import Layer, describe, emit_graph
from nn4mc_codegen.graph.ir import Graph
from nn4mc_codegen.graph.options import Options
from nn4mc_codegen.importers import read_model
from nn4mc_codegen.int8.quantize import QuantGraph
from nn4mc_codegen.printing.emitted import Origin
from nn4mc_codegen.trial.oracle import random_inputs
from nn4mc_codegen.trial.qemu import measure, missing_tools
from nn4mc_codegen.verify import REWIRES, prefix_graphs

# Where nothing can be measured. Of balanced code on a Cortex-M4F a multiply-accumulate takes 2.2 to
# 2.6 instructions, an element's activation and its way to and from memory 5 (relu) to 30 (tanh).
INSTRUCTIONS_PER_MAC = 2.5
INSTRUCTIONS_PER_ELEMENT = 15


@dataclass(frozen=True)
class Inspection:
    model_hash: str
    inputs: dict[str, tuple[int, ...]]
    """shape of each"""
    states: dict[str, int]
    """size of each, of a recurrent network"""
    layers: tuple[Layer, ...]
    layer_instructions: tuple[int, ...]
    """what each layer adds to those before it, all compiled together: where the C compiler then
    finds more to share, less than nothing. Of an int8 network without turning its inputs into
    integers and its outputs into floats"""
    parameters: int
    macs: int
    instructions: int
    """of one step, with the options' defaults"""
    measured: bool
    """on the emulated Cortex-M4F; otherwise estimated from MACs and elements"""
    reason: str | None
    """why not measured"""


def inspect_model(
    path: Path, measured: bool = True, progress: Callable[[str], None] = lambda what: None
) -> Inspection:
    """Describe a model file. `progress` is told which layer is being measured.

    Raises `ModelError`.
    """
    graph, model_hash = read_model(path)
    layers = describe(graph)
    reason = missing_tools() if measured else "not asked for"
    if reason is None:
        costs, total = _measure(graph, progress)
    else:
        moved = (isinstance(node.op, REWIRES) for node in graph.nodes)
        costs = tuple(0 if m else _estimate(x) for m, x in zip(moved, layers, strict=True))
        total = sum(costs)
    return Inspection(
        model_hash=model_hash,
        inputs={t.name: t.shape for t in graph.inputs},
        states={s.name: s.size for s in graph.states},
        layers=layers,
        layer_instructions=costs,
        parameters=graph.parameters,
        macs=graph.macs,
        instructions=total,
        measured=reason is None,
        reason=reason,
    )


def _measure(
    graph: Graph | QuantGraph, progress: Callable[[str], None]
) -> tuple[tuple[int, ...], int]:
    """For each layer what the network up to there takes, less the layers that it contains; and what
    a step of the whole takes."""
    costs = dict.fromkeys(graph.nodes, 0)
    x = random_inputs(graph.input_size, 10, seed=0)
    total = 0
    for prefix in prefix_graphs(graph):
        last = prefix.nodes[-1]
        progress(f"measuring {last.name}")
        with tempfile.TemporaryDirectory() as folder:
            texts = emit_graph(prefix, Options(), Origin("", "", "")).texts
            for file_name, text in texts.items():
                (Path(folder) / file_name).write_text(text, encoding="utf-8")
            total = measure(folder, "fk", x).instructions
            up_to_here = total
            if isinstance(prefix, QuantGraph):
                q = np.array([prefix.quantize(row) for row in x])
                up_to_here = measure(folder, "fk", q, "step_q").instructions
        costs[last] = up_to_here - sum(costs[node] for node in prefix.nodes[:-1])
    return tuple(costs[node] for node in graph.nodes), total


def _estimate(layer: Layer) -> int:
    elements = math.prod(layer.shape)
    return round(INSTRUCTIONS_PER_MAC * layer.macs + INSTRUCTIONS_PER_ELEMENT * elements)
