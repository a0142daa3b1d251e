"""Which nodes with which parameters: the one description that `softctl` and launch files use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from soft_control import robots
from soft_control.control.controllers import (
    MCU_NODE,
    MEASURED,
    ControllerEntry,
    controller,
    standby,
)
from soft_control.control.references import Reference
from soft_control.control.sampled_reference import SampledReference, write_reference
from soft_control.experiment import checks
from soft_control.experiment.instrument_parameters import (
    actuator_parameters,
    sensor_parameters,
    tracked,
    tracker_parameters,
)
from soft_control.experiment.node_parameters import (
    controller_parameters,
    curve_parameters,
    merged,
    node_parameters,
)
from soft_control.experiment.parameter_file import Given, check_free, read_parameter_file
from soft_control.experiment.record import RunRecord, write_record
from soft_control.experiment.settings import Experiment
from soft_control.experiment.trajectory import tabulate
from soft_control.firmware_files import FirmwareBuild, read_build
from soft_control.learning.model import ModelCard, load_card, load_model
from soft_control.learning.rest import RestingNetwork, resting_network
from soft_control.rigs import describe, is_twin
from soft_control.robots.description import RobotDescription
from soft_control.topics import OUTPUTS, SIGNALS, point_topic

CURVE = ("outputs", "angular_rate")
"""Parameters of the node reference that say what a shape is like, whoever follows it."""


@dataclass(frozen=True)
class NodeSpec:
    """One process of the graph."""

    name: str
    """Of the node and of its module in soft_control/nodes/."""
    parameters: dict[str, Any]
    namespace: str = ""
    """Such as /left; empty: none."""
    looks_on: bool = False
    """The run goes on without it."""
    ends_run: bool = False
    """It has the samples: its end is the run's."""

    @property
    def full_name(self) -> str:
        """As parameter files have it."""
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


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


def prepare(experiment: Experiment, parameters_of: ParametersOf | None = None) -> list[NodeSpec]:
    """Makes the run's directory, writes experiment.json and the samples of a reference that is no
    shape, and returns the nodes to start.

    parameters_of: to check what stands in the experiment's params_file; it knows ROS, and needs to
    be there only where there is such a file. Raises ValueError, before anything is written, where
    something does not fit: see `check`.
    """
    if not experiment.params_file:
        parameters_of = None
    setup = check(experiment, parameters_of)
    run_dir = experiment.out.absolute()
    graph = nodes(experiment, setup, run_dir)
    for node in graph if parameters_of else ():
        model = parameters_of(node.name)
        checks.check_parameters(model, node.name, node.parameters, experiment.params_file)
    checks.clear(run_dir)
    run_dir.mkdir(parents=True, exist_ok=True)
    write_record(run_dir, record(experiment, setup))
    if "reference" in setup.parameters and isinstance(setup.curve, SampledReference):
        write_reference(run_dir / checks.REFERENCE_FILE, setup.curve)
    if setup.trajectory:
        write_reference(run_dir / checks.TRAJECTORY_FILE, setup.trajectory)
    if setup.rest:
        (run_dir / checks.REST_FILE).write_text(setup.rest.model_dump_json(), encoding="utf-8")
    return graph


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
    checks.check_out(experiment.out)
    checks.check_wiring(entry, experiment.wiring, experiment.target, experiment.cut, experiment.sim)
    checks.check_instruments(
        experiment.sim,
        {"--sensor-port": experiment.sensor_port, "--actuator-port": experiment.actuator_port},
        in_material and experiment.target == "hil",
        experiment.load,
        experiment.tracker,
    )
    checks.check_target(MCU_NODE if bridged else entry, experiment.target, experiment.port)
    cut = checks.cut_of(experiment.cut, experiment.duration_s)
    robot = robot_of(experiment)
    rate_hz = experiment.rate_hz or robot.rate_hz
    checks.check_length(experiment.duration_s, rate_hz)
    points = [point_topic(group.name) for group in robot.groups if group.is_point]
    load = checks.load_options(experiment.load, robot)
    checks.check_load(load, experiment.duration_s)

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
    for one in entries if not (experiment.sim or experiment.tracker) else ():
        checks.check_measured(one, parameters[one.node], experiment.wiring)
    for name, values in parameters.items():
        checks.check_ros(name, without_outputs(values))
    for one in entries:
        checks.check_sizes(one, one.name, parameters[one.node], robot)
        checks.check_lead(one, parameters[one.node], rate_hz)

    card = build = curve = rest = None
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
    if any(one.tracks for one in entries):
        surface = card.surface if card else None
        curve = checks.curve_of(experiment.reference, shapes, surface, robot)
    trajectory = None
    # In lockstep the reference node's samples are those of the firmware: it can say them.
    streamed = "reference" in names and not in_material and experiment.clock == "lockstep"
    if uploads and curve and build and not streamed:
        samples = round(experiment.duration_s * rate_hz) + build.horizon + 1
        trajectory = tabulate(curve, rate_hz, samples, build.trajectory_points)
    return Setup(
        *(entry, waiting, robot, rate_hz, points, load, card, build, curve, trajectory, rest),
        *(cut, parameters, given),
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
    known = {"rig", "robot", "rate_hz", "target", "reference", "visual", "tracker", "params_file"}
    asked = experiment.model_dump(mode="json", exclude=known)
    entry = setup.entry
    firmware = setup.build and any("firmware" in one.needs for one in setup.entries)
    return RunRecord(
        robot=setup.robot,
        rate_hz=setup.rate_hz,
        title=entry.title,
        sees_position=entry.sees_position(setup.parameters[entry.node]),
        has_preview=entry.has_preview,
        target=experiment.target if entry.targets else None,
        reference=experiment.reference if setup.curve else None,
        curve=setup.curve,
        build=setup.build.model_dump(mode="json", exclude={"mpc", "robot"}) if firmware else None,
        model_hash=setup.card.model_hash if setup.card else None,
        measured=experiment.sim or experiment.tracker,
        given=setup.given,
        twin=experiment.rig if is_twin(experiment.rig) else None,
        **asked,
    )


def nodes(experiment: Experiment, setup: Setup, run_dir: Path) -> list[NodeSpec]:
    """The graph of an experiment, in the order of the walk."""
    robot = setup.robot
    sensor_port, actuator_port = ports(experiment, run_dir)
    instruments = robot.instruments
    clock, rate_hz = experiment.clock, setup.rate_hz
    available = offered(experiment, setup, run_dir)
    twin = is_twin(experiment.rig)
    # Without a rig, the node that hears of samples ends the run.
    listening = MCU_NODE.node if experiment.wiring == "mcu" else instruments.sensor.kind
    ending = "rig" if experiment.sim else listening
    until = {} if experiment.sim else {"duration_s": experiment.duration_s}
    graph: dict[str, dict[str, Any]] = {
        "tracker": tracker_parameters(robot),
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
            **until,
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
            **curve_parameters(
                setup.curve,
                setup.card.surface if setup.card else None,
                run_dir / checks.REFERENCE_FILE,
            ),
            "frame": robot.frame,
            "rate_hz": rate_hz,
            "preview": preview(setup),
            "trigger": reference_trigger(experiment, setup),
            "clock": clock,
            "may_change": setup.trajectory is None,
        },
        **{
            one.node: {name: available[name] for name in one.takes}
            for one in (MCU_NODE, *setup.entries)
        },
        "logger": {
            "run_dir": str(run_dir),
            "clock": clock,
            "rate_hz": rate_hz,
            "points": setup.points or [""],
            **(tracked(robot) if setup.curve else {}),
        },
    }
    if experiment.wiring == "mcu":
        graph[MCU_NODE.node] |= until
    peers = list(setup.parameters)
    free = {name: [key for key in graph[name] if key not in CURVE] for name in peers}
    check_free(setup.given, {**dict.fromkeys(setup.given, ()), **free}, experiment.params_file)
    taking_part = [
        NodeSpec(
            name,
            without_outputs(setup.parameters[name]) | graph[name] | {"peers": peers},
            experiment.namespace,
            ends_run=name == ending,
        )
        for name in peers
    ]
    return taking_part + [visual(experiment, setup, run_dir)] * experiment.visual


def ports(experiment: Experiment, run_dir: Path) -> tuple[str, str]:
    """Of sensor and actuators: links in the run's folder to those that a rig pretends to be, or
    the robot's own."""
    if not experiment.sim:
        return experiment.sensor_port, experiment.actuator_port
    return str(run_dir / checks.SENSOR_PORT), str(run_dir / checks.ACTUATOR_PORT)


def visual(experiment: Experiment, setup: Setup, run_dir: Path) -> NodeSpec:
    """The node that says what viewers draw."""
    rig = experiment.rig
    prefix = experiment.namespace.lstrip("/")
    parameters = node_parameters("visual", setup.robot) | {
        "robot": experiment.robot or (str(Path(rig).absolute()) if is_twin(rig) else rig),
        "frame_prefix": f"{prefix}/" if prefix else "",
        "rate_hz": setup.rate_hz,
        "trajectory": str(run_dir / checks.TRAJECTORY_FILE) if setup.trajectory else "",
        "horizon": setup.build.horizon if setup.build else 0,
    }
    return NodeSpec("visual", parameters, experiment.namespace, looks_on=True)


def without_outputs(parameters: dict[str, Any]) -> dict[str, Any]:
    """What of config/ goes to a node as it is: what is said of outputs by name goes as lists."""
    return {key: value for key, value in parameters.items() if key != "outputs"}


def preview(setup: Setup) -> int:
    """Samples beyond now that some controller knows the reference of: the horizon of a firmware
    that is not told before the run, the parameter `preview` of a node that has no firmware."""
    wanted = [int(setup.parameters[e.node].get("preview", 0)) for e in setup.followers]
    if setup.build and MCU_NODE in setup.entries and setup.trajectory is None:
        wanted.append(setup.build.horizon)
    return max(wanted, default=0)


def reference_trigger(experiment: Experiment, setup: Setup) -> str:
    """The topic for whose samples the reference node speaks: the signals where nobody needs the
    measured outputs. At the microcontroller signals are told with the command that answers them."""
    measured = any(one.trigger == MEASURED for one in setup.followers)
    return OUTPUTS if measured or experiment.wiring == "mcu" else SIGNALS


def offered(experiment: Experiment, setup: Setup, run_dir: Path) -> dict[str, Any]:
    """What a controller's node may take from the run: values by ControllerEntry.takes."""
    robot, card = setup.robot, setup.card
    in_material = experiment.wiring == "mcu"
    from_s, for_s = setup.cut
    sensor_port, actuator_port = ports(experiment, run_dir) if in_material else ("", "")
    return {
        "rate_hz": setup.rate_hz,
        "duration_s": experiment.duration_s,
        "seed": experiment.seed,
        "clock": experiment.clock,
        "target": experiment.target,
        "firmware": str(experiment.firmware.absolute()),
        "port": experiment.port,
        "wiring": experiment.wiring,
        "controller": setup.entry.name,
        "standby": MCU_NODE.node in setup.parameters,
        "trigger": OUTPUTS if in_material else SIGNALS,
        "sensor_port": sensor_port,
        "actuator_port": actuator_port,
        "host_lost": experiment.host_lost,
        "cut_from_s": from_s,
        "cut_for_s": for_s,
        "trajectory": str(run_dir / checks.TRAJECTORY_FILE) if setup.trajectory else "",
        "rest": str(run_dir / checks.REST_FILE),
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
