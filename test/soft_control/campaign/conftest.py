"""A small campaign on the quickly trained tendon rig."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from soft_control.campaign.plan import Campaign, Plan, prepare
from soft_control.campaign.stands import Stand, unpack
from soft_control.campaign.ways import WAYS

if not all(importlib.util.find_spec(name) for name in ("distributed", "pyarrow")):
    collect_ignore_glob = ["test_*.py"]  # they need soft_control[campaign]


@pytest.fixture(scope="session")
def rigs(tendon_model, made) -> dict[str, Any]:
    """Of a plan."""
    return {"tendon": {"model": str(tendon_model.model), "build": str(made)}}


@pytest.fixture(scope="session")
def values(rigs) -> dict[str, Any]:
    """Of a plan of some seconds: 2 references x 3 disturbances x 2 controllers x 2 seeds."""
    return {
        "rigs": rigs,
        "references": ["figure_eight", "fixed"],
        "controllers": ["mpc", "pid"],
        "disturbances": ["nominal", "gain_0.8", "channel_spiking:lace_05"],
        "seeds": 2,
        "duration_s": 4.0,
    }


@pytest.fixture(scope="session")
def campaign(values) -> Campaign:
    """That plan with all that its runs need."""
    return prepare(Plan.model_validate(values))


@pytest.fixture(scope="session")
def stand(values, tmp_path_factory) -> Stand:
    """Its rig in this process, with what all controllers need."""
    plan = Plan.model_validate(values | {"controllers": list(WAYS)})
    return unpack(prepare(plan).kits["tendon"], tmp_path_factory.mktemp("stand"))


@pytest.fixture
def plan_file(values, tmp_path: Path) -> Callable[..., Path]:
    """plan_file(seeds=3, …) writes that plan with changes and returns its path."""

    def write(**changes: Any) -> Path:
        path = tmp_path / "small.yaml"
        path.write_text(yaml.safe_dump(values | changes))
        return path

    return write
