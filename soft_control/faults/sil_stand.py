"""Faults tried in simulated time, on the firmware as a library: the same seen on any machine."""

from __future__ import annotations

import numpy as np

from soft_control.control.actuator_gate import GAP_PERIODS
from soft_control.control.mpc_settings import physical_settings
from soft_control.faults.fault import Fault, check_settings
from soft_control.faults.injections import INJECTIONS, Injection
from soft_control.faults.motion import beyond_limits, safe_begin, too_fast
from soft_control.faults.outcome import Outcome
from soft_control.faults.sil import Bench, SilRobot
from soft_control.faults.wire import DAMAGES, Damage, Way
from soft_control.faults.wired import Shown
from soft_control.link.codes import Cause, State, in_words
from soft_control.link.messages import Boot
from soft_control.link.transport import Port

AFTER_S = 0.3
"""That a run goes on when its fault is over."""
WIRES = {
    f"{port.name.lower()}_{way}": (port, way)
    for port in Port
    for way in Way
    if (port, way) != (Port.SENSOR, Way.OUT)
}
"""By the name that a fault has for them. A sensor is told nothing."""


def check(fault: Fault) -> None:
    """Raises ValueError where this stand knows no such fault."""
    check_settings(fault, {**DAMAGES, **INJECTIONS})
    if fault.what in DAMAGES and fault.where not in WIRES:
        raise ValueError(f"where = {fault.where!r} is none of {', '.join(WIRES)}")
    if fault.what in INJECTIONS and fault.where:
        raise ValueError(f"{fault.what} takes no where")


class _Damaged(Injection):
    """A wire that is damaged."""

    port: Port
    way: Way
    damage: Damage

    def begin(self, robot: SilRobot) -> None:
        robot.wires[self.port, self.way].damage = self.damage

    def end(self, robot: SilRobot) -> None:
        robot.wires[self.port, self.way].damage = None


def _injection(fault: Fault) -> Injection:
    if fault.what in DAMAGES:
        port, way = WIRES[fault.where]
        damage = DAMAGES[fault.what].model_validate(fault.settings)
        return _Damaged.model_construct(port=port, way=way, damage=damage)
    return INJECTIONS[fault.what].model_validate(fault.settings)


def try_fault(bench: Bench, fault: Fault) -> Outcome:
    """A run with the fault, judged."""
    injection = _injection(fault)
    robot, begun_s = _run(bench, fault, injection)
    outcome = Outcome(fault)
    losses = robot.losses()
    info = robot.hello()
    outcome.state, outcome.cause = in_words(State, info.state), in_words(Cause, info.cause)
    outcome.state = outcome.state.replace(" ", "_")
    outcome.cause = outcome.cause.replace(" ", "_")
    crashed = info.cause == Cause.CRASHED
    restarted = any(isinstance(message, Boot) for message in robot.messages[1:])
    if restarted:
        outcome.said = "boot"
    else:
        outcome.losses = losses
    if robot.safe_since_s is not None or crashed:
        since_s = begun_s if crashed else robot.safe_since_s
        # A gate of the host goes on as soon as a fresh command comes; a firmware waits for ARM.
        until_s = begun_s + fault.for_s if robot.host else np.inf
        shown = [one for one in robot.shown if one.at_s <= until_s]
        at_s, wrong = safe_begin(shown, since_s, robot.robot)
        outcome.fail_unless(not wrong, f"on the way to the safe output it {wrong}")
        outcome.safe_ms = None if at_s is None else 1e3 * (at_s - begun_s)
    _judge_motion(outcome, robot, crashed)
    if fault.expect.refused is not None:
        outcome.fail_unless(
            len(robot.errors) == fault.expect.refused,
            f"refused {len(robot.errors)} messages, not {fault.expect.refused}",
        )
    if fault.expect.same:
        whole = bench.remembered(
            fault.model_dump_json(include={"run", "at_s", "for_s"}),
            lambda: _undisturbed(bench, fault),
        )
        outcome.fail_unless(
            _commands(robot.shown) == whole, "the actuators were not told what they are without it"
        )
    outcome.judge()
    return outcome


def _run(bench: Bench, fault: Fault, injection: Injection) -> tuple[SilRobot, float]:
    """The robot when its run is over, and when the fault began, s."""
    robot = SilRobot(bench, fault.run, injection.START_S, injection.FIRST_K)
    injection.prepare(robot)
    robot.begin()
    period_s = robot.period_s
    first = round(fault.at_s / period_s)
    last = first + max(1, round(fault.for_s / period_s))
    begun_s = robot.now_s
    for k in range(last + round(AFTER_S / period_s)):
        if k == first:
            begun_s = robot.now_s
            injection.begin(robot)
        if first <= k < last:
            injection.each(robot)
        robot.tick()
        if k == last - 1:
            injection.end(robot)
    robot.heartbeat()
    return robot, begun_s


def _commands(shown: list[Shown]) -> list[tuple[float, ...]]:
    return [one.command for one in shown]


def _undisturbed(bench: Bench, fault: Fault) -> list[tuple[float, ...]]:
    """What the actuators are told in that run where nothing is wrong."""
    robot, _ = _run(bench, fault, Injection())
    return _commands(robot.shown)


def _judge_motion(outcome: Outcome, robot: SilRobot, crashed: bool) -> None:
    """Whatever the fault: limits are kept, and speeds, and no number is infinite or NaN."""
    description = robot.robot
    if wrong := beyond_limits(robot.shown, description):
        outcome.failures.append(wrong)
    move_max = np.array(physical_settings(robot.build.mpc, description)["move_max"])
    told_whole = outcome.fault.where != "actuator_out"
    # A fault handler has no time for a way: the actuators' own speed bounds it. What is lost on the
    # wire, or comes late, is made up for by the next command.
    if told_whole and not crashed:
        if robot.host:  # its gate makes up for one period at the robot's own speed
            speeds = [one.speed_max or np.inf for one in description.commands]
            move_max = np.array(speeds) * GAP_PERIODS / description.rate_hz
        wrong = too_fast(robot.shown, description, description.command_neutral, move_max)
        if wrong:
            outcome.failures.append(wrong)
    numbers = np.array([
        (*one.command, *one.predicted, one.cost, *one.offset, *one.uncertainty)
        for one in robot.sent
    ])  # fmt: skip
    outcome.fail_unless(bool(np.isfinite(numbers).all()), "TELEMETRY has numbers that are none")
