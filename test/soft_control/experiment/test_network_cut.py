"""Two machines: the robot's nodes and the desk's, and the cable between them out for five seconds.

The machines are two network namespaces, the cable is a veth pair; UDP alone goes over it. What is
checked is what was told and recorded, with no claim on how fast this machine is.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed: pip install soft_control[ros]")

from soft_control.experiment.bringup import NodeSpec, prepare  # noqa: E402
from soft_control.experiment.run_samples import read_run  # noqa: E402
from soft_control.experiment.runner import end, write_parameters  # noqa: E402
from soft_control.experiment.settings import Experiment  # noqa: E402
from soft_control.experiment.summary import finish  # noqa: E402
from soft_control.processes import die_with_parent  # noqa: E402

CUT_S = 5.0
DURATION_S = 16.0
WITHIN_S = 90.0
UNDER_WAY_BYTES = 100_000
"""In the bag, when samples come."""


def ip(*words: object, check: bool = True) -> subprocess.CompletedProcess:
    return subprocess.run(["ip", *map(str, words)], check=check, capture_output=True, text=True)


class Cable:
    """Between the machines `robot` and `desk`."""

    def __init__(self) -> None:
        self.machines = {name: f"sc_{name}_{os.getpid()}" for name in ("robot", "desk")}
        self.ends = {"robot": f"scr{os.getpid()}", "desk": f"scd{os.getpid()}"}

    def lay(self) -> None:
        for machine in self.machines.values():
            ip("netns", "add", machine)
            ip("-n", machine, "link", "set", "lo", "up")
        ip("link", "add", self.ends["robot"], "type", "veth", "peer", "name", self.ends["desk"])
        for number, (name, machine) in enumerate(self.machines.items(), 1):
            ip("link", "set", self.ends[name], "netns", machine)
            ip("-n", machine, "addr", "add", f"198.51.100.{number}/24", "dev", self.ends[name])
            ip("-n", machine, "link", "set", self.ends[name], "up")

    def plug(self, how: str) -> None:
        """up, or down."""
        ip("-n", self.machines["robot"], "link", "set", self.ends["robot"], how)

    def remove(self) -> None:
        for machine in self.machines.values():
            ip("netns", "del", machine, check=False)


@pytest.fixture
def cable() -> Iterator[Cable]:
    if os.geteuid() != 0 or not shutil.which("ip"):
        pytest.skip("network namespaces need root and iproute2")
    cable = Cable()
    try:
        try:
            cable.lay()
        except subprocess.CalledProcessError as error:
            pytest.skip(f"network namespaces cannot be made here: {error.stderr.strip()}")
        yield cable
    finally:
        cable.remove()


def start(node: NodeSpec, machine: str, out: Path) -> subprocess.Popen:
    """As the runner does, on that machine."""
    environment = {
        **os.environ,
        "ROS_DOMAIN_ID": "42",  # namespaces of our own have no other users
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET",
        "FASTDDS_BUILTIN_TRANSPORTS": "UDPv4",  # both share this machine's memory
    }
    module = ["-m", f"soft_control.nodes.{node.name}", "--ros-args", "--params-file"]
    with open(out / "log" / f"{node.name}.log", "w") as log:
        return subprocess.Popen(
            ["ip", "netns", "exec", machine]
            + [sys.executable, *module, str(write_parameters(node, out))],
            env=environment,
            stdout=log,
            stderr=log,
            preexec_fn=die_with_parent(signal.SIGINT),
        )


def run(cable: Cable, experiment: Experiment, on_desk: set[str]) -> dict[str, str]:
    """The run with the cable out for CUT_S in mid-run; what each node said."""
    nodes, out = prepare(experiment), experiment.out
    (out / "log").mkdir()
    for node in nodes:
        if node.name == "mcu":  # a loaded machine is no sensor board
            node.parameters["sensor_timeout_ms"] = 5000
    processes = {}
    try:
        for node in nodes:
            machine = cable.machines["desk" if node.name in on_desk else "robot"]
            processes[node.name] = start(node, machine, out)
        rig = processes["rig"]
        deadline = time.monotonic() + WITHIN_S
        while recorded_bytes(out) < UNDER_WAY_BYTES:
            assert rig.poll() is None and time.monotonic() < deadline
            time.sleep(0.1)
        cable.plug("down")
        time.sleep(CUT_S)
        cable.plug("up")
        assert rig.wait(WITHIN_S) == 0
        time.sleep(1.0)
    finally:
        logger = processes.pop("logger", None)
        end(list(processes.values()))
        if logger:
            with contextlib.suppress(ProcessLookupError):
                logger.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                logger.wait(30.0)
            end([logger])
    assert {name: p.returncode for name, p in processes.items()} == dict.fromkeys(processes, 0)
    assert logger.returncode == 0
    finish(out)
    return {node.name: (out / "log" / f"{node.name}.log").read_text() for node in nodes}


def recorded_bytes(out: Path) -> int:
    return sum(path.stat().st_size for path in (out / "bag").glob("*.mcap"))


def figures(out: Path) -> dict:
    return json.loads((out / "summary.json").read_text())


@pytest.mark.long
def test_the_controller_in_the_material_tracks_on_without_the_desk(cable, tendon, tmp_path):
    experiment = Experiment(
        target="sil",
        wiring="mcu",
        clock="realtime",
        duration_s=DURATION_S,
        model=tendon.model,
        firmware=tendon.firmware,
        out=tmp_path / "run",
    )
    said = run(cable, experiment, {"logger"})
    assert "stopped" not in said["mcu"] and "fault" not in said["mcu"]
    summary = figures(experiment.out)
    recorded = read_run(experiment.out)
    periods = np.diff(recorded.t_s) * recorded.record.rate_hz
    # What was said in those seconds comes when the cable is in again: nothing is missing.
    assert summary["complete"] and periods.max() < 10, (summary, periods.max())
    assert summary["commands_outside_bounds"] == 0


@pytest.mark.long
def test_a_robot_whose_controller_is_out_of_reach_holds_and_goes_on_when_it_is_back(
    cable, tendon, tmp_path
):
    experiment = Experiment(
        controller="pid",
        clock="realtime",
        duration_s=DURATION_S,
        model=tendon.model,
        out=tmp_path / "run",
    )
    said = run(cable, experiment, {"reference", "pid", "logger"})
    actuators = said["dynamixel"]
    assert "no command for 0.2 s: safe output 'hold' until a fresh one comes" in actuators
    assert actuators.index("commands come again") > actuators.index("no command for")
    recorded = read_run(experiment.out)
    t_s, commands = recorded.t_s[recorded.heard], recorded.commands[recorded.heard]
    gap = np.argmax(np.diff(t_s))
    assert np.diff(t_s)[gap] > CUT_S - 1.0
    assert t_s[-1] - t_s[gap + 1] > 1.0  # it went on
    # Behind the gap it starts from where it was held, at the speed that the servos bear.
    speed = np.array([command.speed_max for command in recorded.record.robot.commands])
    allowed = 2 * speed / recorded.record.rate_hz * 1.001
    assert (np.abs(np.diff(commands, axis=0))[gap] <= allowed).all()
    summary = figures(experiment.out)
    assert summary["commands_outside_bounds"] == 0
    assert summary["deadline_misses"] > 0.5 * CUT_S * recorded.record.rate_hz
