"""Terminals that lack characters: plain ones are shown, in text, JSON, help and errors."""

from __future__ import annotations

import io
import json
import sys

import numpy as np
import pytest

from nn4mc_codegen.cli import main


@pytest.fixture
def model(files):
    """Formulas have ·, ≥ and × is in shapes; the layer's name is in no 8-bit character set."""
    layers = [
        {"name": "温度", "units": 2, "activation": "tanh", "batch_input_shape": [None, 4, 3]},
        {"name": "é", "target_shape": [2, 4]},
    ]
    kinds = ("Dense", "Reshape")
    config = [{"class_name": k, "config": c} for k, c in zip(kinds, layers, strict=True)]
    arrays = {"dense": [np.ones((3, 2), np.float32), np.zeros(2, np.float32)]}
    return files.zip({"class_name": "Sequential", "config": {"layers": config}}, arrays)


@pytest.fixture
def printed(monkeypatch):
    """Bytes on stdout and stderr of a command whose terminal has this encoding."""

    def run(encoding: str, *words) -> tuple[bytes, bytes, int]:
        streams = [io.TextIOWrapper(io.BytesIO(), encoding) for _ in range(2)]
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", streams[0])
            patch.setattr(sys, "stderr", streams[1])
            patch.setattr(sys, "argv", ["nn4mc", *map(str, words)])
            with pytest.raises(SystemExit) as end:
                main()
            for stream in streams:
                stream.flush()
        return *(stream.buffer.getvalue() for stream in streams), end.value.code or 0

    return run


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_inspect_in_any_encoding(model, printed, encoding):
    text, errors, code = printed(encoding, "inspect", model, "--no-measure")
    assert code == 0 and errors == b""
    shape, formula = {"ascii": ("4x2", "W*x + b"), "utf-8": ("4×2", "W·x + b")}.get(
        encoding, ("4×2", "W·x + b")
    )
    shown = text.decode(encoding)
    assert shape in shown and formula in shown
    assert ("温度" if encoding == "utf-8" else "??") in shown

    text, _, code = printed(encoding, "inspect", model, "--no-measure", "--json")
    assert code == 0 and json.loads(text.decode(encoding))["layers"][0]["name"] == "温度"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_help_and_errors_in_any_encoding(model, printed, tmp_path, encoding):
    assert printed(encoding, "compile", "--help")[2] == 0
    _, errors, code = printed(encoding, "inspect", tmp_path / "温度…\n.h5")
    assert code == 2
    assert errors.decode(encoding).endswith("??...?.h5: No such file or directory\n")
    text, _, code = printed(encoding, "compile", model, "-o", tmp_path / "温度")
    assert code == 0 and b"??/fk.h" in text
