"""Instruments that are unplugged while a run goes on, and come back under another name."""

from __future__ import annotations

import re
import time
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed: soft_control[ros]")

from soft_control.experiment.ros_messages import joint_state  # noqa: E402
from soft_control.link import magnetic as wire  # noqa: E402
from soft_control.link.instruments import ACTUATORS  # noqa: E402
from soft_control.nodes import _port  # noqa: E402
from soft_control.nodes.dynamixel import DynamixelServos  # noqa: E402
from soft_control.nodes.hasel_driver import HaselDriverNode  # noqa: E402
from soft_control.nodes.lightlace import LightLace  # noqa: E402
from soft_control.nodes.magnetic import Magnetic  # noqa: E402

from ..plug import Plug  # noqa: E402
from .test_actuators import actuator_config, parameters, robot  # noqa: E402

NODES = {"dynamixel": DynamixelServos, "hasel_driver": HaselDriverNode}
CYCLES = 2
PERIOD_S = 0.01


@pytest.fixture
def plug(tmp_path):
    plug = Plug(tmp_path / "board")
    yield plug
    plug.close()


def log_of(node) -> list[str]:
    """What a node says from then on."""
    said: list[str] = []
    note = lambda words, **options: said.append(words)  # noqa: E731
    node.get_logger = lambda: SimpleNamespace(info=note, warning=note, error=note)
    return said


def until(happened, *meanwhile, within_s: float = 20.0) -> None:
    """Calls `meanwhile` until it has happened."""
    began_s = time.monotonic()
    while not happened():
        assert time.monotonic() - began_s < within_s
        for act in meanwhile:
            act()
        time.sleep(0.002)


def line(k: int) -> bytes:
    return b"%d,7\r\n" % k


def frame(k: int) -> bytes:
    return wire.encode([k, 7], k)


@pytest.mark.parametrize(("kind", "sample"), [(LightLace, line), (Magnetic, frame)])
def test_a_sensor_goes_on_and_says_how_many_samples_it_has_lost(
    make_node, plug, published, kind, sample
):
    node = make_node(
        kind, port=str(plug.link), full_scale_counts=[1.0, 1.0], peers=[kind.NAME, "nobody"]
    )
    said, raw = log_of(node), published(node.raw)
    sent, began_s = 0, time.monotonic()

    def due() -> int:
        """Its samples have times of their own, however busy this machine is."""
        return int((time.monotonic() - began_s) / PERIOD_S)

    def sense() -> None:
        nonlocal sent
        time.sleep(PERIOD_S)
        while sent < due():
            plug.write(sample(sent))
            sent += 1

    while sent < 100:  # all at once a few come, where this machine is busy
        sense()
    for _ in range(CYCLES):
        plug.write(sample(99)[:2])  # the beginning of one that never ends
        plug.unplug()
        until(lambda: node.port.failed)
        time.sleep(10 * PERIOD_S)
        sent = due()  # it has gone on, and nobody has heard it
        heard = len(raw)
        plug.plug()
        until(lambda heard=heard: len(raw) > heard + 10, sense)
    assert len(set(plug.names)) > 1 and plug.names[0] != plug.names[1]
    values = [int(message.position[0]) for message in raw]
    assert values == sorted(set(values)) and {m.position[1] for m in raw} == {7.0}
    assert node.port.reconnections == CYCLES == len(said)
    pattern = rf"the sensor on '{plug.link}' was away for 0\.\d+ s and is back on /dev/pts/\d+: "
    assert all(re.fullmatch(pattern + r"\d+ samples lost", words) for words in said), said
    # Each that is not in the signals is counted, by the rhythm of those that are.
    missing = sent - len(raw)
    assert node.lost == pytest.approx(missing, abs=2 * CYCLES + 0.1 * missing)
    health = node.judge(1.0)
    assert health.numbers["reconnections"] == CYCLES and health.numbers["lost"] == node.lost


@pytest.fixture
def line_of(make_node, plug):
    """line_of(kind, …): the node of these actuators, and their device."""

    def make(kind, **changes):
        node = make_node(NODES[kind], **parameters(kind, port=str(plug.link), **changes))
        device = ACTUATORS[kind].device(actuator_config(robot(kind)), 2)
        return node, device

    return make


def ask(node, values) -> None:
    now_ns = node.get_clock().now().nanoseconds
    node.on_command(joint_state(now_ns, ["left", "right"], values))


@pytest.mark.parametrize("kind", NODES)
def test_actuators_go_on_from_where_they_were_told_to_be(line_of, plug, published, kind):
    safe = "disarm" if kind == "hasel_driver" else "hold"
    node, device = line_of(kind, speed_max=[100.0, 100.0], rearm=True, safe_output=safe)
    said, told = log_of(node), published(node.told_commands)
    for _ in range(5):
        ask(node, [15.0, 5.0])
        time.sleep(PERIOD_S)
    device.feed(plug.read(), 0.0)
    for _ in range(CYCLES):
        before, heard, lost = np.array(told[-1].position), len(told), node.lost
        plug.unplug()
        asked = 0
        for _ in range(10):
            ask(node, [60.0, -40.0])
            asked += 1
            node.on_tick()
            time.sleep(PERIOD_S)
        assert len(told) == heard and node.lost == lost + asked
        # What has been without power knows nothing of before.
        device = ACTUATORS[kind].device(actuator_config(robot(kind)), 2)
        plug.plug()
        until(lambda heard=heard: len(told) > heard, lambda: ask(node, [60.0, -40.0]))
        if safe == "disarm":
            before = np.array(node.config.neutral)  # it has let go by itself
        moved = np.abs(np.array(told[heard].position) - before)
        assert (moved <= 2 * 100.0 * PERIOD_S + 1e-9).all(), "two periods' worth, as after any gap"
        until(lambda d=device: d.armed, lambda d=device: d.feed(plug.read(), 0.0))
        np.testing.assert_allclose(device.command, told[heard].position, atol=0.5)
    assert node.port.reconnections == CYCLES and not node.was_silent
    backs = [words for words in said if "is back on" in words]
    assert len(backs) == CYCLES and not any("no command" in words for words in said)
    assert node.judge(1.0).numbers["lost"] == node.lost


def test_high_voltage_does_not_come_back_by_itself(line_of, plug, monkeypatch):
    monkeypatch.setattr(_port, "GRACE_S", 0.0)
    node, _ = line_of("hasel_driver")
    plug.unplug()
    plug.plug()
    with pytest.raises(RuntimeError, match="is gone after 0 samples"):
        until(lambda: False, node.check)


def test_what_does_not_come_back_in_time_ends_the_run(line_of, plug, monkeypatch):
    monkeypatch.setattr(_port, "GRACE_S", 0.0)
    node, _ = line_of("dynamixel", reconnect_s=0.2)
    said = log_of(node)
    plug.unplug()
    with pytest.raises(RuntimeError, match=r"the line of the actuators on '.*' is gone after 0"):
        until(lambda: False, node.check)
    assert len(said) == 1 and said[0].endswith("; it may come back within 0.2 s")
