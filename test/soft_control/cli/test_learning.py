"""What softctl train says before it begins."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from soft_control import paths

RUN = "t_s,u0_deg,u1_deg,x_m,y_m,z_m\n" + "".join(f"{k / 120},0,0,0,0,0\n" for k in range(60))


@pytest.mark.parametrize(
    ("asked", "warned"),
    [
        ({}, ""),
        ({"output_wait": [1.0, 1.0, 1.0]}, "output_wait"),
        ({"horizon": 0}, "horizon"),
    ],
)
def test_what_no_firmware_could_be_built_with_is_said_before_a_training(softctl, asked, warned):
    robot = yaml.safe_load(paths.robot("tendon").read_text(encoding="utf-8"))
    robot["nodes"]["mcu"]["mpc"] |= asked
    Path("arm.yaml").write_text(yaml.safe_dump(robot | {"name": "arm"}), encoding="utf-8")
    Path("run.csv").write_text(RUN)
    ended = softctl("train", "run.csv", "--robot", "arm.yaml")
    assert "too short" in ended.mistake()  # as the training itself finds
    said = [line for line in ended.err.splitlines() if "a firmware will need it" in line]
    assert len(said) == bool(warned) and all(warned in line and "of arm" in line for line in said)
