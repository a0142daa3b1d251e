"""`compile_model`: a model file to a pair of C files."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nn4mc_codegen.check import ModelError
from nn4mc_codegen.emit import emit
from nn4mc_codegen.importers import read_model
from nn4mc_codegen.ir import Graph


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
    jacobian_columns: tuple[int, ...]
    """elements of x that are the columns; empty without a Jacobian"""
    jacobian_mode: str | None
    """reverse or forward"""
    jacobian_macs: int
    """of the Jacobian, beyond the step it contains"""


def compile_model(
    path: Path | str,
    out_dir: Path | str,
    name: str = "fk",
    jacobian: str | int | Sequence[str] | None = None,
) -> Result:
    """Write `name`.h and `name`.c for a model file into `out_dir`: both or, on any error, neither.

    `jacobian` chooses the Jacobian's columns: names of inputs (a sequence, or separated by
    commas), a number of leading elements of the flat input, "all", or None for no Jacobian.
    Raises `ModelError` (one line) for what cannot be compiled, OSError where it cannot be written.
    """
    path, out_dir = Path(path), Path(out_dir)
    graph, model_hash = read_model(path)
    chosen = chosen_elements(graph, jacobian)
    plan, texts = emit(
        graph,
        name,
        chosen,
        model_file=path.name,
        model_hash=model_hash,
        command=command_line(path, name, jacobian),
    )
    files = write_all(out_dir, texts)
    return Result(
        files=files,
        model_hash=model_hash,
        layers=describe(graph),
        inputs={t.name: t.size for t in graph.inputs},
        outputs=graph.output.size,
        parameters=graph.parameters,
        macs=graph.macs,
        jacobian_columns=plan.chosen,
        jacobian_mode=plan.jacobian.mode if plan.jacobian else None,
        jacobian_macs=plan.jacobian.macs if plan.jacobian else 0,
    )


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


def chosen_elements(graph: Graph, jacobian: str | int | Sequence[str] | None) -> tuple[int, ...]:
    """Elements of the flat input that `jacobian` (see `compile_model`) chooses."""
    if jacobian is None:
        return ()
    if isinstance(jacobian, str):
        words = [word.strip() for word in jacobian.split(",")]
    else:
        words = [str(jacobian)] if isinstance(jacobian, int) else list(jacobian)
    if words == ["all"]:
        return tuple(range(graph.input_size))
    if len(words) == 1 and words[0].isdigit():
        count = int(words[0])
        if not 1 <= count <= graph.input_size:
            raise ModelError(f"jacobian {count}: the flat input has {graph.input_size} elements")
        return tuple(range(count))
    names = [t.name for t in graph.inputs]
    for word in words:
        if word not in names:
            raise ModelError(f"jacobian: no input '{word}'; the inputs are {', '.join(names)}")
    found, offset = [], 0
    for tensor in graph.inputs:
        if tensor.name in words:
            found.extend(range(offset, offset + tensor.size))
        offset += tensor.size
    return tuple(found)


def command_line(path: Path, name: str, jacobian: str | int | Sequence[str] | None) -> str:
    words = ["nn4mc", "compile", path.name, "--name", name]
    if jacobian is not None:
        plain = isinstance(jacobian, str | int)
        words += ["--jacobian", str(jacobian) if plain else ",".join(jacobian)]
    return " ".join(words)


def write_all(out_dir: Path, texts: dict[str, str]) -> tuple[Path, ...]:
    """Write all files or none: each to a temporary name first, then renamed."""
    out_dir.mkdir(parents=True, exist_ok=True)
    for file_name in texts:
        if (out_dir / file_name).is_dir():
            raise IsADirectoryError(f"{out_dir / file_name} is a folder; it cannot be written")
    written: list[tuple[Path, Path]] = []
    try:
        for file_name, text in texts.items():
            handle, temporary = tempfile.mkstemp(dir=out_dir, prefix=f".{file_name}.")
            written.append((Path(temporary), out_dir / file_name))
            with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
                file.write(text)
            os.chmod(temporary, 0o644)
        for temporary, final in written:
            os.replace(temporary, final)
    finally:
        for temporary, _ in written:
            Path(temporary).unlink(missing_ok=True)
    return tuple(final for _, final in written)
