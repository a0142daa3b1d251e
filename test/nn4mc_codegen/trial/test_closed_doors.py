"""Files that run code where a framework opens them: here nothing runs, and one line says so."""

from __future__ import annotations

import base64
import marshal
import os
import socket
import subprocess
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from nn4mc_codegen.cli import app
from nn4mc_codegen.importers import read_model
from nn4mc_codegen.importers.isolation import isolated
from nn4mc_codegen.trial.reference import compare_with_source
from nn4mc_codegen.trial.source_process import plain, rewritten

KERNEL, BIAS = np.ones((3, 2), np.float32), np.full(2, 0.25, np.float32)
ARRAYS = {"dense": [("kernel", KERNEL), ("bias", BIAS)]}
# What Keras would import and call to make an initializer, and to make an activation.
POPEN = {"class_name": "Popen", "config": {"args": ["touch", "ran"]}, "module": "subprocess"}


def trap(folder: Path) -> dict:
    """A Lambda layer whose function leaves a file where it runs."""
    code = compile(f"lambda x: [open({str(folder / 'ran')!r}, 'w'), x][1]", "trap", "eval")
    (inside,) = (c for c in code.co_consts if hasattr(c, "co_code"))
    text = base64.b64encode(marshal.dumps(inside)).decode()
    shape = {"output_shape": None, "output_shape_type": "raw", "output_shape_module": None}
    function = {"function": [text, None, None], "function_type": "lambda", "module": "__main__"}
    config = {"name": "trap", **function, **shape, "arguments": {}}
    return {"class_name": "Lambda", "name": "trap", "config": config}


def functional(*layers: dict, output: str = "dense") -> dict:
    """Layers after an input x of three numbers, in the manner of Keras 2."""
    config = {"name": "x", "batch_input_shape": [None, 3], "dtype": "float32", "sparse": False}
    first = {"class_name": "InputLayer", "name": "x", "config": config, "inbound_nodes": []}
    ends = {"input_layers": [["x", 0, 0]], "output_layers": [[output, 0, 0]]}
    inside = {"name": "model", "layers": [first, *layers], **ends}
    return {"class_name": "Functional", "config": inside}


def dense(**more) -> dict:
    config = {"name": "dense", "units": 2, "activation": "tanh", "use_bias": True, **more}
    nodes = [[["x", 0, 0, {}]]]
    return {"class_name": "Dense", "name": "dense", "config": config, "inbound_nodes": nodes}


def unconnected(folder: Path) -> dict:
    """A model inside the model that no layer calls: Keras builds it all the same."""
    called = trap(folder) | {"inbound_nodes": [[["x", 0, 0, {}]]]}
    return functional(called, output="trap") | {"name": "inner", "inbound_nodes": []}


def test_an_unconnected_model_with_code_and_an_initializer_of_one_s_own(files, tmp_path):
    """Both stand in places that the reader has no use for: the model itself is sound."""
    layer = dense(kernel_initializer=POPEN, kernel_regularizer=POPEN)
    path = files.hdf5(functional(layer, unconnected(tmp_path)), ARRAYS, version="2.11.0")
    pytest.importorskip("tf_keras", reason="tf_keras is not installed")
    found = compare_with_source(path, read_model(path)[0], 5, seed=0)
    assert found.passed and found.error is not None, found.runner
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (lambda folder: trap(folder), "Lambda is not supported"),
        (lambda folder: dense() | {"registered_name": "os>system"}, "Dense of keras is not"),
        (lambda folder: dense() | {"module": "os.path"}, "Dense of os.path is not supported"),
        (
            lambda folder: dense(
                activation={
                    "class_name": "function",
                    "config": "relu",
                    "module": "os",
                    "registered_name": "system",
                }
            ),
            "activation 'system' is not supported",
        ),
        (lambda folder: dense(activation=POPEN), "activation 'Popen' is not supported"),
        (lambda folder: dense(activation={"config": "os.system"}), "'os.system' is not supported"),
    ],
)
def test_code_in_the_way_of_the_data_is_refused(files, tmp_path, layer, message):
    layer = layer(tmp_path) | {"inbound_nodes": [[["x", 0, 0, {}]]]}
    path = files.zip(functional(layer, output=layer["name"]), {"dense": [KERNEL, BIAS]})
    for command in (["verify", path], ["inspect", path], ["compile", path, "-o", tmp_path / "out"]):
        done = CliRunner().invoke(app, list(map(str, command)))
        assert done.exit_code == 2 and done.stderr.count("\n") == 1
        assert message in done.stderr
    assert list(tmp_path.iterdir()) == [path]


def test_only_plain_parts_of_a_config_reach_keras():
    for value in (0.5, 3, True, None, [2], [[1, 2], [3, 4]], "tanh", "same", "channels_last"):
        assert plain(None, value) == value
    assert plain(None, {"class_name": "function", "config": "relu"}) == "relu"
    for value in ("os.system", "__lambda__", POPEN, trap(Path()), {}, [[POPEN]], {"config": {}}):
        with pytest.raises(ValueError, match="in a config"):
            plain(None, value)


def _model(schema, *, custom: bytes | None, used: bool) -> bytes:
    """A `.tflite` file that takes the absolute value of four numbers, by TensorFlow's own writer;
    `custom` is an operator of its own, which the main graph or only a second one uses."""
    import flatbuffers

    def graph(code: int):
        made = schema.SubGraphT()
        made.tensors = [schema.TensorT(), schema.TensorT()]
        for tensor, name in zip(made.tensors, ("x", "y"), strict=True):
            tensor.shape, tensor.name, tensor.buffer = [1, 4], name, 0
        operator = schema.OperatorT()
        operator.opcodeIndex, operator.inputs, operator.outputs = code, [0], [1]
        made.inputs, made.outputs, made.operators = [0], [1], [operator]
        return made

    codes = [schema.OperatorCodeT(), schema.OperatorCodeT()]
    codes[0].builtinCode = codes[0].deprecatedBuiltinCode = schema.BuiltinOperator.RELU
    codes[1].builtinCode = codes[1].deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
    codes[1].customCode = custom
    model = schema.ModelT()
    model.version, model.operatorCodes, model.buffers = 3, codes, [schema.BufferT()]
    model.subgraphs = [graph(1 if used else 0), graph(1)]
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def test_operators_of_tensorflow_in_a_tflite_file(tmp_path):
    """FlexWriteFile would write a file: where the model needs it the file is refused, and where it
    does not the interpreter never sees it."""
    schema = pytest.importorskip("tensorflow.lite.python.schema_py_generated")
    path = tmp_path / "m.tflite"
    path.write_bytes(_model(schema, custom=b"FlexWriteFile", used=True))
    done = CliRunner().invoke(app, ["verify", str(path)])
    assert done.exit_code == 2 and done.stderr.count("\n") == 1
    assert "custom operator 'FlexWriteFile' is not supported" in done.stderr
    with pytest.raises(ValueError, match="not built in"):
        rewritten(schema, path.read_bytes())

    path.write_bytes(_model(schema, custom=b"FlexWriteFile", used=False))
    assert b"FlexWriteFile" in path.read_bytes()
    assert b"FlexWriteFile" not in rewritten(schema, path.read_bytes())
    found = compare_with_source(path, read_model(path)[0], 5, seed=0)
    assert found.passed and found.error == 0.0, found.runner
    assert list(tmp_path.iterdir()) == [path]


def _tries() -> dict[str, str]:
    """What the child of `isolated` can still do of what a file's code would want to."""
    here, found = Path(TRIES), {}
    tries = {
        "read": lambda: (here / "there").read_bytes(),
        "write": lambda: (here / "new").write_bytes(b"x"),
        "append": lambda: (here / "there").open("ab"),
        "socket": lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM),
        "pipe": os.pipe,
        "program": lambda: subprocess.run(["/bin/true"], check=True),
    }
    if isolated_by_landlock():
        tries |= {
            "exec": lambda: os.execv("/bin/true", ["true"]),
            "folder": lambda: (here / "new").mkdir(),
            "delete": lambda: (here / "there").unlink(),
            "rename": lambda: (here / "there").rename(here / "new"),
            "link": lambda: (here / "new").symlink_to("there"),
            "truncate": lambda: os.truncate(here / "there", 0),
        }
    for name, attempt in tries.items():
        try:
            attempt()
            found[name] = "done"
        except OSError:
            pass
    return found


TRIES = ""


def isolated_by_landlock() -> bool:
    import ctypes

    return os.uname().sysname == "Linux" and ctypes.CDLL(None).syscall(444, None, 0, 1) >= 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_the_child_can_open_and_write_nothing(tmp_path, monkeypatch):
    (tmp_path / "there").write_bytes(b"as it was")
    monkeypatch.setitem(globals(), "TRIES", str(tmp_path))
    assert isolated(_tries) == {}
    assert [p.name for p in tmp_path.iterdir()] == ["there"]
    assert (tmp_path / "there").read_bytes() == b"as it was"
