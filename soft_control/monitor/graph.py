"""Looks at the ROS graph of one domain, in a thread of its own: topics come and go, nodes restart.

Nobody waits for it: all subscriptions are best effort and short, and it publishes nothing.
"""

from __future__ import annotations

import math
import queue
import threading
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import rclpy
from rcl_interfaces.msg import ParameterEvent
from rclpy.experimental.events_executor import EventsExecutor
from rclpy.qos import (
    DurabilityPolicy,
    HistoryPolicy,
    QoSProfile,
    ReliabilityPolicy,
    qos_profile_parameter_events,
)

from soft_control.experiment.ros_messages import to_ns
from soft_control.learning.bag import RECORD_FILE
from soft_control.monitor.live_parameters import LiveParameters
from soft_control.monitor.record import described_in
from soft_control.monitor.robots import (
    DIAGNOSTICS,
    JOINT_STATE,
    JOINT_TRAJECTORY,
    STREAMS,
    RobotView,
    Stream,
)
from soft_control.robots.description import RobotDescription
from soft_control.security.enclaves import init_words
from soft_control.topics import CONTROLLER, POINTS, SOLVER

LOOK_S = 0.5
"""Between looks at who is there."""
PARAMETER_EVENTS = "/parameter_events"
SPIN_S = 0.02
ROBOTS_MAX = 16
STATISTICS, DIAGNOSTICS_TOPIC = "/statistics", "/diagnostics"
HEADER = "std_msgs/msg/Header"
POINT = "geometry_msgs/msg/PointStamped"
NODE_NAME = "softctl_monitor"
GLANCE = QoSProfile(
    reliability=ReliabilityPolicy.BEST_EFFORT, history=HistoryPolicy.KEEP_LAST, depth=50
)
"""Nobody waits for who looks on. In lockstep a run is ten times as fast as its own time."""
LAST_WORD = QoSProfile(
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
    history=HistoryPolicy.KEEP_LAST,
    depth=1,
)
"""Of what is said once and holds from then on."""
ASKED_MAX = 32
"""Parameters that wait to be set; a page has one under way."""


class Graph:
    """`robots` are those found so far, by namespace; all of them in `namespace` alone where one is
    given. Raises RuntimeError where ROS cannot be started in the domain."""

    def __init__(
        self,
        domain: int,
        namespace: str | None = None,
        description: RobotDescription | None = None,
    ) -> None:
        self.domain = domain
        self._only = None if namespace is None else _tidy(namespace)
        self._description = description
        self.robots: dict[str, RobotView] = {}
        self._subscribed: set[str] = set()
        self._streams: dict[str, list[str]] = {}
        """Topics of each robot's streams."""
        self._asked: queue.Queue[tuple] = queue.Queue(ASKED_MAX)
        self._closing = threading.Event()
        self._context = rclpy.Context()
        try:
            args = init_words("softctl_monitor")
            rclpy.init(context=self._context, domain_id=domain, args=args)
            self._node = rclpy.create_node(
                NODE_NAME,
                context=self._context,
                enable_rosout=False,
                start_parameter_services=False,
            )
        except Exception as error:  # rclpy has no common class for what its middleware refuses
            self._context.try_shutdown()
            raise RuntimeError(f"cannot join ROS domain {domain}: {error}") from None
        # At 800 messages a second it takes 11 % of a core, SingleThreadedExecutor 25 %.
        self._executor = EventsExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._parameters = LiveParameters(self._node, self._on_values)
        self._node.create_subscription(
            ParameterEvent,
            PARAMETER_EVENTS,
            self._parameters.on_event,
            qos_profile_parameter_events,
        )
        self._published: tuple[int, dict[str, list]] = (0, {})
        self.failure: BaseException | None = None
        self._thread = threading.Thread(target=self._live, name="monitor graph", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Leaves the graph."""
        self._closing.set()
        self._thread.join()
        self._executor.shutdown()
        self._node.destroy_node()
        self._context.try_shutdown()

    def is_live(self, now_s: float) -> bool:
        """Whether a robot is there."""
        return any(view.is_live(now_s) for view in list(self.robots.values()))

    def parameters(self, namespace: str) -> tuple[int, list[dict[str, Any]]]:
        """As `wire.Watched`."""
        version, by_robot = self._published
        return version, by_robot.get(namespace, [])

    def set(
        self, node: str, parameter: str, value: Any, answer: Callable[[bool, str], None]
    ) -> None:
        """Sets a parameter of a node; `answer` is called in the thread of the graph."""
        try:
            self._asked.put_nowait((node, parameter, value, answer))
        except queue.Full:
            answer(False, "too many parameters wait to be set already")

    # ------------------------------------------------------------------------------- its thread

    def _live(self) -> None:
        looked_s = -math.inf
        try:
            while not self._closing.is_set() and self._context.ok():
                now_s = time.monotonic()
                if now_s - looked_s >= LOOK_S:
                    looked_s = now_s
                    self._look(now_s)
                while not self._asked.empty():
                    node, parameter, value, answer = self._asked.get_nowait()
                    self._parameters.set(node, parameter, value, now_s, answer)
                self._executor.spin_once(timeout_sec=SPIN_S)
        except BaseException as failure:  # told by whoever asks; a thread's own would go unseen
            self.failure = failure

    def _look(self, now_s: float) -> None:
        for topic, types in self._node.get_topic_names_and_types():
            if topic not in self._subscribed and len(types) == 1:
                self._meet(topic, types[0])
        for namespace, topics in self._streams.items():
            if not any(self._node.count_publishers(topic) for topic in topics):
                self.robots[namespace].end()
        self._parameters.watch(self._nodes(), now_s)
        if self._parameters.version != self._published[0]:
            by_robot: dict[str, list] = {}
            for name, live in self._parameters.snapshot():
                owner = self._owner(name)
                if owner is not None:
                    by_robot.setdefault(owner.namespace, []).append(
                        {"node": name, "parameters": live}
                    )
            self._published = (self._parameters.version, by_robot)

    def _nodes(self) -> dict[str, frozenset[bytes]]:
        """Full names of the nodes of our robots, each with the places of its publishers of
        /parameter_events: a node that has ended and come again between two looks has others."""
        found: dict[str, set[bytes]] = {}
        for name, namespace in self._node.get_node_names_and_namespaces():
            full = f"{namespace.rstrip('/')}/{name}"
            if name != NODE_NAME and not name.startswith("_") and self._owner(full):
                found[full] = set()
        for end in self._node.get_publishers_info_by_topic(PARAMETER_EVENTS):
            full = f"{end.node_namespace.rstrip('/')}/{end.node_name}"
            if full in found:
                found[full].add(bytes(end.endpoint_gid))
        return {full: frozenset(places) for full, places in found.items()}

    def _owner(self, name: str) -> RobotView | None:
        """The robot in whose namespace a node or topic is: the innermost one."""
        inside = [n for n in self.robots if name.startswith(f"{n.rstrip('/')}/")]
        return self.robots[max(inside, key=len)] if inside else None

    def _robot(self, namespace: str) -> RobotView | None:
        """The robot of a namespace, found or new; None where it is not to be watched."""
        if self._only is not None and namespace != self._only:
            return None
        if namespace not in self.robots:
            if len(self.robots) >= ROBOTS_MAX:
                return None
            self.robots = self.robots | {namespace: RobotView(namespace, self._description)}
        return self.robots[namespace]

    def _meet(self, topic: str, type_name: str) -> None:
        """Subscribes to a topic that was not there before, if it says anything of a robot."""
        stream = _stream(topic, type_name)
        if stream is not None:
            view = self._robot(_tidy(topic.removesuffix(stream.topic)))
            if view is not None:
                self._listen_to(view, stream, topic, type_name)
            return
        # The common topic of diagnostics stands at the root, whatever namespace a node is in.
        views = list(self.robots.values()) if topic == DIAGNOSTICS_TOPIC else []
        owner = self._owner(topic)
        views = views or ([owner] if owner else [])
        if not views:
            return  # asked again at the next look: its robot may come yet
        if type_name == DIAGNOSTICS:
            self._subscribe(topic, type_name, GLANCE, self._diagnosing(topic))
        elif type_name == JOINT_STATE and topic.endswith(STATISTICS):
            self._subscribe(topic, type_name, GLANCE, self._counting(topic))
        elif type_name == HEADER and topic.endswith(CONTROLLER):
            self._subscribe(topic, type_name, LAST_WORD, lambda m: self._controlling(topic, m))
        elif type_name == POINT and POINTS in topic:
            views[0].add_point(topic.rpartition("/")[2])

    def _subscribe(self, topic: str, type_name: str, qos: QoSProfile, heard: Callable) -> None:
        self._subscribed.add(topic)
        package, _, name = type_name.split("/")
        kind = getattr(import_module(f"{package}.msg"), name)
        self._node.create_subscription(kind, topic, heard, qos)

    def _listen_to(self, view: RobotView, stream: Stream, topic: str, type_name: str) -> None:
        def vector(message: Any) -> None:
            stamp_ns = to_ns(message.header.stamp)
            view.sample(stream.name, stamp_ns, message.name, [message.position], time.monotonic())

        def horizon(message: Any) -> None:
            stamp_ns = to_ns(message.header.stamp)
            points = [point.positions for point in message.points]
            view.sample(stream.name, stamp_ns, message.joint_names, points, time.monotonic())

        self._streams.setdefault(view.namespace, []).append(topic)
        heard = horizon if type_name == JOINT_TRAJECTORY else vector
        self._subscribe(topic, type_name, GLANCE, heard)

    def _diagnosing(self, topic: str) -> Callable[[Any], None]:
        def heard(message: Any) -> None:
            owner = None if topic == DIAGNOSTICS_TOPIC else self._owner(topic)
            stamp_ns, now_s = to_ns(message.header.stamp), time.monotonic()
            for status in message.status:
                values = [(pair.key, pair.value) for pair in status.values]
                level = int.from_bytes(status.level, "little")
                for view in [owner] if owner else self._meant(status.name):
                    view.status(topic, status.name, level, status.message, values, now_s)
                if owner and topic.endswith(SOLVER):
                    owner.solver(stamp_ns, dict(values), now_s)

        return heard

    def _meant(self, name: str) -> list[RobotView]:
        """Whose status on /diagnostics it is: `/left/mcu: link` is of /left; else of all."""
        owner = self._owner(name) if name.startswith("/") else None
        return [owner] if owner else list(self.robots.values())

    def _counting(self, topic: str) -> Callable[[Any], None]:
        def heard(message: Any) -> None:
            owner = self._owner(topic)
            if owner:
                source = topic.removesuffix(STATISTICS)
                owner.statistics(source, message.name, message.position, time.monotonic())

        return heard

    def _controlling(self, topic: str, message: Any) -> None:
        owner = self._owner(topic)
        if owner:
            owner.controller(message.frame_id)

    def _on_values(self, node: str, values: dict[str, Any]) -> None:
        owner = self._owner(node)
        if owner is None:
            return
        owner.learn(values)
        run_dir = values.get("run_dir")
        if self._description is None and isinstance(run_dir, str) and run_dir:
            description = described_in(Path(run_dir) / RECORD_FILE)
            if description is not None:
                owner.describe(description)


def _stream(topic: str, type_name: str) -> Stream | None:
    return next((s for s in STREAMS if s.type == type_name and topic.endswith(s.topic)), None)


def _tidy(namespace: str) -> str:
    """A namespace as ROS writes it: `/` and `/left`."""
    return "/" + namespace.strip("/")
