"""Parameters of other nodes that can be set while they run: found, followed, set.

For each node four services of rcl_interfaces: list, describe, get, set. What a node calls read_only
is not shown, but it is read, for names and limits stand there. Changes that others make come on
/parameter_events.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rcl_interfaces.msg import Parameter, ParameterDescriptor, ParameterType
from rcl_interfaces.srv import DescribeParameters, GetParameters, ListParameters, SetParameters
from rclpy.node import Node
from rclpy.parameter import Parameter as RclpyParameter
from rclpy.parameter import parameter_value_to_python

from soft_control.monitor import choices
from soft_control.plain_text import printable

SERVICES = {
    "list": (ListParameters, "list_parameters"),
    "describe": (DescribeParameters, "describe_parameters"),
    "get": (GetParameters, "get_parameters"),
    "set": (SetParameters, "set_parameters"),
}
OF_EVERY_NODE = ("use_sim_time", "start_type_description_service", "qos_overrides.")
"""Parameters that ROS itself gives to nodes."""
PARAMETERS_MAX = 500
ANSWER_S = 3.0
"""After so long a node that was asked to set a parameter is called silent."""
ASK_AGAIN_S = 5.0


@dataclass
class NodeParameters:
    """One node, as far as it has answered."""

    name: str
    clients: dict[str, Any]
    identity: frozenset[bytes]
    descriptors: dict[str, ParameterDescriptor] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)
    asked_s: float = -math.inf
    complete: bool = False

    def is_ready(self) -> bool:
        return all(client.service_is_ready() for client in self.clients.values())

    def live(self) -> list[dict[str, Any]]:
        """What can be set, as `wire` says it."""
        return [
            choices.told(self.descriptors[name], self.values.get(name), self.values)
            for name in sorted(self.descriptors)
            if not self.descriptors[name].read_only and not name.startswith(OF_EVERY_NODE)
        ]


class LiveParameters:
    """Of the nodes that `watch` names; runs in the thread of `node`'s executor.

    `on_values(node, values)` is called with all values of a node when they have come.
    """

    def __init__(self, node: Node, on_values: Callable[[str, dict[str, Any]], None]) -> None:
        self._node = node
        self._on_values = on_values
        self._nodes: dict[str, NodeParameters] = {}
        self._pending: list[tuple[float, Any, str, Callable[[bool, str], None]]] = []
        self.version = 0

    def watch(self, nodes: Mapping[str, frozenset[bytes]], now_s: float) -> None:
        """Full names of nodes, each with what tells it from another of the same name; those that
        are not among them any more are forgotten, those that have come anew are asked anew."""
        for gone in self._nodes.keys() - nodes.keys():
            for client in self._nodes.pop(gone).clients.values():
                self._node.destroy_client(client)
            self.version += 1
        for name in sorted(nodes.keys() - self._nodes.keys()):
            clients = {
                key: self._node.create_client(kind, f"{name}/{service}")
                for key, (kind, service) in SERVICES.items()
            }
            self._nodes[name] = NodeParameters(name, clients, nodes[name])
        for name, known in list(self._nodes.items()):
            if known.identity != nodes[name]:
                self._nodes[name] = NodeParameters(name, known.clients, nodes[name])
                self.version += 1
        for known in self._nodes.values():
            if not known.complete and now_s - known.asked_s > ASK_AGAIN_S and known.is_ready():
                self._read(known, now_s)
        for late in [entry for entry in self._pending if now_s - entry[0] > ANSWER_S]:
            self._pending.remove(late)
            late[1].cancel()
            late[3](False, f"{late[2]} did not answer within {ANSWER_S:g} s")

    def snapshot(self) -> list[tuple[str, list[dict[str, Any]]]]:
        """Node and what can be set of it; nodes with nothing to set are left out."""
        found = [(known.name, known.live()) for known in self._nodes.values() if known.complete]
        return sorted((name, live) for name, live in found if live)

    # ---------------------------------------------------------------------------------- reading

    def _read(self, known: NodeParameters, now_s: float) -> None:
        known.asked_s = now_s

        def listed(answer: Any) -> None:
            names = list(answer.result.names)[:PARAMETERS_MAX]
            request = DescribeParameters.Request(names=names)
            self._ask(known, "describe", request, lambda told: described(names, told))

        def described(names: list[str], answer: Any) -> None:
            known.descriptors = dict(zip(names, answer.descriptors, strict=False))
            request = GetParameters.Request(names=names)
            self._ask(known, "get", request, lambda told: got(names, told))

        def got(names: list[str], answer: Any) -> None:
            known.values = {
                name: plain(parameter_value_to_python(value))
                for name, value in zip(names, answer.values, strict=False)
            }
            known.complete = True
            self.version += 1
            self._on_values(known.name, known.values)

        self._ask(known, "list", ListParameters.Request(), listed)

    def _ask(
        self, known: NodeParameters, service: str, request: Any, on_answer: Callable[[Any], None]
    ) -> None:
        def done(future: Any) -> None:
            # A node that has ended meanwhile was asked for nothing.
            if self._nodes.get(known.name) is known and future.result() is not None:
                on_answer(future.result())

        known.clients[service].call_async(request).add_done_callback(done)

    def on_event(self, event: Any) -> None:
        """Takes a message of /parameter_events."""
        known = self._nodes.get(event.node)
        if known is None:
            return
        declared = {parameter.name for parameter in event.new_parameters}
        if declared - known.descriptors.keys():
            known.complete, known.asked_s = False, -math.inf  # it has started anew
            return
        for parameter in (*event.new_parameters, *event.changed_parameters):
            known.values[parameter.name] = plain(parameter_value_to_python(parameter.value))
        self.version += 1
        self._on_values(known.name, known.values)

    # ---------------------------------------------------------------------------------- setting

    def set(
        self, node: str, name: str, value: Any, now_s: float, answer: Callable[[bool, str], None]
    ) -> None:
        """Asks a node to set a parameter; `answer` gets whether it did, and else why not."""
        known = self._nodes.get(node)
        if known is None or name not in known.descriptors:
            answer(False, f"{printable(node)} has no parameter {printable(name)} any more")
            return
        try:
            fitting = choices.fitting(value, known.values.get(name))
            parameter = RclpyParameter(name, value=fitting).to_parameter_msg()
        except (ValueError, TypeError, OverflowError) as error:
            answer(False, f"{printable(name)}: {printable(error)}")
            return
        future = known.clients["set"].call_async(SetParameters.Request(parameters=[parameter]))
        entry = (now_s, future, node, answer)
        self._pending.append(entry)

        def done(future: Any) -> None:
            if entry not in self._pending:
                return
            self._pending.remove(entry)
            try:
                result = future.result().results[0]
            except Exception as error:  # what rclpy raises for a failed call is its own affair
                answer(False, f"{node}: {printable(error)}")
                return
            answer(result.successful, printable(result.reason))
            self._set(known, parameter) if result.successful else self._refused()

        future.add_done_callback(done)

    def _set(self, known: NodeParameters, parameter: Parameter) -> None:
        if parameter.value.type != ParameterType.PARAMETER_NOT_SET:
            known.values[parameter.name] = plain(parameter_value_to_python(parameter.value))
        self.version += 1

    def _refused(self) -> None:
        self.version += 1  # the page puts back what holds


def plain(value: Any) -> Any:
    """A parameter's value as JSON has it: arrays as lists, bytes as numbers."""
    if isinstance(value, bytes) or (hasattr(value, "__len__") and not isinstance(value, str)):
        return [item[0] if isinstance(item, bytes) else item for item in value]
    return value
