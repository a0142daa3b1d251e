"""Who takes part in a run: matched before the first sample, and nobody else is listened to."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

rclpy = pytest.importorskip("rclpy", reason="ROS 2 is not installed: soft_control[ros]")

from rclpy.parameter import Parameter  # noqa: E402
from std_msgs.msg import String  # noqa: E402

from soft_control.experiment.ros_messages import EVERY_SAMPLE, LATCHED  # noqa: E402
from soft_control.experiment.runner import ros_domain  # noqa: E402
from soft_control.nodes._node import RigNode  # noqa: E402

from ..sockets import bound_udp  # noqa: E402

WITHIN_S = 30.0


class Speaker(RigNode):
    NAME = "speaker"

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.matched = False
        self.said = self.publish_on(String, "/said")
        self.present()

    def on_everyone_matched(self) -> None:
        self.matched = True


class Listener(RigNode):
    NAME = "listener"

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.matched = False
        self.heard: list[str] = []
        self.raw: list[bytes] = []
        self.listen(String, "/said", lambda message: self.heard.append(message.data))
        self.listen(String, "/said", self.raw.append, EVERY_SAMPLE, raw=True)
        self.present()

    def on_everyone_matched(self) -> None:
        self.matched = True


class Graph:
    """Nodes in one process, spun by hand."""

    def __init__(self) -> None:
        self.executor = rclpy.executors.SingleThreadedExecutor()
        self.nodes: list[Any] = []

    def add(self, kind: type[RigNode], namespace: str = "", **parameters: Any) -> Any:
        given = [Parameter(name, value=value) for name, value in parameters.items()]
        return self.take(kind(namespace=namespace, parameter_overrides=given))

    def take(self, node: Any) -> Any:
        self.nodes.append(node)
        self.executor.add_node(node)
        return node

    def until(self, condition: Callable[[], bool], and_then_s: float = 0.0) -> None:
        deadline = time.monotonic() + WITHIN_S
        while not condition():
            assert time.monotonic() < deadline
            self.executor.spin_once(timeout_sec=0.02)
        end = time.monotonic() + and_then_s
        while time.monotonic() < end:
            self.executor.spin_once(timeout_sec=0.02)


@pytest.fixture
def graph() -> Iterator[Graph]:
    with ros_domain():
        rclpy.init(signal_handler_options=rclpy.SignalHandlerOptions.NO)
        made = Graph()
        yield made
        for node in made.nodes:
            node.destroy_node()
        rclpy.try_shutdown()


BOTH = ["speaker", "listener"]


def foreigner(graph: Graph, name: str, topic: str = "/said") -> Any:
    node = graph.take(rclpy.create_node(name))
    return node.create_publisher(String, topic, 10)


def test_what_a_stranger_says_is_refused_and_said(graph, capfd):
    """An intruder's commands were obeyed before: 600 of 50 rad, and no word of it."""
    speaker, listener = graph.add(Speaker, peers=BOTH), graph.add(Listener, peers=BOTH)
    graph.until(lambda: speaker.matched and listener.matched)
    intruder = foreigner(graph, "intruder")
    graph.until(lambda: intruder.get_subscription_count() == 2)
    for _ in range(20):
        intruder.publish(String(data="50 rad"))
    speaker.said.publish(String(data="0.1 rad"))
    graph.until(lambda: bool(listener.heard) and bool(listener.raw), and_then_s=0.2)
    assert listener.heard == ["0.1 rad"] and len(listener.raw) == 1
    said = capfd.readouterr().err
    assert "refused what /intruder says on /said, which is of a run that it does not" in said
    assert said.count("refused") == 1


def test_a_node_alone_takes_a_topic_from_whoever_is_first_until_that_one_goes(graph, capfd):
    listener = graph.add(Listener)
    first, second = foreigner(graph, "first"), foreigner(graph, "second")
    graph.until(lambda: first.get_subscription_count() == second.get_subscription_count() == 2)
    first.publish(String(data="1"))
    graph.until(lambda: listener.heard == ["1"])
    second.publish(String(data="2"))
    graph.until(lambda: "has one that came first" in capfd.readouterr().err)
    assert listener.heard == ["1"]
    graph.executor.remove_node(graph.nodes[1])
    graph.nodes.pop(1).destroy_node()
    graph.until(lambda: listener.count_publishers("/said") == 1, and_then_s=1.1)
    second.publish(String(data="3"))
    graph.until(lambda: listener.heard == ["1", "3"])


def test_a_foreign_driver_that_knows_no_roll_call_takes_part(graph):
    listener = graph.add(Listener, peers=["listener"], wait_for=["driver"], wait_for_s=WITHIN_S)
    graph.until(lambda: True, and_then_s=0.3)
    assert not listener.matched
    driver = foreigner(graph, "driver")
    graph.until(lambda: listener.matched)
    driver.publish(String(data="from outside"))
    graph.until(lambda: listener.heard == ["from outside"])


def test_a_foreign_driver_that_never_comes_is_named(graph):
    graph.add(Listener, peers=["listener"], wait_for=["driver"], wait_for_s=0.1)
    with pytest.raises(RuntimeError, match="/driver has not come within wait_for_s = 0.1 s: start"):
        graph.until(lambda: False)


def test_two_robots_in_two_namespaces_hear_themselves_alone(graph):
    nodes = [
        graph.add(kind, peers=BOTH, namespace=namespace)
        for namespace in ("/left", "/right")
        for kind in (Speaker, Listener)
    ]
    graph.until(lambda: all(node.matched for node in nodes))
    left, heard_left, right, heard_right = nodes
    left.said.publish(String(data="left"))
    right.said.publish(String(data="right"))
    graph.until(lambda: bool(heard_left.heard and heard_right.heard), and_then_s=0.2)
    assert (heard_left.heard, heard_right.heard) == (["left"], ["right"])
    assert left.said.topic_name == "/left/said"


def test_who_looks_on_does_not_stand_in_for_a_peer(graph, monkeypatch):
    """A monitor that is matched already, while a peer is not yet: the first sample would have
    been lost to that peer. One that can never be matched is not waited for."""
    from soft_control.nodes import _roll_call

    monkeypatch.setattr(_roll_call, "LOOKING_ON_S", 1e9)
    onlooker = graph.take(rclpy.create_node("monitor"))
    onlooker.create_subscription(String, "/said", lambda message: None, 10)
    speaker = graph.add(Speaker, peers=BOTH)
    graph.until(lambda: speaker.said.get_subscription_count() == 1)
    call = {"node": "/listener", "listens": ["/said"], "speaks": [], "matched": True}
    others = graph.take(rclpy.create_node("others"))
    others.create_publisher(String, "/roll_call", LATCHED).publish(String(data=json.dumps(call)))
    graph.until(lambda: "/listener" in speaker.roll_call._calls, and_then_s=0.3)
    assert not speaker.matched
    listener = graph.add(Listener, peers=BOTH)
    graph.until(lambda: speaker.matched and listener.matched)


def test_who_can_never_be_matched_is_not_waited_for(graph, monkeypatch):
    from soft_control.nodes import _roll_call

    monkeypatch.setattr(_roll_call, "LOOKING_ON_S", 0.2)
    onlooker = graph.take(rclpy.create_node("wants_more"))
    onlooker.create_subscription(String, "/said", lambda message: None, LATCHED)
    speaker, listener = graph.add(Speaker, peers=BOTH), graph.add(Listener, peers=BOTH)
    graph.until(lambda: speaker.matched and listener.matched)


def test_a_call_of_somebody_who_is_no_peer_is_passed_over(graph):
    """A second run in the same domain, say, of other nodes."""
    speaker = graph.add(Speaker, peers=BOTH)
    node = graph.take(rclpy.create_node("stray"))
    stray = node.create_publisher(String, "/roll_call", LATCHED)
    call = {"node": "/stray", "listens": ["/said"] * 9, "speaks": [], "matched": False}
    stray.publish(String(data=json.dumps(call)))
    listener = graph.add(Listener, peers=BOTH)
    graph.until(lambda: speaker.matched and listener.matched)


def test_the_graph_of_a_run_listens_on_the_loopback_alone(graph):
    """LOCALHOST alone binds every address: what ss shows of sockets that are bound to a port which
    peers know is 127.0.0.1."""
    before = set(bound_udp("self"))  # of other tests in this process
    graph.add(Speaker, peers=["speaker"])
    assert {address for address, _ in set(bound_udp("self")) - before} == {"127.0.0.1"}
