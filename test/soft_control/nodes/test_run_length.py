"""The length of a run that no rig ends."""

from __future__ import annotations

import pytest

from soft_control.nodes._run_length import FIRST_S, SPARE_S, RunLength


class Clock:
    """s; it goes on when told to."""

    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_a_run_is_not_shorter_where_its_first_sample_took_its_time():
    clock = Clock()
    run = RunLength(4.0, clock)
    clock.now_s += 60.0  # not all are there
    run.check("a command")
    run.expect()
    clock.now_s += FIRST_S - 0.1
    run.check("a command")
    run.begin()
    clock.now_s += 4.0
    run.begin()  # as each sample says
    run.check("a command")
    assert not run.is_over
    clock.now_s += SPARE_S
    assert run.is_over
    with pytest.raises(SystemExit):
        run.check("a command")


def test_a_run_that_does_not_begin_says_what_it_waits_for():
    clock = Clock()
    run = RunLength(4.0, clock)
    run.expect()
    clock.now_s += FIRST_S
    with pytest.raises(RuntimeError, match="for 10 s without a command: nobody sees"):
        run.check("a command: nobody sees")


def test_without_a_length_there_is_no_end_and_nothing_awaited():
    clock = Clock()
    run = RunLength(0.0, clock)
    run.expect()
    clock.now_s += 1e6
    run.check("a command")
    run.begin()
    clock.now_s += 1e6
    assert not run.is_over
