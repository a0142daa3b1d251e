"""What a robot's description says of its instruments, as the structs of the firmware have it.

Names are those of the C members, values numbers, booleans or lists of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from soft_control.link.framing import frame_size
from soft_control.robots import units
from soft_control.robots.description import Command, RobotDescription

SAFE_OUTPUTS = ("hold", "neutral", "disarm")
"""In the order of safe_output_t."""
DYNAMIXEL_COUNTS = 1023
DYNAMIXEL_RANGE_DEG = 300.0
DYNAMIXEL_ZERO = 512
"""Count in the middle of the range, by Robotis' manual of the AX-12A."""
DYNAMIXEL_SERVOS_MAX = 48
"""The goals of one more make a packet of more than the 250 bytes that Robotis' SDK writes."""
DYNAMIXEL_SPEED_DEG_PER_S = 0.111 * 360.0 / 60.0
"""One step of the moving speed: 0.111 / min."""
HOST_BAUD = 2_000_000
LINE_SHARE = 0.5
"""Of the host's line that telemetry may fill."""


def limits(robot: RobotDescription, move_max: Sequence[float], rate_hz: float) -> dict[str, Any]:
    """limits_t: what the robot bears, whatever CONFIGURE says."""
    sensor, actuators = robot.instruments.sensor, robot.instruments.actuators
    mean_max = math.inf if actuators.mean_max is None else actuators.mean_max
    return {
        "command_min": robot.command_min.tolist(),
        "command_max": robot.command_max.tolist(),
        "move_max": list(move_max),
        "neutral": robot.command_neutral.tolist(),
        "load_max": [mean_max] * len(robot.commands),
        "load_share": -math.expm1(-1.0 / (rate_hz * actuators.mean_s)),
        "voltage_min": actuators.voltage_min,
        "voltage_max": actuators.voltage_max,
        "temperature_max": actuators.temperature_max,
        "actuator_samples": actuators.silence_samples,
        "actuator_errors": actuators.errors,
        "safe_output": SAFE_OUTPUTS.index(actuators.safe_output),
        "count_min": sensor.count_min,
        "count_max": sensor.count_max,
        "count_step_max": sensor.count_step_max,
        "frozen_samples": sensor.frozen_samples,
    }


def sensor_config(robot: RobotDescription) -> dict[str, Any]:
    """sensor_config_t of the robot's sensor."""
    sensor = robot.instruments.sensor
    if sensor.kind == "magnetic":
        return {"median": sensor.median, "start_samples": sensor.start_samples}
    return {"is_signed": sensor.signed, "torn_start": True}


def actuator_config(robot: RobotDescription) -> dict[str, Any]:
    """actuator_config_t of the robot's actuators.

    Raises ValueError for commands that they cannot be told.
    """
    actuators = robot.instruments.actuators
    if actuators.kind == "dynamixel":
        return _dynamixel(robot)
    if actuators.kind == "hasel_driver":
        spans = {(command.min, command.max) for command in robot.commands}
        if len(spans) > 1:
            raise ValueError("instruments.actuators: a hasel_driver has one range for all commands")
        ((low, high),) = spans
        per_unit = actuators.full_steps / (high - low)
        return {
            "steps_per_unit": per_unit,
            "zero_steps": -low * per_unit,
            "full_steps": actuators.full_steps,
        }
    return {"unused": 0}


def _dynamixel(robot: RobotDescription) -> dict[str, Any]:
    ids = robot.instruments.actuators.ids or tuple(range(1, len(robot.commands) + 1))
    if len(ids) != len(robot.commands) or len(set(ids)) < len(ids):
        raise ValueError(
            f"instruments.actuators.ids: one for each of {', '.join(robot.command_names)}, all "
            "different"
        )
    if len(ids) > DYNAMIXEL_SERVOS_MAX:
        raise ValueError(
            f"instruments.actuators: {len(ids)} Dynamixels are more than the "
            f"{DYNAMIXEL_SERVOS_MAX} that one packet reaches"
        )
    config: dict[str, Any] = {"id": list(ids), "counts_per_unit": [], "zero_count": []}
    config |= {"count_min": [], "count_max": [], "speed": []}
    for command in robot.commands:
        degree = _degree(command)
        per_unit = DYNAMIXEL_COUNTS / DYNAMIXEL_RANGE_DEG / degree
        # Inwards: no count is beyond a limit. A millionth is what rounding may cost.
        low = math.ceil(DYNAMIXEL_ZERO + command.min * per_unit - 1e-6)
        high = math.floor(DYNAMIXEL_ZERO + command.max * per_unit + 1e-6)
        if not 0 <= low <= high <= DYNAMIXEL_COUNTS:
            raise ValueError(f"{command.name}: a Dynamixel turns from -150 deg to 149.8 deg")
        speed = 0
        if command.speed_max is not None:
            steps = command.speed_max / degree / DYNAMIXEL_SPEED_DEG_PER_S
            speed = min(max(round(steps), 1), DYNAMIXEL_COUNTS)
        for key, value in (
            ("counts_per_unit", per_unit),
            ("zero_count", float(DYNAMIXEL_ZERO)),
            ("count_min", low),
            ("count_max", high),
            ("speed", speed),
        ):
            config[key].append(value)
    return config


def _degree(command: Command) -> float:
    """A degree in the command's unit. Raises ValueError where it is no angle."""
    try:
        return units.factor("deg", command.unit)
    except ValueError:
        raise ValueError(
            f"{command.name}: a Dynamixel is told angles, not {command.unit}"
        ) from None


def telemetry_every(content_bytes: int, rate_hz: float) -> int:
    """Samples a TELEMETRY, so that a line to the host has room for it. Ten bits a byte."""
    return max(1, math.ceil(frame_size(content_bytes) * 10 * rate_hz / (LINE_SHARE * HOST_BAUD)))
