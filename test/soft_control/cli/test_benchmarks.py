"""softctl benchmark: a comparison that is lost is exit code 1."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from soft_control.benchmarks import closed_loops, mass_spring_damper, pages
from soft_control.cli.benchmarks import stages
from soft_control.cli.terminal import FAILED, progress_bar

DOCS = Path(__file__).resolve().parents[3] / "docs"


@pytest.mark.parametrize("won", [True, False])
def test_msd_is_won_against_the_pid_or_lost(won, monkeypatch, softctl):
    values = json.loads((DOCS / "msd_benchmark.json").read_text())
    if not won:
        values["figures"]["step"]["MPC"]["rmse_mm"] = 1e3
    result = mass_spring_damper.Result.model_validate(values)

    def carry_out(benchmark, work, out, progress):
        progress("recording", 1, 2)
        return result

    monkeypatch.setattr(mass_spring_damper, "carry_out", carry_out)
    ended = softctl("benchmark", "msd", "--out", "here")
    assert ended.code == (0 if won else FAILED) and ended.err == ""
    assert "step, MPC" in ended.out and ended.out.endswith("written to here/msd_benchmark.md\n")


@pytest.mark.parametrize("excess", [0.04, 0.06])
def test_closed_loop_is_lost_from_5_percent_on(excess, monkeypatch, softctl):
    against = closed_loops.AgainstIpopt(
        rig="tendon",
        reference="figure_eight",
        cost=1.0 + excess,
        ipopt_cost=1.0,
        rmse_mm=1.0,
        ipopt_rmse_mm=1.0,
        ipopt_unconverged=0,
        samples=100,
    )
    worth = closed_loops.WorthOfParts(
        rig="tendon",
        reference="figure_eight",
        speed=1.0,
        load_mm=(0.0, 0.5, -2.0),
        load_after_s=6.0,
        signal_residual_mm=None,
        variants=[closed_loops.Variant(delay=True, estimate="none", before_mm=1.0, after_mm=2.0)],
    )
    monkeypatch.setattr(closed_loops, "against_ipopt", lambda *_: against)
    monkeypatch.setattr(closed_loops, "worth_of_parts", lambda *_: worth)
    monkeypatch.setattr(pages, "write_page", lambda out, name, **values: out / f"{name}.md")
    ended = softctl("benchmark", "closed-loop", "models/tendon")
    assert ended.code == (FAILED if excess > 0.05 else 0) and ended.err == ""
    assert f"+{100 * excess:.2f} %" in ended.out


def test_a_stage_has_one_bar():
    bar = progress_bar()
    show = stages(bar, lambda what: what.partition(",")[0])
    show("tuning MPC, best 2.0", 1, 10)
    show("tuning MPC, best 1.5", 2, 10)
    show("tuning PID, best 1.0", 1, 5)
    assert [(task.description, task.completed, task.total) for task in bar.tasks] == [
        ("tuning MPC, best 1.5", 2, 10),
        ("tuning PID, best 1.0", 1, 5),
    ]
