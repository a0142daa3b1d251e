"""A quickly trained tendon rig and its firmware, for tests that run the whole loop."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from soft_control.bringup import mpc_settings, node_parameters
from soft_control.calibration import Calibration
from soft_control.dataset import Recording
from soft_control.excitation import excitation
from soft_control.firmware import build
from soft_control.rigs import make_rig
from soft_control.training import TrainingSettings, train

RATE_HZ = 120.0


def record(seed: int, duration_s: float) -> Recording:
    """What `softctl collect` records, without ROS in between."""
    rig = make_rig("tendon", seed=seed)
    move_max = np.asarray(node_parameters("excitation")["move_max"])
    calibration = Calibration(tuple(node_parameters("lightlace")["full_scale_counts"]))
    commands = excitation(duration_s, RATE_HZ, rig.command_min, rig.command_max, move_max, seed)
    seen = []
    for command in commands:
        seen.append(rig.measure())
        rig.step(command, 1 / RATE_HZ)
    return Recording(
        source=f"seed {seed}",
        t_s=np.arange(len(commands)) / RATE_HZ,
        commands=commands,
        position=np.array([sample.position for sample in seen]),
        signals=calibration.apply(np.array([sample.signals for sample in seen])),
        reference=None,
        command_names=rig.command_names,
        signal_names=rig.signal_names,
    )


@pytest.fixture(scope="session")
def tendon(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """model and firmware: directories; card: the model's. Trained for seconds, good to some mm."""
    pytest.importorskip("tensorflow", reason="training needs soft_control[train]")
    folder: Path = tmp_path_factory.mktemp("tendon")
    settings = TrainingSettings(hidden=(16, 16), updates=400, warm_start_updates=300)
    runs = [record(seed, 40.0) for seed in (1, 2, 3)]
    card = train(runs[:2], runs[2:], settings, folder / "model")
    build(folder / "model", mpc_settings("tendon"), folder / "firmware")
    return SimpleNamespace(model=folder / "model", firmware=folder / "firmware", card=card)
