"""The goals of docs/results.md, against tables whose numbers are known."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pa = pytest.importorskip("pyarrow", reason="pip install soft_control[campaign]")
pytest.importorskip("distributed", reason="pip install soft_control[campaign]")

BENCH = str(Path(__file__).resolve().parents[2] / "bench")
UNTOUCHED = {"rig": "tendon", "controller": "mpc", "of": "tip", "unit": "mm", "samples": 2400}


@pytest.fixture(scope="module")
def modules():
    """results_goals and results_signals."""
    sys.path.insert(0, BENCH)
    import results_goals
    import results_signals

    yield results_goals, results_signals
    sys.path.remove(BENCH)


def results(*rows: dict):
    """A table of made-up rows, each of a seed of its own."""
    from soft_control.campaign.results import Results
    from soft_control.campaign.store import SCHEMA

    plain = {"reference": "swirl", "disturbance": "nominal", "doubted_sound": 0}
    numbered = [UNTOUCHED | plain | {"number": i, "seed": i} | row for i, row in enumerate(rows)]
    return Results(pa.Table.from_pylist(numbered, schema=SCHEMA))


def measured(modules, goal, moving=(), watched=(), watched_s=600.0):
    """What comes of a goal, as the page says it, and the verdict."""
    of = modules[0].measure(goal, results(*moving), results(), results(*watched), watched_s)
    return of.figure, of.verdict


def failed(channel: str, found_s: float | None, rmse: float = 0.5, largest: float = 1.0) -> dict:
    task = f"channel_dead:{channel}"
    return {"disturbance": task, "found_s": found_s, "rmse": rmse, "max": largest}


def test_a_goal_of_errors_says_by_how_much_it_is_missed(modules):
    goal = modules[0].Goal("tendon", "g", "mpc", ("channel_dead",), 1.5, 4.0)
    rows = [failed("lace_00", 0.0, 1.4, 4.5), failed("lace_05", 0.0, 1.8, 3.0)]
    figure, verdict = measured(modules, goal, rows)
    assert figure == "1.80 / 4.50 (channel_dead:lace_05 / channel_dead:lace_00)"
    assert verdict == "**missed**, RMSE by 0.3, largest by 0.5"
    assert measured(modules, goal, rows[:1]) == ("1.40 / 4.50", "**missed**, largest by 0.5")
    assert measured(modules, goal, [failed("lace_00", 0.0)]) == ("0.50 / 1.00", "reached")
    assert measured(modules, goal) == ("-", "not measured")


def test_a_goal_of_finding_is_of_every_run(modules):
    goal = modules[0].Goal("tendon", "g", "mpc", ("channel_dead",), found_s=0.5)
    rows = [failed("lace_00", 0.1), failed("lace_00", 0.3), failed("lace_05", 0.5)]
    figure, verdict = measured(modules, goal, rows)
    assert figure == "mean 0.30 s, worst 0.50 s (channel_dead:lace_05)" and verdict == "reached"
    figure, verdict = measured(modules, goal, [*rows, failed("lace_10", 1.25)])
    assert figure.endswith("worst 1.25 s (channel_dead:lace_10)")
    assert verdict == "**missed**, by 0.75 s"
    figure, verdict = measured(modules, goal, [*rows, failed("lace_05", None)])
    assert figure.endswith("in 1 of 4 runs never") and verdict == "**missed**"
    figure, verdict = measured(modules, goal, [failed("lace_05", None)])
    assert (figure, verdict) == ("found in none of 1 runs", "**missed**")
    silent = failed("lace_05", None) | {"doubted_sound": None}
    assert measured(modules, goal, [silent])[1] == "**missed**"


def test_no_false_alarm_is_a_goal_of_long_runs_alone(modules):
    goal = modules[0].Goal("tendon", "g", "mpc", ("nominal",), silent=True)
    calm, nervous = ({"doubted_sound": count, "rmse": 1.0, "max": 2.0} for count in (0, 17))
    assert measured(modules, goal, [nervous], [calm]) == ("0 of 2,400 samples", "reached")
    figure, verdict = measured(modules, goal, [calm], [calm, nervous])
    assert (figure, verdict) == ("17 of 4,800 samples", "**missed**")
    assert measured(modules, goal, [calm], [calm], 60.0) == ("-", "not measured")


def test_signals_by_kind_by_channel_and_where_none_lies(modules):
    rows = [failed("lace_00", 0.1, 0.6), failed("lace_05", 0.4, 0.8), failed("lace_05", None, 1.0)]
    calm = {"doubted_sound": 5, "rmse": 1.0, "max": 2.0}
    found = modules[1].signals_of("tendon", ["mpc"], results(*rows, calm), results(calm))
    (kind,) = found.kinds["mpc"]
    assert (kind.name, kind.worst_s, kind.worst_rmse) == ("channel_dead", "lace_05", "lace_05")
    assert modules[1].found_after(kind.doubt) == "0.25 / 0.40, never in 1 of 3"
    assert found.ways == ["channel_dead"] and [c.name for c in found.channels] == [
        "lace_00", "lace_05",
    ]  # fmt: skip
    ((figure, doubt),) = found.channels[0].found
    assert (figure.rmse, doubt.worst_s) == (pytest.approx(0.6), pytest.approx(0.1))
    assert [(a.task, a.watched) for a in found.alarms] == [("nominal", True), ("nominal", False)]
    assert modules[1].alarmed(found.alarms[0].doubts[0]) == "5 of 2,400, 1 runs"


def test_channels_that_fail_in_one_way_are_one_task_of_all_their_runs(modules):
    from soft_control.campaign.results import Results
    from soft_control.campaign.store import SCHEMA

    rows = [UNTOUCHED | {"seed": 0, "number": i, "reference": "swirl"} | failed(channel, 0.1, rmse)
            for i, (channel, rmse) in enumerate((("lace_00", 1.0), ("lace_05", 2.0)))]  # fmt: skip
    found = Results(modules[1].folded(pa.Table.from_pylist(rows, schema=SCHEMA)))
    assert found.names("disturbance", "tendon") == ["channel_dead"]
    assert found.figure(found.rows("tendon", "channel_dead", "mpc")).rmse == pytest.approx(1.5)
