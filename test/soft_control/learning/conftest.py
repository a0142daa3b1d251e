"""Recordings that the tests of this folder make themselves: bags of any messages, CSV variants."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest


class Messages:
    """ROS messages by their type's short name, and bags of them."""

    def __init__(self) -> None:
        from rosbags.typesys import Stores, get_typestore

        self.store = get_typestore(Stores.ROS2_KILTED)

    def _make(self, kind: str, **fields: Any) -> Any:
        return self.store.types[kind](**fields)

    def header(self, ns: int, frame: str = "rig_base") -> Any:
        time = self._make("builtin_interfaces/msg/Time", sec=ns // 10**9, nanosec=ns % 10**9)
        return self._make("std_msgs/msg/Header", stamp=time, frame_id=frame)

    def joints(self, ns: int, names: Sequence[str], values: Sequence[float]) -> Any:
        none = np.zeros(0)
        return self._make(
            "sensor_msgs/msg/JointState", header=self.header(ns), name=list(names),
            position=np.array(values, dtype=float), velocity=none, effort=none,
        )  # fmt: skip

    def _xyz(self, kind: str, xyz: Sequence[float]) -> Any:
        x, y, z = map(float, xyz)
        return self._make(kind, x=x, y=y, z=z)

    def point(self, ns: int, xyz: Sequence[float], frame: str = "rig_base") -> Any:
        return self._make(
            "geometry_msgs/msg/PointStamped", header=self.header(ns, frame),
            point=self._xyz("geometry_msgs/msg/Point", xyz),
        )  # fmt: skip

    def pose(self, ns: int, xyz: Sequence[float], frame: str = "rig_base") -> Any:
        still = self._make("geometry_msgs/msg/Quaternion", x=0.0, y=0.0, z=0.0, w=1.0)
        pose = self._make(
            "geometry_msgs/msg/Pose",
            position=self._xyz("geometry_msgs/msg/Point", xyz), orientation=still,
        )  # fmt: skip
        header = self.header(ns, frame)
        return self._make("geometry_msgs/msg/PoseStamped", header=header, pose=pose)

    def vector(self, ns: int, xyz: Sequence[float]) -> Any:
        return self._make(
            "geometry_msgs/msg/Vector3Stamped", header=self.header(ns),
            vector=self._xyz("geometry_msgs/msg/Vector3", xyz),
        )  # fmt: skip

    def path(self, ns: int, xyz: Sequence[float]) -> Any:
        return self._make("nav_msgs/msg/Path", header=self.header(ns), poses=[self.pose(ns, xyz)])

    def trajectory(self, ns: int, names: Sequence[str], values: Sequence[float]) -> Any:
        none = np.zeros(0)
        point = self._make(
            "trajectory_msgs/msg/JointTrajectoryPoint",
            positions=np.array(values, dtype=float), velocities=none, accelerations=none,
            effort=none,
            time_from_start=self._make("builtin_interfaces/msg/Duration", sec=0, nanosec=0),
        )  # fmt: skip
        return self._make(
            "trajectory_msgs/msg/JointTrajectory", header=self.header(ns),
            joint_names=list(names), points=[point],
        )  # fmt: skip

    def array(self, values: Sequence[float]) -> Any:
        layout = self._make("std_msgs/msg/MultiArrayLayout", dim=[], data_offset=0)
        data = np.array(values, dtype=float)
        return self._make("std_msgs/msg/Float64MultiArray", layout=layout, data=data)

    def write(self, path: Path, topics: Mapping[str, Sequence[Any]]) -> Path:
        """A bag as the logger writes it; messages are logged in the order of the lists."""
        from rosbags.rosbag2 import StoragePlugin, Writer

        with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
            for topic, messages in topics.items():
                kind = messages[0].__msgtype__
                connection = writer.add_connection(topic, kind, typestore=self.store)
                for k, message in enumerate(messages):
                    raw = self.store.serialize_cdr(message, kind)
                    writer.write(connection, 10**9 + k * 10**7, raw)
        return path


@pytest.fixture(scope="session")
def messages() -> Messages:
    return Messages()


@pytest.fixture(scope="session")
def variant(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Makes a recording of the tendon rig with one peculiarity, by its name; `base` has none."""
    maker = Path(__file__).resolve().parents[4] / "shared" / "cases" / "inputs" / "variants.py"
    if not maker.is_file():
        pytest.skip(f"the recordings with peculiarities are not in {maker.parent}")
    folder = tmp_path_factory.mktemp("variants")

    def make(name: str) -> Path:
        if name == "base":
            return maker.parent / "base.csv"
        path = folder / f"{name}.csv"
        subprocess.run([sys.executable, maker, name, path], check=True)
        return path

    return make
