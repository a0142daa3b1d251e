"""The mass-spring-damper benchmark in small: little training, few trials, one reference."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

pytest.importorskip("tensorflow", reason="training needs soft_control[train]")

from soft_control.benchmarks.mass_spring_damper import (  # noqa: E402
    COLOURS,
    Result,
    carry_out,
    load_benchmark,
    measure,
)

DOCS = Path(__file__).resolve().parents[3] / "docs"


def test_what_is_declared_can_be_read():
    benchmark = load_benchmark()
    assert set(benchmark.references) == {"step", "multi_level"}
    assert benchmark.tuning.seed not in benchmark.evaluation_seeds


@pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc builds the solver")
def test_the_benchmark_in_small(tmp_path: Path):
    full = load_benchmark()
    small = full.model_copy(
        update={
            "record": full.record.model_copy(update={"seeds": [1, 2], "duration_s": 20.0}),
            "training": full.training | {"updates": 300, "hidden": [8]},
            "references": {"step": 3.0},
            "tuning": full.tuning.model_copy(update={"pid_trials": 6, "mpc_trials": 6}),
            "evaluation_seeds": [11],
        }
    )
    stages = set()
    result = carry_out(
        small, tmp_path / "work", tmp_path, lambda what, done, total: stages.add(what[:8])
    )
    assert stages == {"recordin", "training", "tuning P", "tuning M"}
    assert set(result.figures["step"]) == set(COLOURS)
    page = (tmp_path / "msd_benchmark.md").read_text()
    for name, figures in result.figures["step"].items():
        assert f"| step | {name} | {figures['rmse_mm']:.2f} |" in page
    assert "<svg" in (tmp_path / "msd_benchmark.svg").read_text()
    assert Result.model_validate_json((tmp_path / "msd_benchmark.json").read_text()) == result


@pytest.mark.long
@pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc builds the solver")
def test_the_tuning_in_docs_wins(tmp_path: Path):
    """The whole benchmark but for the tuning: a full training, the controllers that docs/ has,
    seeds that no tuning has seen.

    On another kind of processor the training may end with another network. With those of two other
    seeds of the training the same weights win as well: RMSE differs by up to 0.2 %, with preview by
    2 %, and on the step they overshoot by 0.5 to 1.5 %, the PID by 1.7.
    """
    tuned = Result.model_validate_json((DOCS / "msd_benchmark.json").read_text())
    page = (DOCS / "msd_benchmark.md").read_text()
    found = measure(load_benchmark(), tmp_path, tuned)
    assert tuned.mpc_wins() and found.mpc_wins()
    for shape, rows in found.figures.items():
        for name, figures in rows.items():
            said = tuned.figures[shape][name]["rmse_mm"]
            assert f"| {shape.replace('_', ' ')} | {name} | {said:.2f} |" in page
            assert figures["rmse_mm"] == pytest.approx(said, rel=0.05)


def test_winning_means_everywhere_and_in_everything():
    better = {"rmse_mm": 1.0, "rise_s": 1.0, "overshoot_percent": 1.0}
    worse = dict.fromkeys(better, 2.0)
    rest = dict(pid={}, mpc={}, scores={}, free_run_mm=0.0, model_hash="")
    both = {"step": {"MPC": better, "PID": worse}, "multi_level": {"MPC": better, "PID": worse}}
    assert Result(figures=both, **rest).mpc_wins()
    both["multi_level"] = {"MPC": better | {"overshoot_percent": 2.0}, "PID": worse}
    assert not Result(figures=both, **rest).mpc_wins()
