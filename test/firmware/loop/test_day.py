"""A minute of what `make day` does for a day; a host that is silent while the clock goes round."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from soft_control.link.codes import Clock, HostLost, Supervisor

BENCH = Path(__file__).resolve().parents[3] / "bench"
ROUND_S = 2**32 / 1e6


@pytest.fixture(scope="module")
def day():
    sys.path.insert(0, str(BENCH))
    try:
        import day

        return day
    finally:
        sys.path.remove(str(BENCH))


def test_a_minute_of_a_day_is_right_in_every_sample(day, firmware):
    """Numbers, clocks and counters pass 2^32 in it; the timer alone would be 1.2 ms off if it
    counted whole microseconds."""
    found = day.run(firmware, 7200)
    assert not found.problems
    assert abs(found.samples - 7200) <= 1
    assert abs(found.drift_us) < 500


def test_a_day_that_is_wrong_is_found(day, firmware, monkeypatch):
    whole = day.Day._sensor_lines

    def torn(self) -> list[bytes]:
        first, *others = whole(self)
        return [first[:-2], *others]

    monkeypatch.setattr(day.Day, "_sensor_lines", torn)
    found = day.run(firmware, 1200)
    assert any("line of the sensor did not count" in problem for problem in found.problems)
    assert any(problem.startswith("sensor_samples is ") for problem in found.problems)


def test_a_host_that_is_gone_stays_gone_when_the_clock_has_gone_round(wired):
    """In strides of a second: each is a sample, and more than a whole round of the clock."""
    robot = wired("hold")
    robot.upload()
    robot.feel()
    robot.arm(clock=Clock.TIMER, host_timeout_ms=1500, host_lost=HostLost.CONTINUE)
    for _ in range(int(ROUND_S) + 10):
        robot.now_s += 1.0
        robot.feel()
        robot.wait(0.002)  # the servos answer
    stale = [bool(t.flags & Supervisor.HOST_STALE) for t in robot.telemetry]
    assert len(stale) > ROUND_S
    assert stale[:1] == [False] and all(stale[3:])
    robot.heartbeat()
    robot.tick()
    assert not robot.telemetry[-1].flags & Supervisor.HOST_STALE
