"""codegen.launch.py for real, where ROS 2 has the launch tools: exit code and last words."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

REASON = "launch is not installed: it comes with a ROS 2 installation"
pytest.importorskip("launch", reason=REASON)
pytest.importorskip("launch_ros", reason=REASON)

from ament_index_python.packages import PackageNotFoundError, get_package_prefix  # noqa: E402

from soft_control.experiment.runner import ros_domain  # noqa: E402
from soft_control.firmware_files import read_build  # noqa: E402
from soft_control.paths import share  # noqa: E402

PROGRAM = Path(__file__).with_name("launch_program.py")


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """Trained for a moment: what it predicts does not matter here."""
    pytest.importorskip("tensorflow", reason="training needs soft_control[train]")
    from soft_control.experiment.closed_loop import record
    from soft_control.learning.training import TrainingSettings, train

    settings = TrainingSettings(hidden=(8,), updates=20, warm_start_updates=20, rollout_samples=10)
    runs = [record("tendon", seed, 10.0, 120.0) for seed in (1, 2)]
    folder = tmp_path_factory.mktemp("trained") / "model"
    train(runs[:1], runs[1:], settings, folder)
    return folder


def launched(**arguments: object) -> tuple[int, list[str]]:
    try:
        get_package_prefix("soft_control")
    except PackageNotFoundError:
        pytest.skip("soft_control is not on AMENT_PREFIX_PATH")
    given = [f"{name}:={value}" for name, value in arguments.items()]
    file = str(share() / "launch" / "codegen.launch.py")
    with ros_domain():
        done = subprocess.run(
            [sys.executable, PROGRAM, file, *given],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
        )
    return done.returncode, done.stdout.splitlines()


def test_it_builds_once_and_ends_and_what_fails_leaves_the_firmware(model, tmp_path):
    out = tmp_path / "firmware"
    code, said = launched(model=model, firmware=out, board="host", verify="sil")
    assert code == 0, said
    build = read_build(out)
    assert f"firmware {build.build_id}; sil within " in said[-1] and said[-1].endswith(f"in {out}")
    code, said = launched(model=tmp_path, firmware=out, board="host")
    assert code == 1
    assert said[-1].endswith(
        f"codegen: {tmp_path}: no fk.json: not a model directory of softctl train"
    )
    assert read_build(out) == build
