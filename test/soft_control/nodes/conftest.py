"""Nodes in the process of the test, in a ROS domain of its own."""

from __future__ import annotations

import os
import tty
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

rclpy = pytest.importorskip("rclpy", reason="ROS 2 is not installed: soft_control[ros]")

from soft_control.experiment.bringup import NodeSpec  # noqa: E402
from soft_control.experiment.runner import parameter_file, ros_domain  # noqa: E402
from soft_control.security.policies import POLICIES, allowed  # noqa: E402


@pytest.fixture
def make_node(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """make_node(type, parameter=value, …): one node a test, from a parameter file as in a run."""
    made = []

    def make(node_type: type, **parameters: Any) -> Any:
        file = tmp_path / "parameters.yaml"
        file.write_text(parameter_file(NodeSpec(node_type.NAME, parameters)))
        rclpy.init(
            args=["--ros-args", "--params-file", str(file)],
            signal_handler_options=rclpy.SignalHandlerOptions.NO,
        )
        node = node_type()
        made.append(node)
        return node

    with ros_domain():
        yield make
        opened = [opened_by(node) for node in made]
        for node in made:
            node.close()
            node.destroy_node()
        rclpy.try_shutdown()
    for endpoints in opened:
        check_permitted(*endpoints)


def opened_by(node: Any) -> tuple[str, str, list[str], list[str]]:
    """Its name and namespace, and the topics of DDS that it says and hears something on."""
    said = [f"rt{publisher.topic_name}" for publisher in node.publishers]
    heard = [f"rt{one.topic_name}" for one in node.subscriptions]
    for service in node.services:
        heard.append(f"rq{service.service_name}Request")
        said.append(f"rr{service.service_name}Reply")
    for client in node.clients:
        said.append(f"rq{client.service_name}Request")
        heard.append(f"rr{client.service_name}Reply")
    return node.get_name(), node.get_namespace().rstrip("/"), said, heard


def check_permitted(name: str, space: str, said: list[str], heard: list[str]) -> None:
    """Whatever a node of ours has opened by the end of its test, `softctl secure` allows it."""
    if name not in POLICIES:  # one that a test has made up
        return
    may = allowed(name, space)
    if POLICIES[name].foreign:  # `softctl secure --topic` says what these hear
        heard = []
    for topics, rules in ((said, may.publishes), (heard, may.hears)):
        for topic in topics:
            assert any(fnmatchcase(topic, rule) for rule in rules), f"{name}: {topic}"


@pytest.fixture
def board() -> Iterator[tuple[int, str]]:
    """(controller, path of the port): what is written to the controller comes at the port."""
    controller, port = os.openpty()
    tty.setraw(port)
    yield controller, os.ttyname(port)
    os.close(controller)
    os.close(port)


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], list]:
    """published(publisher): the list that everything goes to which it publishes from then on."""

    def watch(publisher: Any) -> list:
        messages: list = []
        monkeypatch.setattr(publisher, "publish", messages.append)
        return messages

    return watch
