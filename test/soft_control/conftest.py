"""A quickly trained tendon rig and its firmware, for tests that run the whole loop."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from soft_control.experiment.bringup import mpc_settings
from soft_control.experiment.closed_loop import record
from soft_control.firmware_build import build
from soft_control.learning.training import TrainingSettings, train

RATE_HZ = 120.0


@pytest.fixture(scope="session")
def tendon_model(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """model: a directory; card: the model's. Trained for seconds, good to some mm."""
    pytest.importorskip("tensorflow", reason="training needs soft_control[train]")
    folder: Path = tmp_path_factory.mktemp("tendon")
    settings = TrainingSettings(
        hidden=(16, 16), updates=400, warm_start_updates=300,
        rollout_samples=40, difference_gain=5.0, learning_rate=5e-3,
    )  # fmt: skip
    runs = [record("tendon", seed, 40.0, RATE_HZ) for seed in (1, 2, 3)]
    card = train(runs[:2], runs[2:], settings, folder / "model")
    return SimpleNamespace(model=folder / "model", card=card)


@pytest.fixture(scope="session")
def tendon(
    tendon_model: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory
) -> SimpleNamespace:
    """The same with its firmware, a directory as well."""
    firmware: Path = tmp_path_factory.mktemp("tendon_firmware")
    build(tendon_model.model, mpc_settings("tendon"), firmware)
    return SimpleNamespace(**vars(tendon_model), firmware=firmware)
