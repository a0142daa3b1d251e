"""TensorFlow Lite files (`.tflite`), read without TensorFlow.

A file that computes in int8 or uint8 becomes a `quantize.QuantGraph`, any other an `ir.Graph`; int8
weights of float32 arithmetic become float32. A network whose recurrent layers all go one step
carries its state from call to call, as the interpreter does; where they go several, the sequence is
the input, and each call begins at zero.
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
INT16_ADVICE = (
    "convert with supported_ops = [OpsSet.TFLITE_BUILTINS_INT8], or without optimizations and let "
    "nn4mc quantise it (--dtype int8)"
)


def read(content: bytes) -> Graph | QuantGraph:
    """Graph of a `.tflite` file's bytes; raises `ModelError`."""
    try:
        file = File(content)
        if "INT16" in file.types:
            reason = "computes with int16 activations, of which there is no C here"
            raise ModelError(f"{reason}; {INT16_ADVICE}")
        kind = Int8Reader if "INT8" in file.types else FloatReader
        reader = kind(file)
        graph = reader.graph()
        if set(reader.steps) == {1}:
            graph = kind(file, carries=True).graph()
        return graph
    except ModelError:
        raise
    except DAMAGE as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ModelError(f"damaged or not a TensorFlow Lite model ({reason})") from None
