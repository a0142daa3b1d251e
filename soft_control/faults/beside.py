"""What goes on beside a run: a robot of one's own, which its tracker sees, and a build of firmware.

Processes of others, as the run sees them: they are in its graph and in no list of its nodes.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from soft_control.experiment.runner import reserve_domain
from soft_control.faults.outcome import Outcome
from soft_control.faults.processes import descendants, left_behind, node
from soft_control.firmware_files import BUILD_FILE, BuildError, read_build
from soft_control.network import DISCOVERY
from soft_control.rigs import describe

APART = "/apart"
"""Namespace of what is beside a run."""
START_S, END_S = 120.0, 180.0
"""Patience with what starts, and with what ends."""
STALE = "0" * 16
"""Build of a firmware that has to be made anew."""


class _Node:
    """A node beside a run; its folder has its parameters and its log."""

    def __init__(self, name: str, folder: Path, domain: int, **parameters: Any) -> None:
        self.domain = domain
        self.log = folder / f"{name}.log"
        file = folder / f"{name}.yaml"
        file.write_text(yaml.safe_dump({"/**": {"ros__parameters": parameters}}))
        environment = {"ROS_DOMAIN_ID": str(domain), DISCOVERY: "LOCALHOST"}
        self.process = node(name, APART, file, self.log, **environment)

    def wait_until(self, ready: Callable[[], bool], what: str) -> None:
        """Raises ValueError where it ends before that, or takes too long."""
        deadline = time.monotonic() + START_S
        while not ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                said = " ".join(self.log.read_text(errors="replace").split())
                raise ValueError(f"{what} did not start: {said[-300:]}")
            time.sleep(0.02)

    def end(self) -> None:
        """Ctrl-C, and by force where that does not do."""
        self.process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(END_S)
        self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def own_robot(rig: str, folder: Path) -> Iterator[tuple[dict[str, str], list[object]]]:
    """A robot whose time is nobody's but its own: a rig with sensor and actuators at two ports,
    and as if seen by a motion tracker. What a `softctl run` of it needs: environment, arguments.
    """
    folder.mkdir()
    robot = describe(rig)
    (point,) = {output.point for output in robot.outputs if output.point}
    sensor, actuator = folder / "sensor.port", folder / "actuator.port"
    seen = {"topics": [f"{APART}/points/{point} geometry_msgs/msg/PointStamped"]}
    given = folder / "given.yaml"
    given.write_text(yaml.safe_dump({"tracker": {"ros__parameters": seen}}))
    domain, lock = reserve_domain()
    with lock:
        one = _Node(
            "rig", folder, domain, rig=rig, clock="realtime", duration_s=3600.0,
            sensor_port=str(sensor), actuator_port=str(actuator),
        )  # fmt: skip
        try:
            one.wait_until(lambda: sensor.exists() and actuator.exists(), "the robot")
            environment = {"ROS_DOMAIN_ID": str(domain), DISCOVERY: "LOCALHOST"}
            yield environment, [
                "--rig", rig, "--no-sim", "--tracker", "--sensor-port", sensor,
                "--actuator-port", actuator, "--params-file", given,
            ]  # fmt: skip
        finally:
            one.end()


class Build:
    """A firmware is made in a graph; there is an older one in its place until it is whole."""

    def __init__(self, model: Path, firmware: Path, folder: Path, domain: int) -> None:
        """firmware: any build of the model; a copy of it is the older one. Returns when the build
        is under way. Raises ValueError where that does not come about."""
        folder.mkdir()
        self.firmware = Path(shutil.copytree(firmware, folder / "firmware"))
        record = self.firmware / BUILD_FILE
        record.write_text(json.dumps(json.loads(record.read_text()) | {"build_id": STALE}))
        self._before = self._files()
        self._node = _Node(
            "codegen", folder, domain, model=str(model), firmware=str(self.firmware),
            board="host", verify=[""], once=True,
        )  # fmt: skip
        self.pid = self._node.process.pid
        self._node.wait_until(lambda: "make" in descendants(self.pid), "the build")
        self._jobs = list(descendants(self.pid).values())

    def _files(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.firmware.iterdir()}

    def judge(self, outcomes: Sequence[Outcome], killed: bool) -> None:
        """What is there when it has ended: the older one as it was, or another one."""

        def fail_unless(right: bool, otherwise: str) -> None:
            for outcome in outcomes:
                outcome.fail_unless(right, otherwise)

        try:
            code = self._node.process.wait(END_S)
        except subprocess.TimeoutExpired:
            fail_unless(False, "the build did not end")
            return
        fail_unless(not left_behind(self._jobs, END_S), "the build was left behind")
        if killed:
            fail_unless(self._files() == self._before, "the older firmware has changed")
            return
        try:
            found = read_build(self.firmware).build_id
        except BuildError as error:
            found = str(error)
        said = f"exit code {code} of codegen, firmware {found}"
        fail_unless(code == 0 and len(found) == 16 and found != STALE, said)

    def end(self) -> None:
        """Whatever it is at."""
        self._node.end()
