"""nn4mc_codegen: a trained network in, C for microcontrollers out.

importers/ -> ir.Graph -> check
           -> lower (Program of a few primitives) -> derive (Jacobian, products) -> fold
           -> schedule (kernels, memory) -> emit through templates/ -> fk.h, fk.c
int8 networks: quantize.QuantGraph -> emit_int8. verify compares what came out with what went in.
"""

from __future__ import annotations

from nn4mc_codegen.compile import Result, compile_model
from nn4mc_codegen.graph.check import ModelError

__all__ = ["ModelError", "Result", "compile_model"]
