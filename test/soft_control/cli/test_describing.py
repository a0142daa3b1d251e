"""softctl parameters: a file for a node that somebody starts alone."""

from __future__ import annotations

import pytest
import yaml
from typer.testing import CliRunner

pytest.importorskip("rclpy", reason="ROS 2 is not installed: soft_control[ros]")

from soft_control.cli.app import app  # noqa: E402
from soft_control.nodes._node import checked  # noqa: E402
from soft_control.nodes.dynamixel import DynamixelParameters  # noqa: E402


def softctl(*words: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["parameters", *map(str, words)])
    return done.exit_code, " ".join((done.output + str(done.exception or "")).split())


def test_a_file_for_a_node_alone(tmp_path):
    file = tmp_path / "servos.yaml"
    code, said = softctl("dynamixel", "--set", "port=/dev/ttyUSB1", "--out", file)
    assert code == 0 and "fill in" not in said
    told = yaml.safe_load(file.read_text())["dynamixel"]["ros__parameters"]
    parameters = checked(DynamixelParameters, told)
    assert (parameters.port, parameters.id) == ("/dev/ttyUSB1", [1, 2])
    assert parameters.command_names == ["servo_0", "servo_1"]
    before = file.read_text()
    code, said = softctl("dynamixel", "--out", file)
    assert code == 2 and "is there already" in said and file.read_text() == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["servo"], "no node servo"),
        (["dynamixel", "--set", "port"], "--set port: wanted NAME=VALUE"),
        (["dynamixel", "--set", "speeds=[1]"], "node dynamixel has no parameter speeds"),
        (["dynamixel", "--robot", "nobody"], "nobody"),
    ],
)
def test_what_cannot_be_is_said_and_nothing_is_written(tmp_path, words, said):
    code, told = softctl(*words, "--out", tmp_path / "node.yaml")
    assert code != 0 and said in told
    assert not list(tmp_path.iterdir())


def test_what_is_wanted_is_named(tmp_path):
    code, said = softctl("lightlace", "--out", tmp_path / "lace.yaml")
    assert code == 0 and "fill in port" in said
