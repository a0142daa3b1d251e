"""The benchmark's results are whole, and docs/benchmarks.md says what they say."""

from __future__ import annotations

import importlib
import json
import shutil
import sys
import xml.etree.ElementTree as ElementTree
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from nn4mc_codegen.importers import read_model
from nn4mc_codegen.trial.qemu import measure, missing_tools
from soft_control.learning.model import NETWORK_FILE, load_card

needs_arm = pytest.mark.skipif(missing_tools() is not None, reason=str(missing_tools()))

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "bench" / "results.json"


@pytest.fixture(scope="module")
def modules():
    """bench/run.py and bench/report.py, which are scripts and no package."""
    with bench_on_path():
        yield importlib.import_module("run"), importlib.import_module("report")


@pytest.fixture(scope="module")
def solver():
    """bench/solver.py"""
    pytest.importorskip("casadi", reason="pip install soft_control[test]")
    with bench_on_path():
        yield importlib.import_module("solver")


@contextmanager
def bench_on_path():
    sys.path.insert(0, str(ROOT / "bench"))
    try:
        yield
    finally:
        sys.path.remove(str(ROOT / "bench"))


@pytest.fixture(scope="module")
def results():
    return json.loads(RESULTS.read_text(encoding="utf-8"))


def test_every_combination_has_its_row(modules, results):
    run, _ = modules
    found = [(row["model"], row["tool"], row["mode"]) for row in results["rows"]]
    assert found == list(run.all_combinations())
    assert set(results["networks"]) == set(run.NETWORKS)


def test_rows_have_all_costs_or_a_failure(modules, results):
    run, _ = modules
    for row in results["rows"]:
        assert set(row) == {"model", "tool", "mode", "version", "failure", *run.COSTS}
        costs = [row[cost] for cost in run.COSTS]
        if row["failure"]:
            assert costs == [None] * len(costs)
            assert "\n" not in row["failure"] and "/tmp" not in row["failure"]
        else:
            assert all(cost is not None and cost >= 0 for cost in costs), row
            assert row["cycles"] > row["instructions"] > 0 and row["flash_bytes"] > 0


def test_this_compiler_fails_nowhere_in_float32(modules, results):
    _, report = modules
    rows = [r for r in results["rows"] if r["tool"] == report.OWN and r["mode"] != "int8"]
    assert [r["failure"] for r in rows if not (r["failure"] or "").startswith("skipped")] == [
        None
    ] * sum(not (r["failure"] or "").startswith("skipped") for r in rows)
    assert all(r["max_abs_error"] <= 2e-6 for r in rows if not r["failure"])


def test_balanced_beats_every_peer_on_every_count(modules, results):
    """Instructions, cycles, flash, memory and error, on each network that the peer can run."""
    _, report = modules
    done = [row for row in results["rows"] if not row["failure"]]
    own = {r["model"]: r for r in done if (r["tool"], r["mode"]) == (report.OWN, "balanced")}
    peers = [row for row in done if row["tool"] != report.OWN]
    assert peers
    for peer in peers:
        ours = own[peer["model"]]
        for cost in ("instructions", "cycles", "flash_bytes", "max_abs_error"):
            assert ours[cost] < peer[cost], (peer["tool"], peer["mode"], cost)
        memory = [row["ram_bytes"] + row["stack_bytes"] for row in (ours, peer)]
        assert memory[0] < memory[1]


def test_int8_beats_float32_from_512_weights_on(modules, results):
    """In instructions and cycles; the first two networks have 425 weights."""
    _, report = modules
    own = {(r["model"], r["mode"]): r for r in results["rows"] if r["tool"] == report.OWN}
    models = [m for m, mode in own if mode == "speed" and m not in ("dense", "hasel")]
    assert set(models) >= {"narrow", "wide", "gru", "lstm", "tendon", "lstm32", "conv1d", "dscnn"}
    for model in models:
        for cost in ("instructions", "cycles", "flash_bytes"):
            assert own[model, "int8"][cost] < own[model, "speed"][cost], (model, cost)


def test_page_and_plot_are_of_these_results(modules, results):
    _, report = modules
    page = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    assert page == report.markdown(results)
    plot = (ROOT / "docs" / "benchmarks.svg").read_text(encoding="utf-8")
    assert ElementTree.fromstring(plot).tag.endswith("svg")
    assert report.digest(results) in plot
    plot = (ROOT / "docs" / "benchmarks_solver.svg").read_text(encoding="utf-8")
    assert ElementTree.fromstring(plot).tag.endswith("svg")
    assert report.digest(results) in plot


def test_what_was_measured_by_hand_is_whole(modules, results):
    """Each network has each peer, with costs or the reason for none, and versions are told."""
    run, report = modules
    found = report.by_hand()
    for row in found:
        assert set(row) == {"model", "tool", "mode", "version", "failure", *run.COSTS}
        assert row["model"] in run.NETWORKS
        costs = [row[cost] for cost in run.COSTS if cost != "cycles"]
        assert all(c is None if row["failure"] else c >= 0 for c in costs), row
        assert row["mode"].endswith(", by hand") and row["version"]
    page = report.markdown(results)
    assert all(f"commit {row['version']}" in page for row in found if row["tool"] != "emlearn")
    for model in ("conv1d", "lenet", "lstm32", "dscnn", "kws", "micro_speech"):
        rows = [row for row in (*results["rows"], *found) if row["model"] == model]
        tools = {row["tool"].split()[0] for row in rows}
        assert tools >= {"onnx2c", "emlearn", "TFLM"}, model


def test_the_solver_has_its_rows(modules, solver, results):
    _, report = modules
    rows = results["solver"]["rows"]
    found = [(r["network"], r["horizon"], r["control_horizon"], r["tool"]) for r in rows]
    assert found == [
        (s.network, s.horizon, s.control_horizon, tool) for s, tool in solver.combinations()
    ]
    assert [row["failure"] for row in rows] == [None] * len(rows)
    for row in rows:
        assert row["cycles"] > row["instructions"] >= row["instructions_median"] > 0
        if row["tool"] == report.OWN_SOLVER:
            assert set(row["parts"]) == set(report.PARTS)
            assert sum(row["parts"].values()) == row["instructions"] and min(row["parts"].values())
            assert row["instructions_all_trials"] >= row["instructions"]
            assert sum(row["trials"]) == solver.PROBLEMS
            assert len(row["trials"]) == solver.TRIALS + 1
            assert row["instructions"] <= row["limit"]
            if (row["horizon"], row["control_horizon"]) == (5, 2):
                assert row["flash_bytes"] <= solver.FLASH_LIMIT
                assert row["ram_bytes"] <= solver.RAM_LIMIT
    for row in results["solver"]["firmwares"]:
        assert row["flash_bytes"] <= solver.FIRMWARE_FLASH_LIMIT
    assert [row["rig"] for row in results["solver"]["firmwares"]] == list(solver.FIRMWARES)


@needs_arm
def test_the_solver_is_measured_part_by_part(solver, tmp_path):
    """Six small problems. The network's steps are known from a measurement of their own: N for a
    trial, the signals folded in once; those of the linearisation are inlined in its derivatives."""
    networks = importlib.import_module("solver_networks")
    subject = networks.tendon(tmp_path)
    found = solver.own_costs(subject, 3, 2, 6)
    assert sum(found["parts"].values()) == found["instructions"]
    assert sum(found["trials"]) == 6
    assert found["cycles"] > found["instructions"]
    solver.compile_network(subject.model, tmp_path, subject.sizes(3, 2))
    x = np.random.default_rng(0).normal(size=(20, 26)).astype(np.float32)
    whole = measure(tmp_path, "fk", x).instructions  # with the signals, which the solver folds
    assert 3 * whole / 4 < found["parts"]["network"] < 2 * 3 * whole


@pytest.mark.parametrize(("rig", "lags", "signals", "hidden"), [("hasel", 2, 18, (10, 5))])
def test_keras_reads_what_is_written_as_keras_does(solver, tmp_path, rig, lags, signals, hidden):
    """float32 sums of a few dozen terms of order 1: 1e-6."""
    keras = pytest.importorskip("keras", reason="the judge is Keras")
    networks = importlib.import_module("solver_networks")
    networks.write_model(tmp_path / "model", rig, lags, signals, hidden)
    copy = shutil.copy(tmp_path / "model" / NETWORK_FILE, tmp_path / "model.h5")
    network = keras.models.load_model(copy, compile=False)
    graph, _ = read_model(copy)
    x = np.random.default_rng(0).normal(size=(1, 36)).astype(np.float32)
    ends = np.cumsum([t.size for t in graph.inputs])[:-1]
    wanted = np.array(network(np.split(x, ends, axis=1)))[0]
    np.testing.assert_allclose(graph.evaluate(x[0]), wanted, rtol=0, atol=1e-6)
    assert load_card(tmp_path / "model").input_sizes() == {t.name: t.size for t in graph.inputs}


def test_a_benchmark_keeps_what_the_other_found(modules, results, tmp_path):
    """Each writes its own keys, and a page of what there is."""
    _, report = modules
    for folder in ("bench", "docs"):
        (tmp_path / folder).mkdir()
    assert report.read(tmp_path) == {}
    solver = {key: results[key] for key in ("toolchain", "solver")}
    report.write(report.read(tmp_path) | solver, tmp_path)
    page = (tmp_path / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    assert "## The solver" in page and "## Dense" not in page
    rest = {key: results[key] for key in results if key != "solver"}
    report.write(report.read(tmp_path) | rest, tmp_path)
    assert report.read(tmp_path) == results
    page = (tmp_path / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    assert page == report.markdown(results)


def test_messages_lose_folders_only(modules):
    run, _ = modules
    assert run.without_paths("/a/b-1/c.c:3: no ./include/d.h") == "c.c:3: no ./include/d.h"


def test_the_page_shows_failures_as_text(modules):
    _, report = modules
    row = dict.fromkeys(("instructions", "cycles", "flash_bytes", "ram_bytes", "stack_bytes"))
    row |= {"model": "m", "tool": "t", "mode": "x", "version": "1", "max_abs_error": None}
    row["failure"] = "error: `a|b`\n <b>"
    page = report.markdown({"toolchain": ["gcc"], "networks": {"m": "a network"}, "rows": [row]})
    assert "- t 1, x: `error: 'a|b' <b>`\n" in page
