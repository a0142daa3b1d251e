"""What the nodes share: start-up, parameters, quality of service, messages from and to NumPy."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import rclpy
from builtin_interfaces.msg import Time
from geometry_msgs.msg import PointStamped, PoseStamped
from nav_msgs.msg import Path
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import JointState
from std_msgs.msg import String

FRAME = "rig_base"

# Every sample counts: nothing is dropped between nodes or on the way to the bag. In lockstep nobody
# waits for the logger, which on a loaded machine falls more than a thousand samples behind.
EVERY_SAMPLE = QoSProfile(
    reliability=ReliabilityPolicy.RELIABLE, history=HistoryPolicy.KEEP_LAST, depth=100_000
)
LATCHED = QoSProfile(
    reliability=ReliabilityPolicy.RELIABLE,
    history=HistoryPolicy.KEEP_ALL,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)


class RigNode(Node):
    """A node of the graph: it answers the roll call before the first sample is taken.

    Discovery takes from 40 ms to 3 s, and a sample published before all are matched would be lost.
    So each node tells on /roll_call what it subscribes to; when all `peers` have told, each knows
    how many subscribers its topics must match, waits for them, and tells that it is matched. The
    rig takes the first sample when everyone is.
    """

    def __init__(self, name: str, **defaults: Any) -> None:
        super().__init__(name)
        self.declare_parameter("peers", [name])
        for key, value in defaults.items():
            self.declare_parameter(key, value)
        self._subscribed: list[str] = []
        self._matched = False
        self._calls: dict[str, dict[str, Any]] = {}
        self._roll_call = self.create_publisher(String, "/roll_call", LATCHED)
        self._listener = self.create_subscription(String, "/roll_call", self._on_call, LATCHED)
        self._poll = self.create_timer(0.02, self._match)

    def value(self, name: str) -> Any:
        """The value of a parameter; arrays come as lists."""
        value = self.get_parameter(name).value
        return list(value) if hasattr(value, "__len__") and not isinstance(value, str) else value

    def vector(self, name: str) -> np.ndarray:
        """An array parameter as float64."""
        return np.asarray(self.value(name), dtype=float)

    def publish_on(self, message_type: type, topic: str) -> Any:
        return self.create_publisher(message_type, topic, EVERY_SAMPLE)

    def listen(self, message_type: type, topic: str, callback: Callable, **options: Any) -> None:
        self._subscribed.append(topic)
        self.create_subscription(message_type, topic, callback, EVERY_SAMPLE, **options)

    def present(self) -> None:
        """Tells the others that all endpoints exist and that samples may come."""
        self._tell()

    def on_everyone_matched(self) -> None:
        """Called once, when every peer is matched."""

    def _tell(self) -> None:
        call = {"node": self.get_name(), "listens": self._subscribed, "matched": self._matched}
        self._roll_call.publish(String(data=json.dumps(call)))

    def _on_call(self, message: String) -> None:
        call = json.loads(message.data)
        self._calls[call["node"]] = call
        peers = self.value("peers")
        if self._matched and all(self._calls.get(peer, {}).get("matched") for peer in peers):
            self.destroy_timer(self._poll)
            self.destroy_subscription(self._listener)
            self.on_everyone_matched()

    def _match(self) -> None:
        if self._matched or any(peer not in self._calls for peer in self.value("peers")):
            return
        listens = [topic for call in self._calls.values() for topic in call["listens"]]
        if all(p.get_subscription_count() >= listens.count(p.topic_name) for p in self.publishers):
            self._matched = True
            self._tell()


def main(make_node: Callable[[], Node]) -> None:
    """Runs one node until it is told to stop (exit 0) or fails (exit 1, one line on stderr)."""
    rclpy.init(signal_handler_options=rclpy.SignalHandlerOptions.NO)
    signal.signal(signal.SIGINT, _stop)
    signal.signal(signal.SIGTERM, _stop)
    node = None
    code = 0
    try:
        node = make_node()
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        # A timeout lets Python see signals while the executor waits.
        while rclpy.ok():
            executor.spin_once(timeout_sec=0.1)
    except (SystemExit, KeyboardInterrupt, ExternalShutdownException):
        pass
    except (ValueError, RuntimeError, OSError) as error:
        # These carry a sentence for the user; anything else is a defect and keeps its traceback.
        name = node.get_name() if node else make_node.__name__
        print(f"error: {name}: {error}", file=sys.stderr, flush=True)
        code = 1
    finally:
        # Ending tidily must not be cut short by a second signal.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if node is not None:
            close = getattr(node, "close", None)
            if close:
                close()
            node.destroy_node()
        rclpy.try_shutdown()
    sys.exit(code)


def _stop(signum: int, frame: Any) -> None:
    raise SystemExit


class Join:
    """Pairs messages of several topics by their stamp and hands complete sets on, in order."""

    def __init__(self, topics: Sequence[str], on_complete: Callable[..., None]) -> None:
        self._topics = tuple(topics)
        self._on_complete = on_complete
        self._waiting: dict[int, dict[str, Any]] = {}

    def put(self, topic: str, message: Any) -> None:
        stamp_ns = to_ns(message.header.stamp)
        parts = self._waiting.setdefault(stamp_ns, {})
        parts[topic] = message
        if len(parts) == len(self._topics):
            # What is older can no longer become complete: topics arrive in order.
            self._waiting = {s: p for s, p in self._waiting.items() if s > stamp_ns}
            self._on_complete(stamp_ns, *(parts[name] for name in self._topics))


def to_ns(stamp: Time) -> int:
    return stamp.sec * 1_000_000_000 + stamp.nanosec


def to_stamp(ns: int) -> Time:
    return Time(sec=ns // 1_000_000_000, nanosec=ns % 1_000_000_000)


def joint_state(ns: int, names: Sequence[str], values: Sequence[float]) -> JointState:
    """A named vector."""
    message = JointState(name=list(names), position=[float(v) for v in values])
    message.header.stamp = to_stamp(ns)
    return message


def point(ns: int, position: Sequence[float]) -> PointStamped:
    """A position (3,) in m in the frame of the rig."""
    message = PointStamped()
    message.header.stamp, message.header.frame_id = to_stamp(ns), FRAME
    message.point.x, message.point.y, message.point.z = map(float, position)
    return message


def path(ns: int, period_ns: int, positions: np.ndarray) -> Path:
    """Positions (T, 3) in m, a period apart, the first one at `ns`."""
    message = Path()
    message.header.stamp, message.header.frame_id = to_stamp(ns), FRAME
    for j, position in enumerate(positions):
        pose = PoseStamped()
        pose.header.stamp, pose.header.frame_id = to_stamp(ns + j * period_ns), FRAME
        pose.pose.position.x, pose.pose.position.y, pose.pose.position.z = map(float, position)
        message.poses.append(pose)
    return message


def from_point(message: PointStamped) -> np.ndarray:
    return np.array([message.point.x, message.point.y, message.point.z])


def from_path(message: Path) -> np.ndarray:
    """Positions (T, 3) in m."""
    return np.array(
        [[p.pose.position.x, p.pose.position.y, p.pose.position.z] for p in message.poses]
    )
