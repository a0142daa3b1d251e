"""What all tests share."""

from __future__ import annotations

import importlib.util
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
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


_AS_IMPORTED: dict[np.random.Generator, dict[str, Any]] = {}
"""The state of each generator of a module before its first test."""


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """A test has the same numbers each time, whichever tests this process had before it: those of
    its module's own generators, and of the libraries' global ones. Before its first fixture, as
    fixtures of a module are made for whichever of its tests comes first."""
    for own in vars(getattr(item, "module", None) or sys).values():
        if isinstance(own, np.random.Generator):
            own.bit_generator.state = _AS_IMPORTED.setdefault(own, own.bit_generator.state)
    random.seed(0)
    np.random.seed(0)
    if keras := sys.modules.get("keras"):
        keras.utils.set_random_seed(0)
