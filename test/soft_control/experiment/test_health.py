"""What is said of a node from what it has counted."""

from __future__ import annotations

import pytest

from soft_control.experiment.health import (
    ActuatorWatch,
    Level,
    McuWatch,
    SensorWatch,
    Since,
    WriterWatch,
)


def test_counts_since_they_were_looked_at_last():
    since = Since()
    assert since.last(a=3, b=0) == {"a": 3, "b": 0}
    assert since.last(a=5, b=0) == {"a": 2, "b": 0}
    assert since.last(a=1, b=2) == {"a": 1, "b": 2}, "counted from 0 again after a reset"


def heard(samples, dropped=0, reconnections=0, lost=0):
    return dict(samples=samples, dropped=dropped, reconnections=reconnections, lost=lost)


def test_a_sensor_has_a_rate_and_says_what_it_dropped_once():
    watch = SensorWatch()
    good = watch.judge(2.0, heard(240), silent_s=0.008, away_s=0.0)
    assert (good.level, good.message) == (Level.OK, "120 samples a second")
    assert good.numbers["rate_hz"] == 120 and good.numbers["samples"] == 240
    bad = watch.judge(1.0, heard(350, 10), silent_s=0.008, away_s=0.0)
    assert (bad.level, bad.message) == (Level.WARN, "dropped 10 damaged samples (10 so far)")
    assert bad.numbers["rate_hz"] == 110
    assert watch.judge(1.0, heard(470, 10), silent_s=0.0, away_s=0.0).level is Level.OK


def test_a_silent_sensor_is_an_error():
    health = SensorWatch().judge(1.0, heard(12, 3), silent_s=0.9, away_s=0.0)
    assert (health.level, health.message) == (Level.ERROR, "no valid sample for 0.9 s")


def test_who_is_unplugged_says_so_until_it_is_back_and_then_what_was_lost():
    watch = SensorWatch()
    gone = watch.judge(1.0, heard(100), silent_s=0.9, away_s=0.9)
    assert (gone.level, gone.message) == (Level.ERROR, "unplugged for 0.9 s")
    back = watch.judge(1.0, heard(130, 1, 1, 170), silent_s=0.0, away_s=0.0)
    words = "plugged in again: 170 samples lost; dropped 1 damaged samples (1 so far)"
    assert (back.level, back.message) == (Level.WARN, words)
    assert watch.judge(1.0, heard(250, 1, 1, 170), 0.0, 0.0).level is Level.OK
    watch = ActuatorWatch()
    gone = watch.judge(1.0, counts(commands=9, lost=5), [], False, 0, "hold", away_s=0.8)
    assert gone.level is Level.ERROR
    assert gone.message == "unplugged for 0.8 s; 5 samples lost on the wire"
    back = watch.judge(1.0, counts(commands=9, lost=5, reconnections=1), [], False, 0, "hold")
    assert (back.level, back.message) == (Level.WARN, "plugged in again")


def counts(**changes):
    return dict(commands=0, refused=0, limited=0, lost=0, bad=0, reconnections=0) | changes


def test_actuators_say_who_is_silent_and_what_was_too_old():
    watch = ActuatorWatch()
    idle = watch.judge(1.0, counts(), [], silent=False, errors=0, safe_output="hold")
    assert (idle.level, idle.message) == (Level.OK, "no command yet")
    good = watch.judge(1.0, counts(commands=120), [0.004, 0.006], False, 0, "hold")
    assert (good.level, good.message) == (Level.OK, "120 commands a second")
    assert good.numbers["command_age_ms"] == pytest.approx(6.0)
    gone = watch.judge(1.0, counts(commands=121), [], True, 0, "hold")
    assert gone.level is Level.WARN and gone.numbers["silent"] == 1
    assert gone.message == "the controller is silent: safe output 'hold'"
    late = watch.judge(1.0, counts(commands=130, refused=2), [0.35, 0.005], False, 0, "hold")
    assert late.level is Level.WARN and late.numbers["command_age_ms"] == pytest.approx(350.0)
    assert late.message == "refused 2 commands, the oldest for a sample 0.350 s ago"
    assert watch.judge(1.0, counts(commands=250, refused=2), [0.005], False, 0, "hold").level is (
        Level.OK
    )


def test_all_that_is_wrong_with_actuators_is_said_and_an_error_counts_most():
    health = ActuatorWatch().judge(
        1.0, counts(commands=5, limited=3, lost=1, bad=7), [0.001], True, 0x24, "disarm"
    )
    assert health.level is Level.ERROR
    assert health.message == (
        "error bits 0x24; the controller is silent: safe output 'disarm'; 3 commands limited; "
        "1 samples lost on the wire; 7 damaged answers"
    )


def mcu_counts(**changes):
    return dict(samples=120, deadline_misses=0, bad_frames=0, lost_points=0) | changes


def test_a_microcontroller_has_latency_and_cost_and_its_deadlines_are_events():
    watch = McuWatch()
    good = watch.judge(1.0, mcu_counts(), [4.0, 6.0, 9.0], [50.0, 52.0], "running", "", False)
    assert (good.level, good.message) == (Level.OK, "running, 120 samples a second")
    assert good.numbers["latency_ms"] == 6.0 and good.numbers["latency_ms_max"] == 9.0
    assert good.numbers["step_cost"] == 51.0 and good.numbers["step_cost_max"] == 52.0
    late = watch.judge(
        1.0, mcu_counts(samples=240, deadline_misses=3), [12.0], [], "running", "", False
    )
    assert (late.level, late.message) == (Level.WARN, "running; 3 missed deadlines")
    assert late.numbers["deadline_misses"] == 3 and "step_cost" not in late.numbers
    after = watch.judge(
        1.0, mcu_counts(samples=360, deadline_misses=3), [4.0], [], "running", "", False
    )
    assert after.level is Level.OK


@pytest.mark.parametrize("count", sorted(McuWatch.FAULTS))
def test_each_count_of_the_link_is_an_event_when_it_grows(count):
    watch = McuWatch()
    watch.judge(1.0, {"samples": 1, count: 4}, [], [], "running", "", False)
    new = watch.judge(1.0, {"samples": 2, count: 9}, [], [], "running", "", False)
    assert new.level is Level.WARN and new.message == f"running; 5 {McuWatch.FAULTS[count]}"
    assert new.numbers[count] == 9


def test_a_robot_that_was_stopped_is_an_error_with_its_reason():
    watch = McuWatch()
    assert watch.judge(1.0, {"samples": 0}, [], [], "stopped", "", True).level is Level.OK
    health = watch.judge(1.0, {"samples": 50}, [], [], "fault", "sensor frozen", True)
    assert (health.level, health.message) == (Level.ERROR, "fault: sensor frozen")


def test_a_writer_says_how_much():
    watch = WriterWatch()
    watch.judge(1.0, 1000, 50_000)
    health = watch.judge(2.0, 3000, 250_000)
    assert health.message == "1000 messages, 100 kB a second"
    assert health.numbers["bytes"] == 250_000 and health.numbers["bytes_per_s"] == 100_000
