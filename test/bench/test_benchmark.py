"""The benchmark's results are whole, and docs/benchmarks.md says what they say."""

from __future__ import annotations

import importlib
import json
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "bench" / "results.json"


@pytest.fixture(scope="module")
def modules():
    """bench/run.py and bench/report.py, which are scripts and no package."""
    sys.path.insert(0, str(ROOT / "bench"))
    try:
        yield importlib.import_module("run"), importlib.import_module("report")
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


def test_page_and_plot_are_of_these_results(modules, results):
    _, report = modules
    page = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    assert page == report.markdown(results)
    plot = (ROOT / "docs" / "benchmarks.svg").read_text(encoding="utf-8")
    assert ElementTree.fromstring(plot).tag.endswith("svg")
    assert report.digest(results) in plot


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
