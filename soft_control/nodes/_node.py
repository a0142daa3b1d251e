"""What the nodes share: checked parameters, the roll call before the first sample, a clean end."""

from __future__ import annotations

import json
import math
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import Annotated, Any, ClassVar, get_args

import rclpy
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo
from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from std_msgs.msg import String

from soft_control.experiment.ros_messages import EVERY_SAMPLE, LATCHED, LATEST_SAMPLE
from soft_control.processes import release_interrupt
from soft_control.topics import ROLL_CALL

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
LIMITS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
"""Of pydantic, and what is said of them."""
INTEGER_MAX = 2**63 - 1
"""Of a parameter of ROS."""


class NodeParameters(BaseModel):
    """The ROS parameters of a node, declared and checked; each node derives its own."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False, validate_default=True)

    peers: list[str] = Field([], description="Nodes that take part in the run; empty: this alone.")


Names = Annotated[list[str], BeforeValidator(lambda names: [] if names == [""] else names)]
"""Names, perhaps none: ROS has no empty list of strings, [''] stands for it."""


def check_lengths(names: Sequence[str], what: str, **vectors: Sequence[float]) -> None:
    """Raises ValueError for a vector that has not one value for each of the `names`."""
    for key, values in vectors.items():
        if len(values) != len(names):
            raise ValueError(
                f"{key} = {list(values)}: wanted {len(names)} values, one for each of {what} "
                f"{', '.join(names)}"
            )


def checked(model: type[NodeParameters], given: Mapping[str, Any]) -> NodeParameters:
    """The parameters of a node. Raises ValueError that names parameter, value and the wanted."""
    try:
        return model.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
    said = first["msg"].removeprefix("Value error, ")
    where = "".join(f"[{at}]" if isinstance(at, int) else at for at in first["loc"])
    if first["type"] == "missing":
        raise ValueError(f"parameter {where} is missing")
    raise ValueError(f"parameter {where} = {first['input']!r}: {said}" if where else said)


def descriptor(field: FieldInfo) -> ParameterDescriptor:
    """What ROS tells of a parameter: what it means and where its limits are. None can be changed in
    a node that runs, for each is read once, when the node starts."""
    limits: dict[str, float] = {}
    words = []
    for limit in field.metadata:
        for name, said in LIMITS.items():
            if (value := getattr(limit, name, None)) is not None:
                limits[name] = value
                words.append(f"{said} {value:g}")
    choices = get_args(field.annotation)
    if choices and all(isinstance(choice, (str, int)) for choice in choices):
        words.append(f"one of {', '.join(map(str, choices))}")
    found = ParameterDescriptor(
        description=field.description or "",
        additional_constraints=", ".join(words),
        read_only=True,
        dynamic_typing=True,
    )
    low = limits.get("ge", limits.get("gt"))
    high = limits.get("le", limits.get("lt"))
    if field.annotation is float and low is not None:
        top = math.inf if high is None else high
        found.floating_point_range = [FloatingPointRange(from_value=float(low), to_value=top)]
    elif field.annotation is int and low is not None:
        top = INTEGER_MAX if high is None else high
        found.integer_range = [IntegerRange(from_value=int(low), to_value=int(top))]
    return found


class RigNode(Node):
    """A node of the graph. One derives from it with its NAME, its Parameters, and an __init__ that
    calls this one, makes its publishers (`publish_on`) and subscriptions (`listen`), and at last
    says `present()`; what it opens it closes in `close`. `main` runs it.

    It answers the roll call before the first sample is taken.
    Discovery takes from 40 ms to 3 s, and a sample published before all are matched would be lost.
    So each node tells on /roll_call what it subscribes to; when all `peers` have told, each knows
    how many subscribers its topics must match, waits for them, and tells that it is matched. The
    rig takes the first sample when everyone is.
    """

    NAME: ClassVar[str]
    """Of the node, as in launch files and in messages to the user."""
    Parameters: ClassVar[type[NodeParameters]] = NodeParameters

    def __init__(self) -> None:
        """Raises ValueError for a parameter that is missing or malformed."""
        super().__init__(self.NAME)
        self.parameters: Any = self._read_parameters()
        self._peers = self.parameters.peers or [self.NAME]
        self._subscribed: list[str] = []
        self._matched = False
        self._calls: dict[str, dict[str, Any]] = {}
        self._roll_call = self.create_publisher(String, ROLL_CALL, LATCHED)
        self._listener = self.create_subscription(String, ROLL_CALL, self._on_call, LATCHED)
        self._poll = self.create_timer(0.02, self._match)

    def _read_parameters(self) -> NodeParameters:
        given = {}
        for name, field in self.Parameters.model_fields.items():
            # rclpy's own check of types knows neither ranges nor lengths, and refuses 50 for 50.0.
            default = None if field.is_required() else field.default
            value = self.declare_parameter(
                name, default, ParameterDescriptor(dynamic_typing=True)
            ).value
            if value is not None:
                is_array = hasattr(value, "__len__") and not isinstance(value, str)
                given[name] = list(value) if is_array else value
        parameters = checked(self.Parameters, given)
        for name, field in self.Parameters.model_fields.items():
            # After that check, whose messages say more than ROS does of what is out of a range.
            if self.get_parameter(name).type_ != Parameter.Type.NOT_SET:
                self.set_descriptor(name, descriptor(field))
        return parameters

    def publish_on(self, message_type: type, topic: str) -> Any:
        """A publisher that keeps every message for those who want every one."""
        return self.create_publisher(message_type, topic, EVERY_SAMPLE)

    def listen(
        self,
        message_type: type,
        topic: str,
        callback: Callable,
        qos: QoSProfile = LATEST_SAMPLE,
        **options: Any,
    ) -> None:
        """Subscribes, and says so in the roll call."""
        self._subscribed.append(topic)
        self.create_subscription(message_type, topic, callback, qos, **options)

    def present(self) -> None:
        """Tells the others that all endpoints exist and that samples may come."""
        self._tell()

    def on_everyone_matched(self) -> None:
        """Called once, when every peer is matched."""

    def close(self) -> None:
        """Called once at the end, whatever led to it."""

    def _tell(self) -> None:
        call = {"node": self.get_name(), "listens": self._subscribed, "matched": self._matched}
        self._roll_call.publish(String(data=json.dumps(call)))

    def _on_call(self, message: String) -> None:
        call = json.loads(message.data)
        self._calls[call["node"]] = call
        if self._matched and all(self._calls.get(peer, {}).get("matched") for peer in self._peers):
            self.destroy_timer(self._poll)
            self.destroy_subscription(self._listener)
            self.on_everyone_matched()

    def _match(self) -> None:
        if self._matched or any(peer not in self._calls for peer in self._peers):
            return
        listens = [topic for call in self._calls.values() for topic in call["listens"]]
        if all(p.get_subscription_count() >= listens.count(p.topic_name) for p in self.publishers):
            self._matched = True
            self._tell()


class _Stop:
    """Handler of SIGINT and SIGTERM: breaks off whatever waits, and is remembered.

    Python loses an exception that a handler raises while a finaliser or a weak reference's callback
    runs ("Exception ignored in …"), so the loop asks `asked` as well.
    """

    def __init__(self) -> None:
        self.asked = False

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        self.asked = True
        raise SystemExit


def main(node_type: type[RigNode]) -> None:
    """Runs one node until it is told to stop (exit 0) or fails (exit 1, one line on stderr)."""
    stop = _Stop()
    for signum in STOP_SIGNALS:
        signal.signal(signum, stop)
    node: RigNode | None = None
    code = 1

    def live() -> None:
        nonlocal node
        # A SIGINT that came while Python was still importing has waited until here.
        release_interrupt()
        rclpy.init(signal_handler_options=rclpy.SignalHandlerOptions.NO)
        node = node_type()
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        # A timeout lets Python see signals while the executor waits.
        while rclpy.ok() and not stop.asked:
            executor.spin_once(timeout_sec=0.1)

    try:
        code = _exit_code(live, node_type.NAME)
    finally:
        # Ending tidily must not be cut short by a second signal.
        for signum in STOP_SIGNALS:
            signal.signal(signum, signal.SIG_IGN)
        if node is not None:
            code = max(code, _exit_code(node.close, node_type.NAME))
            node.destroy_node()
        rclpy.try_shutdown()
    sys.exit(code)


def _exit_code(action: Callable[[], None], name: str) -> int:
    """Of a node whose `action` ends so."""
    try:
        action()
    except (SystemExit, KeyboardInterrupt, ExternalShutdownException):
        return 0
    except (ValueError, RuntimeError, OSError) as error:
        # These carry a sentence for the user; anything else is a defect and keeps its traceback.
        print(f"error: {name}: {' '.join(str(error).split())}", file=sys.stderr, flush=True)
        return 1
    return 0
