"""Which nodes with which parameters: the one description that `softctl` and launch files use."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from soft_control import robots
from soft_control.control.controllers import (
    MCU_NODE,
    ControllerEntry,
    controller,
)
from soft_control.control.references import Reference
from soft_control.control.sampled_reference import SampledReference, write_reference
from soft_control.experiment import checks
from soft_control.experiment.node_parameters import controller_parameters, node_parameters
from soft_control.experiment.record import RunRecord, write_record
from soft_control.experiment.settings import Experiment
from soft_control.experiment.trajectory import tabulate
from soft_control.firmware_files import FirmwareBuild, read_build
from soft_control.firmware_instruments import actuator_config
from soft_control.learning.model import ModelCard, load_card
from soft_control.rigs import describe, is_twin
from soft_control.robots.description import RobotDescription
from soft_control.topics import point_topic


@dataclass(frozen=True)
class NodeSpec:
    """One process of the graph."""

    name: str
    """Of the node and of its module in soft_control/nodes/."""
    parameters: dict[str, Any]


@dataclass(frozen=True)
class Setup:
    """All that an experiment needs; it has been checked that it fits together."""

    entry: ControllerEntry
    robot: RobotDescription
    rate_hz: float
    """Control rate."""
    points: list[str]
    """Topics of the robot's points."""
    load: dict[str, Any]
    """Options of `make_rig`."""
    card: ModelCard | None
    build: FirmwareBuild | None
    curve: Reference | SampledReference | None
    """None for open-loop runs."""
    trajectory: SampledReference | None
    """The same as a firmware is told it; None: the reference node says it, or there is none."""
    cut: tuple[float, float]
    """From when, and for how long, the host's line to the microcontroller is cut, s."""
    parameters: dict[str, dict[str, Any]]
    """By node, in the order of the walk: what stands in config/."""


def prepare(experiment: Experiment) -> list[NodeSpec]:
    """Makes the run's directory, writes experiment.json and the samples of a reference that is no
    shape, and returns the nodes to start.

    Raises ValueError, before anything is written, where something does not fit: see `check`.
    """
    setup = check(experiment)
    run_dir = experiment.out.absolute()
    checks.clear(run_dir)
    run_dir.mkdir(parents=True, exist_ok=True)
    write_record(run_dir, record(experiment, setup))
    if "reference" in setup.parameters and isinstance(setup.curve, SampledReference):
        write_reference(run_dir / checks.REFERENCE_FILE, setup.curve)
    if setup.trajectory:
        write_reference(run_dir / checks.TRAJECTORY_FILE, setup.trajectory)
    return nodes(experiment, setup, run_dir)


def check(experiment: Experiment) -> Setup:
    """Reads all that the experiment needs and compares it.

    Raises ValueError in one line for the first thing that is missing or does not fit: the folder,
    length, target and port, load, model, firmware, rate, gains, reference, parameters.
    """
    entry = controller(experiment.controller)
    in_material = experiment.wiring == "mcu"
    checks.check_out(experiment.out)
    checks.check_wiring(entry, experiment.wiring, experiment.target, experiment.cut)
    checks.check_target(MCU_NODE if in_material else entry, experiment.target, experiment.port)
    cut = checks.cut_of(experiment.cut, experiment.duration_s)
    robot = robot_of(experiment)
    rate_hz = experiment.rate_hz or robot.rate_hz
    checks.check_length(experiment.duration_s, rate_hz)
    points = [point_topic(group.name) for group in robot.groups if group.is_point]
    load = checks.load_options(experiment.load, robot)
    checks.check_load(load, experiment.duration_s)

    uploads = "firmware" in entry.needs
    names = ["reference"] if entry.tracks and not uploads else []
    names = [*names, entry.node]
    if in_material:
        names = ["rig", *dict.fromkeys([MCU_NODE.node, *names]), "logger"]
    else:
        instruments = robot.instruments
        names = ["rig", instruments.sensor.kind, *names, instruments.actuators.kind, "logger"]
    parameters = {name: node_parameters(name, robot) for name in names}
    parameters[entry.node] = controller_parameters(entry, robot, rate_hz)
    for name, values in parameters.items():
        checks.check_ros(name, without_outputs(values))
    checks.check_sizes(entry, experiment.controller, parameters[entry.node], robot)

    card = build = curve = None
    if "model" in entry.needs:
        card = load_card(experiment.model)
        checks.check_model(card, experiment.model, robot)
    if uploads or in_material:
        build = read_build(experiment.firmware)
        checks.check_build(
            build,
            experiment.firmware,
            card,
            experiment.model,
            rate_hz,
            experiment.target,
        )
    if entry.tracks:
        surface = card.surface if card else None
        shapes = node_parameters("reference", robot)
        curve = checks.curve_of(experiment.reference, shapes, surface, robot)
    trajectory = None
    if uploads and curve and build:
        samples = round(experiment.duration_s * rate_hz) + build.horizon + 1
        trajectory = tabulate(curve, rate_hz, samples, build.trajectory_points)
    return Setup(
        entry, robot, rate_hz, points, load, card, build, curve, trajectory, cut, parameters
    )


def robot_of(experiment: Experiment) -> RobotDescription:
    """The robot of the experiment's rig: by its own description, or by a later one where the
    experiment names it; the rig's sensors stay calibrated as they are. Raises ValueError where that
    one is of another robot."""
    robot = describe(experiment.rig)
    if not experiment.robot:
        return robot
    later = robots.load(experiment.robot)
    checks.check_same(later, robot, f"the rig {experiment.rig}")
    return later.calibrated(robot.full_scale_counts)


def record(experiment: Experiment, setup: Setup) -> RunRecord:
    """What is written down of the run."""
    known = {"rig", "robot", "rate_hz", "target", "reference"}
    asked = experiment.model_dump(mode="json", exclude=known)
    entry = setup.entry
    return RunRecord(
        robot=setup.robot,
        rate_hz=setup.rate_hz,
        title=entry.title,
        sees_position=entry.sees_position(setup.parameters[entry.node]),
        has_preview=entry.has_preview,
        target=experiment.target if entry.targets else None,
        reference=experiment.reference if entry.tracks else None,
        curve=setup.curve,
        build=setup.build.model_dump(mode="json") if "firmware" in entry.needs else None,
        model_hash=setup.card.model_hash if setup.card else None,
        twin=experiment.rig if is_twin(experiment.rig) else None,
        **asked,
    )


def nodes(experiment: Experiment, setup: Setup, run_dir: Path) -> list[NodeSpec]:
    """The graph of an experiment, in the order of the walk."""
    entry, robot = setup.entry, setup.robot
    sensor_port, actuator_port = (
        str(run_dir / name) for name in (checks.SENSOR_PORT, checks.ACTUATOR_PORT)
    )
    instruments = robot.instruments
    clock, rate_hz = experiment.clock, setup.rate_hz
    available = offered(experiment, setup, run_dir)
    twin = is_twin(experiment.rig)
    graph: dict[str, dict[str, Any]] = {
        "rig": {
            "rig": str(Path(experiment.rig).absolute()) if twin else experiment.rig,
            "seed": experiment.seed,
            **setup.load,
            "rate_hz": rate_hz,
            "duration_s": experiment.duration_s,
            "clock": clock,
            "sensor_port": sensor_port,
            "actuator_port": actuator_port,
        },
        instruments.sensor.kind: {
            "port": sensor_port,
            "clock": clock,
            "baud": instruments.sensor.baud,
            **sensor_parameters(robot),
        },
        instruments.actuators.kind: {
            "port": actuator_port,
            "clock": clock,
            "rate_hz": rate_hz,
            "baud": instruments.actuators.baud,
            **actuator_parameters(robot),
        },
        "reference": {
            **curve_parameters(setup, run_dir),
            "frame": robot.frame,
            "rate_hz": rate_hz,
            "preview": preview(setup),
            "trigger": entry.trigger,
        },
        **{one.node: {name: available[name] for name in one.takes} for one in (MCU_NODE, entry)},
        "logger": {"run_dir": str(run_dir), "clock": clock, "points": setup.points or [""]},
    }
    peers = list(setup.parameters)
    return [
        NodeSpec(name, without_outputs(setup.parameters[name]) | graph[name] | {"peers": peers})
        for name in peers
    ]


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
        **of_kind,
    }


def without_outputs(parameters: dict[str, Any]) -> dict[str, Any]:
    """What of config/ goes to a node as it is: what is said of outputs by name goes as lists."""
    return {key: value for key, value in parameters.items() if key != "outputs"}


def curve_parameters(setup: Setup, run_dir: Path) -> dict[str, Any]:
    """What the reference node is told of its curve; flat lists, which is what ROS can hold."""
    curve = setup.curve
    if curve is None:
        return {}
    told: dict[str, Any] = {"output_names": list(curve.outputs)}
    if isinstance(curve, Reference):
        told["shape"] = curve.shape
        told["angular_rate"] = curve.angular_rate
        for key in ("amplitude", "centre", "component"):
            told[key] = list(getattr(curve, key))
    else:
        told["file"] = str(run_dir / checks.REFERENCE_FILE)
    surface = setup.card.surface if setup.card else None
    if surface:
        told |= {
            "leading": list(surface.leading),
            "factors": list(surface.factors),
            "degree": surface.degree,
            "following": list(surface.following),
            "coefficients": [c for each in surface.following.values() for c in each],
        }
    return told


def preview(setup: Setup) -> int:
    """Samples beyond now that the controller knows the reference of: the horizon of its firmware,
    or the parameter `preview` of a node that has no firmware."""
    if not setup.entry.has_preview:
        return 0
    if setup.build:
        return setup.build.horizon
    return int(setup.parameters[setup.entry.node].get("preview", 0))


def offered(experiment: Experiment, setup: Setup, run_dir: Path) -> dict[str, Any]:
    """What a controller's node may take from the run: values by ControllerEntry.takes."""
    robot, card = setup.robot, setup.card
    in_material = experiment.wiring == "mcu"
    own = "firmware" in setup.entry.needs
    from_s, for_s = setup.cut
    return {
        "rate_hz": setup.rate_hz,
        "duration_s": experiment.duration_s,
        "seed": experiment.seed,
        "clock": experiment.clock,
        "target": experiment.target,
        "firmware": str(experiment.firmware.absolute()),
        "port": experiment.port,
        "wiring": experiment.wiring,
        "source": "mpc" if own else "host",
        "sensor_port": str(run_dir / checks.SENSOR_PORT) if in_material else "",
        "actuator_port": str(run_dir / checks.ACTUATOR_PORT) if in_material else "",
        "host_lost": experiment.host_lost,
        "cut_from_s": from_s,
        "cut_for_s": for_s,
        "trajectory": str(run_dir / checks.TRAJECTORY_FILE) if setup.trajectory else "",
        "command_names": list(robot.command_names),
        "command_neutral": robot.command_neutral.tolist(),
        "command_min": robot.command_min.tolist(),
        "command_max": robot.command_max.tolist(),
        # ROS has no empty list of strings, and takes a lone y in YAML for true.
        "signal_names": (card.signal_names if card else None) or [""],
        "output_names": list(robot.output_names),
        "output_rest": robot.output_rest.tolist(),
        "frame": robot.frame,
    }


def reference_curve(experiment: Experiment, card: ModelCard) -> Reference | SampledReference:
    """The rig's reference on the model's surface."""
    robot = robot_of(experiment)
    parameters = node_parameters("reference", robot)
    return checks.curve_of(experiment.reference, parameters, card.surface, robot)
