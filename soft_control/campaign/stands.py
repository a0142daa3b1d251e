"""All that the runs of one rig need, packed where the campaign is and unpacked where they run.

A worker may be on another machine, so models, firmware, twins and references travel as bytes and
values; what a worker must have itself, the code and the rigs' parameters, is compared by hashes.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from soft_control.control.controllers import controller
from soft_control.control.mpc_settings import MpcSettings
from soft_control.control.references import Reference
from soft_control.control.sampled_reference import SampledReference
from soft_control.experiment import checks
from soft_control.experiment.node_parameters import controller_parameters, model_settings
from soft_control.experiment.settings import Experiment
from soft_control.experiment.setup import reference_curve
from soft_control.firmware_files import BUILD_FILE, read_build
from soft_control.learning.model import CARD_FILE, NETWORK_FILE, Model, load_card, load_model
from soft_control.rigs import RIGS, Rig, make_rig, twin_files
from soft_control.robots.description import RobotDescription

CODE = (
    "benchmarks/host_solver.py",
    "benchmarks/ipopt.py",
    "campaign/disturbances.py",
    "campaign/disturbed_rig.py",
    "campaign/runs.py",
    "campaign/ways.py",
    "control",
    "experiment/closed_loop.py",
    "learning/model.py",
    "learning/rest.py",
    "rigs",
)
"""Of soft_control, what a row's figures come from, besides firmware and settings."""

Curve = Reference | SampledReference


@dataclass(frozen=True)
class Kit:
    """One rig of a plan, packed."""

    name: str
    """In the plan."""
    rig: str
    """Name of a simulated rig; empty: the twin among the files."""
    robot: RobotDescription
    """Of the rig."""
    files: Mapping[str, Mapping[str, bytes]]
    """Folder (model, build, twin) -> file -> content."""
    curves: Mapping[str, Curve]
    """By the names that the plan says."""
    parameters: Mapping[str, Mapping[str, Any]]
    """Of controllers' nodes, by the controller's name."""
    mpc: MpcSettings
    """What the firmware's MPC was built with."""
    model_hash: str
    build_id: str
    rig_hash: str
    """Of the rig's description and parameters."""


@dataclass(frozen=True)
class Stand:
    """The same, unpacked."""

    kit: Kit
    rig: str
    """Rig or directory of a twin, as make_rig takes it."""
    model_dir: Path
    build_dir: Path
    model: Model
    found: dict[Any, Any] = field(default_factory=dict, compare=False)
    """What runs have in common, by whoever found it first."""

    @property
    def rate_hz(self) -> float:
        """Control rate."""
        return self.model.card.rate_hz


def pack(
    name: str,
    rig: str,
    model_dir: Path,
    build_dir: Path,
    references: list[str],
    controllers: list[str],
) -> Kit:
    """Reads what the runs need and compares it: `references` by name or CSV file, `controllers` of
    control.controllers whose parameters are wanted.

    Raises ValueError in one line for what is missing or does not fit.
    """
    card = load_card(model_dir)
    robot = make_rig(rig).description
    checks.check_model(card, model_dir, robot)
    build = read_build(build_dir)
    checks.check_build(build, build_dir, card, model_dir, card.rate_hz, "sil")
    parameters = {}
    for entry in map(controller, controllers):
        parameters[entry.name] = controller_parameters(entry, robot, card.rate_hz)
        checks.check_sizes(entry, entry.name, parameters[entry.name], robot)
    folders = {
        "model": (model_dir, (CARD_FILE, NETWORK_FILE)),
        "build": (build_dir, (BUILD_FILE, build.library.name)),
    }
    if rig not in RIGS:
        folders["twin"] = (Path(rig), (twin_files.CARD_FILE, twin_files.NETWORK_FILE))
    return Kit(
        name=name,
        rig=rig if rig in RIGS else "",
        robot=robot,
        files={
            folder: {file: (place / file).read_bytes() for file in files}
            for folder, (place, files) in folders.items()
        },
        curves={
            shape: reference_curve(Experiment(rig=rig, reference=shape), card)
            for shape in references
        },
        parameters=parameters,
        mpc=build.mpc or model_settings(model_dir),
        model_hash=card.model_hash,
        build_id=build.build_id,
        rig_hash=rig_hash(make_rig(rig)),
    )


def unpack(kit: Kit, folder: Path) -> Stand:
    """Writes the kit's files below `folder`, which must be there.

    Raises RuntimeError where this machine's rig is another than that of the kit.
    """
    for name, files in kit.files.items():
        (folder / name).mkdir()
        for file, content in files.items():
            (folder / name / file).write_bytes(content)
    rig = kit.rig or str(folder / "twin")
    if rig_hash(make_rig(rig)) != kit.rig_hash:
        raise RuntimeError(
            f"the rig {kit.name} has other parameters here than where the campaign was started: "
            "install the same soft_control, with the same config/, on all workers"
        )
    return Stand(kit, rig, folder / "model", folder / "build", load_model(folder / "model"))


def rig_hash(rig: Rig) -> str:
    """16 hex digits of what a simulated rig is: its description and its parameters."""
    said = rig.description.model_dump_json() + rig.parameters.model_dump_json()  # type: ignore[attr-defined]
    return hashlib.sha256(said.encode()).hexdigest()[:16]


def curve_hash(curve: Curve) -> str:
    """16 hex digits of a reference over its first ten minutes, ten times a second."""
    return hashlib.sha256(curve.values(np.arange(6000) / 10).tobytes()).hexdigest()[:16]


@functools.cache
def code_hash() -> str:
    """16 hex digits of the sources in CODE."""
    root = Path(__file__).resolve().parents[1]
    files = [
        file
        for name in CODE
        for file in ([root / name] if name.endswith(".py") else sorted((root / name).glob("*.py")))
    ]
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.relative_to(root).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:16]
