"""The operators: one file each, with a template of the same name in templates/.

A new operator is a subclass of `Op` (or `Rewire`) in a new file, its line in ALL, its template,
its test.
"""

from __future__ import annotations

from nn4mc_codegen.ops.activation import Activation
from nn4mc_codegen.ops.add import Add
from nn4mc_codegen.ops.concatenate import Concatenate
from nn4mc_codegen.ops.dense import Dense
from nn4mc_codegen.ops.flatten import Flatten

ALL = (Activation, Add, Concatenate, Dense, Flatten)
KERAS_LAYERS = {name: op for op in ALL for name in op.keras_layers}
