"""A robot as its messages tell it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from soft_control import robots
from soft_control.monitor.history import ROW_NS
from soft_control.monitor.robots import SILENT_S, STATUSES_MAX, RobotView

START = 1_000_000_000
NAMES = ["x", "y", "z"]


def tendon() -> RobotView:
    return RobotView("/", robots.load("tendon"))


def move(view: RobotView, k: int, now_s: float = 0.0, apart: float = 0.003) -> None:
    """Outputs and reference of row k, `apart` m from each other."""
    stamp = START + k * ROW_NS
    view.sample("outputs", stamp, NAMES, [[0.01, 0.0, 0.001 * k]], now_s)
    view.sample("reference", stamp, NAMES, [[0.01, apart, 0.001 * k]], now_s)


def columns(view: RobotView) -> dict[str, np.ndarray]:
    view.history.flush()
    _, values = view.history.rows(view.history.first, view.history.end)
    return {c.key: values[:, i] for i, c in enumerate(view.history.columns)}


def test_values_are_on_paper_and_errors_are_distances_of_points():
    view = tendon()
    for k in range(5):
        move(view, k)
    found = columns(view)
    np.testing.assert_allclose(found["outputs/z"], [0, 1, 2, 3, 4], rtol=1e-6)
    np.testing.assert_allclose(found["error/tip"], 3.0, rtol=1e-6)
    layout = view.layout()
    assert layout["robot"] == "tendon" and layout["frame"] == "rig_base"
    assert {"stream": "error", "name": "tip", "unit": "mm"} in layout["columns"]
    assert layout["points"] == [
        {"name": "tip", "unit": "mm", "axes": NAMES, "outputs": NAMES},
    ]


def test_names_may_come_in_any_order_and_limits_stand_at_their_commands():
    view = tendon()
    view.sample("commands", START, ["servo_1", "servo_0"], [[0.1, 0.2]], 0.0)
    found = columns(view)
    np.testing.assert_allclose(found["commands/servo_0"], np.degrees(0.2), rtol=1e-6)
    (servo_1, _) = view.layout()["columns"]
    assert servo_1["max"] == pytest.approx(60) and servo_1["unit"] == "deg"


def test_a_run_that_begins_anew_leaves_nothing_of_the_one_before():
    view = tendon()
    for k in range(50):
        move(view, k)
    before = view.history.generation
    move(view, 0)
    assert view.history.generation > before
    assert view.history.end == 0
    assert len(columns(view)["outputs/x"]) == 1


def test_after_its_end_a_run_is_another_one_though_its_stamps_go_on():
    view = tendon()
    for k in range(50):
        move(view, k)
    before = view.history.generation
    view.end()
    move(view, 60)
    assert view.history.generation > before and len(columns(view)["outputs/x"]) == 1
    move(view, 61)
    assert len(columns(view)["outputs/x"]) == 2


def test_one_topic_alone_with_a_clock_of_its_own_does_not_begin_anew():
    """As the stamps of a node that keeps the wall's time beside a run in lockstep."""
    view = tendon()
    for k in range(50):
        move(view, k, now_s=0.04 * k)
        view.sample("signals", 1_700_000_000_000_000_000 + k, ["lace_00"], [[1.0]], 0.04 * k)
    assert len(columns(view)["outputs/x"]) == 50
    assert "signals/lace_00" not in columns(view)


def test_a_topic_that_is_alone_after_another_has_gone_is_followed():
    view = tendon()
    move(view, 0, now_s=0.0)
    view.sample("signals", START * 1000, ["lace_00"], [[1.0]], 10.0)
    assert list(columns(view)) == ["signals/lace_00"]


@pytest.mark.parametrize(
    ("names", "points"),
    [(NAMES, []), (NAMES, [[1.0]]), (["x", "x", "z"], [[1.0, 2.0, 3.0]]), ([], [[1.0]])],
)
def test_what_is_malformed_is_left_out(names, points):
    view = tendon()
    view.sample("outputs", START, names, points, 0.0)
    assert columns(view) == {}


def test_the_horizon_is_what_lies_ahead_in_the_reference():
    view = tendon()
    view.sample("outputs", START, NAMES, [[0.0, 0.0, 0.0]], 0.0)
    view.sample("reference", START, NAMES, [[0.0, 0.0, 0.001 * j] for j in range(4)], 0.0)
    assert view.horizon()["z"] == pytest.approx([0.0, 1.0, 2.0, 3.0])
    view.sample("reference", START + ROW_NS, NAMES, [[0.0, 0.0, 0.0]], 0.0)
    assert view.horizon() is None


def test_the_solvers_numbers_are_curves_with_units():
    view = tendon()
    move(view, 0)
    answer = {"cost": "0.5", "step_cost": "54000", "step_cost_unit": "instructions", "flags": "no"}
    for k, cost in enumerate(("54000", "91000", "53000")):
        view.solver(START + k, answer | {"step_cost": cost}, 0.0)
    found = columns(view)
    assert found["solver/step_cost"].tolist() == [91000.0]
    assert "solver/flags" not in found
    told = {c["name"]: c["unit"] for c in view.layout()["columns"] if c["stream"] == "solver"}
    assert told == {"cost": "", "step_cost": "instructions"}


def test_costs_without_a_unit_are_none():
    view = tendon()
    move(view, 0)
    view.solver(START, {"cost": "1", "step_cost": "0", "step_cost_unit": "none"}, 0.0)
    assert "solver/step_cost" not in columns(view)


def test_a_robot_is_silent_when_nothing_comes_and_its_last_rows_are_shown():
    view = tendon()
    move(view, 0, now_s=100.0)
    assert view.is_live(100.0 + SILENT_S) and view.history.end == 0
    assert not view.is_live(100.1 + SILENT_S) and view.history.end == 1


def test_another_description_means_another_robot():
    view = tendon()
    move(view, 0)
    generation = view.history.generation
    view.describe(robots.load("tendon"))
    assert view.history.generation == generation
    view.describe(robots.load("hasel"))
    assert view.history.generation > generation and view.layout()["robot"] == "hasel"
    move(view, 1)
    assert columns(view)["outputs/z"].tolist() == [1.0]


def test_what_others_call_things_is_text_and_bounded():
    view = tendon()
    for k in range(STATUSES_MAX + 50):
        view.status("/diagnostics", f"\x1b[2J{k}", 2, "m\n" * 5000, [("a", "b\x00")], 0.0)
    view.statistics("/mcu", ["rate_hz", "latency_us", "bad"], [120.0, 6.5, float("nan")], 0.0)
    view.controller("mpc")
    told = view.told(1.0)
    text = json.dumps(told, allow_nan=False)
    assert len(told["statuses"]) == STATUSES_MAX
    assert all(len(status["message"]) <= 300 for status in told["statuses"])
    assert "\\u001b" not in text and "\\n" not in text.replace("\\\\n", "")
    assert told["statistics"][0]["values"] == [
        ["rate_hz", 120.0, "Hz"], ["latency_us", 6.5, "µs"], ["bad", None, ""],
    ]  # fmt: skip
    assert told["controller"] == "mpc" and told["statuses"][0]["age_s"] == 1.0
