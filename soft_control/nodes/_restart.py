"""The node mcu goes on with the firmware that is in its folder now, while the run lives."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from std_msgs.msg import Header
from std_srvs.srv import Trigger

from soft_control.experiment.replaceable_session import Lost, Replaced
from soft_control.experiment.returning_session import ReturningSession
from soft_control.experiment.ros_messages import LATCHED, to_stamp
from soft_control.firmware_files import FirmwareBuild, KeptBuild, check_names, read_build
from soft_control.firmware_instruments import sensor_config
from soft_control.link.opening import FirmwareFiles, open_session, rehearse
from soft_control.link.returning import PortFinder
from soft_control.link.session import LinkError, McuSession
from soft_control.link.transport import discard_input
from soft_control.nodes._mpc_parameters import asked, configuration
from soft_control.nodes._node import RigNode
from soft_control.plain_text import one_line
from soft_control.topics import FIRMWARE, FIRST_NS

START_S = 10.0
"""A microcontroller may take so long to start, before a run."""


def returning_session(node: Any) -> ReturningSession:
    """The session of the node mcu, as its parameters say. Raises as `open_session`."""
    p = node.parameters
    # A board has lines of its own to its instruments.
    ports = node.terminals() if node.owns_instruments and p.target != "hil" else None
    board = PortFinder(p.port)
    opener = ThreadPoolExecutor(1)
    in_run = False

    def open_firmware(firmware: FirmwareFiles, wired: bool) -> McuSession:
        """An emulator ends with the thread that has started it: none that ends with a run does."""
        if threading.current_thread() is threading.main_thread():
            return opened(firmware, wired)
        return opener.submit(opened, firmware, wired).result()

    def opened(firmware: FirmwareFiles, wired: bool) -> McuSession:
        nonlocal in_run
        port = p.port
        if p.target == "hil" and "://" not in port:
            port = board.find()
            if port is None:
                raise LinkError(f"hil: {p.port} is not there")
        session = open_session(
            p.target,
            firmware,
            port,
            timeout_s=p.answer_timeout_s,
            instruments=ports if wired else None,
            cut=p.cut if wired else range(0),
            realtime=node.realtime,
            start_timeout_s=p.answer_timeout_s if in_run else START_S,
        )
        in_run = True
        if p.target == "hil" and port:
            board.opened(port)
        return session

    def discard() -> None:
        for port in ports or ():
            discard_input(port)

    def try_out(session: McuSession) -> None:
        if p.target == "pil" and node.realtime:
            rehearse(session, p.command_neutral, p.rest)

    return ReturningSession(open_firmware, KeptBuild(node.build, p.target), discard, try_out)


class Restart:
    """Of the node mcu: the service ~/restart."""

    def __init__(self, node: RigNode) -> None:
        """Adds its service and its publisher to the node."""
        self.node = node
        self.told = node.publish_on(Header, FIRMWARE, LATCHED)
        node.create_service(Trigger, "~/restart", self.on_restart)
        self.rig = None
        if node.owns_instruments and not node.realtime:
            self.rig = node.create_client(Trigger, "rig/repeat")

    def on_open(self) -> None:
        """There is a session."""
        if self.rig:
            self.node.session.on_begun = lambda: self.rig.call_async(Trigger.Request())

    def on_restart(self, request: Trigger.Request, answer: Trigger.Response) -> Trigger.Response:
        """The robot is held meanwhile: by the gate before its actuators, or by time itself."""
        if not self.node.is_open:
            answer.message = "the node has no firmware: configure it"
            return answer
        folder = self.node.parameters.firmware
        try:
            build = read_build(folder)
            replaced = self.restart(build)
        except Lost:
            raise  # and with it the run
        except (ValueError, RuntimeError, OSError) as error:
            answer.message = one_line(f"the firmware before goes on: {error}")
            self.node.get_logger().warning(answer.message)
            return answer
        answer.success = True
        answer.message = one_line(f"{build.build_id} of {folder} from sample {replaced.k} on")
        self.node.get_logger().info(f"the microcontroller restarts with {answer.message}")
        self.tell(
            self.node.get_clock().now().nanoseconds
            if self.node.realtime
            else FIRST_NS + replaced.k * self.node.period_ns
        )
        return answer

    def restart(self, build: FirmwareBuild) -> Replaced:
        """Raises ValueError, RuntimeError or OSError with the reason where the old one goes on."""
        p = self.node.parameters
        if p.target == "hil":
            raise ValueError("a board is flashed, not restarted, and then the run begun again")
        check_names(build, p.command_names, p.output_names, p.signal_names)
        zeroed = build.robot and sensor_config(build.robot).get("start_samples")
        if self.node.owns_instruments and zeroed:
            raise ValueError(
                "its sensor takes what it first reads for zero, and the robot is not at rest"
            )
        settings = configuration(p, build) if asked(p) else None
        kept = KeptBuild(build, p.target)
        replaced = self.node.session.replace(kept, settings, same_horizon=not p.trajectory)
        self.node.build = build
        return replaced

    def on_everyone_matched(self) -> None:
        now_ns = self.node.get_clock().now().nanoseconds
        self.tell(now_ns if self.node.realtime else FIRST_NS)

    def tell(self, first_ns: int) -> None:
        """Which firmware runs from that sample on."""
        header = Header(stamp=to_stamp(first_ns), frame_id=self.node.session.info.build_id)
        self.told.publish(header)
