"""Which nodes with which parameters: the one description that `softctl` and launch files use."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from soft_control.control.controllers import MCU_NODE, MEASURED
from soft_control.control.sampled_reference import SampledReference, write_reference
from soft_control.experiment import checks, run_folder
from soft_control.experiment.instrument_parameters import (
    actuator_parameters,
    sensor_parameters,
    tracked,
    tracker_parameters,
)
from soft_control.experiment.learned_file import LEARNED_FILE
from soft_control.experiment.node_parameters import curve_parameters, node_parameters
from soft_control.experiment.parameter_file import check_free
from soft_control.experiment.record import RunRecord, write_record
from soft_control.experiment.settings import Experiment
from soft_control.experiment.setup import CURVE, ParametersOf, Setup, check, without_outputs
from soft_control.rigs import is_twin
from soft_control.topics import OUTPUTS, SIGNALS


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
    run_folder.clear(run_dir)
    run_dir.mkdir(parents=True, exist_ok=True)
    write_record(run_dir, record(experiment, setup))
    if "reference" in setup.parameters and isinstance(setup.followed, SampledReference):
        write_reference(run_dir / run_folder.REFERENCE_FILE, setup.followed)
    if setup.trajectory:
        write_reference(run_dir / run_folder.TRAJECTORY_FILE, setup.trajectory)
    if setup.rest:
        (run_dir / run_folder.REST_FILE).write_text(setup.rest.model_dump_json(), encoding="utf-8")
    return graph


def record(experiment: Experiment, setup: Setup) -> RunRecord:
    """What is written down of the run."""
    known = {"rig", "robot", "rate_hz", "target", "reference", "visual", "tracker", "params_file"}
    known |= {"duration_s"}
    asked = experiment.model_dump(mode="json", exclude=known)
    entry = setup.entry
    firmware = setup.build and any("firmware" in one.needs for one in setup.entries)
    return RunRecord(
        robot=setup.robot,
        rate_hz=setup.rate_hz,
        duration_s=experiment.length_s,
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
    until = {} if experiment.sim else {"duration_s": experiment.length_s}
    graph: dict[str, dict[str, Any]] = {
        "tracker": tracker_parameters(robot),
        "rig": {
            "rig": str(Path(experiment.rig).absolute()) if twin else experiment.rig,
            "seed": experiment.seed,
            **setup.load,
            "rate_hz": rate_hz,
            "duration_s": experiment.length_s,
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
                setup.followed,
                setup.card.surface if setup.card else None,
                run_dir / run_folder.REFERENCE_FILE,
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
    return str(run_dir / run_folder.SENSOR_PORT), str(run_dir / run_folder.ACTUATOR_PORT)


def visual(experiment: Experiment, setup: Setup, run_dir: Path) -> NodeSpec:
    """The node that says what viewers draw."""
    rig = experiment.rig
    prefix = experiment.namespace.lstrip("/")
    parameters = node_parameters("visual", setup.robot) | {
        "robot": experiment.robot or (str(Path(rig).absolute()) if is_twin(rig) else rig),
        "frame_prefix": f"{prefix}/" if prefix else "",
        "rate_hz": setup.rate_hz,
        "trajectory": str(run_dir / run_folder.TRAJECTORY_FILE) if setup.trajectory else "",
        "horizon": setup.build.horizon if setup.build else 0,
    }
    return NodeSpec("visual", parameters, experiment.namespace, looks_on=True)


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
        "duration_s": experiment.length_s,
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
        "rearm": robot.instruments.actuators.may_rearm,
        "cut_from_s": from_s,
        "cut_for_s": for_s,
        "calibrate_s": experiment.calibrate_s,
        "adaptation": str(Path(experiment.adaptation).absolute()) if experiment.adaptation else "",
        "learned_file": str(run_dir / LEARNED_FILE),
        "trajectory": str(run_dir / run_folder.TRAJECTORY_FILE) if setup.trajectory else "",
        "rest": str(run_dir / run_folder.REST_FILE),
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
