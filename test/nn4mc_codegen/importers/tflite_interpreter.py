"""TensorFlow Lite's interpreter, and files of its schema made and changed with its own classes."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import flatbuffers
import numpy as np
import tensorflow as tf
from tensorflow.lite.python import schema_py_generated as schema

from nn4mc_codegen.compile import emit_graph
from nn4mc_codegen.graph.options import Options
from nn4mc_codegen.trial.host import HostCode, build_library
from nn4mc_codegen.trial.qemu import measure, missing_tools


class Interpreter:
    """The flat output of a flat input, by TensorFlow Lite itself."""

    def __init__(self, content: bytes, reference: bool):
        types = tf.lite.experimental.OpResolverType
        self._of = tf.lite.Interpreter(
            model_content=content,
            experimental_op_resolver_type=types.BUILTIN_REF if reference else types.AUTO,
        )
        self._of.allocate_tensors()
        self.inputs, (self.output,) = self._of.get_input_details(), self._of.get_output_details()

    @property
    def is_int8(self) -> bool:
        return self.output["dtype"] == np.int8

    def __call__(self, x: np.ndarray) -> np.ndarray:
        ends = np.cumsum([np.prod(i["shape"]) for i in self.inputs])
        for i, part in zip(self.inputs, np.split(x, ends[:-1]), strict=True):
            self._of.set_tensor(i["index"], part.reshape(i["shape"]).astype(i["dtype"]))
        self._of.invoke()
        return self._of.get_tensor(self.output["index"]).ravel()

    def reset(self) -> None:
        """Variables, which are states, to zero."""
        self._of.reset_all_variables()

    def constants(self, dtype: type) -> list[tuple[dict, np.ndarray]]:
        """Details and numbers of all constants of a type."""
        found = [t for t in self._of.get_tensor_details() if t["dtype"] == dtype]
        return [(details, self._of.get_tensor(details["index"])) for details in found]


def converted(converter: Any) -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return converter.convert()


def of_function(function: Callable, *shapes: tuple[int, ...]) -> bytes:
    """A float32 file of a TensorFlow function."""
    wanted = [tf.TensorSpec(shape, tf.float32) for shape in shapes]
    concrete = tf.function(function, input_signature=wanted).get_concrete_function()
    return converted(tf.lite.TFLiteConverter.from_concrete_functions([concrete], function))


def changed(content: bytes, change: Callable[[Any], None]) -> bytes:
    """The file after `change` has had its way with its parts, an object of the schema."""
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    change(model)
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def operator_of(model: Any, kind: str) -> Any:
    """The first operator of a kind in the main graph of a model that is being changed."""
    wanted = getattr(schema.BuiltinOperator, kind)
    codes = [max(c.builtinCode, c.deprecatedBuiltinCode) for c in model.operatorCodes]
    return next(o for o in model.subgraphs[0].operators if codes[o.opcodeIndex] == wanted)


def add_tensor(model: Any, kind: str, values: Any, shape: Sequence[int]) -> int:
    """Number of a new tensor of the main graph; a constant, unless `values` is None."""
    tensor, buffer = schema.TensorT(), schema.BufferT()
    tensor.name, tensor.shape = b"added", list(shape)
    tensor.type = getattr(schema.TensorType, kind)
    if values is not None:
        buffer.data = np.frombuffer(np.asarray(values).tobytes(), np.uint8)
    tensor.buffer = len(model.buffers)
    model.buffers.append(buffer)
    model.subgraphs[0].tensors.append(tensor)
    return len(model.subgraphs[0].tensors) - 1


def set_constant(model: Any, kind: str, position: int, values: Any) -> None:
    """Other numbers for a constant that the first operator of a kind reads."""
    tensor = model.subgraphs[0].tensors[operator_of(model, kind).inputs[position]]
    array = np.asarray(values)
    tensor.shape = list(array.shape)
    model.buffers[tensor.buffer].data = np.frombuffer(array.tobytes(), np.uint8)


def same_in_c(graph, x, expected, origin, folder, resets=None, **options):
    """The C gives these int8 of those, here and on the emulated core; a state is reset before the
    samples of `resets`."""
    for file, text in emit_graph(graph, Options("net", **options), origin).texts.items():
        (folder / file).write_text(text, encoding="utf-8")
    build_library([folder / "net.c"], folder / "net.so")
    code = HostCode(folder / "net.so", folder / "net.h")
    np.testing.assert_array_equal(code.run(x, "step_q", resets=resets)["y"], expected)
    if missing_tools() is None:  # whose kernels take the DSP instructions
        on_arm = measure(folder, "net", x, "step_q", resets=resets).outputs["y"]
        np.testing.assert_array_equal(on_arm, expected)
