"""The loop where sensor and actuators are the microcontroller's own: its clocks, its commands, and
the host's, in sil."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from soft_control.control.mpc_settings import physical_settings
from soft_control.firmware_instruments import actuator_config
from soft_control.link.codes import (
    TETHERED,
    Cause,
    Clock,
    ErrorCode,
    HostLost,
    SolverStatus,
    Source,
    State,
    Supervisor,
    Wiring,
)
from soft_control.link.dynamixel import Dynamixel
from soft_control.link.lace_line import format_line
from soft_control.link.messages import Arm, Configure, Drive, Error, Info, Measurement, Sample, Stop
from soft_control.link.transport import Port

from .wired import (
    CIRCLE,
    MOVE_MAX,
    ORIGIN,
    PERIOD_S,
    REST,
    Wired,
    assert_bounded_speed,
    resolution,
)

OLD_MS = 16
"""Two samples."""


def commands(robot: Wired) -> np.ndarray:
    return np.array([one.command for one in robot.telemetry])


# ------------------------------------------------------------------ samples are the clock


def follow_circle(robot: Wired, samples: int) -> None:
    robot.upload(CIRCLE, samples=137.0, blend=0.0005)
    robot.arm()
    robot.run(samples)


def test_the_same_run_twice_gives_the_same_bits(wired):
    first, second = wired("hold"), wired("hold")
    for robot in (first, second):
        follow_circle(robot, 300)
    second.tell(Stop())
    second.tell(Stop())
    again = wired("hold")
    again.now_s += 7.0  # by another time, and as the second run of a firmware
    again.upload()
    again.arm()
    again.run(50)
    again.tell(Stop())
    again.tell(Stop())
    again._samples = 0  # what the sensor shows is the same again
    again.shown.clear()
    follow_circle(again, 300)
    assert np.ptp(commands(first), axis=0).min() > 0.1
    for robot in (second, again):
        assert (commands(robot)[:300] == commands(first)).all()
        assert [o.command for o in robot.shown[:300]] == [o.command for o in first.shown[:300]]


def test_both_wirings_give_the_same_commands_bit_for_bit(wired):
    """The host calibrates in float32, as the firmware does: counts / full scale."""
    mcu, host = wired("hold"), wired("hold")
    follow_circle(mcu, 300)
    host.upload(CIRCLE, samples=137.0, blend=0.0005)
    host.arm(wiring=Wiring.HOST)
    full = np.float32(host.robot.full_scale_counts[:4])
    for k in range(300):
        counts = np.float32(host.counts()[:4])
        signals = np.divide(counts, full, out=np.zeros(4, np.float32), where=full > 0)
        host.tell(Sample(k, host.host_us, tuple(signals.tolist()), ORIGIN))
    assert len(host.telemetry) == 300
    for ours, theirs in zip(mcu.telemetry, host.telemetry, strict=True):
        same = replace(theirs, **{name: getattr(ours, name) for name in (
            "time_us", "latency_us", "voltage", "temperature",
        )})  # fmt: skip
        assert ours == same
    assert host.shown == []  # it drives nothing


def test_what_stands_on_the_wire_is_what_the_host_would_write(wired):
    """A Dynamixel master of our own link, told the commands of TELEMETRY."""
    robot = wired("hold")
    follow_circle(robot, 200)
    master = Dynamixel(actuator_config(robot.robot), 2)
    twin = wired("hold").device
    for one, shown in zip(robot.telemetry, robot.shown, strict=True):
        twin.feed(master.drive(one.command))
        assert tuple(map(float, twin.command)) == shown.command
    # And as near to them as a servo's step allows; at a limit it is rounded inwards.
    way = np.array([shown.command for shown in robot.shown]) - commands(robot)
    assert np.abs(way).max() <= resolution(robot.robot)
    assert np.median(np.abs(way)) <= resolution(robot.robot) / 2


def test_a_trajectory_is_met_at_bounded_speed(wired):
    robot = wired("hold")
    follow_circle(robot, 300)
    reference = np.array([one.reference for one in robot.telemetry])
    moves = np.abs(np.diff([ORIGIN, *reference[:20]], axis=0))
    assert moves.max() <= 0.00056  # as fast as the circle itself, once it is met
    assert moves[0].max() <= 0.0005 + 1e-7
    angle = 2 * np.pi * np.arange(137, 300) / 137
    circle = np.stack([0 * angle, 0.012 * np.sin(angle), 0.012 * np.cos(angle)], axis=1)
    assert np.abs(reference[137:] - circle).max() < 2e-5  # a chord is below the arc


# ------------------------------------------------------------------ the timer is the clock


@pytest.mark.parametrize("start", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_the_timer_follows_the_sensors_phase(wired, start):
    """Wherever in a period it begins, after a second the newest sample is 2 ms old at most; and
    none is missed or held while the sensor keeps its rate."""
    robot = wired("hold")
    robot.upload()
    robot.feel()
    robot.wait(start * PERIOD_S)
    robot.arm(clock=Clock.TIMER, sensor_timeout_ms=60)
    robot.wait((1 - start) * PERIOD_S)
    robot.run(360)
    late = robot.telemetry[120:]
    assert max(one.latency_us for one in late) <= 2000
    assert not any(one.flags & (Supervisor.SENSOR_HELD | Supervisor.GAP) for one in late)
    assert [one.k for one in late] == list(range(late[0].k, late[0].k + len(late)))
    assert_bounded_speed(robot.shown, robot.robot, REST)


@pytest.mark.parametrize("rate", [0.99, 1.01])
def test_a_sensor_that_is_a_percent_off_is_followed(wired, rate):
    robot = wired("hold")
    robot.upload()
    robot.arm(clock=Clock.TIMER)
    for _ in range(600):
        robot.feel()
        robot.wait(PERIOD_S / rate)
    late = robot.telemetry[200:]
    held = sum(bool(one.flags & Supervisor.SENSOR_HELD) for one in late)
    assert held <= 0.02 * len(late)
    assert len(robot.telemetry) == pytest.approx(600, abs=7)


def test_periods_that_were_missed_are_counted(wired):
    """The processor was away for eleven periods."""
    robot = wired("hold")
    robot.upload()
    robot.arm(clock=Clock.TIMER)
    robot.run(100)
    before = robot.telemetry[-1]
    robot.now_s += 11 * PERIOD_S
    robot.run(20)
    after = next(one for one in robot.telemetry if one.k > before.k)
    assert after.flags & Supervisor.GAP
    assert after.k - before.k - 1 == after.missed_samples == pytest.approx(11, abs=1)
    assert robot.hello().missed_samples == after.missed_samples
    assert robot.telemetry[-1].k - after.k == pytest.approx(19, abs=1)
    assert_bounded_speed(robot.shown, robot.robot, REST)


def test_without_a_new_sample_the_signals_before_are_used(wired):
    robot = wired("hold")
    robot.upload()
    robot.arm(clock=Clock.TIMER, sensor_timeout_ms=100)
    robot.run(100)
    signals = robot.telemetry[-1].signals
    robot.wait(3 * PERIOD_S)
    assert robot.telemetry[-1].flags & Supervisor.SENSOR_HELD
    assert robot.telemetry[-1].signals == signals
    assert robot.state == State.RUNNING


# ------------------------------------------------------------------ how a run begins and ends


@pytest.mark.parametrize("clock", Clock)
@pytest.mark.parametrize("safe", ["hold", "neutral", "disarm"])
def test_nothing_moves_before_the_sensor_has_been_seen(wired, clock, safe):
    robot = wired(safe)
    robot.upload()
    robot.arm(clock=clock, sensor_timeout_ms=100)
    robot.wait(0.05)
    robot.feel(b"1,2,3\n")  # no sample
    robot.wait(0.04)
    assert robot.state == State.ARMED and robot.shown == []
    robot.wait(0.05)
    told = robot.hello()
    assert (told.state, told.cause) == (State.STOPPED, Cause.SENSOR_SILENT)
    assert not robot.device.armed
    robot.arm(clock=clock, sensor_timeout_ms=100)
    robot.run(3)
    assert robot.state == State.RUNNING and robot.device.armed


def test_two_samples_that_are_none_end_a_run_before_it_has_begun(wired):
    robot = wired("hold")
    robot.arm()
    for _ in range(2):
        robot.tick(b"1,2,3\n")
    assert robot.state == State.STOPPED and robot.shown == []


def test_a_host_that_goes_before_the_sensor_has_been_seen_lets_nothing_move(wired):
    """The run holds before it has begun: where ARM says, but not before the sensor is there."""
    robot = wired("hold")
    robot.upload()
    times = {"host_timeout_ms": 50, "sensor_timeout_ms": 300}
    robot.arm(clock=Clock.TIMER, host_lost=HostLost.HOLD, **times)
    robot.wait(0.2)
    robot.feel(b"1,2,3\n")  # no sample
    robot.wait(0.05)
    assert robot.state == State.HOLDING
    assert robot.shown == [] and not robot.device.armed
    robot.run(20, beats=False)
    assert robot.state == State.HOLDING and robot.device.armed
    assert robot.command == pytest.approx(REST, abs=resolution(robot.robot))
    robot.wait(0.35)
    assert robot.hello().cause == Cause.SENSOR_SILENT


def test_a_run_that_has_not_begun_leaves_no_word_to_the_actuators(wired):
    """Stopped twice before the first sample: nothing was driven, and nothing is let go."""
    robot = wired("neutral")
    robot.arm()
    for state in (State.STOPPED, State.IDLE):
        (info,) = robot.tell(Stop())
        assert info.state == state
        robot.wait(0.05)
    assert robot.shown == [] and not robot.device.armed


@pytest.mark.parametrize("clock", Clock)
def test_stop_once_is_the_safe_output_and_twice_lets_go(wired, clock):
    robot = wired("neutral")
    robot.upload()
    robot.arm(clock=clock)
    robot.run(40)
    last = robot.command
    robot.tell(Stop())
    robot.wait(60 * PERIOD_S)
    neutral = robot.robot.command_neutral
    assert robot.state == State.STOPPED and robot.device.armed
    assert np.abs(last - neutral).max() > 10 * MOVE_MAX
    assert robot.command == pytest.approx(neutral, abs=resolution(robot.robot))
    assert_bounded_speed(robot.shown, robot.robot, REST)
    (info,) = robot.tell(Stop())
    assert info.state == State.IDLE and not robot.device.armed
    count = len(robot.shown)
    robot.run(10)
    assert len(robot.shown) == count  # nothing is driven any more
    robot.arm(clock=clock, command=(0.1, 0.1))  # where somebody has put it
    robot.run(5)
    assert np.abs(np.subtract(robot.shown[count].command, 0.1)).max() <= MOVE_MAX + 0.006


@pytest.mark.parametrize("clock", Clock)
def test_a_run_that_goes_on_is_not_armed_anew(wired, clock):
    robot = wired("hold")
    robot.upload()
    arm = robot.arm_message(clock=clock)
    robot.tell(arm)
    robot.run(20)
    robot.wait(0.01)
    for other in (replace(arm, host_us=robot.host_us), replace(arm, k=arm.k + 1)):
        assert robot.tell(other) == [Error(ErrorCode.WRONG_STATE, Arm.TYPE)]
    k = robot.telemetry[-1].k
    (info,) = robot.tell(arm)  # its answer was damaged, and so it comes again
    assert isinstance(info, Info) and info.state == State.RUNNING
    robot.run(2)
    assert robot.telemetry[-1].k > k


@pytest.mark.parametrize("wiring", Wiring)
def test_a_robot_under_way_gains_no_move_by_being_armed_again(wired, wiring):
    """ARM and a sample, again and again, as fast as a line can."""
    robot = wired("hold")
    robot.upload()
    arm = {"wiring": wiring, "clock": Clock.TIMER}
    robot.arm(**arm)
    told, times = [], []

    def sample(k: int) -> None:
        count = len(robot.telemetry)
        if wiring == Wiring.HOST:
            robot.tell(Sample(k, robot.host_us, (0.5, 0.0, 0.0, 0.0), ORIGIN))
        else:
            robot.feel()
        for one in robot.telemetry[count:]:
            told.append(one.command)
            times.append(robot.now_s)

    for k in range(5):
        sample(k)
        robot.wait(PERIOD_S)
    for _ in range(50):
        if wiring == Wiring.MCU:
            robot.tell(Stop())  # else a running one is not armed
        robot.arm(**arm, command=(1.0, 0.5))
        sample(0)
        robot.wait(PERIOD_S / 9)
    if wiring == Wiring.MCU:
        robot.run(20)
        assert_bounded_speed(robot.shown, robot.robot, REST)
    else:
        passed = np.diff(times) / PERIOD_S
        moves = np.abs(np.diff(told, axis=0)).max(axis=1)
        assert len(told) == 55 and (moves <= MOVE_MAX * np.minimum(passed, 1.0) + 2e-6).all()


# ------------------------------------------------------------------ the host is lost


@pytest.mark.parametrize("clock", Clock)
@pytest.mark.parametrize("safe", ["hold", "neutral", "disarm"])
def test_host_lost_continue_goes_on_and_hold_holds(wired, clock, safe):
    """Also where the safe output would be another one; holding is left by ARM only."""
    lost = {"clock": clock, "host_timeout_ms": 100}
    goes_on, holds, never = wired(safe), wired(safe), wired(safe)
    for robot, choice in (
        (goes_on, HostLost.CONTINUE), (holds, HostLost.HOLD), (never, HostLost.CONTINUE),
    ):  # fmt: skip
        robot.upload(CIRCLE, samples=137.0)
        robot.arm(**lost, host_lost=choice)
        robot.run(60, beats=robot is never)
        robot.run(100, beats=robot is never)
    assert goes_on.state == State.RUNNING
    assert (commands(goes_on) == commands(never)).all()
    assert holds.state == State.HOLDING
    last = next(one.k for one in holds.telemetry if one.state == State.HOLDING) - 1
    assert (commands(holds)[last:] == commands(holds)[last]).all()
    assert (commands(goes_on)[last:] != commands(holds)[last:]).any()
    assert np.abs(commands(holds)[last] - holds.robot.command_neutral).max() > MOVE_MAX
    assert holds.device.armed
    holds.run(20)
    assert holds.state == State.HOLDING
    holds.arm(**lost)
    holds.run(3)
    assert holds.state == State.RUNNING
    assert_bounded_speed(holds.shown, holds.robot, REST)


# ------------------------------------------------------------------ the host's own commands

DRIVEN = {"source": Source.HOST, "age_max_ms": OLD_MS}


def test_commands_of_the_host_pass_the_gate(wired, settings):
    """Limits, speed, and bounds that CONFIGURE has narrowed meanwhile."""
    robot = wired("hold")
    robot.arm(**DRIVEN)
    for k in range(80):
        assert robot.drive(k, (9.0, -9.0)) == []
        robot.tick()
    assert commands(robot)[-1] == pytest.approx((1.396, -1.745))
    assert all(one.status == SolverStatus.NONE for one in robot.telemetry)
    assert robot.telemetry[5].flags & Supervisor.LIMITED
    narrow = physical_settings(settings, robot.robot) | {"command_max": [0.5, 0.5]}
    robot.tell(Configure(**narrow))
    for k in range(80, 120):
        robot.drive(k, (9.0, -9.0))
        robot.tick()
    assert commands(robot)[-1] == pytest.approx((0.5, -1.745))
    assert robot.hello().limited >= 100
    assert_bounded_speed(robot.shown, robot.robot, REST)


@pytest.mark.parametrize("bad", [math.nan, math.inf, 3.4e38])
def test_a_command_that_is_none_is_refused(wired, bad):
    robot = wired("hold")
    robot.arm(**DRIVEN, clock=Clock.TIMER)
    robot.run(5)
    assert robot.drive(5, (bad, 0.0)) == [Error(ErrorCode.BAD_VALUE, Drive.TYPE)]
    robot.run(5)
    assert (commands(robot) == commands(robot)[0]).all()


def test_before_the_first_command_the_robot_stays_where_arm_says(wired):
    """Also where an earlier run has left commands."""
    robot = wired("hold")
    robot.arm(**DRIVEN, clock=Clock.TIMER)
    robot.run(20)
    assert commands(robot) == pytest.approx(np.tile(REST, (len(robot.telemetry), 1)))
    robot.drive(0, (1.0, 0.5))
    robot.run(30)
    robot.tell(Stop())
    last = robot.command
    robot.arm(**DRIVEN, clock=Clock.TIMER)
    robot.run(20)
    assert robot.command == pytest.approx(last, abs=resolution(robot.robot))


def test_a_sample_waits_for_its_command_and_no_other(wired):
    robot = wired("hold")
    robot.arm(**DRIVEN)
    robot.drive(3, (1.0, 0.5))
    robot.drive(2**32 - 1, (1.0, 0.5))
    robot.tick()
    assert robot.telemetry == []
    robot.drive(0, (-0.15, -0.4))
    assert [one.k for one in robot.telemetry] == [0]
    assert commands(robot)[-1] == pytest.approx((-0.15, -0.4))


@pytest.mark.parametrize("clock", Clock)
def test_a_command_that_was_lost_is_no_end(wired, clock):
    """The host goes on with the next k; where samples are the clock, one counts as missed."""
    robot = wired("hold")
    robot.arm(**DRIVEN, clock=clock)
    for k in range(40):
        if k != 20:
            robot.drive(k, (-0.17 + 0.01 * k, -0.4))
        robot.tick()
    assert robot.state == State.RUNNING
    assert commands(robot)[-1] == pytest.approx((0.22, -0.4))
    if clock == Clock.SAMPLES:
        assert [one.k for one in robot.telemetry] == [*range(20), *range(21, 40)]
        (gap,) = [one for one in robot.telemetry if one.flags & Supervisor.GAP]
        assert gap.k == 21 and robot.hello().missed_samples == 1


@pytest.mark.parametrize("choice", HostLost)
def test_samples_do_not_wait_for_a_host_that_is_lost(wired, choice):
    """Twelve samples wait, then ARM's choice is made; each sample is then one again."""
    robot = wired("hold")
    robot.arm(**DRIVEN, host_timeout_ms=100, host_lost=choice)
    for k in range(20):
        robot.drive(k, (-0.17 + 0.02 * k, -0.4))
        robot.tick()
    robot.run(40, beats=False)
    states = {HostLost.CONTINUE: State.RUNNING, HostLost.HOLD: State.HOLDING,
              HostLost.STOP: State.STOPPED}  # fmt: skip
    assert robot.state == states[choice]
    assert commands(robot)[-1] == pytest.approx((0.21, -0.4))
    numbers = [one.k for one in robot.telemetry]
    assert numbers[19] == 19 and len(numbers) >= 45


def test_a_robot_that_holds_waits_for_no_host_that_is_back(wired):
    """Its heartbeats alone bring no command, and none is needed."""
    robot = wired("hold")
    robot.arm(**DRIVEN, host_timeout_ms=100, host_lost=HostLost.HOLD)
    for k in range(20):
        robot.drive(k, (-0.17 + 0.02 * k, -0.4))
        robot.tick()
    robot.run(20, beats=False)
    count = len(robot.telemetry)
    robot.run(30)
    assert robot.state == State.HOLDING
    assert [one.k for one in robot.telemetry[count:]] == [*range(40, 70)]
    assert not robot.telemetry[-1].flags & Supervisor.HOST_STALE
    assert commands(robot)[-1] == pytest.approx((0.21, -0.4))


def test_a_host_that_says_nothing_for_long_is_waited_for_a_hundred_samples(wired):
    """Without a time-out; and the gaps are crossed a hundred at a time."""
    robot = wired("hold")
    robot.arm(**DRIVEN)
    robot.run(250)
    assert [one.k for one in robot.telemetry] == [100, 201]
    assert commands(robot) == pytest.approx(np.tile(REST, (2, 1)))
    assert robot.hello().missed_samples == 200


def test_a_tethered_sample_waits_for_its_position(wired):
    robot = wired("hold")
    robot.upload()
    robot.arm(tethered_samples=TETHERED, host_timeout_ms=100)
    robot.tell(Measurement(0, robot.host_us, ORIGIN))
    robot.tick()
    assert [one.k for one in robot.telemetry] == [0]
    robot.tick()
    assert len(robot.telemetry) == 1
    robot.tell(Measurement(2, robot.host_us, ORIGIN))  # of another sample
    assert len(robot.telemetry) == 1
    robot.tell(Measurement(1, robot.host_us, ORIGIN))
    assert [one.k for one in robot.telemetry] == [0, 1]
    robot.run(40, beats=False)  # the host is lost, and the robot goes on untethered
    assert robot.state == State.RUNNING and robot.telemetry[-1].k == 41


# ------------------------------------------------------------------ late messages, in bursts


def test_a_host_that_was_stopped_for_three_seconds_drives_nothing_by_what_is_old(wired):
    """Its commands wait in a queue and then come at once, with the newest one last."""
    robot = wired("hold")
    robot.arm(**DRIVEN, clock=Clock.TIMER)
    sent = 0
    for _ in range(120):
        robot.drive(sent, (-0.17 + 0.002 * sent, -0.4))
        sent += 1
        robot.tick()
    before = robot.command
    stopped_us = robot.host_us
    robot.run(360, beats=False)
    assert (robot.command == before).all()
    queued = [
        Drive(sent + i, (stopped_us + round(i * PERIOD_S * 1e6)) % 2**32, (1.3, 0.8))
        for i in range(360)
    ]
    fresh = [one for one in queued if (robot.host_us - one.host_us) % 2**32 <= OLD_MS * 1000]
    old = queued[: len(queued) - len(fresh)]
    refusal = Error(ErrorCode.TOO_OLD, Drive.TYPE)
    answers = robot.tell(*old)
    assert answers == [refusal] * len(old) and len(old) >= 356
    assert robot.hello().refused == len(old)
    robot.run(10, beats=False)
    assert (robot.command == before).all()
    robot.drive(sent + 400, (-0.2, -0.4))
    robot.run(60, beats=False)
    assert robot.command == pytest.approx((-0.2, -0.4), abs=resolution(robot.robot))
    assert_bounded_speed(robot.shown, robot.robot, REST)


def test_fresh_commands_in_a_burst_move_no_faster(wired):
    robot = wired("hold")
    robot.arm(**DRIVEN, clock=Clock.TIMER)
    robot.run(10)
    for k in range(300):
        robot.drive(k, ((-1) ** k * 1.3, 0.8))
        if k % 30 == 0:
            robot.feel()
            robot.wait(PERIOD_S / 3)
    robot.run(20)
    assert_bounded_speed(robot.shown, robot.robot, REST)


def test_samples_of_the_host_that_come_late_and_in_a_burst(wired):
    """With wiring host. What is older than two samples is refused, what is not moves no faster than
    the time that has passed allows."""
    robot = wired("hold")
    robot.upload()
    robot.arm(wiring=Wiring.HOST, clock=Clock.TIMER, age_max_ms=OLD_MS)
    told, times = [], []

    def sample(k: int, host_us: int) -> list:
        count = len(robot.telemetry)
        answer = robot.tell(Sample(k, host_us % 2**32, (0.5, 0.0, 0.0, 0.0), ORIGIN))
        for one in robot.telemetry[count:]:
            told.append(one.command)
            times.append(robot.now_s)
        return answer

    for k in range(5):
        sample(k, robot.host_us)
        robot.wait(PERIOD_S)
    stopped_us = robot.host_us
    robot.wait(3.0)
    queued = [stopped_us + round(i * PERIOD_S * 1e6) for i in range(361)]
    answers = [answer for i, sent in enumerate(queued[:-3]) for answer in sample(5 + i, sent)]
    # The first hundred could be the next sample but for their age; the others are too far ahead.
    assert answers[:100] == [Error(ErrorCode.TOO_OLD, Sample.TYPE)] * 100
    assert len(answers) == 358 and robot.hello().refused == 101
    for k in range(5, 65):  # fresh, but within a period
        sample(k, robot.host_us)
        robot.wait(PERIOD_S / 60)
    passed = np.maximum(np.diff(times), 0) / PERIOD_S
    moves = np.abs(np.diff(told, axis=0)).max(axis=1)
    assert len(told) == 65 and (moves <= MOVE_MAX * np.minimum(passed, 1.0) + 2e-6).all()
    assert np.abs(np.subtract(told[-1], told[4])).max() <= 2 * MOVE_MAX + 1e-5


# ------------------------------------------------------------------ HASEL actuators


def hasel(wired, **arm) -> Wired:
    robot = wired("hasel")
    robot.device.supply_v = 6000.0
    robot.arm(**arm)
    return robot


def test_the_mean_duty_is_bounded_for_ever(wired):
    """Half a second is the time constant of the mean; it may be passed for as long as that only."""
    robot = hasel(wired, **DRIVEN)
    for k in range(600):
        robot.drive(k, (1.3, 1.3))
        robot.tick()
    duty = np.array([shown.command for shown in robot.shown]) + 1.745
    mean, means = np.zeros(2), []
    for one in duty:
        mean = mean + (1 - math.exp(-PERIOD_S / 0.5)) * (one - mean)
        means.append(mean)
    assert duty.max() > 2.9  # for a while
    # At 1.5 it goes down as fast as it may move: 30 samples, by half of the 1.5 too much.
    assert np.max(means) < 1.5 + 30 * 0.75 * 0.0165
    assert np.mean(duty[300:], axis=0) == pytest.approx([1.5, 1.5], abs=0.05)
    assert robot.state == State.RUNNING


@pytest.mark.parametrize(
    ("change", "cause"),
    [({"faults": 1}, 10), ({"supply_v": 2900.0}, 11), ({"supply_v": 9100.0}, 11),
     ({"temperature_c": 70.5}, 12)],
    ids=["fault", "low", "high", "hot"],
)  # fmt: skip
@pytest.mark.parametrize("clock", Clock)
def test_a_driver_in_trouble_is_disarmed(wired, clock, change, cause):
    robot = hasel(wired, clock=clock)
    robot.run(20)
    assert robot.device.armed
    vars(robot.device).update(change)
    at_s = robot.now_s
    robot.run(5)
    told = robot.hello()
    assert (told.state, told.cause) == (State.FAULT, cause)
    off = [shown for shown in robot.shown if shown.at_s > at_s and not shown.armed]
    assert off[0].at_s - at_s < 0.020
    assert not robot.device.armed
    assert all(not shown.armed for shown in robot.shown if shown.at_s >= off[0].at_s)


def test_answers_that_are_damaged_are_counted(wired):
    robot = hasel(wired)
    robot.run(3)
    robot._answers.append((robot.now_s, b"\x05\x21\x01\x01\x01\x00"))
    robot.run(3)
    assert robot.hello().actuator_bad == 1 and robot.state == State.RUNNING


def test_a_flood_on_a_line_keeps_nobody_from_anything(wired):
    """Noise of five times what a board keeps, on each line; then all goes on. The sensor's line is
    too long once, which is one damaged sample."""
    robot = wired("hold")
    robot.transport.write_to(Port.SENSOR, b"\n" * 9000)  # while it is idle: each is counted
    assert robot.hello().sensor_dropped == 9000
    robot.upload()
    robot.arm()
    robot.run(5)
    robot.transport.write_to(Port.ACTUATOR, b"\xff" * 20_000)
    robot.transport.write_to(Port.SENSOR, b"9" * 20_000)
    robot.transport.write_to(Port.HOST, b"\x01" * 20_000 + b"\0")
    told = robot.hello()
    assert (told.sensor_dropped, told.bad_frames) == (9001, 1)
    robot.wait(PERIOD_S)
    robot.run(1)  # ends the long line
    count = len(robot.telemetry)
    robot.run(20)
    assert robot.state == State.RUNNING and len(robot.telemetry) == count + 20
    assert robot.telemetry[-1].voltage > 0.0 and robot.hello().actuator_bad == 0


def test_telemetry_that_the_line_has_no_room_for_is_counted(wired):
    """Nobody reads the host's line, which keeps 8192 bytes; the run goes on by itself."""
    robot = wired("hold")
    robot.upload()
    robot.arm()
    read = robot.transport.read_from
    robot.transport.read_from = lambda port: b"" if port == Port.HOST else read(port)
    robot.run(200, beats=False)
    assert robot.telemetry == [] and len(robot.shown) == 200
    robot.transport.read_from = read
    robot.wait(PERIOD_S)  # now all is read
    told, kept = robot.hello(), len(robot.telemetry)
    assert 20 < kept < 180 and told.state == State.RUNNING
    assert (told.telemetry_sent, told.telemetry_dropped) == (kept, 200 - kept)
    robot.run(1)
    assert robot.telemetry[-1].k == 200
    assert [one.number for one in robot.telemetry] == [*range(kept + 1)]


def test_what_the_sensor_gives_in_vain_is_counted(wired):
    robot = wired("hold")
    robot.arm()
    robot.run(5)
    robot.tick(b"damaged\n")
    robot.run(1)
    robot.tick(format_line([4096, *robot.counts()[1:]]))
    told = robot.hello()
    assert (told.sensor_samples, told.sensor_dropped) == (7, 2)


def test_a_count_below_its_range_and_a_fall_are_no_samples(wired):
    """The range begins at 0, and a count moves by at most 50 from the last one that was good."""
    robot = wired("hold")
    robot.arm()
    others = robot.counts()[1:]
    for count, held in ((90, False), (-1, True), (90, False), (39, True), (40, False)):
        robot.heartbeat()
        robot.tick(format_line([count, *others]))
        assert bool(robot.telemetry[-1].flags & Supervisor.SENSOR_HELD) is held, count
    assert robot.state == State.RUNNING and robot.hello().sensor_dropped == 2
