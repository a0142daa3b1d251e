"""Magnetometer ingestion over a pseudo-terminal; what it shares with LightLace is tested there."""

from __future__ import annotations

import os
import time

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed: soft_control[ros]")


from rosgraph_msgs.msg import Clock  # noqa: E402

from soft_control.experiment.ros_messages import to_stamp  # noqa: E402
from soft_control.link import magnetic as wire  # noqa: E402
from soft_control.nodes._node import checked  # noqa: E402
from soft_control.nodes.magnetic import Magnetic, MagneticParameters  # noqa: E402


@pytest.fixture
def sensor(make_node, board):
    def make(**parameters):
        given = {"full_scale_counts": [100.0, 0.0], "peers": ["magnetic", "nobody"]}
        return make_node(Magnetic, port=board[1], **given | parameters)

    return make


def until(condition, timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_frames_become_signals_by_name_in_whatever_pieces(sensor, board, published):
    node = sensor(signal_names=["x", "dead"])
    raw, calibrated = published(node.raw), published(node.calibrated)
    sent = wire.encode([-50, 7], 0) + wire.encode([25, 8], 1)
    os.write(board[0], sent[:5])
    os.write(board[0], sent[5:])
    until(lambda: len(calibrated) == 2)
    assert [list(m.position) for m in raw] == [[-50.0, 7.0], [25.0, 8.0]]
    assert [list(m.position) for m in calibrated] == [[-0.5, 0.0], [0.25, 0.0]]
    assert list(raw[0].name) == ["x", "dead"]


def test_each_sensor_has_its_field_in_tesla_for_who_listens(sensor, board, published, monkeypatch):
    """A LIS3MDL at 16 gauss counts 1711 a gauss, and a gauss is 1e-4 T: its data sheet."""
    node = sensor(full_scale_counts=[100.0] * 6, sensor_frame="magnetometer_")
    assert [f.topic_name for f in node.fields] == ["/magnetic/field_0", "/magnetic/field_1"]
    fields, raw = published(node.fields[1]), published(node.raw)
    os.write(board[0], wire.encode([1, 2, 3, 1711, -1711, 3422], 0))
    until(lambda: len(raw) == 1)
    assert not fields
    monkeypatch.setattr(node.fields[1], "get_subscription_count", lambda: 1)
    os.write(board[0], wire.encode([1, 2, 3, 1711, -1711, 3422], 1))
    until(lambda: len(fields) == 1)
    field = fields[0].magnetic_field
    assert (field.x, field.y, field.z) == pytest.approx((1e-4, -1e-4, 2e-4), rel=1e-12)
    assert fields[0].header.frame_id == "magnetometer_1"
    assert fields[0].header.stamp == raw[-1].header.stamp


def test_the_start_is_taken_off_and_a_spike_is_no_signal(sensor, board, published):
    """The counts of docs/instruments.md."""
    node = sensor(median=3, start_samples=2)
    raw = published(node.raw)
    for counter, count in enumerate([10, 13, 20, 90, 21]):
        os.write(board[0], wire.encode([count, 0], counter))
    until(lambda: len(raw) == 3)
    assert [m.position[0] for m in raw] == [1.0, 8.0, 9.0]


def test_in_lockstep_the_nth_frame_has_the_nth_stamp(sensor, board, published):
    node = sensor(clock="lockstep")
    raw = published(node.raw)
    os.write(board[0], wire.encode([1, 1], 0) + wire.encode([2, 2], 1))
    until(lambda: len(node.counts) == 2)
    for ns in (5, 6):
        node.on_clock(Clock(clock=to_stamp(ns)))
    assert [(m.header.stamp.nanosec, m.position[0]) for m in raw] == [(5, 1.0), (6, 2.0)]


def test_in_lockstep_no_frame_may_be_kept_back():
    """The rig would wait for ever for the answer to it."""
    given = {"port": "p", "clock": "lockstep", "start_samples": 3}
    with pytest.raises(ValueError, match="start_samples = 3: in lockstep each frame is a sample"):
        checked(MagneticParameters, given)


def test_another_number_of_channels_is_told(sensor, board):
    node = sensor(silence_timeout_s=0.5, baud=115200)
    os.write(board[0], wire.encode([1, 2, 3], 0))
    deadline = time.monotonic() + 20.0
    with pytest.raises(RuntimeError, match="12 bytes came without a frame of 2 channels") as told:
        while time.monotonic() < deadline:
            node.check()
            time.sleep(0.02)
    assert str(told.value).startswith(f"the sensor on '{board[1]}' at 115200 baud: ")
