"""nn4mc_codegen: a trained network in, C for microcontrollers out.

importers/ -> ir.Graph -> check -> plan (arrays, runs, Jacobian) -> templates/ -> fk.h, fk.c
"""

from __future__ import annotations

from nn4mc_codegen.check import ModelError
from nn4mc_codegen.compile import Result, compile_model

__all__ = ["ModelError", "Result", "compile_model"]
