"""compile_model: what it returns, what it writes, and that it writes all or nothing."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from nn4mc_codegen import ModelError, compile_model


@pytest.fixture
def model(files):
    config = {
        "class_name": "Sequential",
        "config": {
            "layers": [
                {
                    "class_name": "Dense",
                    "config": {"name": "d", "units": 2, "batch_input_shape": [None, 3]},
                }
            ]
        },
    }
    arrays = [("kernel", np.ones((3, 2), np.float32)), ("bias", np.zeros(2, np.float32))]
    return files.hdf5(config, {"d": arrays})


def test_result(model, tmp_path):
    result = compile_model(model, tmp_path / "new" / "folder", "net", jacobian=2)
    assert [f.name for f in result.files] == ["net.h", "net.c"]
    assert all(f.is_file() for f in result.files)
    assert result.model_hash == hashlib.sha256(model.read_bytes()).hexdigest()[:16]
    assert result.inputs == {"d": 3} and result.outputs == 2
    assert result.parameters == 8 and result.macs == 6
    assert result.jacobian_columns == (0, 1) and result.jacobian_mode == "reverse"
    (layer,) = result.layers
    assert (layer.name, layer.kind, layer.shape) == ("d", "dense", (2,))


@pytest.mark.parametrize(
    ("jacobian", "columns"),
    [(None, 0), ("all", 3), ("d", 3), (["d"], 3), ("2", 2), (1, 1)],
)
def test_choice_of_columns(model, tmp_path, jacobian, columns):
    result = compile_model(model, tmp_path / "out", jacobian=jacobian)
    assert len(result.jacobian_columns) == columns


@pytest.mark.parametrize(
    ("jacobian", "message"),
    [
        ("x", "no input 'x'; the inputs are d"),
        ("d,x", "no input 'x'"),
        ("", "no input ''"),
        ("0", "the flat input has 3 elements"),
        (4, "the flat input has 3 elements"),
    ],
)
def test_wrong_choice_writes_nothing(model, tmp_path, jacobian, message):
    with pytest.raises(ModelError, match=message):
        compile_model(model, tmp_path / "out", jacobian=jacobian)
    assert not (tmp_path / "out").exists()


def test_old_files_survive_a_refused_model(model, tmp_path):
    compile_model(model, tmp_path / "out")
    before = {f.name: f.read_bytes() for f in (tmp_path / "out").iterdir()}
    model.write_bytes(model.read_bytes()[:100])
    with pytest.raises(ModelError):
        compile_model(model, tmp_path / "out")
    assert {f.name: f.read_bytes() for f in (tmp_path / "out").iterdir()} == before


def test_where_a_file_cannot_be_written_none_is(model, tmp_path):
    out = tmp_path / "out"
    (out / "fk.c").mkdir(parents=True)  # in the way of the second file
    with pytest.raises(OSError, match="fk.c"):
        compile_model(model, out)
    assert [f.name for f in out.iterdir()] == ["fk.c"]
