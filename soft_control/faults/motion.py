"""Whether actuators were told what they bear, and when they began to go to the safe output."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from soft_control.faults.wired import Shown
from soft_control.firmware_instruments import actuator_config
from soft_control.robots.description import RobotDescription

LOOK_BACK = 40
"""Commands that one is compared with."""
ROUNDING = 1e-4


def resolution(robot: RobotDescription) -> float:
    """Of the actuators, in the unit of the command: they round to their steps."""
    config = actuator_config(robot)
    per_unit = config.get("counts_per_unit", [config.get("steps_per_unit", np.inf)])[0]
    return 1.0 / per_unit


def beyond_limits(shown: Sequence[Shown], robot: RobotDescription) -> str | None:
    """The first command that is not finite or beyond a limit, in words."""
    step = resolution(robot)
    low, high = robot.command_min - step, robot.command_max + step
    for one in shown:
        told = np.array(one.command)
        if one.armed and not (
            np.isfinite(told).all() and (told >= low).all() and (told <= high).all()
        ):
            return f"told {told.tolist()} at {one.at_s:.4f} s, which is beyond the limits"
    return None


def too_fast(
    shown: Sequence[Shown],
    robot: RobotDescription,
    start: Sequence[float],
    move_max: Sequence[float],
    in_time: bool = True,
) -> str | None:
    """The first command that is further from an earlier one than the time between them allows, or
    than a move (m,) from the one before, in words. The run begins at `start` (m,). in_time: false
    where samples are the clock, whatever the time between them."""
    if not shown:
        return None
    step, most = resolution(robot), np.asarray(move_max, dtype=float)
    at_s = np.array([one.at_s for one in shown])
    commands = np.array([one.command for one in shown])
    moves = np.abs(np.diff(commands, axis=0, prepend=[start]))
    if (wrong := np.flatnonzero((moves > most + step + ROUNDING).any(axis=1))).size:
        one = shown[wrong[0]]
        return f"moved by {moves[wrong[0]].tolist()} at once at {one.at_s:.4f} s"
    for back in range(1, min(len(shown), LOOK_BACK) if in_time else 0):
        passed = np.maximum(at_s[back:] - at_s[:-back], 0.0) * robot.rate_hz
        way = np.abs(commands[back:] - commands[:-back])
        allowed = passed[:, None] * most + step + ROUNDING
        if (wrong := np.flatnonzero((way > allowed).any(axis=1))).size:
            one = shown[back + wrong[0]]
            return f"moved by {way[wrong[0]].tolist()} in {back} commands until {one.at_s:.4f} s"
    return None


def safe_begin(
    shown: Sequence[Shown], since_s: float, robot: RobotDescription
) -> tuple[float | None, str | None]:
    """When the actuators, which go to their safe output from since_s on, were first told something
    on its way (s; None: never), and in words what of it is wrong."""
    safe = robot.instruments.actuators.safe_output
    before = [one for one in shown if one.at_s < since_s - 1e-9]
    after = [one for one in shown if one.at_s >= since_s - 1e-9]
    if safe == "disarm":
        first = next((one for one in after if not one.armed), None)
        again = first is not None and any(one.armed for one in after if one.at_s > first.at_s)
        return (first and first.at_s), ("armed again" if again else None)
    last = np.array(before[-1].command if before else robot.command_neutral)
    told = np.array([one.command for one in after]).reshape(len(after), -1)
    if safe == "hold":
        wrong = None if not after or (told == last).all() else "moved on"
        return since_s, wrong
    if not after:
        return None, None
    step, neutral = resolution(robot), robot.command_neutral
    distance = np.abs(told - neutral)
    if (np.diff(distance, axis=0) > ROUNDING).any():
        return None, "moved away from the neutral command"
    arrived = np.abs(last - neutral).max() <= step
    begin = next((i for i, one in enumerate(told) if (one != last).any() or arrived), None)
    return (None if begin is None else after[begin].at_s), None
