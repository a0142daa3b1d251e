"""verify finds what is wrong with C: here C that was made wrong."""

from __future__ import annotations

import pytest

from nn4mc_codegen.emit import emit
from nn4mc_codegen.ops.activation import Activation
from nn4mc_codegen.verify import HostCode, VerifyError, build_library, compare


@pytest.fixture
def graph(build):
    b = build()
    return b.graph(b.dense(b.dense(b.input(4), 6, Activation("tanh")), 3))


def verdict_of(graph, folder, change=("", "")):
    origin = {"model_file": "m", "model_hash": "0", "command": "c"}
    for name, text in emit(graph, "fk", (0, 1), **origin)[1].items():
        (folder / name).write_text(text.replace(*change), encoding="utf-8")
    build_library([folder / "fk.c"], folder / "fk.so")
    return compare(graph, HostCode(folder / "fk.so", "fk", 4, 3, 2), (0, 1), 30, seed=0)


def test_right_code_passes(graph, tmp_path):
    verdict = verdict_of(graph, tmp_path)
    assert verdict.passed and verdict.samples == 30
    assert verdict.step_error < 1e-6 and verdict.jacobian_error < 1e-6


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        (("    y[0] = s0;", "    y[0] = s0 + 1e-5f;"), "step_error"),
        (("    y[0] = s0;", "    "), "step_error"),  # stays NaN
        (("jacobian[0] = s0_0;", "jacobian[0] = s0_0 * 1.001f;"), "jacobian_error"),
        (("jacobian[0] = s0_0;", ""), "jacobian_error"),
    ],
)
def test_wrong_code_is_found(graph, tmp_path, change, wrong):
    verdict = verdict_of(graph, tmp_path, change)
    assert not verdict.passed
    assert not getattr(verdict, wrong) <= 1e-6


def test_code_that_does_not_compile_is_an_error(graph, tmp_path):
    with pytest.raises(VerifyError, match="the C compiler refuses"):
        verdict_of(graph, tmp_path, ("float s0", "int s0"))
