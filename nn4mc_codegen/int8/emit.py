"""From a `QuantGraph` to fk.h and fk.c: integer arithmetic, bit for bit that of quantize.py."""

from __future__ import annotations

from nn4mc_codegen.graph.check import ModelError
from nn4mc_codegen.graph.options import COLUMN_OPTIONS, Options
from nn4mc_codegen.int8.code import Int8Code
from nn4mc_codegen.int8.quantize import QuantGraph
from nn4mc_codegen.printing.c import template_environment
from nn4mc_codegen.printing.emitted import Emitted, Origin, common_fill, render_files


def emit_int8(graph: QuantGraph, options: Options, origin: Origin) -> Emitted:
    """C files of an int8 graph. Raises `ModelError` for options that need float32."""
    for option in COLUMN_OPTIONS:
        if getattr(options, option) is not None:
            raise ModelError(
                f"{option}: an int8 network is a staircase and has no useful derivative; "
                "compile the float32 model for it"
            )
    code = Int8Code(graph, options)
    fill = common_fill(graph, options, origin) | {"code": code}
    templates = {"h": "int8.h.j2", "c": "int8.c.j2"}
    return Emitted(
        texts=render_files(template_environment(), options, templates, fill),
        macs=graph.macs,
        memory_bytes=code.memory_bytes,
    )
