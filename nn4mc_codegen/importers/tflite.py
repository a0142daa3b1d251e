"""TensorFlow Lite files (`.tflite`), read without TensorFlow.

A file whose tensors are int8 becomes a `quantize.QuantGraph`, any other an `ir.Graph`.
"""

from __future__ import annotations

import struct

from nn4mc_codegen.graph.check import ModelError
from nn4mc_codegen.graph.ir import Graph
from nn4mc_codegen.importers.tflite_file import File
from nn4mc_codegen.importers.tflite_float import FloatReader
from nn4mc_codegen.importers.tflite_int8 import Int8Reader
from nn4mc_codegen.int8.quantize import QuantGraph

# What the schema's classes, NumPy and the reader below raise where a file is nonsense.
DAMAGE = (
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    TypeError,
    ValueError,
    struct.error,
)


def read(content: bytes) -> Graph | QuantGraph:
    """Graph of a `.tflite` file's bytes; raises `ModelError`."""
    try:
        file = File(content)
        reader = Int8Reader if file.is_int8 else FloatReader
        return reader(file).graph()
    except ModelError:
        raise
    except DAMAGE as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ModelError(f"damaged or not a TensorFlow Lite model ({reason})") from None
