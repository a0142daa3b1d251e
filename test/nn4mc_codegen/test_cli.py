"""The command line as a user meets it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from nn4mc_codegen.cli import app

runner = CliRunner()


@pytest.fixture
def model(files):
    layer = {"name": "d", "units": 2, "activation": "tanh", "batch_input_shape": [None, 3]}
    config = {
        "class_name": "Sequential",
        "config": {"layers": [{"class_name": "Dense", "config": layer}]},
    }
    arrays = [("kernel", np.ones((3, 2), np.float32)), ("bias", np.zeros(2, np.float32))]
    return files.hdf5(config, {"d": arrays})


def run(*words):
    return runner.invoke(app, [str(word) for word in words])


def test_compile(model, tmp_path):
    result = run("compile", model, "-o", tmp_path / "out", "--name", "net", "--jacobian", "d")
    assert result.exit_code == 0, result.output
    assert "8 weights" in result.stdout and "Jacobian 2 × 3" in result.stdout
    assert sorted(f.name for f in (tmp_path / "out").iterdir()) == ["net.c", "net.h"]
    header = (tmp_path / "out" / "net.h").read_text()
    assert "nn4mc compile model.h5 --name net --jacobian d" in header


def test_compile_json(model, tmp_path):
    result = run("compile", model, "-o", tmp_path, "--json")
    assert json.loads(result.stdout)["inputs"] == {"d": 3}


def test_inspect(model):
    text = run("inspect", model).stdout
    assert "dense" in text and "tanh" in text
    assert json.loads(run("inspect", model, "--json").stdout)["macs"] == 6


def test_verify(model):
    result = run("verify", model, "--samples", 20)
    assert result.exit_code == 0 and result.stdout.startswith("same: 20 inputs")
    verdict = json.loads(run("verify", model, "--samples", 20, "--json").stdout)
    assert verdict["passed"] and verdict["step_error"] < 1e-6


def test_without_a_c_compiler(model, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    result = run("verify", model)
    assert result.exit_code == 2 and "install" in result.stderr


@pytest.mark.parametrize("command", ["compile", "verify", "inspect"])
def test_errors_are_one_line_and_exit_code_2(tmp_path, command):
    path = tmp_path / "bad.keras"
    path.write_bytes(b"PK\x03\x04 cut off")
    options = ["-o", tmp_path / "out"] if command == "compile" else []
    result = run(command, path, *options)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("nn4mc: bad.keras: ")
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_help_teaches():
    assert "nn4mc inspect" in run("--help").stdout
    assert "Example" in run("compile", "--help").stdout
