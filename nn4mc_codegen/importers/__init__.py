"""Model files in, `ir.Graph` out. The content of a file decides, not its name."""

from __future__ import annotations

import hashlib
from pathlib import Path

from nn4mc_codegen.check import ModelError, check_graph, printable
from nn4mc_codegen.importers import keras
from nn4mc_codegen.ir import Graph

MAX_FILE_BYTES = 1 << 28


def read_model(path: Path) -> tuple[Graph, str]:
    """Graph of a model file and the first 16 hex digits of the file's sha256.

    Raises `ModelError`, one line that begins with the file's name, for whatever cannot be compiled.
    """
    path = Path(path)
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ModelError(f"larger than {MAX_FILE_BYTES >> 20} MiB; no microcontroller holds it")
        content = path.read_bytes()
        graph = keras.read(content)
        check_graph(graph)
    except ModelError as error:
        raise ModelError(printable(f"{path.name}: {error}")) from None
    except OSError as error:
        raise ModelError(printable(f"{path}: {error.strerror or error}")) from None
    return graph, hashlib.sha256(content).hexdigest()[:16]
