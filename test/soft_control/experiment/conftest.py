"""Runs on disk without a run: experiment.json and a bag, as bring-up and the logger write them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from soft_control.experiment.record import RunRecord, write_record
from soft_control.robots.description import Command, Output, RobotDescription, Signal
from soft_control.topics import FIRST_NS


@pytest.fixture
def robot() -> Callable[..., RobotDescription]:
    """A robot of two pressures that moves a tip in a plane and pushes with a force."""

    def make(**changes: Any) -> RobotDescription:
        values = dict(
            name="arm",
            commands=(
                Command(name="left", unit="Pa", display_unit="kPa", min=0.0, max=2e5),
                Command(name="right", unit="Pa", display_unit="kPa", min=-1e5, max=1e5),
            ),
            outputs=(
                Output(name="x", unit="m", display_unit="mm", axis="x", point="tip"),
                Output(name="z", unit="m", display_unit="mm", axis="z", point="tip"),
                Output(name="push", unit="N"),
            ),
            signals=(Signal(name="s", full_scale_counts=100.0),),
            rate_hz=20.0,
        )
        return RobotDescription(**values | changes)

    return make


def along_a_line(**amplitudes: float) -> dict[str, Any]:
    """A curve on which all outputs go to and fro together."""
    count = len(amplitudes)
    return dict(
        outputs=tuple(amplitudes),
        shape="diagonal",
        amplitude=tuple(amplitudes.values()),
        centre=(0.0,) * count,
        component=(0,) * count,
        angular_rate=1.0,
    )


@pytest.fixture
def diagonal() -> Callable[..., dict[str, Any]]:
    """diagonal(x=amplitude, …): the curve of a record."""
    return along_a_line


@pytest.fixture
def record(robot: Callable[..., RobotDescription]) -> Callable[..., RunRecord]:
    """What experiment.json holds of a run of 4 s at 20 Hz."""

    def make(**changes: Any) -> RunRecord:
        values = dict(
            robot=robot(),
            controller="mpc",
            title="MPC",
            sees_position=False,
            has_preview=True,
            target="sil",
            reference="diagonal",
            curve=along_a_line(x=0.02, z=0.01, push=3.0),
            clock="lockstep",
            rate_hz=20.0,
            duration_s=4.0,
            seed=0,
            load="",
            model="models/arm",
            firmware="build/arm",
            port="",
            out="runs/arm",
            build=None,
            model_hash="0123456789abcdef",
        )
        return RunRecord.model_validate(values | changes)

    return make


@pytest.fixture
def run_dir(tmp_path: Path, record: Callable[..., RunRecord]) -> Callable[..., Path]:
    """Writes a run whose outputs are off their reference by `off`, (n,) at all times or (T, n). Of
    samples `unheard` the bag has the outputs only; `late` more commands come after all outputs; the
    stamps of commands are `shift_ns` later; from sample `stopped` on the microcontroller says that
    it is, and of its reference what it was then; `mcu` is what it has
    counted, `statistics` what nodes have."""

    def make(
        name: str = "run",
        off: tuple[float, ...] | np.ndarray = (0.0, 0.0, 0.0),
        given: RunRecord | None = None,
        samples: int = 80,
        commands: int | None = None,
        unheard: range = range(0),
        late: int = 0,
        shift_ns: int = 0,
        stopped: int | None = None,
        mcu: dict[str, Any] | None = None,
        statistics: dict[str, dict[str, float]] | None = None,
    ) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        kept = given or record()
        write_record(folder, kept)
        t_s = np.arange(samples) / kept.rate_hz
        n = len(kept.robot.outputs)
        wanted = kept.curve.values(t_s) if kept.curve else np.zeros((samples, n))
        m = len(kept.robot.commands) if commands is None else commands
        told = 1e4 * np.sin(0.1 * np.arange(samples + late)[:, None] + np.arange(m))
        said = (unheard, shift_ns, stopped, mcu, statistics)
        write_bag(folder / "bag", kept, wanted + off, told, *said)
        return folder

    return make


DIAGNOSES = "diagnostic_msgs/msg/DiagnosticArray"
SOLVED = {"step_cost": 0, "step_cost_unit": "none", "supervisor": 0}


def write_bag(
    bag: Path,
    record: RunRecord,
    outputs: np.ndarray,
    commands: np.ndarray,
    unheard: range = range(0),
    shift_ns: int = 0,
    stopped: int | None = None,
    mcu: dict[str, Any] | None = None,
    statistics: dict[str, dict[str, float]] | None = None,
) -> None:
    """Messages of every topic that a report reads, one of each a sample: outputs (T, n), commands
    (T or more, m), and the reference of `record`."""
    from rosbags.rosbag2 import StoragePlugin, Writer
    from rosbags.typesys import Stores, get_typestore

    store = get_typestore(Stores.ROS2_KILTED)
    message = store.types
    wanted = record.curve.values(np.arange(len(commands)) / record.rate_hz) if record.curve else ()

    def header(stamp: int) -> Any:
        time = message["builtin_interfaces/msg/Time"](sec=stamp // 10**9, nanosec=stamp % 10**9)
        return message["std_msgs/msg/Header"](stamp=time, frame_id="rig_base")

    def vector(stamp: int, names: tuple[str, ...], values: np.ndarray) -> Any:
        return message["sensor_msgs/msg/JointState"](
            header=header(stamp),
            name=list(names),
            position=np.asarray(values, dtype=float),
            velocity=np.zeros(0),
            effort=np.zeros(0),
        )

    def trajectory(stamp: int, names: tuple[str, ...], values: np.ndarray) -> Any:
        point = message["trajectory_msgs/msg/JointTrajectoryPoint"](
            positions=np.asarray(values, dtype=float),
            velocities=np.zeros(0),
            accelerations=np.zeros(0),
            effort=np.zeros(0),
            time_from_start=message["builtin_interfaces/msg/Duration"](sec=0, nanosec=0),
        )
        return message["trajectory_msgs/msg/JointTrajectory"](
            header=header(stamp), joint_names=list(names), points=[point]
        )

    def diagnosis(stamp: int, values: dict[str, Any]) -> Any:
        pairs = [
            message["diagnostic_msgs/msg/KeyValue"](key=key, value=str(value))
            for key, value in values.items()
        ]
        status = message["diagnostic_msgs/msg/DiagnosticStatus"](
            level=0, name="", message="", hardware_id="", values=pairs
        )
        return message[DIAGNOSES](header=header(stamp), status=[status])

    command_names = record.robot.command_names
    if commands.shape[1] != len(command_names):
        command_names = tuple(f"c{i}" for i in range(commands.shape[1]))
    with Writer(bag, version=9, storage_plugin=StoragePlugin.MCAP) as writer:

        def topic(name: str, kind: str) -> Callable[[int, Any], None]:
            connection = writer.add_connection(name, kind, typestore=store)
            return lambda stamp, m: writer.write(connection, stamp, store.serialize_cdr(m, kind))

        seen = topic("/outputs", "sensor_msgs/msg/JointState")
        told = topic("/command", "sensor_msgs/msg/JointState")
        reference = topic("/reference", "trajectory_msgs/msg/JointTrajectory")
        solver, counted = (topic(name, DIAGNOSES) for name in ("/solver", "/mcu"))
        names = record.robot.output_names
        for k, values in enumerate(commands):
            stamp = FIRST_NS + round(k * 1e9 / record.rate_hz)
            if k < len(outputs):
                seen(stamp, vector(stamp, names, outputs[k]))
            if k in unheard:
                continue
            told(stamp + shift_ns, vector(stamp + shift_ns, command_names, values))
            if record.curve:
                at = k if stopped is None else min(k, stopped)
                reference(stamp, trajectory(stamp, names, wanted[at]))
            if stopped is not None:
                state = {"state": "running" if k < stopped else "stopped"}
                solver(stamp, diagnosis(stamp, SOLVED | state))
        if mcu is not None:
            counted(stamp, diagnosis(stamp, mcu))
        for node, numbers in (statistics or {}).items():
            say = topic(f"/{node}/statistics", "sensor_msgs/msg/JointState")
            for share in (0.5, 1.0):  # once a second, and at the end
                said = share * np.array(list(numbers.values()))
                say(stamp, vector(stamp, tuple(numbers), said))
