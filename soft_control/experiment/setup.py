"""What an experiment needs, read and compared, before anything is written or started."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from soft_control import robots
from soft_control.control.calibration_motion import CALIBRATION_SHAPES, after_calibration
from soft_control.control.controllers import MCU_NODE, ControllerEntry, controller, standby
from soft_control.control.references import Reference
from soft_control.control.sampled_reference import SampledReference
from soft_control.experiment import checks, run_folder
from soft_control.experiment.learned_file import read_learned
from soft_control.experiment.node_parameters import (
    controller_parameters,
    merged,
    node_parameters,
)
from soft_control.experiment.parameter_file import Given, read_parameter_file
from soft_control.experiment.settings import Experiment
from soft_control.experiment.trajectory import tabulate
from soft_control.firmware_files import FirmwareBuild, read_build
from soft_control.learning.model import ModelCard, load_card, load_model
from soft_control.learning.rest import RestingNetwork, resting_network
from soft_control.rigs import describe
from soft_control.robots.description import RobotDescription
from soft_control.topics import point_topic

CURVE = ("outputs", "angular_rate")
"""Parameters of the node reference that say what a shape is like, whoever follows it."""


@dataclass(frozen=True)
class Setup:
    """All that an experiment needs; it has been checked that it fits together."""

    entry: ControllerEntry
    """Of the controller that the run begins with."""
    waiting: list[ControllerEntry]
    """Of others, which can be chosen while it goes on."""
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
    followed: Reference | SampledReference | None
    """The same behind the motion of a calibration, where there is one."""
    trajectory: SampledReference | None
    """The same as a firmware is told it; None: the reference node says it, or there is none."""
    rest: RestingNetwork | None
    """For nodes that invert it."""
    cut: tuple[float, float]
    """From when, and for how long, the host's line to the microcontroller is cut, s."""
    parameters: dict[str, dict[str, Any]]
    """By node, in the order of the walk: what stands in config/, and in params_file over it."""
    given: Given
    """Of that what stands in params_file."""

    @property
    def entries(self) -> list[ControllerEntry]:
        """All controllers that the run has."""
        return [self.entry, *self.waiting]

    @property
    def followers(self) -> list[ControllerEntry]:
        """Controllers on the host for which the reference node speaks."""
        return [one for one in self.entries if one.tracks and one is not MCU_NODE]


ParametersOf = Callable[[str], type[BaseModel]]
"""The parameters of the node of that name: nodes._given.parameters_of."""


def check(experiment: Experiment, parameters_of: ParametersOf | None = None) -> Setup:
    """Reads all that the experiment needs and compares it.

    Raises ValueError in one line for the first thing that is missing or does not fit: the folder,
    length, target and ports, load, model, firmware, rate, gains, reference, parameters.
    """
    entry = controller(experiment.controller)
    waiting = [e for e in standby(experiment.standby) if e is not entry]
    entries = [entry, *waiting]
    in_material = experiment.wiring == "mcu"
    bridged = in_material or bool(waiting) or entry is MCU_NODE
    run_folder.check_out(experiment.out)
    checks.check_wiring(entry, experiment.wiring, experiment.target, experiment.cut, experiment.sim)
    checks.check_instruments(
        experiment.sim,
        {"--sensor-port": experiment.sensor_port, "--actuator-port": experiment.actuator_port},
        in_material and experiment.target == "hil",
        experiment.load,
        experiment.tracker,
    )
    checks.check_target(MCU_NODE if bridged else entry, experiment.target, experiment.port)
    cut = checks.cut_of(experiment.cut, experiment.length_s)
    robot = robot_of(experiment)
    rate_hz = experiment.rate_hz or robot.rate_hz
    checks.check_length(experiment.length_s, rate_hz)
    points = [point_topic(group.name) for group in robot.groups if group.is_point]
    load = checks.load_options(experiment.load, robot)
    checks.check_load(load, experiment.length_s)

    uploads = any("firmware" in one.needs for one in entries)
    names = [MCU_NODE.node] if bridged else []
    if any(one.tracks and one is not MCU_NODE for one in entries):
        names.append("reference")
    names = list(dict.fromkeys([*names, *(one.node for one in entries)]))
    if in_material:
        names = [*names, "logger"]
    else:
        instruments = robot.instruments
        names = [instruments.sensor.kind, *names, instruments.actuators.kind, "logger"]
    names = ["rig"] * experiment.sim + ["tracker"] * experiment.tracker + names
    parameters = {name: node_parameters(name, robot) for name in names}
    parameters |= {one.node: controller_parameters(one, robot, rate_hz) for one in entries}
    shapes = node_parameters("reference", robot)
    given: Given = {}
    if parameters_of:
        known = {name: list(parameters_of(name).model_fields) for name in names}
        if any(one.tracks for one in entries):
            known["reference"] = [*known.get("reference", ()), *CURVE]
        given = read_parameter_file(experiment.params_file, known, experiment.namespace)
        parameters = {name: merged(parameters[name], given[name]) for name in names}
        shapes = merged(shapes, given.get("reference", {}))
    measured = experiment.sim or experiment.tracker
    checks.check_calibration(entry, experiment.calibrate_s, experiment.adaptation, measured)
    for one in entries if not measured else ():
        checks.check_measured(one, parameters[one.node], experiment.wiring)
    for name, values in parameters.items():
        checks.check_ros(name, without_outputs(values))
    for one in entries:
        checks.check_sizes(one, one.name, parameters[one.node], robot)
        checks.check_lead(one, parameters[one.node], rate_hz)

    card = build = curve = surface = rest = None
    if waiting or any("model" in one.needs for one in entries):
        card = load_card(experiment.model)
        checks.check_model(card, experiment.model, robot)
    if any("rest" in one.needs for one in entries):
        rest = resting_network(load_model(experiment.model))
    if bridged:
        build = read_build(experiment.firmware)
        checks.check_build(
            build,
            experiment.firmware,
            card,
            experiment.model,
            rate_hz,
            experiment.target,
        )
    if build and (in_material or not experiment.sim):
        checks.check_counts(build, experiment.firmware, robot, *_sensor_of(experiment, robot))
    if build and card and experiment.adaptation:
        read_learned(Path(experiment.adaptation), robot.output_names, card.model_hash)
    samples = round(experiment.length_s * rate_hz) + (build.horizon if build else 0) + 1
    if any(one.tracks for one in entries):
        surface = card.surface if card else None
        curve = checks.curve_of(experiment.reference, shapes, surface, robot)
    followed, trajectory = curve, None
    if experiment.calibrate_s and curve:
        motions = [checks.curve_of(s, shapes, surface, robot) for s in CALIBRATION_SHAPES]
        followed = after_calibration(curve, motions, experiment.calibrate_s, rate_hz, samples)
    # In lockstep the reference node's samples are those of the firmware: it can say them.
    streamed = "reference" in names and not in_material and experiment.clock == "lockstep"
    if uploads and curve and build and not streamed:
        trajectory = tabulate(followed, rate_hz, samples, build.trajectory_points)
    return Setup(
        *(entry, waiting, robot, rate_hz, points, load, card, build, curve, followed, trajectory),
        *(rest, cut, parameters, given),
    )


def _sensor_of(experiment: Experiment, robot: RobotDescription) -> tuple[str, str]:
    """Whose sensor a run has, and what to do where the firmware takes its counts for others."""
    if experiment.sim:
        counts = "full_scale_counts of its signals"
        return f"the rig {experiment.rig}", (
            f"write {counts} into the description of {robot.name}, as `softctl describe` does, and "
            "make twin and firmware again from it"
        )
    if experiment.robot:
        return robot.name, "`softctl build` it again with this --robot"
    return f"the rig {experiment.rig}", "name the description of the real robot by --robot"


def robot_of(experiment: Experiment) -> RobotDescription:
    """The robot of the experiment: of its rig, by the rig's own description or by a later one where
    the experiment names it, with the rig's sensors calibrated as they are; or one that is there,
    which is what the named description says. Raises ValueError where a rig is of another robot."""
    if experiment.robot and not experiment.sim:
        return robots.load(experiment.robot)
    robot = describe(experiment.rig)
    if not experiment.robot:
        return robot
    later = robots.load(experiment.robot)
    checks.check_same(later, robot, f"the rig {experiment.rig}")
    return later.calibrated(robot.full_scale_counts)


def reference_curve(experiment: Experiment, card: ModelCard) -> Reference | SampledReference:
    """The rig's reference on the model's surface."""
    robot = robot_of(experiment)
    parameters = node_parameters("reference", robot)
    return checks.curve_of(experiment.reference, parameters, card.surface, robot)


def without_outputs(parameters: dict[str, Any]) -> dict[str, Any]:
    """What of config/ goes to a node as it is: what is said of outputs by name goes as lists."""
    return {key: value for key, value in parameters.items() if key != "outputs"}
