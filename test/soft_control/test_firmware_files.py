"""soft_control.firmware_files: the record of a build, read without the compiler that made it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from soft_control.firmware_files import BUILD_FILE, BuildError, read_build

RECORD = {
    "model_hash": "0" * 16,
    "build_id": "1" * 16,
    "horizon": 12,
    "trajectory_points": 1200,
    "compilers": {"host": "gcc"},
}


def test_a_record_names_the_files_beside_it(tmp_path):
    (tmp_path / BUILD_FILE).write_text(json.dumps(RECORD))
    built = read_build(tmp_path)
    assert (built.horizon, built.elf) == (12, tmp_path / "firmware.elf")
    assert built.model_dump(exclude_unset=True, exclude={"directory"}) == RECORD
    assert built.flash_bytes is None and built.mpc is None and built.robot is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "no firmware.json in .*: build the firmware first"),
        ("[" * 100_000, "no firmware.json in"),
        ("{}", "no firmware.json in"),
        (json.dumps(RECORD | {"horizon": "far"}), "horizon = .*; build the firmware again"),
        (json.dumps(RECORD | {"speed": 1}), "speed = .*; build the firmware again"),
    ],
)
def test_what_is_no_record_is_named(tmp_path, text, said):
    if text is not None:
        (tmp_path / BUILD_FILE).write_text(text)
    with pytest.raises(BuildError, match=said) as refused:
        read_build(tmp_path)
    assert "\n" not in str(refused.value)


def test_the_node_that_runs_a_firmware_imports_no_compiler():
    pytest.importorskip("rclpy", reason="the node needs ROS 2")
    program = "import soft_control.nodes.mcu, sys; print(*(m for m in sys.modules if 'nn4mc' in m))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == ""
