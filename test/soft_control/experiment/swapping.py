"""Somebody at a terminal who swaps the controllers of a run that goes on."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import numpy as np
import rclpy
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from rclpy.executors import SingleThreadedExecutor
from sensor_msgs.msg import JointState
from std_msgs.msg import Header

from soft_control.experiment.bringup import prepare
from soft_control.experiment.ros_messages import EVERY_SAMPLE, LATCHED, header_ns
from soft_control.experiment.runner import ros_domain, run
from soft_control.experiment.settings import Experiment
from soft_control.topics import COMMAND, CONTROLLER, FIRST_NS

ROUND = ("pid", "open_loop", "hold", "mpc")


def value(of: object) -> ParameterValue:
    """As `ros2 param set` makes it of what was typed."""
    if isinstance(of, str):
        return ParameterValue(type=ParameterType.PARAMETER_STRING, string_value=of)
    if isinstance(of, float):
        return ParameterValue(type=ParameterType.PARAMETER_DOUBLE, double_value=of)
    return ParameterValue(type=ParameterType.PARAMETER_DOUBLE_ARRAY, double_array_value=of)


class Swapper:
    """Context manager; `poll` it while the run goes on. Each of `wanted` is chosen once the one
    before has been active for `stay` samples; a wanted dict sets other parameters of a node."""

    def __init__(self, wanted: list, rate_hz: float, stay: int) -> None:
        self.wanted, self.stay, self.rate_hz = list(wanted), stay, rate_hz
        self.k = -1
        self.since_k: int | None = None
        self.chosen: list[tuple[int, str]] = []
        """(first sample, name) as /controller said."""
        self.answers: list[tuple[bool, str]] = []
        """Successful, and the reason where not."""
        self.asked = None
        self.answered_ns: int | None = None
        """When something was chosen of which nobody says from which sample on it holds."""
        self.duration_s = 0.0

    def __enter__(self) -> Swapper:
        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        self.node = rclpy.create_node("terminal", context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.node.create_subscription(JointState, COMMAND, self.on_command, EVERY_SAMPLE)
        self.node.create_subscription(Header, CONTROLLER, self.on_controller, LATCHED)
        self.clients = {}
        return self

    def __exit__(self, *_: object) -> None:
        self.executor.shutdown()
        self.node.destroy_node()
        self.context.try_shutdown()

    def sample_of(self, ns: int) -> int:
        return round((ns - FIRST_NS) * 1e-9 * self.rate_hz)

    def on_controller(self, chosen: Header) -> None:
        self.since_k = self.sample_of(header_ns(chosen))
        self.chosen.append((self.since_k, chosen.frame_id))

    def on_command(self, command: JointState, info: dict[str, int]) -> None:
        """What it hears may be old, on a loaded machine: hundreds of samples have passed since."""
        self.k = self.sample_of(header_ns(command.header))
        if self.answered_ns is not None and info["source_timestamp"] >= self.answered_ns:
            self.since_k, self.answered_ns = self.k, None
        if not self.wanted or self.asked or self.since_k is None:
            return
        if self.k - self.since_k >= self.stay:
            self.set(self.wanted.pop(0))

    def set(self, wanted: str | tuple[str, dict[str, object]]) -> None:
        node, values = ("mcu", {"controller": wanted}) if isinstance(wanted, str) else wanted
        if node not in self.clients:
            service = f"/{node}/set_parameters"
            self.clients[node] = self.node.create_client(SetParameters, service)
        client = self.clients[node]
        if not client.service_is_ready():
            self.wanted.insert(0, wanted)
            return
        parameters = [Parameter(name=name, value=value(of)) for name, of in values.items()]
        self.asked = client.call_async(SetParameters.Request(parameters=parameters))
        before = self.since_k

        def done(future) -> None:
            (result,) = future.result().results[:1]
            self.answers.append((result.successful, result.reason))
            self.asked = None
            if not isinstance(wanted, str) or not result.successful:
                self.since_k, self.answered_ns = None, time.time_ns()
            elif self.since_k == before:
                self.since_k = None  # until /controller says from when on

        self.asked.add_done_callback(done)

    def is_done(self) -> bool:
        """Whether all has been chosen, and answered."""
        return not self.wanted and self.asked is None and self.since_k is not None

    def poll(self) -> None:
        """For a tenth of a second."""
        until_s = time.monotonic() + 0.1
        while time.monotonic() < until_s:
            self.executor.spin_once(timeout_sec=0.01)


def swapped(
    wanted: list,
    stay: int,
    out: Path,
    duration_s: float,
    rate_hz: float = 120.0,
    after: int = 0,
    **options,
) -> Swapper:
    """A run meanwhile, which goes on for `after` samples when all has been chosen. In lockstep it
    does not wait for who swaps: where that one was too slow, on a loaded machine, a longer one is
    made; its length is the swapper's `duration_s`."""
    for longer in (1, 4, 16):
        shutil.rmtree(out, ignore_errors=True)
        nodes = prepare(Experiment(out=out, duration_s=longer * duration_s, **options))
        with ros_domain(), Swapper(wanted, rate_hz, stay) as swapper:
            run(nodes, out, swapper.poll)
        swapper.duration_s = longer * duration_s
        if swapper.is_done() and swapper.k - swapper.since_k >= after:
            break
    return swapper


def steps(commands: np.ndarray) -> np.ndarray:
    """(T - 1,) largest change of a command from sample to sample."""
    return np.abs(np.diff(commands, axis=0)).max(axis=1)
