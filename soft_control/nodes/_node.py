"""What the nodes share: checked parameters, relative topics, expected publishers, a clean end."""

from __future__ import annotations

import functools
import gc
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from inspect import signature
from types import FrameType
from typing import Annotated, Any, ClassVar, get_args

import rclpy
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
)
from pydantic.fields import FieldInfo
from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.duration import Duration
from rclpy.executors import ExternalShutdownException
from rclpy.experimental.events_executor import EventsExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile

from soft_control.experiment.ros_messages import EVERY_SAMPLE, GLANCE, LATEST_SAMPLE
from soft_control.link.sensor_reader import WARNING_EVERY_S
from soft_control.network import keep_to_loopback
from soft_control.nodes._roll_call import RollCall
from soft_control.processes import end_with_parent, release_interrupt
from soft_control.shared_memory import SETTLED_S, clear_shared_memory
from soft_control.topics import relative

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
LIVE = {"live": True}
"""json_schema_extra of a parameter that may be set while its node runs."""
LIMITS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
"""Of pydantic, and what is said of them."""
INTEGER_MAX = 2**63 - 1
"""Of a parameter of ROS."""
GARBAGE = 50_000
"""Objects between two looks for garbage. At Python's 700 a node looks every few samples, and finds
none."""
HEARD_S = 4.0
"""A node that ends waits so long until what it said has come. One message that was lost holds back,
in those who want every one, all that came after it; whoever says it again must still be there."""
HEARD_LOOK_S = 0.1
ALONE_S = 20
"""A node whose parent was killed may take so long to leave the graph."""


class NodeParameters(BaseModel):
    """The ROS parameters of a node, declared and checked; each node derives its own."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False, validate_default=True)

    peers: list[str] = Field([], description="Nodes that take part in the run; empty: this alone.")
    wait_for: list[str] = Field(
        [],
        description="Nodes of others, such as drivers, that must be there before the run begins; "
        "their messages are taken besides those of peers.",
    )
    wait_for_s: float = Field(10.0, ge=0, description="For how long, s.")

    @field_validator("peers", "wait_for", mode="before")
    @classmethod
    def _may_be_none(cls, names: Any) -> Any:
        return [] if names == [""] else names


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


class MissingParameters(ValueError):
    """Parameters without which a node cannot start."""

    def __init__(self, names: Sequence[str]) -> None:
        many = len(names) > 1
        super().__init__(
            f"parameter{'s' * many} {', '.join(names)} {'are' if many else 'is'} missing"
        )


def checked(model: type[NodeParameters], given: Mapping[str, Any]) -> NodeParameters:
    """The parameters of a node. Raises ValueError that names parameter, value and the wanted."""
    try:
        return model.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        missing = [str(e["loc"][0]) for e in error.errors() if e["type"] == "missing"]
    if missing:
        raise MissingParameters(missing)
    said = first["msg"].removeprefix("Value error, ")
    where = "".join(f"[{at}]" if isinstance(at, int) else at for at in first["loc"])
    raise ValueError(f"parameter {where} = {first['input']!r}: {said}" if where else said)


def is_live(field: FieldInfo) -> bool:
    """Whether a parameter may be set while its node runs."""
    return bool((field.json_schema_extra or {}).get("live"))


def descriptor(field: FieldInfo) -> ParameterDescriptor:
    """What ROS tells of a parameter: what it means and where its limits are, and whether it can be
    changed in a node that runs; one that is read once, when the node starts, cannot."""
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
        read_only=not is_live(field),
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

    `parameters` are always checked; those with LIVE change while the node runs, all of one request
    or none, after `on_parameters` has agreed.
    """

    NAME: ClassVar[str]
    """Of the node, as in launch files and in messages to the user."""
    Parameters: ClassVar[type[NodeParameters]] = NodeParameters
    BREAKS_OFF: ClassVar[bool] = True
    """Whether a signal to stop breaks off what it does; else it finishes that."""
    keeps_raised: ClassVar[bool] = False
    raised: BaseException | None = None
    """What a callback has raised, where that is kept for `main`."""

    def __init__(self, **options: Any) -> None:
        """options: of rclpy's Node. Raises ValueError for a parameter that is missing or
        malformed."""
        super().__init__(self.NAME, **options)
        self.parameters: Any = self._read_parameters()
        self.add_on_set_parameters_callback(self._on_set)
        p: NodeParameters = self.parameters
        self.roll_call = RollCall(
            self, p.peers, p.wait_for, p.wait_for_s, lambda: self.on_everyone_matched()
        )

    def _read_parameters(self) -> NodeParameters:
        given = {}
        for name, field in self.Parameters.model_fields.items():
            # rclpy's own check of types knows neither ranges nor lengths, and refuses 50 for 50.0.
            default = None if field.is_required() else field.default
            value = self.declare_parameter(
                name, default, ParameterDescriptor(dynamic_typing=True)
            ).value
            if value is not None:
                given[name] = _plain(value)
        try:
            parameters = checked(self.Parameters, given)
        except MissingParameters as error:
            raise ValueError(
                f"{error}: `softctl parameters {self.NAME} --robot ROBOT` writes a file with all"
            ) from None
        for name, field in self.Parameters.model_fields.items():
            # After that check, whose messages say more than ROS does of what is out of a range.
            if self.get_parameter(name).type_ != Parameter.Type.NOT_SET:
                self.set_descriptor(name, descriptor(field))
        return parameters

    def _on_set(self, asked: list[Parameter]) -> SetParametersResult:
        """Of a request as a whole; ROS has refused by now to change what is read once."""
        ours = {p.name: _plain(p.value) for p in asked if p.name in self.Parameters.model_fields}
        if not ours:
            return SetParametersResult(successful=True)
        try:
            new = checked(self.Parameters, self.parameters.model_dump() | ours)
            self.on_parameters(new)
        except (ValueError, RuntimeError) as error:
            return SetParametersResult(successful=False, reason=" ".join(str(error).split()))
        self.parameters = new
        return SetParametersResult(successful=True)

    def on_parameters(self, new: Any) -> None:
        """Before live parameters change to those of `new`, which have been checked: takes over what
        does not read `parameters` each time. Raises ValueError or RuntimeError with the reason
        where they cannot be taken; then nothing has changed."""

    def create_timer(self, period_s: float, callback: Callable[..., Any], **options: Any) -> Any:
        """As of rclpy's Node."""
        return super().create_timer(period_s, self._kept(callback), **options)

    def create_service(
        self, kind: type, name: str, callback: Callable[..., Any], **options: Any
    ) -> Any:
        """As of rclpy's Node."""
        return super().create_service(kind, name, self._kept(callback), **options)

    def create_subscription(
        self, kind: type, topic: str, callback: Callable[..., Any], *qos: Any, **options: Any
    ) -> Any:
        """As of rclpy's Node."""
        return super().create_subscription(kind, topic, self._kept(callback), *qos, **options)

    def _kept(self, callback: Callable[..., Any]) -> Callable[..., Any]:
        """Where `main` runs the node: what a callback raises is kept, and nothing more happens
        until that is raised there. rclpy's EventsExecutor would report it as fatal, with a
        traceback, even the end of a run."""
        if not self.keeps_raised:
            return callback

        @functools.wraps(callback)
        def careful(*told: Any) -> Any:
            if self.raised is None:
                try:
                    return callback(*told)
                except BaseException as raised:
                    self.raised = raised
            return told[-1] if told else None  # a service has an answer

        return careful

    def publish_on(self, message_type: type, topic: str, qos: QoSProfile = EVERY_SAMPLE) -> Any:
        """A publisher that, by default, keeps every message for those who want every one."""
        return self.create_publisher(message_type, relative(topic), qos)

    def listen(
        self,
        message_type: type,
        topic: str,
        callback: Callable[..., None],
        qos: QoSProfile = LATEST_SAMPLE,
        *,
        with_info: bool = False,
        **options: Any,
    ) -> None:
        """Subscribes, says so in the roll call, and takes what expected publishers say. with_info:
        the callback gets the message's info, too, as rclpy knows it."""
        options["with_info"] = with_info
        self.roll_call.listens_to(self._take(message_type, relative(topic), callback, qos, options))

    def hear(self, message_type: type, topic: str, callback: Callable[..., None]) -> None:
        """A topic of others, as it is named: they know no roll call; who speaks first has it."""
        self._take(message_type, topic, callback, GLANCE, {}, foreign=True)

    def _take(
        self,
        message_type: type,
        topic: str,
        callback: Callable[..., None],
        qos: QoSProfile,
        options: dict[str, Any],
        foreign: bool = False,
    ) -> str:
        """What counts of a topic goes to the callback; returns its resolved name."""
        with_info = options.pop("with_info", False)

        def on_message(*told: Any) -> None:
            # rclpy's EventsExecutor gives both as one tuple to whoever wants both.
            message, info = told if len(told) == 2 else told[0]
            if self.roll_call.accepts(resolved, info["publisher_gid"]["data"], foreign):
                callback(message, info) if with_info else callback(message)

        on_message.__signature__ = signature(lambda message, info: None)
        resolved = self.create_subscription(
            message_type, topic, on_message, qos, **options
        ).topic_name
        return resolved

    def is_too_old(self, stamp_ns: int, age_max_s: float) -> bool:
        """Whether a sample was taken longer ago than that by this machine's clock, which is said;
        0: none is."""
        age_s = (self.get_clock().now().nanoseconds - stamp_ns) / 1e9
        if not age_max_s or age_s <= age_max_s:
            return False
        self.get_logger().warning(
            f"passed over a sample of {age_s:.3f} s ago", throttle_duration_sec=WARNING_EVERY_S
        )
        return True

    def present(self) -> None:
        """Tells the others that all endpoints exist and that samples may come."""
        self.roll_call.present()

    def on_everyone_matched(self) -> None:
        """Called once, when every peer is matched."""

    def close(self) -> None:
        """Called once at the end, whatever led to it."""

    def wait_until_heard(self, is_hurried: Callable[[], bool]) -> None:
        """After `close`: until all that was published has come where every message is wanted, for
        HEARD_S at most, as one of those may have been killed or stand still."""
        until_s = time.monotonic() + HEARD_S
        for publisher in self.publishers:
            while time.monotonic() < until_s and not is_hurried():
                if publisher.wait_for_all_acked(Duration(seconds=HEARD_LOOK_S)):
                    break


def _plain(value: Any) -> Any:
    """A parameter's value; arrays are lists."""
    is_array = hasattr(value, "__len__") and not isinstance(value, str)
    return list(value) if is_array else value


class _Stop:
    """Handler of STOP_SIGNALS: breaks off whatever waits, if it shall, and is remembered.

    Python loses an exception that a handler raises while a finaliser or a weak reference's callback
    runs ("Exception ignored in …"), so the loop asks `asked` as well.
    """

    def __init__(self, breaks_off: bool) -> None:
        self.asked, self.breaks_off = False, breaks_off
        self.hurried = False
        """Whether SIGTERM came after another signal: nobody is to be waited for."""

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        self.hurried = self.hurried or (self.asked and signum == signal.SIGTERM)
        self.asked = True
        if self.breaks_off:
            raise SystemExit


def main(node_type: type[RigNode]) -> None:
    """Runs one node until it is told to stop (exit 0) or fails (exit 1, one line on stderr)."""
    gc.set_threshold(GARBAGE)
    stop, parent = _Stop(node_type.BREAKS_OFF), os.getppid()
    for signum in STOP_SIGNALS:
        signal.signal(signum, stop)
    node: RigNode | None = None
    code = 1

    def live() -> None:
        nonlocal node
        # A SIGINT that came while Python was still importing has waited until here.
        release_interrupt()
        end_with_parent()
        keep_to_loopback(os.environ)
        rclpy.init(signal_handler_options=rclpy.SignalHandlerOptions.NO)
        node_type.keeps_raised = True
        node = node_type()
        executor = EventsExecutor()
        executor.add_node(node)
        # A timeout lets Python see signals while the executor waits.
        while rclpy.ok() and not stop.asked:
            try:
                executor.spin_once(timeout_sec=0.1)
            except RuntimeError:
                if not stop.asked:
                    raise
                return  # the stop came in the middle of a call from C++, which it made fail
            if (raised := node.raised) is not None:
                node.raised = None
                raise raised

    try:
        code = _exit_code(live, node_type.NAME)
    finally:
        stop.breaks_off = False  # ending tidily must not be cut short by a second signal
        if node is not None:
            code = max(code, _exit_code(node.close, node_type.NAME))
            node.wait_until_heard(lambda: stop.hurried)
        orphan = os.getppid() != parent
        if orphan:
            # Fast DDS 3.2 may lock up where many participants leave at once, and nobody is left
            # who would kill this process then.
            signal.alarm(ALONE_S)
        if node is not None:
            node.destroy_node()
        rclpy.try_shutdown()
        if orphan:
            time.sleep(SETTLED_S)  # what the killed one leaves may be too young to be cleared up
            clear_shared_memory(but=os.getpid())
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
