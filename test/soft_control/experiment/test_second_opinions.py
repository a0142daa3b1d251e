"""The walk of `make second-opinions` in small: recorded, trained for seconds, built, tracked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("mujoco", reason="MuJoCo is not installed: pip install soft_control[mujoco]")
pytest.importorskip("tensorflow", reason="training needs soft_control[train]")

from soft_control.experiment.closed_loop import Firmware, record, run  # noqa: E402
from soft_control.experiment.node_parameters import mpc_settings  # noqa: E402
from soft_control.experiment.settings import Experiment  # noqa: E402
from soft_control.experiment.setup import reference_curve  # noqa: E402
from soft_control.firmware_build import build  # noqa: E402
from soft_control.learning.training import TrainingSettings, train  # noqa: E402
from soft_control.rigs import OPINIONS, make_rig  # noqa: E402

RATE_HZ = 120.0


@pytest.mark.long
@pytest.mark.parametrize(("rig", "limit_mm"), [("mujoco_tendon", 1.0), ("mujoco_hasel", 1.5)])
def test_a_controller_that_was_trained_there_for_seconds_tracks(rig, limit_mm, tmp_path: Path):
    """Untethered along the figure-eight of some 25 and of 6 mm: it errs by 0.39 and by 0.60 mm, two
    and a half times of which are allowed to other versions of TensorFlow."""
    settings = TrainingSettings(
        rig=rig, hidden=(16,), updates=600, warm_start_updates=300,
        rollout_samples=40, difference_gain=5.0, learning_rate=5e-3,
    )  # fmt: skip
    runs = [record(rig, seed, 40.0, RATE_HZ) for seed in (1, 2, 3)]
    card = train(runs[:2], runs[2:], settings, tmp_path / "model")
    made = build(tmp_path / "model", mpc_settings(rig), tmp_path / "firmware", boards=("host",))
    curve = reference_curve(Experiment(rig=rig, reference="figure_eight"), card)
    controller = Firmware(made.directory, card)
    trace = run(make_rig(rig, seed=1), controller, curve.values, RATE_HZ, 10.0)
    controller.close()
    error = trace.robot.groups[0].distance((trace.outputs - trace.reference)[240:])
    assert np.sqrt(np.mean(error**2)) < limit_mm
    assert rig in OPINIONS
