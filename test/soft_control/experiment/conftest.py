"""Runs on disk without a run: experiment.json and a bag, as bring-up and the logger write them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from soft_control.experiment.record import RunRecord, write_record
from soft_control.robots.description import Command, Output, RobotDescription, Signal


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
                Output(name="push", unit="N", axis="y"),
            ),
            signals=(Signal(name="s", full_scale_counts=100.0),),
            rate_hz=20.0,
        )
        return RobotDescription(**values | changes)

    return make


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
            curve=dict(
                shape="diagonal",
                amplitude_x=0.02,
                amplitude_y=3.0,
                amplitude_z=0.01,
                angular_rate=1.0,
            ),
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
    """Writes a run whose outputs are off their reference by `off` (3,), m and N, at all times."""

    def make(
        name: str = "run",
        off: tuple[float, float, float] = (0.0, 0.0, 0.0),
        given: RunRecord | None = None,
        samples: int = 80,
        commands: int | None = None,
    ) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        kept = given or record()
        write_record(folder, kept)
        t_s = np.arange(samples) / kept.rate_hz
        wanted = kept.curve.position(t_s) if kept.curve else np.zeros((samples, 3))
        m = len(kept.robot.commands) if commands is None else commands
        told = 1e4 * np.sin(0.1 * np.arange(samples)[:, None] + np.arange(m))
        write_bag(folder / "bag", kept, wanted + off, told)
        return folder

    return make


def write_bag(bag: Path, record: RunRecord, position: np.ndarray, commands: np.ndarray) -> None:
    """Messages of every topic that a report reads, one of each a sample: positions (T, 3), commands
    (T, m), and the reference of `record`."""
    from rosbags.rosbag2 import StoragePlugin, Writer
    from rosbags.typesys import Stores, get_typestore

    store = get_typestore(Stores.ROS2_KILTED)
    message = store.types
    wanted = (
        record.curve.position(np.arange(len(position)) / record.rate_hz) if record.curve else ()
    )

    def header(stamp: int) -> Any:
        time = message["builtin_interfaces/msg/Time"](sec=stamp // 10**9, nanosec=stamp % 10**9)
        return message["std_msgs/msg/Header"](stamp=time, frame_id="rig_base")

    def path(stamp: int, at: np.ndarray) -> Any:
        pose = message["geometry_msgs/msg/Pose"](
            position=message["geometry_msgs/msg/Point"](*map(float, at)),
            orientation=message["geometry_msgs/msg/Quaternion"](0.0, 0.0, 0.0, 1.0),
        )
        stamped = message["geometry_msgs/msg/PoseStamped"](header=header(stamp), pose=pose)
        return message["nav_msgs/msg/Path"](header=header(stamp), poses=[stamped])

    def point(stamp: int, at: np.ndarray) -> Any:
        return message["geometry_msgs/msg/PointStamped"](
            header=header(stamp), point=message["geometry_msgs/msg/Point"](*map(float, at))
        )

    def command(stamp: int, values: np.ndarray) -> Any:
        return message["sensor_msgs/msg/JointState"](
            header=header(stamp),
            name=[f"c{i}" for i in range(len(values))],
            position=np.asarray(values, dtype=float),
            velocity=np.zeros(0),
            effort=np.zeros(0),
        )

    with Writer(bag, version=9, storage_plugin=StoragePlugin.MCAP) as writer:

        def topic(name: str, kind: str) -> Callable[[int, Any], None]:
            connection = writer.add_connection(name, kind, typestore=store)
            return lambda stamp, m: writer.write(connection, stamp, store.serialize_cdr(m, kind))

        tip = topic("/tip_position", "geometry_msgs/msg/PointStamped")
        told = topic("/command", "sensor_msgs/msg/JointState")
        reference = topic("/reference", "nav_msgs/msg/Path")
        for k, (at, values) in enumerate(zip(position, commands, strict=True)):
            stamp = 10**9 + round(k * 1e9 / record.rate_hz)
            tip(stamp, point(stamp, at))
            told(stamp, command(stamp, values))
            if record.curve:
                reference(stamp, path(stamp, wanted[k]))
