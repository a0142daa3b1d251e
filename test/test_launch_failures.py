"""What `ros2 launch` returns for an experiment that fails, where ROS 2 has the launch tools."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

REASON = "launch is not installed: it comes with a ROS 2 installation"
launch = pytest.importorskip("launch", reason=REASON)
pytest.importorskip("launch_ros", reason=REASON)

from launch.actions import IncludeLaunchDescription, RegisterEventHandler  # noqa: E402
from launch.event_handlers import OnProcessStart  # noqa: E402
from launch.launch_description_sources import PythonLaunchDescriptionSource  # noqa: E402

from soft_control.experiment.runner import ros_domain  # noqa: E402
from soft_control.paths import share  # noqa: E402


def launched(*actions: launch.Action, **arguments: object) -> int:
    """Return code of `ros2 launch soft_control experiment.launch.py` with these arguments."""
    source = PythonLaunchDescriptionSource(str(share() / "launch" / "experiment.launch.py"))
    given = [(name, str(value)) for name, value in arguments.items()]
    service = launch.LaunchService(noninteractive=True)
    service.include_launch_description(
        launch.LaunchDescription(
            [*actions, IncludeLaunchDescription(source, launch_arguments=given)]
        )
    )
    with ros_domain():
        return service.run()


@pytest.mark.parametrize("wrong", [{"rate_hz": "nan"}, {"reference": "figure_8"}])
def test_what_is_wrong_is_found_before_a_process_starts(wrong, tmp_path: Path, capfd):
    out = tmp_path / "run"
    assert launched(controller="excitation", out=out, **wrong) != 0
    assert not out.exists()
    said = capfd.readouterr()
    assert next(iter(wrong)) in said.out + said.err
    assert "process started" not in said.out + said.err


def test_a_node_that_fails_is_a_failure(tmp_path: Path, capfd):
    def kill_the_rig(event, context) -> None:
        if event.process_name.startswith("rig"):
            os.kill(event.pid, signal.SIGKILL)

    watch = RegisterEventHandler(OnProcessStart(on_start=kill_the_rig))
    assert launched(watch, controller="excitation", out=tmp_path / "run") != 0
    assert "rig failed with exit code -9" in "".join(capfd.readouterr())
