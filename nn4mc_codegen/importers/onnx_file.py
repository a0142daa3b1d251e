"""What stands in an ONNX file, as plain objects: nodes, constants, inputs and outputs.

The `onnx` package gives the classes of the format's protocol buffers; nothing else of it is used.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnx.inliner

from nn4mc_codegen.graph.check import MAX_ELEMENTS, ModelError, printable, refuse

OLDEST_OPSET, NEWEST_OPSET = 13, 28
"""What the operators here mean was compared with ONNX' own tests up to the newest."""
MAX_NODES = 1 << 14
DOMAINS = ("", "ai.onnx")

External = tuple[str, int, int | None]
"""Location of data in another file, first byte, number of bytes (None: to the end)"""

# Types of elements that are read, by their number in the format, and where they lie in a tensor
# that has no raw bytes.
_T = onnx.TensorProto
TYPES = {
    _T.FLOAT: (np.dtype("<f4"), "float_data"),
    _T.DOUBLE: (np.dtype("<f8"), "double_data"),
    _T.FLOAT16: (np.dtype("<f2"), "int32_data"),
    _T.INT64: (np.dtype("<i8"), "int64_data"),
    _T.INT32: (np.dtype("<i4"), "int32_data"),
    _T.INT16: (np.dtype("<i2"), "int32_data"),
    _T.UINT16: (np.dtype("<u2"), "int32_data"),
    _T.UINT32: (np.dtype("<u4"), "uint64_data"),
    _T.UINT64: (np.dtype("<u8"), "uint64_data"),
    _T.UINT8: (np.dtype("u1"), "int32_data"),
    _T.INT8: (np.dtype("i1"), "int32_data"),
    _T.BOOL: (np.dtype("?"), "int32_data"),
}


@dataclass(frozen=True)
class OnnxNode:
    """One node: `kind` is the operator's name in ONNX; an input or output left out is ""."""

    name: str
    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any] = field(repr=False)

    def refusal(self, reason: str, advice: str) -> ModelError:
        return refuse(self.name, f"{self.kind} {reason}", advice)

    def has(self, position: int) -> bool:
        return position < len(self.inputs) and self.inputs[position] != ""

    def number(self, name: str, default: float) -> float:
        """A float attribute; raises `ModelError`."""
        value = self.attributes.get(name, default)
        if not isinstance(value, float | int) or not math.isfinite(value):
            raise self.refusal(f"has {name} {value!r}", "give one finite number")
        return float(value)

    def integer(self, name: str, default: int) -> int:
        value = self.attributes.get(name, default)
        if not isinstance(value, int):
            raise self.refusal(f"has {name} {value!r}", "give one whole number")
        return value

    def integers(self, name: str, default: Sequence[int] | None = None) -> list[int] | None:
        value = self.attributes.get(name, default)
        if value is not None and not all(isinstance(n, int) for n in value):
            raise self.refusal(f"has {name} {value!r}", "give whole numbers")
        return None if value is None else list(value)

    def word(self, name: str, default: str) -> str:
        value = self.attributes.get(name, default)
        if not isinstance(value, str):
            raise self.refusal(f"has {name} {value!r}", "give a word")
        return value


@dataclass(frozen=True)
class Input:
    """An input of the network; an extent that is open is a symbol's name."""

    name: str
    extents: tuple[int | str, ...]


class OnnxFile:
    """`external` has the bytes of other files by `external_parts`. Raises `ModelError`."""

    def __init__(self, content: bytes, external: Mapping[External, bytes] | None = None):
        model = parsed(content)
        graph = model.graph
        self._external = external or {}
        self.opset = _opset(model)
        self._stored = {t.name: t for t in graph.initializer}
        self.outputs = tuple(o.name for o in graph.output)
        if len(graph.node) > MAX_NODES:
            raise ModelError(f"has more than {MAX_NODES} nodes; no microcontroller holds them")
        if graph.sparse_initializer:
            raise ModelError("has sparse weights; save them dense")
        self.nodes = tuple(self._node(n, number) for number, n in enumerate(graph.node))
        self.inputs = tuple(_input(i) for i in graph.input if i.name not in self._stored)

    def constant(self, name: str) -> np.ndarray | None:
        """A trained array by its name; None where there is none."""
        if name not in self._stored:
            return None
        return self.array(self._stored[name])

    def array(self, tensor: Any) -> np.ndarray:
        """A tensor of the file in its own type."""
        name = printable(tensor.name)[:80]
        shape = tuple(tensor.dims)
        if tensor.data_type not in TYPES:
            raise refuse(name, f"is of type {_type_name(tensor.data_type)}", "save it as float32")
        kind, where = TYPES[tensor.data_type]
        if min(shape, default=0) < 0 or math.prod(shape) > MAX_ELEMENTS:
            raise refuse(name, f"has shape {shape}", f"at most {MAX_ELEMENTS} elements fit")
        if tensor.data_location == _T.EXTERNAL:
            values = np.frombuffer(self._external[_external_part(tensor)], kind)
        elif tensor.HasField("raw_data"):
            values = np.frombuffer(tensor.raw_data, kind)
        elif tensor.data_type == _T.FLOAT16:
            values = np.array(tensor.int32_data, np.uint16).view(kind)
        else:
            values = np.array(getattr(tensor, where), kind)
        if values.size != math.prod(shape):
            raise refuse(name, f"has {values.size} elements for shape {shape}", "save it again")
        return values.reshape(shape)

    def _node(self, node: Any, number: int) -> OnnxNode:
        name = printable(node.name)[:80] or f"{printable(node.op_type)[:40]}_{number}"
        if node.domain not in DOMAINS:
            raise refuse(
                name,
                f"{node.op_type[:40]} of {node.domain[:40]} is no operator of ONNX",
                "export without operators of one's own",
            )
        attributes = {a.name: self._attribute(a) for a in node.attribute}
        return OnnxNode(
            name, printable(node.op_type)[:40], tuple(node.input), tuple(node.output), attributes
        )

    def _attribute(self, attribute: Any) -> Any:
        """Its value; of what is no number, word or tensor (a graph, say) the kind alone."""
        kinds = onnx.AttributeProto
        plain = {kinds.FLOAT: "f", kinds.INT: "i", kinds.FLOATS: "floats", kinds.INTS: "ints"}
        if attribute.type in plain:
            value = getattr(attribute, plain[attribute.type])
            return value if isinstance(value, float | int) else list(value)
        if attribute.type == kinds.STRING:
            return attribute.s.decode("utf-8", "replace")
        if attribute.type == kinds.STRINGS:
            return [s.decode("utf-8", "replace") for s in attribute.strings]
        if attribute.type == kinds.TENSOR:
            return self.array(attribute.t)
        return NotImplemented


def parsed(content: bytes) -> Any:
    """The file's message. Raises `ModelError`."""
    try:
        model = onnx.ModelProto.FromString(content)
        if model.functions:  # PyTorch's newer exporter writes some operators as functions of others
            model = onnx.inliner.inline_local_functions(model)
        return model
    except Exception:  # protobuf's own and the inliner's, of which no import here is in need
        raise ModelError("damaged or not an ONNX model; export it again") from None


def external_parts(content: bytes) -> tuple[External, ...]:
    """What an ONNX file wants to read of other files. Raises `ModelError`."""
    model = parsed(content)
    tensors = list(model.graph.initializer)
    tensors += [a.t for n in model.graph.node for a in n.attribute if a.HasField("t")]
    found = (_external_part(t) for t in tensors if t.data_location == _T.EXTERNAL)
    return tuple(dict.fromkeys(found))


def stripped(content: bytes, external: Mapping[External, bytes] | None) -> bytes:
    """The nodes, constants, inputs and outputs of a file that `OnnxFile` has read, in one file
    without anything else."""
    given, made = parsed(content), onnx.ModelProto()
    made.ir_version = given.ir_version
    for opset in given.opset_import:
        if opset.domain in DOMAINS:
            made.opset_import.add().CopyFrom(opset)
    made.graph.name = "network"
    for part in ("node", "initializer", "input", "output"):
        getattr(made.graph, part).extend(getattr(given.graph, part))
    tensors = list(made.graph.initializer)
    for node in made.graph.node:
        kept = [a for a in node.attribute if not (a.graphs or a.HasField("g"))]
        del node.attribute[:]
        node.attribute.extend(kept)
        tensors += [a.t for a in node.attribute if a.HasField("t")]
    for tensor in tensors:
        if tensor.data_location == _T.EXTERNAL:
            tensor.raw_data = external[_external_part(tensor)]
            tensor.ClearField("data_location")
            tensor.ClearField("external_data")
    return made.SerializeToString()


def _external_part(tensor: Any) -> External:
    entries = {e.key: e.value for e in tensor.external_data}
    numbers = [entries.get("offset", "0"), entries.get("length", "-1")]
    try:
        offset, length = (int(n[:20]) for n in numbers)
    except ValueError:
        raise ModelError(f"damaged: external data at {numbers}; export it again") from None
    return entries.get("location", ""), offset, None if length == -1 else length


def _opset(model: Any) -> int:
    versions = [o.version for o in model.opset_import if o.domain in DOMAINS]
    if not versions:
        raise ModelError("damaged or not an ONNX model (it names no opset); export it again")
    if not OLDEST_OPSET <= versions[0] <= NEWEST_OPSET:
        raise ModelError(
            f"is of opset {versions[0]}; export with one from {OLDEST_OPSET} to {NEWEST_OPSET}"
        )
    return versions[0]


def _input(value: Any) -> Input:
    name = printable(value.name)[:80]
    if not value.type.HasField("tensor_type"):
        raise refuse(name, "is no tensor", "use float32 tensors alone")
    tensor = value.type.tensor_type
    if tensor.elem_type != _T.FLOAT:
        kind = _type_name(tensor.elem_type)
        raise refuse(name, f"is an input of {kind}", "export with float32 inputs")
    if not tensor.HasField("shape"):
        raise refuse(name, "is an input of no shape", "export with a shape")
    extents = []
    for axis, dim in enumerate(tensor.shape.dim):
        if not dim.HasField("dim_value"):
            extents.append(dim.dim_param or f"{value.name}[{axis}]")
        elif dim.dim_value > 0:
            extents.append(dim.dim_value)
        else:
            raise refuse(name, f"has extent {dim.dim_value} on axis {axis}", "export it again")
    if math.prod(e for e in extents if isinstance(e, int)) > MAX_ELEMENTS:
        raise refuse(name, "is too large an input", f"at most {MAX_ELEMENTS} elements")
    return Input(value.name, tuple(extents))


def _type_name(number: int) -> str:
    names = {v: k for k, v in _T.DataType.items()}
    return names.get(number, f"type {number}").lower()
