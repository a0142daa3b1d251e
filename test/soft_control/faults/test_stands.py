"""Faults that are tried at once, or in one run: each has the outcome that is its own."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from soft_control.faults import stands as stands_module
from soft_control.faults.fault import Fault, Supervised
from soft_control.faults.once import Once
from soft_control.faults.outcome import Outcome
from soft_control.faults.stands import stands


def stopped(name: str, where: str = "rig", **settings) -> tuple[Fault, Supervised]:
    expect = settings.pop("expect", {"exit_code": 0, "same": True})
    asked = {"name": name, "stand": "graph", "what": "stopped", "where": where, "expect": expect}
    return Fault(**asked | settings), Supervised()


@pytest.fixture
def tried(monkeypatch, tmp_path):
    """tried(chosen): outcomes by name, and the names of each run. A run is wrong where `bad` is in
    it."""
    runs: list[list[str]] = []

    def try_together(bench, faults, folder):
        runs.append([fault.name for fault in faults])
        wrong = ["it is another run"] * ("bad" in runs[-1])
        return [Outcome(fault, failures=list(wrong)) for fault in faults]

    def make(*chosen):
        with stands(tmp_path, "tendon") as ready, ready.trying(chosen, 2) as waiting:
            found = {name: outcome_of() for name, outcome_of in waiting.items()}
        return found, runs

    monkeypatch.setattr(stands_module, "prepare", lambda *given: None)
    monkeypatch.setattr(stands_module.graph_stand, "try_together", try_together)
    return make


def test_faults_that_leave_a_run_as_it_is_share_one(tried):
    found, runs = tried(
        stopped("one"),
        stopped("pid", "pid", controller="pid"),
        stopped("two", "logger", duration_s=9.0),
        stopped("three", expect={"exit_code": 0}),
    )
    assert runs[0] == ["one", "two"], "however long each of them would be alone"
    assert sorted(runs[1:]) == [["pid"], ["three"]]
    assert {name: outcome.fault.name for name, outcome in found.items()} == {
        name: name for name in ("one", "two", "pid", "three")
    }
    assert all(outcome.passed for outcome in found.values())


def test_where_a_shared_run_is_another_one_each_is_tried_alone(tried):
    found, runs = tried(stopped("one"), stopped("bad"), stopped("two"))
    assert runs == [["one", "bad", "two"], ["one"], ["bad"], ["two"]]
    assert [name for name, outcome in found.items() if not outcome.passed] == ["bad"]


def test_what_cannot_be_tried_is_said_to_whoever_waits_for_it(tried, monkeypatch):
    def prepare(*given):
        raise ValueError("no such model")

    monkeypatch.setattr(stands_module, "prepare", prepare)
    with pytest.raises(ValueError, match="no such model"):
        tried(stopped("one"))


def test_what_many_need_is_made_once():
    made, barrier = [], threading.Barrier(4)
    once = Once()

    def make():
        time.sleep(0.02)
        made.append(threading.get_ident())
        return object()

    def need(_):
        barrier.wait()
        return once("it", make)

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(need, range(4)))
    assert len(made) == 1 and len(set(map(id, found))) == 1
    with pytest.raises(ZeroDivisionError):
        once("other", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        once("other", object)


def test_a_run_that_is_over_before_its_fault_is_tried_again_longer(tendon_model):
    """Its bag has too little to be under way at all: in lockstep another is over while nobody had
    a processor to disturb it. A process that none of them has is named."""
    pytest.importorskip("rclpy", reason="ROS 2 is not installed")
    run = {"rig": "mass_spring_damper", "controller": "excitation", "for_s": 0.1}
    with stands(tendon_model.model, "") as ready:
        there = ready.try_fault(*stopped("short", "analogue", duration_s=0.2, **run))
        nowhere = ready.try_fault(*stopped("odd", "tracker", duration_s=0.5, **run))
    assert there.failures == []
    assert any("no process tracker among" in failure for failure in nowhere.failures)
