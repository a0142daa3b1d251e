"""What docs/onnx.md says of PyTorch: its networks exported, and the C compared with them."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from nn4mc_codegen.importers import read_model

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
pytest.importorskip("onnx", reason="onnx is not installed")

PAGE = Path(__file__).resolve().parents[3] / "docs" / "onnx.md"
needs_page = pytest.mark.skipif(not PAGE.exists(), reason="docs/ is not beside the package")


@needs_page
def test_networks_of_the_page(tmp_path, monkeypatch, compile_graphs):
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    made: dict = {}
    kept = {}
    export = torch.onnx.export

    def exported(network, arguments, path, **more) -> None:
        kept[path] = network
        export(network, arguments, path, **more)

    monkeypatch.setattr(torch.onnx, "export", exported)
    for block in blocks:
        exec(compile(block, "page", "exec"), made)
    assert list(kept) == ["network.onnx", "arm.onnx"]
    graphs = [read_model(tmp_path / name)[0] for name in kept]
    random = np.random.default_rng(0)
    steps = random.normal(size=(6, 15)).astype(np.float32)
    rows = random.normal(size=(6, 7)).astype(np.float32)
    with torch.no_grad():
        expected = [
            kept["network.onnx"](torch.tensor(rows)).numpy(),
            kept["arm.onnx"](torch.tensor(steps[None])).numpy()[0],
        ]
    codes = compile_graphs([(graph, [0]) for graph in graphs])
    for x, y, code in zip((rows, steps), expected, codes, strict=True):
        np.testing.assert_allclose(code.run(x)["y"], y, rtol=0, atol=2e-6)
