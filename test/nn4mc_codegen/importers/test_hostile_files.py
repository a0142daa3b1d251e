"""Files that nobody should compile: refused in one line, nothing written, nothing executed."""

from __future__ import annotations

import base64
import io
import json
import marshal
import pickle
import struct
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from typer.testing import CliRunner

from nn4mc_codegen import compile_model
from nn4mc_codegen.cli import app
from nn4mc_codegen.graph.check import ModelError
from nn4mc_codegen.importers import isolation, read_model

RANDOM = np.random.default_rng(0)
KERNEL = RANDOM.normal(size=(3, 2)).astype(np.float32)
BIAS = RANDOM.normal(size=2).astype(np.float32)
# What one file may take: far above what it takes, far below what a bomb would.
MAX_SECONDS = 10.0


def layer(class_name: str, name: str = "odd", **config) -> dict:
    return {"class_name": class_name, "config": {"name": name, **config}}


def sequential(*layers: dict, shape=(None, 3)) -> dict:
    layers[0]["config"]["batch_input_shape"] = shape
    return {"class_name": "Sequential", "config": {"name": "s", "layers": list(layers)}}


def zip_of(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def weights(**groups: list[np.ndarray]) -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.require_group("layers")
        for group, arrays in groups.items():
            for number, array in enumerate(arrays):
                file[f"layers/{group}/vars/{number}"] = array
    return buffer.getvalue()


def keras_zip(config: dict | bytes, stored: bytes | None = None, **more: bytes) -> bytes:
    if isinstance(config, dict):
        config = json.dumps(config).encode()
    stored = weights(dense=[KERNEL, BIAS]) if stored is None else stored
    metadata = json.dumps({"keras_version": "3.4.1"}).encode()
    named = {"config.json": config, "metadata.json": metadata, "model.weights.h5": stored}
    return zip_of({**named, **more})


def hdf5(config: dict, change: Callable[[h5py.File], None] = lambda file: None) -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.attrs["model_config"] = json.dumps(config).encode()
        file.attrs["keras_version"] = b"2.2.4"
        group = file.create_group("model_weights/dense")
        group.attrs["weight_names"] = np.array(["kernel:0", "bias:0"], dtype="S")
        group["kernel:0"], group["bias:0"] = KERNEL, BIAS
        change(file)
    return buffer.getvalue()


DENSE = layer("Dense", "dense", units=2, activation="linear")


def replaced(name: str, make: Callable[[h5py.Group], None]) -> Callable[[h5py.File], None]:
    """Puts something else where an array of the Dense layer stands."""

    def change(file: h5py.File) -> None:
        group = file["model_weights/dense"]
        del group[name]
        make(group)

    return change


def sources() -> dict[str, tuple[bytes, str]]:
    """Contents of files, and what their refusal says."""
    trap = marshal.dumps(compile("raise SystemExit('executed')", "trap", "exec"))
    function = [base64.b64encode(trap).decode(), None, None]
    bomb = bytearray(keras_zip(bytes(64 << 20)))
    # The central directory says that config.json unpacks to 100 bytes.
    at = bomb.rfind(b"PK\x01\x02", 0, bomb.rfind(b"metadata.json") - 46)
    struct.pack_into("<I", bomb, at + 24, 100)
    doubled = [
        {"class_name": "InputLayer", "config": {"name": "x0", "batch_input_shape": [None, 3]}},
        *(
            layer("Concatenate", f"x{k}") | {"inbound_nodes": [[[f"x{k - 1}", 0, 0, {}]] * 2]}
            for k in range(1, 60)
        ),
    ]
    circle = [
        doubled[0],
        layer("Add", "a") | {"inbound_nodes": [[["x0", 0, 0, {}], ["b", 0, 0, {}]]]},
        layer("Add", "b") | {"inbound_nodes": [[["x0", 0, 0, {}], ["a", 0, 0, {}]]]},
    ]

    def functional(layers: list[dict], output: str) -> dict:
        ends = {"input_layers": [["x0", 0, 0]], "output_layers": [[output, 0, 0]]}
        return {"class_name": "Functional", "config": {"layers": layers, **ends}}

    nested = b'{"class_name": "Sequential", "config": ' + b'{"a":' * 10**5
    long_line = json.dumps(sequential(*(layer("Dropout", f"d{k}") for k in range(5000))))
    found = {
        "empty": (b"", "empty file"),
        "garbage": (RANDOM.bytes(5000), "neither"),
        "pickle": (pickle.dumps([1, 2, 3]), "neither"),
        "lambda": (
            keras_zip(sequential(layer("Lambda", function=function))),
            "layer 'odd': Lambda is not supported: its Python code is not run",
        ),
        "lambda of Keras 3": (
            keras_zip(
                sequential(
                    layer("Lambda", function={"class_name": "__lambda__", "config": function})
                )
            ),
            "Lambda is not supported",
        ),
        "class of one's own": (
            keras_zip(sequential({**DENSE, "module": "evil", "registered_name": "Dense"})),
            "Dense of evil is not supported",
        ),
        "module in a cell": (
            keras_zip(sequential(layer("TimeDistributed", layer=layer("Lambda")))),
            "Lambda is not supported",
        ),
        "bomb": (keras_zip(bytes(64 << 20)), "unpacks to more than 4 MiB"),
        "bomb that lies": (bytes(bomb), "damaged|unpacks to more"),
        "bomb of weights": (keras_zip(sequential(DENSE), bytes(100 << 20)), "more than 64 MiB"),
        "packed by lzma": (
            zip_of(
                {"config.json": b"{}", "metadata.json": b"{}", "model.weights.h5": b""},
                zipfile.ZIP_LZMA,
            ),
            "packed in a way that Keras does not use",
        ),
        "nested config": (keras_zip(nested), "nested too deeply"),
        "not UTF-8": (keras_zip(b'{"class_name": "\xff\xfe"}'), "damaged"),
        "a number": (keras_zip(b"7"), "no JSON object"),
        "cut short": (keras_zip(sequential(DENSE))[:-40], "damaged"),
        "long number": (keras_zip(b'{"class_name": ' + b"9" * 10**5 + b"}"), "damaged"),
        "doubling": (keras_zip(functional(doubled, "x59")), "has more than 4194304 elements"),
        "circle": (keras_zip(functional(circle, "b")), "its inputs are made by no layer"),
        "5000 layers": (keras_zip(long_line.encode()), "more than 1024 layers"),
        "no layers": (
            keras_zip({"class_name": "Sequential", "config": {"layers": []}}),
            "no layer",
        ),
        "config is a list": (keras_zip(b"[[[]]]"), "no JSON object"),
        "link to another file": (
            hdf5(sequential(DENSE), replaced("bias:0", _external_link)),
            "link to another file",
        ),
        "array in another file": (
            hdf5(sequential(DENSE), replaced("bias:0", _external_storage)),
            "'dense': bias lies in another file",
        ),
        "virtual array": (
            hdf5(sequential(DENSE), replaced("bias:0", _virtual)),
            "'dense': bias lies in another file",
        ),
        "huge array": (
            hdf5(sequential(DENSE), replaced("kernel:0", _huge)),
            "'dense': kernel has 1099511627776 elements",
        ),
        "packed by a plugin": (
            hdf5(sequential(DENSE), replaced("bias:0", _plugin)),
            "'dense': bias is packed by filter",
        ),
        "group for an array": (
            hdf5(sequential(DENSE), replaced("bias:0", lambda g: g.create_group("bias:0"))),
            "'dense': the file has 1 of its arrays",
        ),
        "link to itself": (
            hdf5(sequential(DENSE), replaced("bias:0", _loop)),
            "damaged|the file has 1 of its arrays",
        ),
        "text for numbers": (
            hdf5(
                sequential(DENSE),
                replaced("bias:0", lambda g: g.create_dataset("bias:0", data="x")),
            ),
            "'dense': bias is object",
        ),
        "NaN": (
            keras_zip(sequential(DENSE), weights(dense=[KERNEL * np.float32(np.nan), BIAS])),
            "'dense': 6 of 6 weights W are NaN",
        ),
    }
    with_twice = io.BytesIO(keras_zip(sequential(DENSE)))
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(with_twice, "a") as archive:
        archive.writestr("config.json", json.dumps(sequential(DENSE)))
    found["twice"] = with_twice.getvalue(), "has config.json 2 times"
    return found


def _external_link(group: h5py.Group) -> None:
    group["bias:0"] = h5py.ExternalLink("/etc/passwd", "bias")


def _external_storage(group: h5py.Group) -> None:
    group.create_dataset("bias:0", (2,), "f4", external=[("/etc/passwd", 0, 8)])


def _virtual(group: h5py.Group) -> None:
    layout = h5py.VirtualLayout((2,), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "bias", (2,), "f4")
    group.create_virtual_dataset("bias:0", layout)


def _huge(group: h5py.Group) -> None:
    group.create_dataset("kernel:0", (1 << 20, 1 << 20), "f4", chunks=(1, 1))


def _plugin(group: h5py.Group) -> None:
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_chunk((2,))
    properties.set_filter(32015, h5py.h5z.FLAG_OPTIONAL, ())
    space = h5py.h5s.create_simple((2,))
    h5py.h5d.create(group.id, b"bias:0", h5py.h5t.IEEE_F32LE, space, properties)


def _loop(group: h5py.Group) -> None:
    group["bias:0"] = h5py.SoftLink("/model_weights/dense/bias:0")


SOURCES = sources()
WINDOW = {"filters": 2, "kernel_size": [2], "strides": [1], "use_bias": False}
POOL = {"pool_size": [2], "strides": [1], "padding": "valid"}
CONFIGS = {
    "negative units": (layer("Dense", units=-2), "units"),
    "a million units": (layer("Dense", units=10**6), "units"),
    "units of text": (layer("Dense", units="2"), "'odd'"),
    "activation is a number": (layer("Dense", units=2, activation=7), "activation '7'"),
    "no filters": (layer("Conv1D", **(WINDOW | {"filters": 0})), "filters is 0"),
    "no stride": (layer("Conv1D", **(WINDOW | {"strides": [0]})), r"strides is \[0\]"),
    "dilation of text": (layer("Conv1D", **WINDOW, dilation_rate="2"), "dilation_rate is '2'"),
    "kernel of nothing": (layer("Conv1D", **(WINDOW | {"kernel_size": []})), "kernel_size"),
    "groups that do not divide": (layer("Conv1D", **WINDOW, groups=3), "2 filters in 3 groups"),
    "padding unknown": (layer("Conv1D", **WINDOW, padding="full"), "padding is 'full'"),
    "channels first": (layer("Conv1D", **WINDOW, data_format="channels_first"), "channels_first"),
    "window too large": (layer("MaxPooling1D", **(POOL | {"pool_size": [9]})), "windows of 9"),
    "huge padding": (layer("ZeroPadding1D", padding=65535), None),
    "negative padding": (layer("ZeroPadding1D", padding=-1), "padding is -1"),
    "padding beyond all": (layer("ZeroPadding1D", padding=10**9), "padding is 1000000000"),
    "padding of depth": (layer("ZeroPadding1D", padding=[[[1]]]), "padding is"),
    "axis of time": (layer("Softmax", axis=1), "only the last"),
    "axis of text": (layer("Softmax", axis="last"), "softmax over axis 'last'"),
    "variance too small": (
        layer("BatchNormalization", epsilon=-5.0, scale=False, center=False),
        "a moving variance is negative",
    ),
    "epsilon of text": (layer("BatchNormalization", epsilon="x"), "epsilon 'x'"),
    "threshold infinite": (layer("ReLU", threshold=float("inf")), "threshold is inf"),
    "float64": (layer("Dense", units=2, dtype="float64"), "computes in float64"),
    "policy in a policy": (
        layer("Dense", units=2, dtype={"config": {"name": {"config": {"name": "mixed_float16"}}}}),
        "computes in mixed_float16",
    ),
    "target of nothing": (layer("Reshape", target_shape=[]), "target_shape"),
    "target that does not fit": (layer("Reshape", target_shape=[5, -1]), r"\(5, -1\)"),
    "config of numbers": ({"class_name": "Dense", "config": 7}, "damaged"),
}
ARRAYS = {
    "Dense": [KERNEL, BIAS],
    "Conv1D": [RANDOM.normal(size=(2, 3, 2)).astype(np.float32)],
    "BatchNormalization": [np.zeros(3, np.float32), np.ones(3, np.float32)],
}


def refusal(path: Path) -> str:
    """The one line that compiling the file ends with; nothing is written."""
    out = path.parent / "out"
    begin = time.monotonic()
    with pytest.raises(ModelError) as refused:
        compile_model(path, out)
    assert time.monotonic() - begin < MAX_SECONDS
    assert not out.exists()
    text = str(refused.value)
    assert text.isprintable() and text.startswith(path.name) and len(text) < 800
    return text


@pytest.mark.parametrize("name", SOURCES)
def test_file_is_refused(tmp_path, name):
    content, message = SOURCES[name]
    path = tmp_path / "model.keras"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=message):
        raise ModelError(refusal(path))


@pytest.mark.parametrize("name", CONFIGS)
def test_config_is_refused(tmp_path, name):
    odd, message = CONFIGS[name]
    group = {"Dense": "dense", "Conv1D": "conv1d", "BatchNormalization": "batch_normalization"}
    class_name = odd["class_name"]
    stored = {group[class_name]: ARRAYS[class_name]} if class_name in group else {}
    config = {"class_name": "Sequential", "config": {"layers": [odd]}}
    config["config"]["build_input_shape"] = [None, 4, 3]
    path = tmp_path / "model.keras"
    path.write_bytes(keras_zip(config, weights(**stored)))
    if message is None:  # large, and no more than that
        read_model(path)
    else:
        with pytest.raises(ModelError, match=message):
            raise ModelError(refusal(path))


@pytest.mark.parametrize("name", ["empty", "garbage", "lambda", "bomb", "NaN", "link to itself"])
def test_command_line_ends_in_one_line_and_exit_code_2(tmp_path, name):
    path = tmp_path / "model.keras"
    path.write_bytes(SOURCES[name][0])
    done = CliRunner().invoke(app, ["compile", str(path), "-o", str(tmp_path / "out")])
    assert done.exit_code == 2
    assert len(done.output.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_names_in_a_zip_lead_nowhere(tmp_path):
    """Members are read by three fixed names; others are not even looked at."""
    evil = {"../../evil": b"x", "/evil": b"x", "..\\evil": b"x"}
    (tmp_path / "a" / "b").mkdir(parents=True)
    path = tmp_path / "a" / "b" / "model.keras"
    path.write_bytes(keras_zip(sequential(DENSE), **evil))
    read_model(path)
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [path]


def test_names_of_layers_stay_in_comments(tmp_path):
    name = '*/ #error "\n'
    odd = layer("Dense", name, units=2, activation="tanh")
    path = tmp_path / "model.keras"
    path.write_bytes(keras_zip(sequential(odd)))
    header, source = compile_model(path, tmp_path / "out").files
    for text in (header.read_text(), source.read_text()):
        assert "*/ #error" not in text


def _crash() -> None:
    import ctypes

    ctypes.string_at(0)


def _spin() -> None:
    while True:
        pass


def _hoard() -> None:
    bytearray(isolation.MAX_BYTES + (64 << 20))


@pytest.mark.skipif(not hasattr(isolation.os, "fork"), reason="needs os.fork")
@pytest.mark.parametrize(
    ("work", "message"),
    [(_crash, "reading it crashes"), (_spin, "takes more than 1 s"), (_hoard, None)],
)
def test_reading_may_crash_or_never_end(monkeypatch, work, message):
    """As the HDF5 library does on some damaged files."""
    monkeypatch.setattr(isolation, "MAX_SECONDS", 1)
    with pytest.raises((ModelError, MemoryError), match=message):
        isolation.isolated(work)


def _limit() -> int:
    import resource  # not there on Windows

    return resource.getrlimit(resource.RLIMIT_DATA)[0]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_what_reading_may_take_does_not_hang_on_the_stack():
    """A deep recursion before makes the stack grow, which is not what the limit counts."""
    limit = isolation.isolated(_limit)
    status = Path("/proc/self/status").read_text()
    data = 1024 * int(status.split("VmData:")[1].split()[0])
    # The child differs from this process by the objects that the call itself takes.
    assert abs(limit - data - isolation.MAX_BYTES) < 64 << 10


BASES = {
    "hdf5": hdf5(sequential(DENSE)),
    "zip": keras_zip(sequential(DENSE)),
    "stored": zip_of(
        {
            "config.json": json.dumps(sequential(DENSE)).encode(),
            "metadata.json": b'{"keras_version": "3.4.1"}',
            "model.weights.h5": weights(dense=[KERNEL, BIAS]),
        },
        zipfile.ZIP_STORED,
    ),
}


@pytest.mark.parametrize("base", BASES)
def test_damage_never_ends_in_anything_but_a_refusal(tmp_path, monkeypatch, base):
    """Truncated anywhere, and with bytes overwritten: refused, or still a model."""
    monkeypatch.setattr(isolation, "MAX_SECONDS", 1)
    whole, path = BASES[base], tmp_path / "model.keras"
    random = np.random.default_rng(1)
    contents = [whole[:end] for end in random.integers(0, len(whole), 20)]
    for size in (1, 8) * 30:
        damaged = bytearray(whole)
        # The structure is at the front; arrays, which may be anything, come later.
        at = int(random.integers(0, min(len(whole), 4000) - size))
        damaged[at : at + size] = random.bytes(size) if random.random() < 0.7 else b"\xff" * size
        contents.append(bytes(damaged))
    for content in contents:
        path.write_bytes(content)
        try:
            read_model(path)
        except ModelError as refused:
            assert str(refused).isprintable()


VALUES = [None, -1, 0, 3, 1e99, float("nan"), "x", [], {}, True, 2**70, [0, 0], [[["a", 0, 0]]]]


def test_configs_with_any_value_anywhere(tmp_path):
    """Each value of a config in turn replaced by nonsense."""
    layers = [
        layer("Conv1D", "conv1d", **WINDOW, activation="relu", padding="same"),
        layer("BatchNormalization", "batch_normalization", axis=[2], scale=False, center=False),
        layer("MaxPooling1D", "max_pooling1d", **POOL),
        layer("Flatten", "flatten"),
        layer("Dense", "dense", units=2, use_bias=True, activation="softmax"),
    ]
    stored = weights(
        conv1d=[RANDOM.normal(size=(2, 3, 2)).astype(np.float32)],
        batch_normalization=[np.zeros(2, np.float32), np.ones(2, np.float32)],
        dense=[RANDOM.normal(size=(6, 2)).astype(np.float32), BIAS],
    )
    whole = sequential(*layers, shape=[None, 4, 3])
    path = tmp_path / "model.keras"
    path.write_bytes(keras_zip(whole, stored))
    read_model(path)
    places = list(_places(whole))
    random = np.random.default_rng(0)
    for place in places:
        config = json.loads(json.dumps(whole))
        parent = config
        for key in place[:-1]:
            parent = parent[key]
        parent[place[-1]] = VALUES[int(random.integers(len(VALUES)))]
        path.write_bytes(keras_zip(config, stored))
        try:
            read_model(path)
        except ModelError as refused:
            assert str(refused).isprintable()


def _places(value, place: tuple = ()):
    if place:
        yield place
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items:
        if isinstance(item, dict | list):
            yield from _places(item, (*place, key))
        else:
            yield (*place, key)
