"""What docs/tutorials/ shows of a rig, a controller and a reference, done in a copy of the project.

A code block whose info string is `title=PATH` is a new file of the copy, one with `after="LINE"`
goes behind that line of a file that is there; no other file is touched.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from soft_control.paths import share

TUTORIALS = ("new_rig", "new_controller", "new_reference")
BLOCK = re.compile(r'^```\w+ title=(\S+)(?: after="(.*)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
FILES = {
    "new_rig": {
        "soft_control/rigs/bellows.py",
        "soft_control/rigs/__init__.py",
        "config/bellows.yaml",
        "config/robots/bellows.yaml",
    },
    "new_controller": {
        "soft_control/control/integral.py",
        "soft_control/nodes/integral.py",
        "config/integral.yaml",
        "soft_control/control/controllers.py",
    },
    "new_reference": {"soft_control/control/references.py"},
}
"""All that an entry of each kind needs."""

IN_PROCESS = '''
"""The trial rig, recorded, learned and built; MPC and PID follow the trial reference on it."""
import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, sys.argv[1])
from conftest import write_bag

from soft_control.control.controllers import CONTROLLERS
from soft_control.experiment.settings import Experiment
from soft_control.experiment.setup import reference_curve
from soft_control.experiment.node_parameters import mpc_settings, sees_position
from soft_control.experiment.closed_loop import Firmware, PidController, record, run
from soft_control.experiment.record import RunRecord, write_record
from soft_control.experiment.tuning import decouple, pid_config, rmse
from soft_control.firmware_build import build
from soft_control.learning.training import TrainingSettings, train
from soft_control.rigs import describe, make_rig

RIG, SHAPE, RATE_HZ, LENGTH_S = "bellows", "clover", 50.0, 8.0
out = Path(sys.argv[2])
settings = TrainingSettings(
    rig=RIG, rate_hz=RATE_HZ, hidden=(8,), input_lags=2, output_lags=2, input_delay=1,
    signals=False, updates=150, warm_start_updates=300,
    rollout_samples=40, difference_gain=5.0, learning_rate=5e-3,
)
runs = [record(RIG, seed, 20.0, RATE_HZ) for seed in (1, 2)]
card = train(runs[:1], runs[1:], settings, out / "model")
build(out / "model", mpc_settings(RIG), out / "firmware", boards=("host",))

curve = reference_curve(Experiment(rig=RIG, reference=SHAPE), card)
rig = make_rig(RIG)
slopes = decouple(rig, describe(RIG).command_neutral, delta=(rig.command_max - rig.command_min) / 8)
gains = dict(decoupling=slopes.ravel().tolist(), kp=[0.3], ki=[10.0], kd=[0.0])
controllers = {
    "mpc": Firmware(out / "firmware", card, tethered=sees_position("mpc", RIG)),
    "pid": PidController(pid_config(gains, rig), RATE_HZ),
}
found = {}
for name, law in controllers.items():
    trace = run(rig, law, curve.values, RATE_HZ, LENGTH_S)
    found[name] = rmse(trace)
    entry = CONTROLLERS[name]
    kept = RunRecord(
        robot=describe(RIG), controller=name, title=entry.title, reference=SHAPE, curve=curve,
        sees_position=sees_position(name, RIG), has_preview=entry.has_preview, clock="lockstep",
        target="sil" if entry.targets else None, rate_hz=RATE_HZ, duration_s=LENGTH_S, seed=0,
        load="", model="", firmware="", port="", out="", build=None, model_hash=card.model_hash,
    )
    (out / name).mkdir()
    write_record(out / name, kept)
    write_bag(out / name / "bag", kept, trace.outputs, trace.commands)
print(json.dumps(found))
'''


def blocks(tutorial: str) -> list[tuple[str, str | None, str]]:
    """(path, line to stand behind or None, text) of each block that is a file or goes into one."""
    text = (share() / "docs" / "tutorials" / f"{tutorial}.md").read_text(encoding="utf-8")
    return [match.groups() for match in BLOCK.finditer(text)]


@pytest.mark.parametrize("tutorial", TUTORIALS)
def test_an_entry_needs_the_files_that_its_tutorial_names(tutorial: str):
    assert {path for path, _, _ in blocks(tutorial)} == FILES[tutorial]
    for path, after, _ in blocks(tutorial):
        assert (share() / path).exists() == (after is not None)
        headings = re.findall(
            r"^## .*`(.+)`$", (share() / "docs/tutorials" / f"{tutorial}.md").read_text(), re.M
        )
        assert path in headings


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """root: a copy of the project with all three tutorials done; python: runs a program of it."""
    root = tmp_path_factory.mktemp("tutorials") / "project"
    root.mkdir()
    ignored = shutil.ignore_patterns("__pycache__")
    for name in ("soft_control", "config"):
        shutil.copytree(share() / name, root / name, ignore=ignored)
    for name in ("nn4mc_codegen", "firmware", "package.xml"):
        (root / name).symlink_to(share() / name)
    for tutorial in TUTORIALS:
        for path, after, text in blocks(tutorial):
            if after is None:
                (root / path).write_text(text, encoding="utf-8")
                continue
            before, line, rest = (root / path).read_text(encoding="utf-8").partition(f"{after}\n")
            assert line, f"{path} has no line {after}"
            (root / path).write_text(before + line + text + rest, encoding="utf-8")

    def python(*arguments: object) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, *map(str, arguments)],
            cwd=root,
            env=os.environ | {"PYTHONPATH": str(root)},
            capture_output=True,
            text=True,
            timeout=240,
        )

    return SimpleNamespace(root=root, python=python)


@pytest.fixture(scope="module")
def followed(project: SimpleNamespace) -> dict[str, float]:
    """RMSE, mm, of MPC and PID on the trial rig along the trial reference; their runs are below
    runs/ of the project."""
    pytest.importorskip("tensorflow", reason="training needs soft_control[train]")
    program = project.root / "in_process.py"
    program.write_text(IN_PROCESS)
    helpers = Path(__file__).parent / "experiment"
    done = project.python(program, helpers, project.root / "runs")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_the_trial_rig_is_recorded_learned_built_and_controlled(followed):
    """The reference is 12 mm large. The network was trained for seconds; a sign or a unit that was
    wrong on the way would be an error of the reference's own size or more."""
    assert followed["mpc"] < 0.6
    assert followed["pid"] < 3.0


def test_all_three_run_over_ros_and_are_reported(project, followed):
    """The trial controller, on the trial rig, along the trial reference, beside MPC and PID."""
    pytest.importorskip("rclpy", reason="ROS 2 is not installed: pip install soft_control[ros]")
    options = "--rig bellows --controller integral --reference clover --rate-hz 50 --duration-s 4"
    softctl = ("-m", "soft_control.cli")
    done = project.python(*softctl, "run", *options.split(), "--out", "runs/integral")
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads((project.root / "runs" / "integral" / "summary.json").read_text())
    assert summary["complete"] and summary["commands_outside_bounds"] == 0
    assert summary["rmse_mm"] < 4.0  # of 12 mm: an integrator lags behind a moving reference

    runs = [f"runs/{name}" for name in ("mpc", "pid", "integral")]
    done = project.python(*softctl, "report", *runs, "--out", "runs/report.html")
    assert done.returncode == 0, done.stderr
    said = " ".join(re.sub(r"[│╭╮╰╯─|+-]", " ", done.stdout).split())
    assert "has the smallest tracking error" in said
    page = (project.root / "runs" / "report.html").read_text(encoding="utf-8")
    assert "integral sees the outputs and has no preview" in page
    assert "MPC sees the measured outputs and has preview of the reference" in page


FINGER = {
    "config/robots/finger.yaml": """
name: finger
rate_hz: 50.0
commands:
  - {name: bending, unit: Pa, display_unit: kPa, min: 0.0, max: 80 kPa}
  - {name: twisting, unit: Pa, display_unit: kPa, min: 0.0, max: 80 kPa}
outputs:
  - {name: bend, unit: rad, display_unit: deg}
  - {name: twist, unit: rad, display_unit: deg}
  - {name: grip, unit: Pa, display_unit: kPa}
signals:
  - {name: strain, full_scale_counts: 4095.0}
nodes:
  integral:
    gain: [1.2e+6, 0.0, 0.0, 0.0, 1.2e+6, 0.0]
""",
    "config/finger.yaml": """
lag_s: 0.1
output_noise: [0.05, 0.05, 0.01]
""",
    "soft_control/rigs/finger.py": """
import math
from typing import ClassVar

import numpy as np

from soft_control.rigs.parameters import Positive, RigParameters
from soft_control.rigs.simulated import SimulatedRig


class FingerParameters(RigParameters):
    rig_name: ClassVar[str] = "finger"
    delay_s: float = 0.01
    lag_s: Positive


class FingerRig(SimulatedRig):
    Parameters = FingerParameters
    state = ("_wanted", "_angles")

    def _rest(self):
        self._wanted, self._angles = np.zeros(2), np.zeros(2)

    def _advance(self, end_s):
        while self._line.next_s <= end_s:
            command = np.clip(self._line.take(), self.command_min, self.command_max)
            self._wanted = 1e-5 * (command - self.description.command_neutral)
        way = -math.expm1(-(end_s - self._time_s) / self.parameters.lag_s)
        self._angles = self._angles + way * (self._wanted - self._angles)

    def outputs(self):
        return np.append(self._angles, 2e4 * self._angles[0])

    def _counts(self, noise):
        return np.rint(2000.0 + 1e3 * self._angles[:1] + noise).astype(int)
""",
}
"""A finger that two pressures bend and twist; what is controlled are two angles and a pressure."""

ERRORS = """
import json
import sys

import numpy as np
from rosbags.rosbag2 import Reader
from rosbags.typesys import Stores, get_typestore

store, found = get_typestore(Stores.ROS2_KILTED), {}
with Reader(sys.argv[1]) as reader:
    for connection, _, raw in reader.messages():
        message = store.deserialize_cdr(raw, connection.msgtype)
        found.setdefault(connection.topic, []).append(message)
outputs = np.array([m.position for m in found["/outputs"]])
wanted = np.array([m.points[0].positions for m in found["/reference"]])
rmse = np.sqrt(np.mean((outputs - wanted)[100:] ** 2, axis=0))
print(json.dumps({"topics": sorted(found), "rmse": rmse.tolist()}))
"""


def test_a_robot_without_positions_runs_and_is_reported_in_its_units(project):
    """The trial controller takes two angles along a file; their errors are in deg, of the pressure
    that follows in kPa, and the same as numbers that are worked out of the bag here."""
    pytest.importorskip("rclpy", reason="ROS 2 is not installed: pip install soft_control[ros]")
    root, softctl = project.root, ("-m", "soft_control.cli")
    for path, text in FINGER.items():
        (root / path).write_text(text)
    table = root / "soft_control" / "rigs" / "__init__.py"
    before = table.read_text()
    entry = 'RIGS = {\n    "finger": "soft_control.rigs.finger:FingerRig",\n'
    table.write_text(before.replace("RIGS = {\n", entry))
    (root / "bends.csv").write_text(
        "t_s,grip,twist,bend\n0,0,0,0\n1,4000,0.1,0.2\n3,-4000,0.1,-0.2\n4,0,0,0\n"
    )
    options = "--rig finger --controller integral --reference bends.csv --rate-hz 50 --duration-s 6"
    done = project.python(*softctl, "run", *options.split(), "--out", "runs/finger")
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads((root / "runs" / "finger" / "summary.json").read_text())
    assert summary["complete"] and summary["rmse_mm"] is None
    errors = summary["errors"]
    named = [("bend", "deg"), ("twist", "deg"), ("grip", "kPa")]
    assert [(error["of"], error["unit"]) for error in errors] == named
    assert errors[0]["rmse"] < 3.0  # of 11.5 deg: an integrator lags behind
    (root / "errors.py").write_text(ERRORS)
    worked_out = json.loads(project.python("errors.py", "runs/finger/bag").stdout)
    assert not [topic for topic in worked_out["topics"] if topic.startswith("/points")]
    to_paper = (180.0 / 3.141592653589793, 180.0 / 3.141592653589793, 1e-3)
    for error, rmse, factor in zip(errors, worked_out["rmse"], to_paper, strict=True):
        assert error["rmse"] == pytest.approx(factor * rmse, rel=1e-9)

    done = project.python(*softctl, "report", "runs/finger", "--out", "runs/finger.html")
    assert done.returncode == 0, done.stderr
    page = (root / "runs" / "finger.html").read_text(encoding="utf-8")
    assert "bend: tracking error RMSE, deg" in page and "grip: tracking error RMSE, kPa" in page
    assert "RMSE, mm" not in page and "RMSE of bend" in page
