"""What view.launch.py starts beside a run, where ROS 2 has the launch tools."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

REASON = "launch is not installed: it comes with a ROS 2 installation"
pytest.importorskip("launch", reason=REASON)
pytest.importorskip("launch_ros", reason=REASON)

from soft_control.experiment.runner import ros_domain  # noqa: E402
from soft_control.paths import share  # noqa: E402

PROGRAM = Path(__file__).with_name("launch_program.py")


def launched(until: str, **arguments: str) -> tuple[int, str]:
    """Return code and output of view.launch.py, which is interrupted as soon as it has said so."""
    given = [f"{name}:={value}" for name, value in arguments.items()]
    file = str(share() / "launch" / "view.launch.py")
    said = ""
    with (
        ros_domain(),
        subprocess.Popen(
            [sys.executable, PROGRAM, file, *given],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process,
    ):
        for line in process.stdout:
            if until in line and until not in said:
                process.send_signal(signal.SIGINT)
            said += line
    return process.returncode, said


@pytest.mark.parametrize("robot", ["tendon", "trunk"])
def test_it_starts_and_ends_cleanly(robot):
    """Robots with links and without; what is not installed is said."""
    code, said = launched(f"draws {robot}", robot=robot, namespace="left", rviz="false")
    assert "[visual-1]: process started" in said
    assert "process has died" not in said, said
    assert code == 0 or "user interrupted" in said
    links = "robot_state_publisher-2]: process started" in said
    assert links or "no links" in said


@pytest.mark.parametrize("wrong", [{"robot": "tentacle"}, {"rviz": "perhaps"}])
def test_what_is_wrong_is_said_and_nothing_starts(wrong):
    code, said = launched("draws", **wrong)
    assert code != 0
    assert next(iter(wrong.values())) in said and "process started" not in said
