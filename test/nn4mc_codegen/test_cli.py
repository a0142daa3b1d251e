"""The command line as a user meets it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

from nn4mc_codegen import verify
from nn4mc_codegen.cli import app
from nn4mc_codegen.trial.qemu import missing_tools
from nn4mc_codegen.trial.reference import SourceVerdict

runner = CliRunner()
needs_arm = pytest.mark.skipif(missing_tools() is not None, reason=str(missing_tools()))


@pytest.fixture
def model(files):
    layer = {"name": "d", "units": 2, "activation": "tanh", "batch_input_shape": [None, 3]}
    config = {
        "class_name": "Sequential",
        "config": {"layers": [{"class_name": "Dense", "config": layer}]},
    }
    arrays = [("kernel", np.ones((3, 2), np.float32)), ("bias", np.zeros(2, np.float32))]
    return files.hdf5(config, {"d": arrays})


@pytest.fixture
def without_source(monkeypatch):
    """Saves the time to start Keras where the comparison with it is not what is tested."""
    nobody = SourceVerdict("nobody", None, 0.0)
    monkeypatch.setattr(verify, "compare_with_source", lambda *_: nobody)


def run(*words):
    return runner.invoke(app, [str(word) for word in words])


def test_compile(model, tmp_path):
    result = run("compile", model, "-o", tmp_path / "out", "--name", "net", "--jacobian", "d")
    assert result.exit_code == 0, result.output
    assert "8 weights" in result.stdout and "Jacobian of 3 columns" in result.stdout
    assert sorted(f.name for f in (tmp_path / "out").iterdir()) == ["net.c", "net.h"]
    header = (tmp_path / "out" / "net.h").read_text()
    assert "nn4mc compile model.h5 --name net --jacobian d" in header


def test_sums_and_a_range_of_columns(model, tmp_path):
    words = ["--jacobian", "0,1,0+2", "--jacobian-range"]
    result = run("compile", model, "-o", tmp_path, *words)
    assert result.exit_code == 0 and "Jacobian of 3 columns" in result.stdout
    header = (tmp_path / "fk.h").read_text()
    assert " ".join(words) in header and "#define FK_JACOBIAN_RANGE" in header
    result = run("compile", model, "-o", tmp_path, "--jacobian", "0+3")
    assert result.exit_code == 2
    assert result.stderr == "nn4mc: jacobian: the flat input has no element 3\n"


def test_compile_json(model, tmp_path):
    result = run("compile", model, "-o", tmp_path, "--json")
    assert json.loads(result.stdout)["inputs"] == {"d": 3}


def test_every_option_of_compile_reaches_the_c(model, tmp_path):
    words = "--name net --vjp all --jvp 2 --hvp all --optimize size --weights ram".split()
    result = run("compile", model, "-o", tmp_path, *words, "--self-test", 2, "--layout", "cmake")
    assert result.exit_code == 0, result.output
    assert sorted(f.name for f in tmp_path.iterdir() if f != model) == [
        "CMakeLists.txt",
        "net.c",
        "net.h",
        "net_selftest.c",
        "net_selftest.h",
    ]
    header = (tmp_path / "net.h").read_text()
    for function in ("net_step(", "net_vjp(", "net_jvp(", "net_hvp("):
        assert function in header
    assert "--optimize size --weights ram" in header


@pytest.mark.parametrize(
    ("option", "value"),
    [("optimize", "fast"), ("layout", "zip"), ("dtype", "int4"), ("name", "1x"), ("vjp", "no")],
)
def test_wrong_choices_are_one_line(model, tmp_path, option, value):
    result = run("compile", model, "-o", tmp_path / "out", f"--{option}", value)
    assert result.exit_code == 2 and not (tmp_path / "out").exists()
    assert result.stderr.startswith("nn4mc: ") and result.stderr.count("\n") == 1
    assert value in result.stderr


def test_inspect(model):
    text = run("inspect", model, "--no-measure").stdout
    assert "dense" in text and "tanh" in text and "estimated: not asked for" in text
    found = json.loads(run("inspect", model, "--no-measure", "--json").stdout)
    assert found["macs"] == 6 and found["layers"][0]["shape"] == [2]
    assert found["instructions"] == 6 * 2.5 + 2 * 15


@needs_arm
def test_inspect_measures(model):
    found = json.loads(run("inspect", model, "--json").stdout)
    assert found["measured"] and 30 < found["instructions"] < 150
    assert sum(found["layer_instructions"]) == found["instructions"]


def test_verify(model):
    result = run("verify", model, "--samples", 20, "--jacobian", "all")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[-1].startswith("same: 20 samples")


def test_verify_json(model, without_source):
    found = json.loads(run("verify", model, "--samples", 20, "--json").stdout)
    assert found["passed"] and found["largest_error"] < 1e-6
    assert found["verdict"].startswith("same: 20 samples")
    assert [f["name"] for f in found["functions"]] == ["fk_step"]
    assert [layer["name"] for layer in found["layers"]] == ["d"]


def test_verify_without_an_emulator_says_so(model, monkeypatch, tmp_path, without_source):
    for tool in ("cc", "ld", "as"):
        (tmp_path / tool).symlink_to(shutil.which(tool))
    monkeypatch.setenv("PATH", str(tmp_path))
    result = run("verify", model, "--samples", 5)
    assert result.exit_code == 0, result.output
    assert "Cortex-M4F not run: arm-none-eabi-gcc and qemu-system-arm not found" in result.stdout
    assert "apt install gcc-arm-none-eabi" in result.stdout.splitlines()[-1]


@pytest.mark.long
@needs_arm
def test_a_large_network_within_bounds_of_time_and_memory(tmp_path):
    """MobileNet on 96×96 pixels: processor time of all that takes part, memory of the largest."""
    keras = pytest.importorskip("keras", reason="Keras is not installed")
    path = tmp_path / "mobilenet.keras"
    keras.applications.MobileNet(input_shape=(96, 96, 3), alpha=0.25, weights=None).save(path)
    for words, seconds in ((["compile", path, "-o", tmp_path / "out"], 10), (["verify", path], 60)):
        command = [sys.executable, "-m", "nn4mc_codegen", *map(str, words)]
        with (tmp_path / "output").open("w") as output:
            child = subprocess.Popen(command, stdout=output)
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        assert child.returncode == 0 and used.ru_utime + used.ru_stime < seconds
        assert used.ru_maxrss < 1 << 20  # in KiB
    verdict = (tmp_path / "output").read_text().splitlines()[-1]
    assert verdict.startswith("same: ") and "MPS2 with AN386" in verdict and "same bits" in verdict


def test_without_a_c_compiler(model, monkeypatch, without_source):
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
