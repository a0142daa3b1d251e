"""Files for viewers: they parse, and what they name is there."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

from soft_control import robots, topics
from soft_control.experiment.health import ActuatorWatch, McuWatch, SensorWatch
from soft_control.experiment.viewers import rviz_file
from soft_control.link.messages import Info
from soft_control.paths import share
from soft_control.topics import STATISTICS, point_topic

ROBOT = robots.load("tendon")
NODES = {"mcu", ROBOT.instruments.sensor.kind, ROBOT.instruments.actuators.kind}
"""Of the robot that the layouts are made for, those that say how they are."""
CONSTANTS = {
    value for name, value in vars(topics).items() if name.isupper() and isinstance(value, str)
}
OTHERS = {"/robot_description"}
"""Of robot_state_publisher."""


def known_topics() -> set[str]:
    points = {point_topic(group.name) for group in ROBOT.groups if group.is_point}
    return CONSTANTS | points | OTHERS | {f"/{node}/{STATISTICS}" for node in NODES}


def statistics(node: str) -> list[str]:
    """The names of a node's numbers, in their order, as the node says them."""
    if node == "mcu":
        fields = list(Info.__dataclass_fields__)
        counters = dict.fromkeys(fields[fields.index("missed_samples") :], 0)
        counts = {"samples": 1, "deadline_misses": 0, **counters, "telemetry_missing": 0}
        health = McuWatch().judge(1.0, counts, [5.0], [1.0], "running", "", False)
    elif node == ROBOT.instruments.sensor.kind:
        health = SensorWatch().judge(1.0, {"samples": 1, "dropped": 0}, 0.0)
    else:
        counts = dict.fromkeys(("commands", "refused", "limited", "lost", "bad"), 0)
        health = ActuatorWatch().judge(1.0, counts, [], False, 0, "hold")
    return list(health.numbers)


def names_on(topic: str) -> list[str]:
    """Of the values of a JointState."""
    if topic.endswith(f"/{STATISTICS}"):
        return statistics(topic.split("/")[1])
    outputs, commands = list(ROBOT.output_names), list(ROBOT.command_names)
    signals = [signal.name for signal in ROBOT.signals]
    points = [group.name for group in ROBOT.groups if group.is_point]
    return {
        topics.OUTPUTS: outputs,
        topics.PREDICTED_OUTPUTS: outputs,
        topics.COMMAND: commands,
        topics.COMMAND_ASKED: commands,
        topics.SIGNALS: signals,
        topics.SIGNALS_RAW: signals,
        topics.TRACKING_ERROR: [*outputs, *points],
    }[topic]


# ------------------------------------------------------------------ RViz


def rviz_topics(text: str) -> dict[str, str]:
    displays = yaml.safe_load(text)["Visualization Manager"]["Displays"]
    return {
        display["Name"]: display[key]["Value"]
        for display in displays
        for key in ("Topic", "Description Topic")
        if key in display
    }


def test_rviz_shows_topics_that_are_there():
    text = (share() / "rviz" / "soft_control.rviz").read_text()
    found = rviz_topics(text)
    assert set(found.values()) <= known_topics()
    assert {topics.MARKERS, "/robot_description"} <= set(found.values())
    manager = yaml.safe_load(text)["Visualization Manager"]
    assert manager["Global Options"]["Fixed Frame"] == ROBOT.frame
    classes = {display["Class"] for display in manager["Displays"]}
    assert all(re.fullmatch(r"rviz_default_plugins/\w+", name) for name in classes)


def test_rviz_waits_for_markers_as_they_are_published():
    """A subscriber that wants more than is offered hears nothing."""
    text = (share() / "rviz" / "soft_control.rviz").read_text()
    for display in yaml.safe_load(text)["Visualization Manager"]["Displays"]:
        if display.get("Topic", {}).get("Value") == topics.MARKERS:
            assert display["Topic"]["Durability Policy"] == "Volatile"


def test_each_namespace_has_its_own_topics_frames_and_prefix():
    assert yaml.safe_load(rviz_file("", "rig_base")) == yaml.safe_load(
        (share() / "rviz" / "soft_control.rviz").read_text()
    )
    text = rviz_file("left", "rig_base")
    assert set(rviz_topics(text).values()) == {
        "/left/markers",
        "/left/robot_description",
        "/left/points/tip",
    }
    manager = yaml.safe_load(text)["Visualization Manager"]
    assert manager["Global Options"]["Fixed Frame"] == "left/rig_base"
    (robot,) = (d for d in manager["Displays"] if d["Class"].endswith("RobotModel"))
    assert robot["TF Prefix"] == "left"


# ------------------------------------------------------------------ Foxglove


@pytest.fixture(scope="module")
def foxglove() -> dict[str, Any]:
    return json.loads((share() / "foxglove" / "soft_control.json").read_text())


def panels_of(layout: Any) -> Iterator[str]:
    if isinstance(layout, str):
        yield layout
        return
    assert layout["direction"] in ("row", "column") and 0 < layout["splitPercentage"] < 100
    yield from panels_of(layout["first"])
    yield from panels_of(layout["second"])


def test_each_panel_of_foxglove_has_its_place(foxglove):
    placed = list(panels_of(foxglove["layout"]))
    assert sorted(placed) == sorted(foxglove["configById"])
    assert {panel.partition("!")[0] for panel in placed} == {"3D", "Plot", "DiagnosticSummary"}


def test_foxglove_shows_topics_that_are_there(foxglove):
    scene = foxglove["configById"]["3D!scene"]
    named = set(scene["topics"])
    named |= {layer["topic"] for layer in scene["layers"].values() if "topic" in layer}
    named |= {
        panel["topicToRender"]
        for name, panel in foxglove["configById"].items()
        if name.startswith("DiagnosticSummary!")
    }
    assert named <= known_topics() and topics.MARKERS in named and topics.DIAGNOSTICS in named
    assert scene["followTf"] == ROBOT.frame


PATH = re.compile(r"(?P<topic>/[\w/]+)\.(points\[0\]\.positions|position)\[(?P<at>\d+)\](\.@.+)?")


def test_each_line_that_foxglove_draws_is_called_what_it_is(foxglove):
    checked = 0
    for name, panel in foxglove["configById"].items():
        for path in panel.get("paths", []) if name.startswith("Plot!") else []:
            found = PATH.fullmatch(path["value"])
            assert found and found["topic"] in known_topics(), path["value"]
            told = topics.OUTPUTS if found["topic"] == topics.REFERENCE else found["topic"]
            value = names_on(told)[int(found["at"])]
            assert path["label"].split()[0].rstrip(",") == value, path["value"]
            checked += 1
    assert checked > 10


# ------------------------------------------------------------------ PlotJuggler


@pytest.fixture(scope="module")
def plotjuggler() -> ElementTree.Element:
    return ElementTree.parse(share() / "plotjuggler" / "soft_control.xml").getroot()


def test_each_curve_of_plotjuggler_is_a_value_on_a_topic_it_subscribes(plotjuggler):
    """Its names: /topic/name/position of a JointState, /topic/points[0]/positions[i] else."""
    used = set()
    for curve in plotjuggler.iter("curve"):
        name = curve.get("name")
        if found := re.fullmatch(r"(/\w+)/points\[0\]/positions\[(\d+)\]", name):
            assert found[1] == topics.REFERENCE and int(found[2]) < len(ROBOT.outputs)
            used.add(found[1])
            continue
        topic, value, kind = name.rsplit("/", 2)
        assert topic in known_topics() and value in names_on(topic) and kind == "position", name
        used.add(topic)
    selected = [element.get("value").split(";") for element in plotjuggler.iter("selected_topics")]
    assert all(set(each) == used for each in selected) and len(selected) == 2


def test_splitters_of_plotjuggler_have_a_size_a_plot(plotjuggler):
    for splitter in plotjuggler.iter("DockSplitter"):
        sizes = [float(size) for size in splitter.get("sizes").split(";")]
        assert len(sizes) == int(splitter.get("count")) == len(splitter)
        assert sum(sizes) == pytest.approx(1.0, abs=1e-5)
