"""A quickly trained tendon rig and its firmware, and twins by hand, for tests of the whole loop."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from nn4mc_codegen.trial.qemu import missing_tools
from soft_control.experiment.closed_loop import record
from soft_control.experiment.firmware_job import Request
from soft_control.experiment.node_parameters import mpc_settings
from soft_control.experiment.regeneration import regenerate
from soft_control.firmware_build import build
from soft_control.firmware_files import read_build
from soft_control.learning.card import load_card
from soft_control.learning.model import load_model
from soft_control.learning.training import TrainingSettings, train
from soft_control.proof.prove import prove
from soft_control.proof.report import Proof
from soft_control.rigs.twin_files import TwinCard, write_card, write_network
from soft_control.robots.description import Command, Output, RobotDescription, Signal

RATE_HZ = 120.0
TWIN_RATE_HZ = 50.0


def arm(signals: bool = True) -> RobotDescription:
    """Two pressures move a tip in a plane and push with a force; felt by a signal of both signs."""
    felt = (Signal(name="still"), Signal(name="bend", unit="rad", display_unit="deg"))
    return RobotDescription(
        name="arm",
        commands=(
            Command(name="left", unit="Pa", display_unit="kPa", min=0.0, max=2e5, speed_max=8e5),
            Command(name="right", unit="Pa", display_unit="kPa", min=-1e5, max=1e5, speed_max=8e5),
        ),
        outputs=(
            Output(name="x", unit="m", display_unit="mm", axis="x", point="tip"),
            Output(name="z", unit="m", display_unit="mm", axis="z", point="tip"),
            Output(name="push", unit="N"),
        ),
        signals=felt if signals else (),
        rate_hz=TWIN_RATE_HZ,
    )


def hand_made_twin(
    folder: Path, signals: bool = True, delay: int = 2, **changes: Any
) -> SimpleNamespace:
    """A twin of `arm` of two networks whose numbers are chosen, not learned: its outputs go to what
    its commands say, and are 0 at rest; its signal too, but for an offset.

    An increment is 0.1 / s · (tanh(s · G u) - tanh(s · z)) + b, s = 0.5, with G of each network's
    own; at rest s · z = artanh(s · b / 0.1).
    """
    robot = arm(signals)
    size = len(robot.outputs) + signals
    lags = 2
    s, bias = 0.5, 0.004
    networks = []
    for seed in (1, 2):
        gains = np.eye(size, 2) + 0.3 * np.random.default_rng(seed).standard_normal((size, 2))
        # x = u(k-d), u(k-d-1), z(k), z(k-1): the second of each is not looked at.
        first = np.zeros((2 * lags + lags * size, 2 * size))
        first[:2, :size] = s * gains.T
        first[2 * lags : 2 * lags + size, size:] = s * np.eye(size)
        second = 0.1 / s * np.vstack([np.eye(size), -np.eye(size)])
        networks.append([(first, np.zeros(2 * size)), (second, np.full(size, bias))])
    at_rest = np.arctanh(s * bias / 0.1) / s
    scale = np.array([0.02, 0.02, 3.0, 0.4][:size])
    offset = -scale * at_rest + np.array([0.0, 0.0, 0.0, -0.02][:size])
    folder.mkdir(parents=True, exist_ok=True)
    values = dict(
        robot=robot.calibrated([1.0, 1e4]) if signals else robot,
        rate_hz=TWIN_RATE_HZ,
        input_lags=lags,
        state_lags=lags,
        input_delay=delay,
        command_offset=robot.command_neutral.tolist(),
        command_scale=((robot.command_max - robot.command_min) / 2).tolist(),
        moving=["bend"] if signals else [],
        still={"still": 7.0} if signals else {},
        state_offset=offset.tolist(),
        state_scale=scale.tolist(),
        noise=[2e-5, 2e-5, 0.01, 1e-3][:size],
        hidden=[2 * size],
        rest=[[at_rest] * size] * 2,
        recordings=["by hand"],
        held_out="nothing",
        free_run=[],
        network_hash=write_network(folder, networks),
    )
    card = TwinCard.model_validate(values | changes)
    write_card(folder, card)
    return SimpleNamespace(folder=folder, card=card, networks=networks)


@pytest.fixture(scope="session")
def twin_by_hand() -> Callable[..., SimpleNamespace]:
    """twin_by_hand(folder, …) writes a twin: its folder, its card, and its networks' numbers."""
    return hand_made_twin


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder that all workers of pytest-xdist share, filled by `make`. Who comes while another
    worker fills it waits."""
    base = factory.getbasetemp()
    place = (base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / f"shared_{name}"
    place.mkdir(exist_ok=True)
    folder, whole = place / "made", place / "whole"
    with open(place / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not whole.exists():
            # A worker that failed may have left a part.
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            whole.touch()
    return folder


@pytest.fixture(scope="session")
def tendon_model(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """model: a directory; card: the model's. Trained for seconds, good to some mm."""
    pytest.importorskip("tensorflow", reason="training needs soft_control[train]")

    def make(folder: Path) -> None:
        settings = TrainingSettings(
            hidden=(16, 16), updates=400, warm_start_updates=300,
            rollout_samples=40, difference_gain=5.0, learning_rate=5e-3,
        )  # fmt: skip
        runs = [record("tendon", seed, 40.0, RATE_HZ) for seed in (1, 2, 3)]
        train(runs[:2], runs[2:], settings, folder / "model")

    model = made_once(tmp_path_factory, "tendon_model", make) / "model"
    return SimpleNamespace(model=model, card=load_card(model))


@pytest.fixture(scope="session")
def tendon(
    tendon_model: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory
) -> SimpleNamespace:
    """The same with its firmware, a directory as well."""
    firmware = made_once(
        tmp_path_factory,
        "tendon_firmware",
        lambda folder: build(tendon_model.model, mpc_settings("tendon"), folder),
    )
    return SimpleNamespace(**vars(tendon_model), firmware=firmware)


@pytest.fixture(scope="session")
def tendon_proof(tendon: SimpleNamespace) -> Proof:
    """What `softctl prove` finds out about it, by 200 samples too."""
    if problem := missing_tools():
        pytest.skip(problem)
    return prove(read_build(tendon.firmware), 200, load_model(tendon.model))


@pytest.fixture(scope="session")
def made(tendon_model, tmp_path_factory) -> Path:
    """Firmware for sil alone, which takes a second."""

    def make(folder: Path) -> None:
        request = Request(model=tendon_model.model, firmware=folder / "firmware", board="host")
        regenerate(request)

    return made_once(tmp_path_factory, "made", make) / "firmware"


@pytest.fixture
def there(made, tmp_path) -> Path:
    """A copy of it in a folder of the test's own."""
    return Path(shutil.copytree(made, tmp_path / "firmware"))
