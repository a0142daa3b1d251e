"""A microcontroller that starts again in mid-run, the tendon rig in the loop."""

from __future__ import annotations

import os
import signal
from dataclasses import replace

import numpy as np
import pytest

from soft_control.experiment.returning_session import CRASHES_MAX, GAP_MAX, NotArmedAgain
from soft_control.link.codes import Cause, State
from soft_control.link.errors import Gone
from soft_control.link.learned_map import LearnedMap
from soft_control.link.opening import rehearse
from soft_control.link.transport import Port

from .test_replaceable_session import RATE_HZ, Run, assert_bounded


@pytest.fixture
def run(tendon):
    made = []

    def make(*arguments, **choices) -> Run:
        made.append(Run(tendon, *arguments, **choices))
        return made[-1]

    yield make
    for one in made:
        one.session.close()


def test_an_emulator_that_is_killed_is_followed_by_another_at_the_same_sample(run):
    """In lockstep the robot waits: no sample is lost, and no command jumps."""
    one = run("pil").run(180)
    before = np.mean(one.errors[60:])
    os.kill(one.session._transport.pid, signal.SIGKILL)
    with pytest.raises(Gone, match=r"QEMU ended with signal SIGKILL \(last good sample 179\)"):
        one.run(1)
    returned = one.session.go_on(True)
    assert returned.armed and returned.k == 180
    one.run(120)
    assert len(one.commands) == 300 and one.session.generation == 0
    assert_bounded(one.commands, 180)
    assert np.mean(one.errors[190:]) < 2.0 * before


class Rehearsed(Run):
    """Each of its firmwares has rehearsed."""

    def open(self, firmware, wired):
        session, robot = super().open(firmware, wired), self.card.robot
        rehearse(session, robot.command_neutral.tolist(), robot.output_rest.tolist())
        assert session._transport.read_from(Port.ACTUATOR) == b"", "nothing has been moved"
        return session


@pytest.mark.parametrize("streamed", [False, True])
def test_a_rehearsal_leaves_nothing_behind(run, tendon, streamed):
    without = run(streamed=streamed).run(80)
    after = Rehearsed(tendon, streamed=streamed).run(80)
    np.testing.assert_array_equal(after.commands, without.commands)
    assert after.session.go_on(True).armed, "one that has rehearsed knows no run"
    after.session.close()


def test_what_was_learned_is_told_again_as_it_was_heard_last(run):
    told = round(3 * RATE_HZ)
    one = run(tethered_samples=told, adapts=True).run(200)
    assert one.session.learned is None
    one.session.ask_adaptation()
    one.run(1)
    heard = one.session.learned
    assert heard.says_something
    adapted = []
    real = one.open

    def open_and_note(firmware, wired):
        session = real(firmware, wired)
        adapt = session.adapt
        session.adapt = lambda known: (adapted.append(known), adapt(known))
        return session

    one.session._open = open_and_note
    one.session.go_on(True)
    np.testing.assert_array_equal(adapted[0].gain, heard.gain)
    np.testing.assert_array_equal(adapted[0].offset, heard.offset)
    one.run(200)
    assert_bounded(one.commands, 201)


def test_what_an_earlier_run_has_learned_is_told_again_though_this_one_learns_nothing(run):
    one = run()
    recorded = LearnedMap.as_recorded(3)
    gain, offset = np.diag([1.1, 0.9, 1.0]), np.array([1e-4, 0.0, 0.0])
    known = replace(recorded, gain=gain, offset=offset)
    one.session.adapt(known)
    one.run(50)
    for _ in range(2):
        one.session.go_on(True)
        np.testing.assert_allclose(one.session.adaptation().gain, known.gain, rtol=1e-6)
        one.run(50)


def test_after_a_long_absence_it_begins_at_rest_where_the_robot_was_left(run):
    """Samples that nobody answered have numbers all the same: more than a firmware bridges."""
    one = run().run(100)
    one.k += GAP_MAX + 50
    one.run(240)
    moves = np.abs(np.diff(np.array(one.commands), axis=0)).max(axis=1)
    assert moves.max() <= 0.0506 + 1e-6
    assert np.mean(one.errors[-40:]) < 5.0, "it has found back to the curve"


def test_only_where_the_robot_allows_it_and_not_if_it_had_been_stopped(run):
    one = run().run(30)
    with pytest.raises(NotArmedAgain, match="idle and knows nothing of the run: this robot is not"):
        one.session.go_on(False)
    one.session.go_on(True)
    one.run(10)
    stopped = State.STOPPED, Cause.ACTUATOR_VOLTAGE
    known = one.session._known
    known.told = type(known.told)(
        **vars(known.told) | dict(zip(("state", "cause"), stopped, strict=True))
    )
    with pytest.raises(NotArmedAgain, match=r"had been stopped \(actuator voltage\) before"):
        one.session.go_on(True)


def test_a_firmware_that_crashes_again_and_again_is_given_up(run):
    one = run().run(30)
    real = one.open

    def crashed(firmware, wired):
        session = real(firmware, wired)
        session._transport.crash(1)
        session.hello()
        session.info = session.hello()
        assert session.info.cause == Cause.CRASHED
        return session

    one.session._open = crashed
    for _ in range(CRASHES_MAX - 1):
        one.session.go_on(True)
        one.run(20)
    with pytest.raises(NotArmedAgain, match="has crashed 3 times within 10 s"):
        one.session.go_on(True)
