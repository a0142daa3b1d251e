"""What all tests share."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Recordings of the real rigs, which are kept beside the project, not in it."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"the recordings of the real rigs are not in {folder}")
    return folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is tested of each rig is not tested of those whose engine is not installed."""
    if importlib.util.find_spec("mujoco") is not None:
        return
    skip = pytest.mark.skip(reason="MuJoCo is not installed: pip install soft_control[mujoco]")
    for item in items:
        parameters = getattr(item, "callspec", None)
        values = parameters.params.values() if parameters else ()
        if any(isinstance(value, str) and value.startswith("mujoco_") for value in values):
            item.add_marker(skip)
