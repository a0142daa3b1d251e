"""The search with measurements that are made up: what it tries, keeps, and goes on with."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("optuna", minversion="5", reason="needs soft_control[design]")
pytest.importorskip("pyarrow", reason="needs soft_control[design]")

from pyarrow import parquet  # noqa: E402

from soft_control.design.report import rows_of, write  # noqa: E402
from soft_control.design.search import about  # noqa: E402
from soft_control.design.settings import Budget  # noqa: E402
from soft_control.design.study import STUDY_FILE, Study  # noqa: E402
from soft_control.design.workers import Answer  # noqa: E402

from .made_up import BUDGET, TRIALS, Made, carry_out, made_up_task  # noqa: E402


def lines(out: Path) -> list[str]:
    return (out / STUDY_FILE).read_text(encoding="utf-8").splitlines()


def test_the_same_seed_gives_the_same_study(tmp_path):
    for name in ("a", "b"):
        carry_out(tmp_path / name)
    assert lines(tmp_path / "a") == lines(tmp_path / "b")


def test_a_search_that_was_killed_goes_on_as_if_it_had_not_been(tmp_path):
    """Killed in the midst of a batch, and its last line torn."""
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    program = Path(__file__).with_name("made_up.py")
    process = subprocess.Popen([sys.executable, program, killed], env=dict(os.environ))
    try:
        deadline = time.monotonic() + 60
        while not (killed / STUDY_FILE).exists() or len(lines(killed)) < 5:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    before = lines(killed)
    assert 5 <= len(before) < 1 + TRIALS
    with (killed / STUDY_FILE).open("a", encoding="utf-8") as file:
        file.write(lines(killed)[-1][:40])
    made = Made()
    carry_out(killed, made)
    carry_out(whole)
    assert lines(killed) == lines(whole) and lines(killed)[: len(before)] == before
    screened = [job.number for job in made.jobs if job.folder is None]
    assert screened == list(range(len(before) - 1, TRIALS))


def test_more_trials_go_on_from_where_fewer_ended(tmp_path):
    carry_out(tmp_path / "longer", trials=3)
    _, longer = carry_out(tmp_path / "longer", trials=8)
    _, at_once = carry_out(tmp_path / "at_once", trials=8)
    assert longer.trials == at_once.trials
    assert longer.finalists.keys() >= at_once.finalists.keys()


def test_number_0_is_the_present_design_and_is_measured_whatever_it_costs(tmp_path):
    task, study = carry_out(tmp_path, budget=Budget(instructions=5))
    present = study.trials[0].design
    assert (present.horizon, present.control_horizon, present.iterations) == (8, 6, 6)
    assert present.hidden == (16,) and not present.tail_continues
    assert list(study.finalists) == [0]


def test_designs_beyond_the_budget_are_on_no_front_and_it_is_said(tmp_path):
    task, study = carry_out(tmp_path, trials=12)
    rows = rows_of(study, BUDGET)
    on_front = [row for row in rows if row.on_front]
    beyond = [row for row in rows if row.beyond]
    assert on_front and beyond
    assert all(row.final.costs.instructions_max <= 15_000 for row in on_front)
    for row in beyond:
        assert row.trial.number == 0 or row.final is None
        assert "beyond the budget" in row.verdict and ": longest step " in row.verdict
    write(task, study)
    page = (tmp_path / "design.md").read_text(encoding="utf-8")
    for row in beyond:
        (line,) = (line for line in page.splitlines() if row.name in line)
        assert row.verdict in line
    for row in on_front:
        assert f"| **{row.name}** |" in page


def test_one_that_turns_out_beyond_the_budget_when_it_is_measured_is_not_on_the_front(tmp_path):
    class Dearer(Made):
        def answer(self, job):
            answer = super().answer(job)
            if job.folder is None:
                return answer
            costs = answer.found.costs.model_copy(update={"instructions_max": 99_999})
            return replace(answer, found=answer.found.model_copy(update={"costs": costs}))

    _, study = carry_out(tmp_path, Dearer())
    rows = rows_of(study, BUDGET)
    assert len(study.finalists) > 1 and not any(row.on_front for row in rows)
    assert all("99,999" in row.beyond for row in rows if row.final)


def test_a_design_that_fails_is_kept_with_the_reason(tmp_path):
    class Fails(Made):
        def answer(self, job):
            if job.number % 2 or job.folder:
                return Answer(job, None, "the training diverged")
            return super().answer(job)

    task, study = carry_out(tmp_path, Fails())
    assert [study.trials[n].failed for n in (1, 3)] == ["the training diverged"] * 2
    rows = write(task, study)
    assert not any(row.on_front for row in rows)
    assert "failed: the training diverged" in (tmp_path / "design.md").read_text(encoding="utf-8")


def test_each_design_is_measured_once(tmp_path):
    made = Made()
    narrow = dict(units=(5, 5), layers=(1, 1), input_lags=(1, 1), output_lags=(1, 1))
    narrow |= dict(signals=(False,), beyond_delay=(3, 4), control_horizon=(1, 1))
    narrow |= dict(iterations=(1, 1), methods=("newton",), tail_continues=(True,))
    from soft_control.design.search import search

    task = made_up_task(tmp_path, **narrow)
    study = Study(tmp_path, about(task))
    search(task, study, 9, made)
    study.close()
    assert len(study.trials) == 9
    designs = [job.design for job in made.jobs if job.folder is None]
    assert len(designs) == len(set(designs)) == 3
    assert len(rows_of(study, BUDGET)) == 3


def test_tables_are_the_same_and_say_units(tmp_path):
    task, study = carry_out(tmp_path)
    write(task, study)
    records = parquet.read_table(tmp_path / "designs.parquet").to_pylist()
    with (tmp_path / "designs.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["design"] for row in rows] == [record["design"] for record in records]
    assert [row["instructions"] for row in rows] == [str(r["instructions"]) for r in records]
    front = [record for record in records if record["on_front"]]
    assert front and all(record["rmse_mm"] and record["power_mw"] for record in front)
    assert front[0]["model"] == f"designs/{front[0]['design']}/model"
    svg = (tmp_path / "design.svg").read_text(encoding="utf-8")
    assert svg.startswith("<svg") and front[0]["design"] in svg


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seed": 4}, "its seed was 3, now it is 4"),
        ({"reference": "swirl"}, "its reference was figure_eight, now it is swirl"),
    ],
)
def test_a_study_of_something_else_is_not_gone_on_with(tmp_path, change, said):
    task, _ = carry_out(tmp_path)
    with pytest.raises(ValueError, match=said):
        Study(tmp_path, about(replace(task, **change)))


def test_another_budget_is_another_study(tmp_path):
    task, _ = carry_out(tmp_path)
    with pytest.raises(ValueError, match="its budget was .*choose another --out"):
        Study(tmp_path, about(replace(task, budget=Budget())))


def test_two_searches_do_not_write_into_one_study(tmp_path):
    task = made_up_task(tmp_path)
    study = Study(tmp_path, about(task))
    with pytest.raises(ValueError, match="another search is at work"):
        Study(tmp_path, about(task))
    study.close()
    Study(tmp_path, about(task)).close()


@pytest.mark.parametrize(
    "line", ["nonsense", "[]", "7", '{"number": 1}', '{"design": 3}', json.dumps({"study": {}})]
)
def test_what_is_no_study_is_refused_in_one_line(tmp_path, line):
    task, _ = carry_out(tmp_path)
    path = tmp_path / STUDY_FILE
    path.write_text("\n".join([*lines(tmp_path), line, ""]), encoding="utf-8")
    with pytest.raises(ValueError, match=rf"line {len(lines(tmp_path))}") as refused:
        Study(tmp_path, about(task))
    assert "\n" not in str(refused.value)


def test_a_study_whose_first_line_was_torn_begins_anew(tmp_path):
    (tmp_path / STUDY_FILE).write_text('{"study": {"rob', encoding="utf-8")
    carry_out(tmp_path)
    assert json.loads(lines(tmp_path)[0])["study"]["seed"] == 3
