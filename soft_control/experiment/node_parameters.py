"""What the nodes of a run, and the MPC of a firmware, are told.

It stands in config/, goes from there over what a robot's description says, and over that goes what
`softctl tune` found.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from soft_control import paths
from soft_control.control.controllers import CONTROLLERS, ControllerEntry, controller
from soft_control.control.mpc_settings import MpcSettings
from soft_control.control.references import Reference
from soft_control.control.sampled_reference import SampledReference
from soft_control.experiment import checks
from soft_control.learning.model import load_card
from soft_control.learning.surface import Surface
from soft_control.link.instruments import ACTUATORS, SENSORS
from soft_control.plain_text import first_fault
from soft_control.rigs import describe
from soft_control.robots import said_in
from soft_control.robots.config_files import as_mapping, read_yaml
from soft_control.robots.description import RobotDescription

NODES = (
    "rig",
    *SENSORS,
    "tracker",
    "reference",
    *(entry.node for entry in CONTROLLERS.values()),
    *ACTUATORS,
    "logger",
    "visual",
)
"""That a description may have parameters of."""


def node_parameters(node: str, robot: str | RobotDescription) -> dict[str, Any]:
    """The parameters of a node, for a robot given by name or description: config/<node>.yaml, over
    it what the description has for its nodes, over that what `softctl tune` found,
    config/tuned/<robot>_<node>.yaml.

    Raises ValueError naming the file where one of them cannot be used, and for a description that
    names a node which no run has.
    """
    robot = describe(robot) if isinstance(robot, str) else robot
    for name in robot.nodes:
        if name not in NODES:
            raise ValueError(f"{said_in(robot)}: nodes.{name}: no node of {', '.join(NODES)}")
    files = (paths.config(node), paths.tuned(robot.name, node))
    common, tuned = (_of_node(path, node) for path in files)
    return _of_one_kind(merged(merged(common, robot.nodes.get(node, {})), tuned))


def _of_one_kind(value: Any) -> Any:
    """ROS has no list of whole and other numbers: [1, 0.5], as people write it, is [1.0, 0.5]."""
    if isinstance(value, dict):
        return {key: _of_one_kind(inner) for key, inner in value.items()}
    if isinstance(value, list) and {type(one) for one in value} == {int, float}:
        return [float(one) for one in value]
    return value


def controller_parameters(
    entry: ControllerEntry, robot: RobotDescription, rate_hz: float
) -> dict[str, Any]:
    """The parameters of a controller's node for a robot. One that needs `move_max`, of which no
    file says anything, gets what the robot's speeds allow in a sample.

    Raises ValueError as `node_parameters`.
    """
    parameters = node_parameters(entry.node, robot)
    if "move_max" in entry.sizes and "move_max" not in parameters:
        parameters |= moves(robot, rate_hz)
    return parameters


def moves(robot: RobotDescription, rate_hz: float) -> dict[str, list[float]]:
    """`move_max`, the largest move of each command in a sample that the speeds of the robot allow;
    nothing where one of them is not known."""
    speeds = [command.speed_max for command in robot.commands]
    return {} if None in speeds else {"move_max": [speed / rate_hz for speed in speeds]}


def curve_parameters(
    curve: Reference | SampledReference | None, surface: Surface | None, file: Path
) -> dict[str, Any]:
    """What the reference node is told of its curve, whose samples stand in `file` where it is no
    shape; flat lists, which is what ROS can hold."""
    if curve is None:
        return {}
    told: dict[str, Any] = {"output_names": list(curve.outputs)}
    if isinstance(curve, Reference):
        told["shape"] = curve.shape
        told["angular_rate"] = curve.angular_rate
        for key in ("amplitude", "centre", "component"):
            told[key] = list(getattr(curve, key))
    else:
        told["file"] = str(file)
    if surface:
        told |= {
            "leading": list(surface.leading),
            "factors": list(surface.factors),
            "degree": surface.degree,
            "following": list(surface.following),
            "coefficients": [c for each in surface.following.values() for c in each],
        }
    return told


def _of_node(path: Path, node: str) -> dict[str, Any]:
    """Parameters of `node` in a ROS parameter file; none where there is no such file."""
    values = read_yaml(path)
    for key in (node, "ros__parameters"):
        values = as_mapping(values.get(key, {}), f"{path}: {key}")
    return values


def merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`base` with the values of `over` put into it, section by section."""
    result = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if both else value
    return result


def sees_position(controller_name: str, robot: str | RobotDescription) -> bool:
    """Whether a controller is told the measured outputs of a robot, by what stands in its
    description and in config/."""
    entry = controller(controller_name)
    return entry.sees_position(node_parameters(entry.node, robot))


def model_settings(model_dir: Path, robot: RobotDescription | None = None) -> MpcSettings:
    """What is asked of the MPC for the robot that a model was trained on: by the description that
    the model keeps, or by a later one, `robot`, of the same commands, outputs and signals.

    Raises ValueError for a description of another robot, and as `mpc_settings` does.
    """
    card = load_card(model_dir)
    if robot is not None:
        checks.check_same(robot, card.robot, f"the model in {model_dir}")
    return mpc_settings(robot or card.robot, card.rate_hz)


def mpc_settings(robot: str | RobotDescription, rate_hz: float | None = None) -> MpcSettings:
    """What is asked of the MPC for a robot, given by name or description, within its limits.

    Where no file gives `move_max`, it is what the robot's speeds allow in a sample, at `rate_hz` or
    else at the rate that the robot is made for. Raises ValueError naming file and setting for what
    cannot be, or contradicts the description.
    """
    robot = describe(robot) if isinstance(robot, str) else robot
    source = f"the MPC of {robot.name} (config/mcu.yaml, and nodes.mcu.mpc in {said_in(robot)})"
    asked = as_mapping(node_parameters("mcu", robot).get("mpc", {}), source)
    described = {
        "command_min": robot.command_min.tolist(),
        "command_max": robot.command_max.tolist(),
    }
    for key, value in described.items():
        if asked.get(key, value) != value:
            raise ValueError(f"{source}: {key} {asked[key]!r}, but the robot says {value!r}")
    if "move_max" not in asked:
        described |= moves(robot, rate_hz or robot.rate_hz)
    try:
        return MpcSettings(**asked | described)
    except ValidationError as error:
        raise ValueError(f"{source}: {first_fault(error)}") from None
