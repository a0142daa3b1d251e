"""Controllers change places while the robot moves, in sil: SWITCH where the instruments are the
microcontroller's own, OBSERVE and SAMPLE where the host has them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from soft_control.control.mpc_settings import physical_settings
from soft_control.link.codes import (
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
from soft_control.link.messages import (
    Configure,
    Drive,
    Error,
    Info,
    Measurement,
    Reference,
    Stop,
    Switch,
)
from soft_control.link.session import McuSession
from soft_control.link.transport import SilTransport
from soft_control.rigs import describe

from .wired import CIRCLE, FAR, MOVE_MAX, ORIGIN, PERIOD_S, REST, Wired, assert_bounded_speed

ROUND = (Source.HOST, Source.HOLD, Source.MPC, Source.HOLD, Source.HOST, Source.MPC)
ROUNDING = 1.2e-7
"""Of a command in rad and the move added to it, in float32."""


def commands(robot: Wired) -> np.ndarray:
    return np.array([one.command for one in robot.telemetry])


def switch(robot: Wired, source: Source, k: int = 0) -> int:
    """The first sample from which it holds, by the answer."""
    (info,) = robot.tell(Switch(k, source))
    assert isinstance(info, Info) and info.source == source
    return info.source_k


def run(robot: Wired, samples: int) -> None:
    """The host drives to and fro, faster than it may, whoever is asked."""
    for _ in range(samples):
        k = robot.telemetry[-1].k + 1 if robot.telemetry else 0
        wanted = -0.4 + 1.2 * math.sin(0.9 * k)
        robot.heartbeat()
        robot.drive(k, (wanted, -wanted))
        robot.tick()


def found_by_solver(robot: Wired) -> list[bool]:
    return [one.status != SolverStatus.NONE for one in robot.telemetry]


@pytest.mark.parametrize("clock", Clock)
def test_ten_times_over_no_step_is_above_the_limit(wired, clock):
    robot = wired("hold")
    robot.upload(CIRCLE, samples=137.0)
    robot.arm(clock=clock)
    run(robot, 20)
    expected = []
    for turn in range(10):
        for source in ROUND:
            first = switch(robot, source)
            assert first == robot.telemetry[-1].k + 1
            expected += [(first, source)]
            run(robot, 7 + turn)
    steps = np.abs(np.diff(commands(robot), axis=0, prepend=[REST])).max(axis=1)
    assert steps.max() <= np.float32(MOVE_MAX) + ROUNDING
    assert_bounded_speed(robot.shown, robot.robot, REST)
    assert {one.state for one in robot.telemetry} == {State.RUNNING}
    # Who found each command, by the first sample of the answers, and that all moved but hold.
    ends = [k for k, _ in expected[1:]] + [robot.telemetry[-1].k + 1]
    told = {one.k: one for one in robot.telemetry}
    for (first, source), end in zip(expected, ends, strict=True):
        during = [told[k] for k in range(first, end)]
        assert [one.status != SolverStatus.NONE for one in during] == [source == Source.MPC] * len(
            during
        )
        moved = np.ptp([one.command for one in [told[first - 1], *during]], axis=0).max()
        assert moved == 0.0 if source == Source.HOLD else moved > 0.01


def test_the_model_goes_on_under_every_source(wired):
    """Its predictions are those of a firmware that observed all along, and so is the estimate.
    The other firmware brings the commands back from rad: float32, 1e-7 of 12 mm a sample."""
    robot, observer = wired("hold"), wired("hold")
    robot.upload(CIRCLE, samples=137.0)
    robot.arm()
    for turn in range(12):
        run(robot, 10)
        switch(robot, ROUND[turn % len(ROUND)])
    assert any(found_by_solver(robot)) and not all(found_by_solver(robot))
    with McuSession(observer.transport) as session:
        session.arm(REST, ORIGIN)
        for one in robot.telemetry:
            answer = session.observe(one.k, one.signals, one.command)
            assert answer.predicted == pytest.approx(one.predicted, abs=1e-6)


def test_measurements_move_the_estimate_under_every_source(wired, settings):
    """As they do where the solver is asked all along: the offset is what was measured beyond the
    model, and does not know who found the command."""
    robot = wired("hold")
    robot.upload(CIRCLE, samples=137.0)
    asked = physical_settings(settings, robot.robot) | {"disturbance_ratio": 0.5}
    robot.tell(Configure(**asked))
    robot.arm()
    offset = np.array([0.0, 2e-3, -1e-3])
    model = np.array(ORIGIN)
    for k in range(60):
        if k % 10 == 0:
            switch(robot, ROUND[k // 10])
        robot.tell(Measurement(k, robot.host_us, tuple(model + offset)))
        run(robot, 1)
        told = robot.telemetry[-1]
        model = np.array(told.predicted) - told.offset
        assert np.abs(offset - told.offset).max() <= 2e-3 * 0.5 ** (k + 1) + 1e-6


def test_the_controller_begins_at_the_command_that_was_told_last(wired, settings):
    """With moves that cost more than any error it stays there, though it had planned to go on, and
    the host meanwhile went elsewhere."""
    robot = wired("hold")
    robot.upload((FAR, FAR))
    robot.arm()
    run(robot, 5)  # on its way, as fast as it may
    switch(robot, Source.HOST)
    run(robot, 30)
    dear = physical_settings(settings, robot.robot) | {"move_weight": [1e9, 1e9]}
    robot.tell(Configure(**dear))
    last = commands(robot)[-1]
    first = switch(robot, Source.MPC)
    run(robot, 10)
    after = [one.command for one in robot.telemetry if one.k >= first]
    assert np.abs(np.subtract(after, last)).max() < 1e-4


def test_a_sample_ahead_is_kept_to_the_sample(wired):
    """Whenever SWITCH comes before it, the run has the same bits: lockstep stays lockstep."""
    early, late = wired("hold"), wired("hold")
    for robot, said_at in ((early, 3), (late, 19)):
        robot.upload(CIRCLE, samples=137.0)
        robot.arm()
        run(robot, said_at)
        assert switch(robot, Source.HOST, k=20) == 20
        run(robot, 20 - said_at + 15)
        assert switch(robot, Source.MPC, k=40) == 40
        run(robot, 30)
    assert commands(early).tolist() == commands(late).tolist()
    by_solver = [one.k for one in early.telemetry if one.status != SolverStatus.NONE]
    assert by_solver == [*range(20), *range(40, 65)]


def test_a_drive_for_the_first_sample_may_come_before_it(wired):
    """SWITCH and DRIVE in one go, while the controller is still at it."""
    robot = wired("hold")
    robot.upload(CIRCLE, samples=137.0)
    robot.arm()
    run(robot, 10)
    wanted = commands(robot)[-1] + 0.03
    robot.tell(Switch(11, Source.HOST), Drive(11, robot.host_us, tuple(wanted)))
    robot.tick()
    robot.tick()
    assert [one.status == SolverStatus.NONE for one in robot.telemetry[10:]] == [False, True]
    last, now = commands(robot)[-2:]
    assert now == pytest.approx(np.clip(wanted, last - MOVE_MAX, last + MOVE_MAX), abs=1e-6)


def test_a_held_command_is_none_that_a_later_source_has_sent_ahead(wired):
    robot = wired("hold")
    robot.upload((FAR, FAR))
    robot.arm()
    run(robot, 10)
    switch(robot, Source.HOLD)
    robot.tell(Switch(15, Source.HOST), Drive(15, robot.host_us, REST))
    for _ in range(6):
        robot.tick()
    assert [one.k for one in robot.telemetry][-1] == 15
    steps = np.abs(np.diff(commands(robot)[9:], axis=0)).max(axis=1)
    assert (steps[:5] == 0.0).all() and steps[5] > 0.01


def test_what_was_asked_twice_is_done_once(wired):
    """Its answer was damaged, and it comes again: before its first sample, or long after it."""
    once, twice = wired("hold"), wired("hold")
    for robot in (once, twice):
        robot.upload(CIRCLE, samples=137.0)
        robot.arm()
        run(robot, 10)
        first = switch(robot, Source.HOST)
        if robot is twice:
            assert switch(robot, Source.HOST) == first
        robot.drive(10, (-0.1, -0.3))
        if robot is twice:
            assert switch(robot, Source.HOST) == first
        robot.tick()
        run(robot, 5)
        if robot is twice:
            assert switch(robot, Source.HOST) == first
            assert switch(robot, Source.HOST, k=3) == first
        run(robot, 5)
    assert commands(once).tolist() == commands(twice).tolist()


def test_one_whose_first_sample_has_not_come_is_replaced(wired):
    robot = wired("hold")
    robot.upload(CIRCLE, samples=137.0)
    robot.arm()
    run(robot, 10)
    assert switch(robot, Source.HOLD, k=30) == 30
    assert switch(robot, Source.HOLD, k=20) == 20  # the same, sooner
    assert switch(robot, Source.MPC) == 10  # as it was
    run(robot, 30)
    assert all(found_by_solver(robot))
    info = robot.hello()
    assert (info.source, info.source_k) == (Source.MPC, 10)


def test_a_sample_that_has_passed_is_the_next_one(wired):
    robot = wired("hold")
    robot.upload(CIRCLE, samples=137.0)
    robot.arm()
    run(robot, 10)
    assert switch(robot, Source.HOLD, k=3) == 10
    run(robot, 3)
    assert found_by_solver(robot) == [True] * 10 + [False] * 3


# ------------------------------------------------------------------ the host's commands


def test_until_the_first_drive_the_last_command_is_held(wired):
    """Not that of ARM, nor one of an earlier time as the host."""
    robot = wired("hold")
    robot.upload((FAR, FAR))
    robot.arm(clock=Clock.TIMER)
    robot.run(4)
    switch(robot, Source.HOST)
    robot.drive(0, (-0.5, -0.5))
    robot.run(20)
    switch(robot, Source.MPC)
    robot.run(5)
    last = commands(robot)[-1]
    assert np.abs(last - (-0.5, -0.5)).max() > 2 * MOVE_MAX
    first = switch(robot, Source.HOST)
    robot.run(20)
    held = [one.command for one in robot.telemetry if one.k >= first]
    assert len(held) >= 18 and np.abs(np.subtract(held, last)).max() == 0.0


@pytest.mark.parametrize("clock", Clock)
@pytest.mark.parametrize("host_lost", HostLost)
def test_a_host_that_never_drives_is_lost_as_any_other(wired, clock, host_lost):
    robot = wired("hold")
    robot.upload(CIRCLE, samples=137.0)
    robot.arm(clock=clock, host_lost=host_lost, host_timeout_ms=100)
    run(robot, 20)
    last = commands(robot)[-1]
    first = switch(robot, Source.HOST)
    for _ in range(40):  # the sensor goes on; in lockstep nothing would
        robot.tick()
    told = robot.hello()
    assert (
        told.state
        == {
            HostLost.CONTINUE: State.RUNNING,
            HostLost.HOLD: State.HOLDING,
            HostLost.STOP: State.STOPPED,
        }[host_lost]
    )
    assert told.cause == (Cause.NONE if host_lost == HostLost.CONTINUE else Cause.HOST_LOST)
    held = [one.command for one in robot.telemetry if one.k >= first]
    assert np.abs(np.subtract(held, last)).max() < 1e-6
    assert np.abs(robot.command - last).max() < 0.006  # a servo's step


def test_a_sample_that_waits_for_the_host_is_the_controllers_at_once(wired):
    robot = wired("hold")
    robot.upload(CIRCLE, samples=137.0)
    robot.arm()
    run(robot, 10)
    switch(robot, Source.HOST)
    robot.tick()
    assert robot.telemetry[-1].k == 9
    assert switch(robot, Source.MPC) == 10
    assert robot.telemetry[-1].k == 10 and found_by_solver(robot)[-1]
    assert robot.drive(10, REST) == [Error(ErrorCode.WRONG_STATE, Drive.TYPE)]  # too late
    run(robot, 5)
    assert all(found_by_solver(robot)) and not robot.hello().missed_samples


# ------------------------------------------------------------------ what is refused


def refused(robot: Wired, source: int, code: ErrorCode) -> bool:
    return robot.tell(Switch(0, source)) == [Error(code, Switch.TYPE)]


def test_where_nothing_runs_it_is_refused(wired):
    robot = wired("hold")
    robot.upload()
    assert refused(robot, Source.HOLD, ErrorCode.WRONG_STATE)
    robot.arm()
    robot.run(5)
    robot.tell(Stop())
    assert refused(robot, Source.MPC, ErrorCode.WRONG_STATE)
    robot.arm(wiring=Wiring.HOST)
    assert refused(robot, Source.HOLD, ErrorCode.WRONG_STATE)
    robot.tell(Stop())
    robot.arm(host_lost=HostLost.HOLD, host_timeout_ms=100)
    robot.run(30, beats=False)
    assert robot.state == State.HOLDING and refused(robot, Source.MPC, ErrorCode.WRONG_STATE)


def test_a_source_that_there_is_none_is_refused(wired):
    robot = wired("hold")
    robot.upload()
    robot.arm()
    run(robot, 5)
    assert refused(robot, len(Source), ErrorCode.BAD_VALUE)
    run(robot, 5)
    assert all(found_by_solver(robot))


def test_without_a_reference_the_controller_is_refused(wired):
    robot = wired("hold")
    robot.arm(source=Source.HOST)
    run(robot, 5)
    assert refused(robot, Source.MPC, ErrorCode.INCOMPLETE)
    run(robot, 5)
    assert not any(found_by_solver(robot))
    robot.tell(Reference(10, ((0.0, 0.001, 0.0),) * 20))
    assert switch(robot, Source.MPC) == 10
    run(robot, 5)
    assert found_by_solver(robot)[10:] == [True] * 5
    assert not any(one.flags & Supervisor.LOST_POINT for one in robot.telemetry)


def test_a_run_may_begin_with_the_command_held(wired):
    robot = wired("hold")
    robot.upload(CIRCLE, samples=137.0)
    robot.arm(source=Source.HOLD)
    robot.run(10)
    assert commands(robot) == pytest.approx(np.tile(REST, (10, 1)))
    switch(robot, Source.MPC)
    robot.run(20)
    assert np.abs(commands(robot)[-1] - REST).max() > MOVE_MAX
    assert_bounded_speed(robot.shown, robot.robot, REST)


# ------------------------------------------------------------------ wiring host


def test_wiring_host_the_controller_goes_on_from_what_was_observed(open_target, settings):
    """The host's own controller takes turns with the firmware's: no step above the limit, no lost
    point of the reference, and the predictions of one that observed all along."""
    session, observer = open_target("sil"), open_target("sil")
    rng = np.random.default_rng(2)
    horizon = session.info.horizon

    def reference(k: int) -> np.ndarray:
        return np.array([0.0, 0.012 * math.sin(k / 20), 0.006 * math.sin(k / 10)])

    for each in (session, observer):
        each.configure(physical_settings(settings, describe("tendon")) | {"disturbance_ratio": 0.5})
        each.arm(REST, ORIGIN, [reference(k) for k in range(horizon)])
    told, moves, model = [np.array(REST)], [], np.array(ORIGIN)
    for k in range(300):
        signals = 0.5 + 0.2 * rng.standard_normal(4)
        for each in (session, observer):
            each.measurement(k, model + (0.0, 1e-3, -1e-3))
        if k // 10 % 2 == 0:
            answer = session.sample(k, signals, reference(k + horizon))
            assert answer.status != SolverStatus.NONE
            assert not answer.flags & ~Supervisor.LIMITED
        else:
            wanted = np.array((-0.4, 0.2)) + 1.2 * math.sin(0.9 * k)
            command = told[-1] + np.clip(wanted - told[-1], -MOVE_MAX, MOVE_MAX)
            session.preload(k + horizon, [reference(k + horizon)])
            answer = session.observe(k, signals, command)
        told.append(np.array(answer.command))
        moves.append(np.abs(told[-1] - told[-2]).max())
        same = observer.observe(k, signals, answer.command)
        assert answer.predicted == pytest.approx(same.predicted, abs=1e-6)
        assert answer.offset == pytest.approx(same.offset, abs=1e-6)
        assert answer.reference == pytest.approx(reference(k), abs=1e-7)
        model = np.array(answer.predicted) - answer.offset
    assert max(moves) <= np.float32(MOVE_MAX) + ROUNDING
    assert min(moves[20::20]) > 0.0  # the first of each turn moves, too


def test_wiring_host_the_mean_load_counts_what_was_observed(wired):
    """A hasel_driver that the host has driven at its limit is at its mean when the controller's
    turn comes."""
    robot = wired("hasel")
    full = robot.robot.command_max
    with McuSession(robot.transport) as session:
        session.arm(full, ORIGIN, [(0.0, 0.02, 0.02)] * 12)
        for k in range(200):
            session.observe(k, [0.5] * 4, full)
        limit = robot.robot.command_min + robot.robot.instruments.actuators.mean_max
        assert (limit < full - 2 * MOVE_MAX).all()
        for k in range(200, 260):
            answer = session.sample(k, [0.5] * 4, (0.0, 0.02, 0.02))
        assert (np.array(answer.command) <= limit + 1e-4).all()


def test_wiring_host_realtime_the_time_since_what_was_observed_counts(firmware, settings):
    """The firmware's timer: a move of a third of a period after a command is a third of a move."""
    now = [10.0]
    with McuSession(SilTransport(firmware.library, lambda: now[0])) as session:
        session.arm(REST, ORIGIN, [FAR] * 12, clock=Clock.TIMER)
        for k in range(3):
            session.observe(k, [0.5] * 4, REST)
            now[0] += PERIOD_S
        session.observe(3, [0.5] * 4, REST)
        now[0] += PERIOD_S / 3
        answer = session.sample(4, [0.5] * 4, FAR)
        move = np.abs(np.subtract(answer.command, REST)).max()
        assert move == pytest.approx(MOVE_MAX / 3, rel=1e-3)
