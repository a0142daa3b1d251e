"""LightLace ingestion over a pseudo-terminal: samples, and each way in which a sensor fails."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time

import pytest

rclpy = pytest.importorskip("rclpy", reason="ROS 2 is not installed: soft_control[ros]")

import tty  # noqa: E402

import serial  # noqa: E402
import yaml  # noqa: E402
from lifecycle_msgs.msg import Transition  # noqa: E402
from lifecycle_msgs.srv import ChangeState  # noqa: E402
from rosgraph_msgs.msg import Clock  # noqa: E402

from soft_control.experiment.ros_messages import to_stamp  # noqa: E402
from soft_control.experiment.runner import ros_domain  # noqa: E402
from soft_control.nodes import _port, lightlace  # noqa: E402


@pytest.fixture
def board():
    """(controller, path of the port): what is written to the controller comes at the port."""
    controller, port = os.openpty()
    tty.setraw(port)
    yield controller, os.ttyname(port)
    os.close(port)


@pytest.fixture
def sensor(make_node, board):
    def make(**parameters):
        return make_node(
            lightlace.LightLace,
            port=board[1],
            full_scale_counts=[10.0, 0.0],
            peers=["lightlace", "nobody"],
            **parameters,
        )

    return make


def until(condition, timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def failure(node, timeout_s: float = 20.0) -> str:
    """What the node ends with."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        try:
            node.check()
        except RuntimeError as error:
            return str(error)
        time.sleep(0.02)
    raise AssertionError("the node lives on")


def test_samples_of_a_run_are_those_that_all_can_hear(sensor, board, published):
    node = sensor(duration_s=60.0)
    raw = published(node.raw)
    os.write(board[0], b"\r\n5,8\r\n6,9\r\n")
    until(lambda: node.reader.samples == 2)
    node.on_everyone_matched()
    os.write(board[0], b"7,9\r\n")
    until(lambda: node.reader.samples == 3 and raw)
    assert [message.position[0] for message in raw] == [7.0]


def test_lines_become_signals_by_name(sensor, board, published):
    node = sensor(signal_names=["left", "dead"])
    raw, calibrated = published(node.raw), published(node.calibrated)
    os.write(board[0], b"7\r\n5,")
    os.write(board[0], b"8\r\n6,9\r\n")
    until(lambda: len(calibrated) == 2)
    assert [list(m.position) for m in raw] == [[5.0, 8.0], [6.0, 9.0]]
    assert [list(m.position) for m in calibrated] == [[0.5, 0.0], [0.6, 0.0]]
    assert list(raw[0].name) == ["left", "dead"]


def test_in_lockstep_the_nth_line_has_the_nth_stamp(sensor, board, published):
    node = sensor(clock="lockstep")
    raw = published(node.raw)
    os.write(board[0], b"\n1,1\r\n2,2\r\n")
    until(lambda: len(node.counts) == 2)
    for ns in (5, 6):
        node.on_clock(Clock(clock=to_stamp(ns)))
    assert [(m.header.stamp.nanosec, m.position[0]) for m in raw] == [(5, 1.0), (6, 2.0)]


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (b"1,2\r" * 20, "80 bytes came without a whole line, the last b'"),
        (b"\n1," + b"9" * 5000 + b"\r\n", "1 line came, none of them a sample, the last: "),
    ],
    ids=["carriage_returns", "5000_digits"],
)
def test_a_sensor_without_a_valid_sample_fails_with_what_came(sensor, board, sent, said):
    node = sensor(silence_timeout_s=0.5, baud=115200)
    os.write(board[0], sent)
    told = failure(node)
    where = f"the sensor on '{board[1]}' at 115200 baud: no valid sample for 0.5 s: "
    assert told.startswith(where + said) and "\n" not in told


def test_whatever_ends_the_reading_thread_reaches_the_node(sensor, board, monkeypatch):
    monkeypatch.setattr(_port, "GRACE_S", 0.0)
    node = sensor()
    monkeypatch.setattr(node.reader, "feed", lambda data, now_s: 1 // 0)
    os.write(board[0], b"1,2\r\n")
    assert "is gone after 0 samples: ZeroDivisionError" in failure(node)


def test_a_port_that_closes_is_named(board, tmp_path):
    """The whole process: one line, exit code 1."""
    file = tmp_path / "lightlace.yaml"
    parameters = {"port": board[1], "full_scale_counts": [10.0, 10.0], "reconnect_s": 0.0}
    file.write_text(yaml.safe_dump({"lightlace": {"ros__parameters": parameters}}))
    module = [sys.executable, "-m", "soft_control.nodes.lightlace"]
    with ros_domain():
        node = subprocess.Popen(
            [*module, "--ros-args", "--params-file", str(file)], stderr=subprocess.PIPE, text=True
        )

    def opened() -> bool:
        assert node.poll() is None
        for fd in os.listdir(f"/proc/{node.pid}/fd"):
            with contextlib.suppress(FileNotFoundError):  # closed since it was listed
                if os.readlink(f"/proc/{node.pid}/fd/{fd}") == board[1]:
                    return True
        return False

    until(opened, 60.0)
    os.write(board[0], b"1,2\r\n3,4\r\n")
    os.close(board[0])
    _, said = node.communicate(timeout=30)
    assert node.returncode == 1
    assert f"error: lightlace: the sensor on '{board[1]}' is gone after " in said


def test_a_port_that_is_not_there_is_named(make_node):
    with pytest.raises(RuntimeError, match="the sensor on '/dev/none' cannot be reached: "):
        make_node(
            lightlace.LightLace, port="/dev/none", full_scale_counts=[1.0], port_timeout_s=0.0
        )


def test_a_manager_takes_the_node_through_its_states(sensor, board, published, capfd):
    """As `ros2 lifecycle set` does, over its service."""
    node = sensor(autostart=False, port_timeout_s=0.0)
    raw = published(node.raw)
    asker = rclpy.create_node("manager")
    client = asker.create_client(ChangeState, "/lightlace/change_state")
    executor = rclpy.executors.SingleThreadedExecutor()
    executor.add_node(node)
    executor.add_node(asker)

    def ask(transition: int) -> bool:
        answer = client.call_async(ChangeState.Request(transition=Transition(id=transition)))
        executor.spin_until_future_complete(answer, timeout_sec=20.0)
        return answer.result().success

    def exclusive() -> bool:
        """Whether others can have the port."""
        try:
            serial.Serial(board[1], exclusive=True).close()
        except serial.SerialException:
            return False
        return True

    assert client.wait_for_service(20.0)
    assert not ask(Transition.TRANSITION_ACTIVATE) and exclusive()
    node.parameters = node.parameters.model_copy(update={"port": "/dev/none"})
    assert not ask(Transition.TRANSITION_CONFIGURE)
    assert "the sensor on '/dev/none' cannot be reached" in capfd.readouterr().err
    node.parameters = node.parameters.model_copy(update={"port": board[1]})
    assert ask(Transition.TRANSITION_CONFIGURE) and not exclusive()
    for value in (5, 6):
        assert ask(Transition.TRANSITION_ACTIVATE)
        os.write(board[0], b"1,1\r\n%d,8\r\n" % value)  # the first line counts as torn
        until(lambda value=value: raw and raw[-1].position[0] == value)
        assert ask(Transition.TRANSITION_DEACTIVATE)
        heard = len(raw)
        os.write(board[0], b"9,9\r\n" * 3)
        time.sleep(0.05)
        assert len(raw) == heard
    assert all(message.position[0] != 9 for message in raw)
    assert ask(Transition.TRANSITION_CLEANUP) and exclusive()
    executor.shutdown()
    asker.destroy_node()
