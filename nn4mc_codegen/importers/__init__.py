"""Model files in, graphs out. The content of a file decides, not its name."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from nn4mc_codegen.graph.check import ModelError, check_graph
from nn4mc_codegen.graph.ir import Graph
from nn4mc_codegen.importers import keras
from nn4mc_codegen.importers.external import read_external
from nn4mc_codegen.importers.isolation import isolated
from nn4mc_codegen.importers.onnx_source import OnnxSource
from nn4mc_codegen.int8.quantize import QuantGraph

T = TypeVar("T")
MAX_FILE_BYTES = 1 << 28
TFLITE_IDENTIFIER = b"TFL3"


def read_model(path: Path) -> tuple[Graph | QuantGraph, str]:
    """Graph of a model file and the first 16 hex digits of the file's sha256.

    An int8 `.tflite` file gives a `QuantGraph`.

    Raises `ModelError`, one line that begins with the file's name, for whatever cannot be compiled.
    """
    content = _content(path)
    digest = hashlib.sha256(content)
    reader = keras.read
    if _is_tflite(content):
        from nn4mc_codegen.importers import tflite  # its schema takes a fifth of a second to load

        reader = tflite.read
    elif _is_onnx(content):
        onnx, external = _onnx(path, content)
        for data in external.values():
            digest.update(data)
        reader = partial(onnx.read, external=external)

    def read() -> Graph | QuantGraph:
        graph = reader(content)
        check_graph(graph)
        return graph

    return _isolated(path, read), digest.hexdigest()[:16]


def read_source(path: Path) -> keras.Source | OnnxSource | bytes:
    """What a model file's own framework needs to run it: the parts of a Keras or ONNX model,
    already read; of a `.tflite` file its bytes.

    Raises `ModelError` as `read_model` does, which must have accepted the file.
    """
    content = _content(path)
    if _is_tflite(content):
        return content
    if _is_onnx(content):
        onnx, external = _onnx(path, content)
        return _isolated(path, lambda: onnx.read_source(content, external))
    return _isolated(path, lambda: keras.read_source(content))


def _is_tflite(content: bytes) -> bool:
    return content[4:8] == TFLITE_IDENTIFIER


def _is_onnx(content: bytes) -> bool:
    """Whether it begins as protocol buffers do that say the version of ONNX first, as all do."""
    return content[:1] == b"\x08"


def _onnx(path: Path, content: bytes) -> tuple[Any, dict]:
    """The reader of ONNX files, and what this one needs of other files."""
    if importlib.util.find_spec("onnx") is None:
        advice = "install it: pip install 'soft_control[onnx]'"
        raise ModelError(
            f"{Path(path).name}: to read an ONNX model takes the onnx package; {advice}"
        )
    from nn4mc_codegen.importers import onnx, onnx_file

    external = {}
    if b"location" in content:  # the name of a field that such data has
        parts = _isolated(path, lambda: onnx_file.external_parts(content))
        external = read_external(Path(path), parts, MAX_FILE_BYTES)
    return onnx, external


def _content(path: Path) -> bytes:
    path = Path(path)
    try:
        if path.exists() and not path.is_file():
            raise ModelError(f"{path.name}: no file; give a model that was saved to one file")
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror or error}") from None
    if len(content) > MAX_FILE_BYTES:
        reason = f"larger than {MAX_FILE_BYTES >> 20} MiB; no microcontroller holds it"
        raise ModelError(f"{path.name}: {reason}")
    return content


def _isolated(path: Path, work: Callable[[], T]) -> T:
    try:
        return isolated(work)
    except ModelError as error:
        raise ModelError(f"{Path(path).name}: {error}") from None
