"""Model files in, graphs out. The content of a file decides, not its name."""

from __future__ import annotations

import hashlib
from pathlib import Path

from nn4mc_codegen.graph.check import ModelError, check_graph, printable
from nn4mc_codegen.graph.ir import Graph
from nn4mc_codegen.importers import keras
from nn4mc_codegen.importers.isolation import isolated
from nn4mc_codegen.int8.quantize import QuantGraph

MAX_FILE_BYTES = 1 << 28
TFLITE_IDENTIFIER = b"TFL3"


def read_model(path: Path) -> tuple[Graph | QuantGraph, str]:
    """Graph of a model file and the first 16 hex digits of the file's sha256.

    An int8 `.tflite` file gives a `QuantGraph`.

    Raises `ModelError`, one line that begins with the file's name, for whatever cannot be compiled.
    """
    path = Path(path)
    try:
        if path.exists() and not path.is_file():
            raise ModelError("no file; give a model that was saved to one file")
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
        if len(content) > MAX_FILE_BYTES:
            raise ModelError(f"larger than {MAX_FILE_BYTES >> 20} MiB; no microcontroller holds it")
        graph = isolated(lambda: _read(content))
    except ModelError as error:
        raise ModelError(printable(f"{path.name}: {error}")) from None
    except OSError as error:
        raise ModelError(printable(f"{path}: {error.strerror or error}")) from None
    return graph, hashlib.sha256(content).hexdigest()[:16]


def _read(content: bytes) -> Graph | QuantGraph:
    if content[4:8] == TFLITE_IDENTIFIER:
        from nn4mc_codegen.importers import tflite  # its schema takes a fifth of a second to load

        graph = tflite.read(content)
    else:
        graph = keras.read(content)
    check_graph(graph)
    return graph
