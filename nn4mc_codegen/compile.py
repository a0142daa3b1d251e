"""`compile_model`: a model file to a pair of C files."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from nn4mc_codegen.graph.check import ModelError
from nn4mc_codegen.graph.columns import Column
from nn4mc_codegen.graph.ir import Graph
from nn4mc_codegen.graph.options import Columns, Options
from nn4mc_codegen.importers import read_model
from nn4mc_codegen.int8.calibrate import quantize_graph
from nn4mc_codegen.int8.emit import emit_int8
from nn4mc_codegen.int8.quantize import Accuracy, QuantGraph
from nn4mc_codegen.int8.samples import load_samples
from nn4mc_codegen.printing.emit import emit
from nn4mc_codegen.printing.emitted import Emitted, Origin
from nn4mc_codegen.printing.layout import arrange
from nn4mc_codegen.trial.oracle import make_cases, random_inputs
from nn4mc_codegen.trial.selftest import selftest_texts


@dataclass(frozen=True)
class Layer:
    name: str
    kind: str
    shape: tuple[int, ...]
    parameters: int
    macs: int
    formula: str


@dataclass(frozen=True)
class Result:
    """What was written, and from what."""

    files: tuple[Path, ...]
    """header, source"""
    model_hash: str
    """first 16 hex digits of the model file's sha256"""
    layers: tuple[Layer, ...]
    inputs: dict[str, int]
    """size of each named input, in the order of the flat x"""
    outputs: int
    parameters: int
    macs: int
    """of one step"""
    jacobian_columns: tuple[Column, ...]
    """elements of [x, state] that are the columns, a tuple of them for a sum; empty without a
    Jacobian"""
    jacobian_mode: str | None
    """reverse or forward"""
    jacobian_macs: int
    """of the Jacobian, beyond the step it contains"""
    memory_bytes: int
    """most that one call keeps in arrays of its own"""
    accuracy: Accuracy | None
    """of a network that was quantised here: what that costs"""


def compile_model(
    path: Path | str,
    out_dir: Path | str,
    name: str = "fk",
    jacobian: Columns = None,
    **options,
) -> Result:
    """Write `name`.h and `name`.c for a model file into `out_dir`: both or, on any error, neither.

    `jacobian` chooses the Jacobian's columns (see `options.Columns`); `options` are the other
    fields of `options.Options`. Raises `ModelError` (one line) for what cannot be compiled, OSError
    where it cannot be written.
    """
    return compile_with(Path(path), Path(out_dir), Options(name, jacobian, **options))


def compile_with(path: Path, out_dir: Path, options: Options) -> Result:
    """`compile_model` with all options in one."""
    graph, model_hash = load_graph(path, options)
    origin = Origin(path.name, model_hash, options.command_line(path.name))
    emitted = emit_graph(graph, options, origin)
    texts = dict(emitted.texts)
    if options.self_test:
        header = texts[f"{options.name}.h"]
        x = random_inputs(graph.input_size, options.self_test, seed=0)
        resets = (options.self_test // 2,)
        cases = make_cases(graph, header, options.name, emitted.columns, x, resets)
        texts |= selftest_texts(options.name, cases)
    files = write_all(out_dir, arrange(texts, options, path.name, model_hash))
    return Result(
        files=files,
        model_hash=model_hash,
        layers=describe(graph),
        inputs={t.name: t.size for t in graph.inputs},
        outputs=graph.output.size,
        parameters=graph.parameters,
        macs=emitted.macs,
        jacobian_columns=emitted.columns["jacobian"],
        jacobian_mode=emitted.jacobian_mode,
        jacobian_macs=emitted.macs_beyond_step("jacobian"),
        memory_bytes=emitted.memory_bytes,
        accuracy=graph.accuracy if isinstance(graph, QuantGraph) else None,
    )


def load_graph(path: Path, options: Options) -> tuple[Graph | QuantGraph, str]:
    """The graph that `options` ask for, and the hash of the file; raises `ModelError`."""
    graph, model_hash = read_model(path)
    if isinstance(graph, QuantGraph):
        if options.representative:
            raise ModelError(f"{path.name}: is int8 already; leave representative out")
    elif options.dtype == "int8":
        if not options.representative:
            raise ModelError("int8 needs representative inputs: a .npy, .npz or .csv file")
        graph = quantize_graph(graph, load_samples(Path(options.representative), graph))
    elif options.representative:
        raise ModelError("representative inputs are for dtype int8 only")
    return graph, model_hash


def emit_graph(graph: Graph | QuantGraph, options: Options, origin: Origin) -> Emitted:
    return (emit_int8 if isinstance(graph, QuantGraph) else emit)(graph, options, origin)


def describe(graph: Graph) -> tuple[Layer, ...]:
    return tuple(
        Layer(
            name=node.name,
            kind=node.op.kind,
            shape=node.output.shape,
            parameters=sum(c.size for c in node.op.constants.values()),
            macs=node.macs,
            formula=node.op.formula,
        )
        for node in graph.nodes
    )


def write_all(out_dir: Path, texts: dict[str, str]) -> tuple[Path, ...]:
    """Write all files or none: each to a temporary name first, then renamed."""
    out_dir.mkdir(parents=True, exist_ok=True)
    for file_name in texts:
        if (out_dir / file_name).is_dir():
            raise IsADirectoryError(f"{out_dir / file_name} is a folder; it cannot be written")
    written: list[tuple[Path, Path]] = []
    try:
        for file_name, text in texts.items():
            final = out_dir / file_name
            final.parent.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=final.parent, prefix=f".{final.name}.")
            written.append((Path(temporary), final))
            with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
                file.write(text)
            os.chmod(temporary, 0o644)
        for temporary, final in written:
            os.replace(temporary, final)
    finally:
        for temporary, _ in written:
            Path(temporary).unlink(missing_ok=True)
    return tuple(final for _, final in written)
