"""The node mcu whose board is unplugged or starts again, in real time, over a pseudo-terminal."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed: soft_control[ros]")

from soft_control.experiment.returning_session import NotArmedAgain  # noqa: E402
from soft_control.experiment.ros_messages import joint_state  # noqa: E402
from soft_control.firmware_files import read_build  # noqa: E402
from soft_control.nodes.mcu import Mcu  # noqa: E402
from soft_control.topics import SIGNALS  # noqa: E402

from ..board import Board  # noqa: E402
from ..plug import Plug  # noqa: E402
from .test_in_material import (  # noqa: E402
    MOVE_MAX,
    RATE_HZ,
    SERVO_STEP,
    TABLE,
    World,
    wait_for,
    write_reference,
)

PERIOD_S = 1 / RATE_HZ


@pytest.fixture
def plug(tmp_path):
    return Plug(tmp_path / "board")


@pytest.fixture
def bridge(make_node, tendon, tmp_path, plug):
    """bridge(board, parameter=value, …): the node with that board, told its reference before."""
    robot = tendon.card.robot
    write_reference(tmp_path / "trajectory.csv", TABLE)
    boards = []

    def make(board, **parameters):
        boards.append(board)
        usual = {
            "target": "hil",
            "port": str(plug.link),
            "clock": "realtime",
            "firmware": str(tendon.firmware),
            "trajectory": str(tmp_path / "trajectory.csv"),
            "command_names": list(robot.command_names),
            "command_neutral": robot.command_neutral.tolist(),
            "signal_names": tendon.card.signal_names,
            "output_names": list(robot.output_names),
            "frame": robot.frame,
            "peers": ["mcu", "nobody"],
            "host_timeout_ms": 0,
            "sensor_timeout_ms": 0,
            "answer_timeout_s": 0.5,
        }
        node = make_node(Mcu, **usual | parameters)
        node.said = []
        note = lambda words, **options: node.said.append(words)  # noqa: E731
        node.get_logger = lambda: SimpleNamespace(info=note, warning=note)
        return node

    yield make
    for board in boards:
        board.close()


@pytest.fixture
def library(tendon):
    return read_build(tendon.firmware).library


def moves(told) -> np.ndarray:
    return np.abs(np.diff(np.array(told), axis=0)).max(axis=1)


class Feed:
    """Samples for the node in wiring host, each at its time."""

    def __init__(self, node, names) -> None:
        self.node, self.names, self.fed = node, names, 0
        self._next_s = time.monotonic()

    def __call__(self, count: int = 1) -> None:
        for _ in range(count):
            time.sleep(max(self._next_s - time.monotonic(), 0.0))
            self._next_s += PERIOD_S
            now_ns = 1_700_000_000 * 10**9 + self.fed * self.node.period_ns
            values = [0.5 + 0.01 * (self.fed % 5)] * len(self.names)
            self.fed += 1
            self.node.at_host.join.put(SIGNALS, joint_state(now_ns, self.names, values))
            self.node.at_host.look()  # as its timer does


def test_at_the_host_a_board_that_lost_power_goes_on_and_every_sample_is_told_or_counted(
    bridge, plug, library, published, tendon
):
    board = Board(plug, library)
    node = bridge(board, sample_age_max=0.0)
    commands = published(node.command)
    feed = Feed(node, tendon.card.signal_names)
    feed(40)
    for away in (10, 130):  # the second is longer than what a firmware bridges
        told = len(commands)
        board.pull()
        board.power(False)
        feed(away)
        assert len(commands) <= told + 1 and node.absence.lasts
        level = node.health.judge(1.0)
        assert level.level == 2 and "away for" in level.message and "hil" in level.message
        board.power(True)
        board.put_in()
        wait_for(lambda told=told: len(commands) > told + 30, feed)
    assert len(set(plug.names)) > 1
    assert node.absence.rearmed == 2
    assert len(commands) + node.absence.lost_samples == feed.fed
    assert moves([m.position for m in commands]).max() <= MOVE_MAX + 1e-6
    backs = [words for words in node.said if "was away for" in words]
    assert len(backs) == 2 and all("has been armed again from sample" in words for words in backs)
    health = node.health.judge(1.0)
    assert "2 times armed again" in health.message and "samples lost" in health.message


def test_at_the_host_a_robot_that_may_not_be_armed_again_ends_the_run(
    bridge, plug, library, tendon
):
    board = Board(plug, library)
    node = bridge(board, sample_age_max=0.0, rearm=False)
    feed = Feed(node, tendon.card.signal_names)
    feed(5)
    board.power(False)
    board.power(True)
    with pytest.raises(NotArmedAgain, match="not armed again by itself"):
        feed(200)


class Clockwork(threading.Thread):
    """The rig at its two lines, in real time."""

    def __init__(self, world: World) -> None:
        super().__init__(daemon=True)
        self.world, self._ended = world, threading.Event()

    def run(self) -> None:
        next_s = time.monotonic()
        while not self._ended.is_set():
            next_s += PERIOD_S
            self.world.feel()
            while time.monotonic() < next_s:
                self.world.take()
                time.sleep(0.0005)

    def close(self) -> None:
        self._ended.set()
        self.join()


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    yield world
    world.close()


@pytest.fixture
def in_material(bridge, plug, library, world, published):
    """in_material(parameter=value, …): node, board and the commands that are told, as they run."""
    clockwork = Clockwork(world)

    def make(**parameters):
        board = Board(plug, library, (world.sensor.link, world.actuators.link))
        node = bridge(board, wiring="mcu", **parameters)
        commands = published(node.command)
        node.on_everyone_matched()
        clockwork.start()
        wait_for(lambda: len(commands) > 40)
        return node, board, commands

    yield make
    clockwork.close()


def test_a_board_that_has_the_instruments_runs_on_without_its_cable(in_material, plug, world):
    node, board, commands = in_material()
    before, heard = len(world.told), len(commands)
    board.pull()
    wait_for(lambda: node.absence.lasts)
    wait_for(lambda: len(world.told) > before + 30)  # nobody needs the host
    board.put_in()
    wait_for(lambda: len(commands) > heard + 30)
    assert (node.absence.rearmed, node.absence.reconnections) == (0, 1)
    node.close()
    lost = node.absence.lost_samples
    # By the numbers of the samples, and by those of the reports.
    assert lost >= 20 and lost == node.session.lost + node.session.info.missed_samples
    assert len(commands) + lost == node.material.k + 1
    assert moves(world.told).max() <= MOVE_MAX + SERVO_STEP
    assert any("has run on" in words for words in node.said)


def test_a_board_that_starts_again_is_armed_where_the_figure_is_by_then(in_material, world):
    node, board, commands = in_material()
    board.power(False)
    k, went_s = node.material.k, time.monotonic()
    wait_for(lambda: node.absence.lasts)  # its port is there, but nobody speaks
    board.power(True)
    heard = len(commands)
    wait_for(lambda: len(commands) > heard + 30)
    passed = (time.monotonic() - went_s) * RATE_HZ
    # As many as time has passed, on however busy a machine; the commands alone are far fewer.
    assert node.material.k - k > 0.8 * passed > 40
    node.close()
    assert node.absence.rearmed == 1
    assert len(commands) + node.absence.lost_samples == node.material.k + 1
    # The servos may have been told one command that nobody has heard of.
    moved = moves([command.position for command in commands])
    assert moved[heard - 1] == 0.0 < moved[heard]
    assert moves(world.told).max() <= MOVE_MAX + SERVO_STEP
    assert any("has been armed again from sample" in words for words in node.said)


def test_a_board_whose_robot_may_not_be_armed_again_ends_the_run(in_material):
    node, board, _ = in_material(rearm=False)
    board.power(False)
    board.power(True)
    wait_for(lambda: node.material.ended is not None)
    with pytest.raises(NotArmedAgain, match="knows nothing of the run"):
        node.material.check()
