from __future__ import annotations

import os
import signal

import pytest

from soft_control.design import measure, workers
from soft_control.design.space import present
from soft_control.design.workers import Answer, Job, Workers, carry_out

from .made_up import made_up_task


@pytest.fixture
def job(tmp_path):
    return Job(1, present(made_up_task(tmp_path).robot, signals=True))


def test_a_design_that_cannot_be_measured_is_an_answer_in_one_line(tmp_path, job, monkeypatch):
    def fail(task, design):
        raise RuntimeError("make failed:\nline 7")

    monkeypatch.setattr(workers, "screen", fail)
    answer = carry_out(made_up_task(tmp_path), job)
    assert answer == Answer(job, None, "make failed: line 7")


def test_a_worker_that_was_killed_is_said_and_the_others_end(tmp_path, job):
    task = made_up_task(tmp_path)
    with Workers(1, task) as measure_all:
        measure_all._start()
        ((process, _),) = measure_all._running
        os.kill(process.pid, signal.SIGKILL)
        process.join(10)
        with pytest.raises(RuntimeError, match="exit code -9 .*workers.log.* goes on where"):
            list(measure_all([job]))
    assert not process.is_alive() and not measure_all._running


def test_nothing_to_do_starts_nobody(tmp_path):
    with Workers(2, made_up_task(tmp_path)) as measure_all:
        assert list(measure_all([])) == [] and not measure_all._running


def test_a_loop_that_diverges_is_no_design(tmp_path, monkeypatch):
    task = made_up_task(tmp_path)
    monkeypatch.setattr(measure, "followed", lambda *_: (None, []))
    monkeypatch.setattr(measure, "rmse_and_worst", lambda trace: (float("nan"), 0.0))
    with pytest.raises(RuntimeError, match="diverged"):
        measure.judged(task, None, None)
