"""What the nodes of sensor and actuators, and the logger, are told of a robot."""

from __future__ import annotations

from typing import Any

from soft_control.firmware_instruments import actuator_config
from soft_control.robots.description import RobotDescription


def sensor_parameters(robot: RobotDescription) -> dict[str, Any]:
    """What the node of the robot's sensor is told of it."""
    sensor = robot.instruments.sensor
    told: dict[str, Any] = {}
    if robot.signals:
        told["signal_names"] = list(robot.signal_names)
        told["full_scale_counts"] = list(robot.full_scale_counts)
    if sensor.kind == "lightlace":
        return told | {"signed": sensor.signed}
    return told | {"median": sensor.median, "start_samples": sensor.start_samples}


def actuator_parameters(robot: RobotDescription) -> dict[str, Any]:
    """What the node of the robot's actuators is told of them; 0 stands for no limit."""
    actuators = robot.instruments.actuators
    of_kind = {key: value for key, value in actuator_config(robot).items() if key != "unused"}
    return {
        "command_names": list(robot.command_names),
        "command_neutral": robot.command_neutral.tolist(),
        "command_min": robot.command_min.tolist(),
        "command_max": robot.command_max.tolist(),
        "speed_max": [command.speed_max or 0.0 for command in robot.commands],
        "safe_output": actuators.safe_output,
        "mean_max": actuators.mean_max or 0.0,
        "mean_s": actuators.mean_s,
        "rearm": actuators.may_rearm,
        **of_kind,
    }


def tracker_parameters(robot: RobotDescription) -> dict[str, Any]:
    """What the node of a motion tracker is told of the robot: its points, and which output is what
    of them."""
    seen = [output for output in robot.outputs if output.point]
    return {
        "points": list(dict.fromkeys(output.point for output in seen)),
        "output_names": [output.name for output in seen],
        "output_points": [output.point for output in seen],
        "output_axes": [output.axis for output in seen],
        "frame": robot.frame,
    }


def told_alone(node: str, robot: RobotDescription) -> dict[str, Any]:
    """What a node may be told of a robot where nobody makes a run: more than it has parameters."""
    instruments = robot.instruments
    told: dict[str, Any] = {
        "rate_hz": robot.rate_hz,
        "command_names": list(robot.command_names),
        "command_neutral": robot.command_neutral.tolist(),
        "command_min": robot.command_min.tolist(),
        "command_max": robot.command_max.tolist(),
        "output_names": list(robot.output_names),
        "output_rest": robot.output_rest.tolist(),
        "frame": robot.frame,
        "rearm": instruments.actuators.may_rearm,
    }
    if node == instruments.sensor.kind:
        return told | {"baud": instruments.sensor.baud} | sensor_parameters(robot)
    if node == instruments.actuators.kind:
        return told | {"baud": instruments.actuators.baud} | actuator_parameters(robot)
    return told | tracker_parameters(robot) if node == "tracker" else told


def tracked(robot: RobotDescription) -> dict[str, Any]:
    """What the logger of a run that follows a reference is told of the outputs."""
    return {
        "output_names": list(robot.output_names),
        "output_points": [output.point or "" for output in robot.outputs],
        "frame": robot.frame,
    }
