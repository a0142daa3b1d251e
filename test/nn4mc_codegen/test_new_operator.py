"""The tutorial of a new operator, block by block: one file and one line are all it takes."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import nn4mc_codegen
from nn4mc_codegen.trial.host import HostCode, build_library

keras = pytest.importorskip("keras", reason="Keras is not installed")

PACKAGE = Path(nn4mc_codegen.__file__).parent
TUTORIAL = PACKAGE.parent / "docs" / "tutorials" / "new_operator.md"
needs_tutorial = pytest.mark.skipif(not TUTORIAL.exists(), reason="docs/ is not beside the package")


def blocks(language: str) -> list[str]:
    text = TUTORIAL.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


@needs_tutorial
def test_one_file_and_one_line_are_an_operator(tmp_path):
    """Outputs and Jacobian of the C are those of Keras, run here on the file of the tutorial."""
    shutil.copytree(PACKAGE, tmp_path / "nn4mc_codegen")
    file, line, network = blocks("python")
    operators = tmp_path / "nn4mc_codegen" / "ops"
    assert f"`{(operators / 'rescaling.py').relative_to(tmp_path)}`:" in TUTORIAL.read_text()
    (operators / "rescaling.py").write_text(file, encoding="utf-8")
    table = operators / "__init__.py"
    last = "from nn4mc_codegen.ops.reshape import Reshape\n"
    changed = table.read_text(encoding="utf-8").replace(last, line + last)
    table.write_text(changed, encoding="utf-8")

    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    printed = []
    (tmp_path / "work").mkdir()
    exec(
        compile(network.replace('"network.keras"', "PATH"), "tutorial", "exec"),
        {"PATH": tmp_path / "work" / "network.keras"},
    )
    for command in blocks("sh")[0].splitlines():
        name, *words = shlex.split(command)
        assert name == "nn4mc"
        done = subprocess.run(
            [sys.executable, "-m", "nn4mc_codegen", *words],
            cwd=tmp_path / "work",
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        printed.append(done.stdout)
    inspected, _, verdict = printed
    assert inspected.count("rescaling") == 4 and "y = 0.25·x + -1.5" in inspected
    assert verdict.splitlines()[-1].startswith("same: ") and "Keras" in verdict

    out = tmp_path / "work" / "out"
    build_library([out / "fk.c"], out / "fk.so")
    code = HostCode(out / "fk.so", out / "fk.h")
    model = keras.models.load_model(tmp_path / "work" / "network.keras")
    first, last = (layer.get_weights() for layer in model.layers if layer.weights)
    x = np.random.default_rng(0).normal(size=4).astype(np.float32)
    y, jacobian = code.jacobian(x)
    # float32 sums of four and five products of order 1.
    np.testing.assert_allclose(y, np.asarray(model(x[None]))[0], atol=1e-6)
    slope = 1 - np.tanh((0.25 * x - 1.5) @ first[0] + first[1]) ** 2
    expected = last[0].T @ (3.0 * slope[:, None] * first[0].T * 0.25)
    np.testing.assert_allclose(jacobian, expected, atol=1e-6)
