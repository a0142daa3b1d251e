"""Which nodes with which parameters: the one description that `softctl` and launch files use."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, Field

from soft_control import paths
from soft_control.control.references import REFERENCE_KEYS, SHAPES
from soft_control.experiment.summary import write_json
from soft_control.firmware_build import FirmwareBuild, MpcSettings, read_build
from soft_control.learning.dataset import AXES
from soft_control.learning.model import ModelCard, load_card
from soft_control.rigs import Rig, make_rig
from soft_control.rigs.parameters import NODES


class Experiment(BaseModel, extra="forbid"):
    """One run: rig x controller x target x reference."""

    rig: str = Field("tendon", description="Simulated rig: soft_control/rigs/<rig>.py.")
    controller: Literal["mpc", "pid", "excitation"] = Field(
        "mpc", description="mpc: the firmware; pid: the baseline; excitation: open-loop commands."
    )
    target: Literal["sil", "pil", "hil"] = Field(
        "pil",
        description="Where the firmware runs: sil in process, pil on an emulated Cortex-M4F, "
        "hil on a board.",
    )
    reference: str = Field("figure_eight", description=f"Shape: {', '.join(SHAPES)}.")
    clock: Literal["lockstep", "realtime"] = Field(
        "lockstep",
        description="lockstep: the rig waits for each command, the same bits on any machine; "
        "realtime: the wall clock.",
    )
    rate_hz: float = Field(120.0, gt=0, description="Control rate.")
    duration_s: float = Field(20.0, gt=0, description="Length of the run in the rig's time.")
    seed: int = Field(0, ge=0, description="Of the rig's noise and of the excitation.")
    load: str = Field(
        "",
        description="Constant load put on the tip in mid-run: the displacement it causes and when, "
        "x,y,z@t in mm and s, e.g. 0,0,-2@10.",
    )
    model: Path = Field(Path("models/tendon"), description="Directory that `softctl train` wrote.")
    firmware: Path = Field(
        Path("build/tendon"), description="Directory that `softctl build` wrote."
    )
    port: str = Field("", description="Serial port of the board (hil only), e.g. /dev/ttyACM0.")
    out: Path = Field(Path("runs/latest"), description="Directory of the run; must not exist.")


@dataclass(frozen=True)
class NodeSpec:
    """One process of the graph."""

    name: str
    parameters: dict[str, Any]


def node_parameters(node: str, rig: str = "tendon") -> dict[str, Any]:
    """The parameters of a node, for the rig: config/<node>.yaml, over it what config/<rig>.yaml has
    for its nodes, over that what `softctl tune` found, config/tuned/<rig>_<node>.yaml."""
    own = read_yaml(paths.config(rig)).get(NODES, {}).get(node, {})
    tuned = read_yaml(paths.tuned(rig, node)).get(node, {}).get("ros__parameters", {})
    common = read_yaml(paths.config(node)).get(node, {}).get("ros__parameters", {})
    return merged(merged(common, own), tuned)


def read_yaml(path: Path) -> dict[str, Any]:
    """Content of a YAML file; nothing where there is no such file."""
    return yaml.safe_load(path.read_text()) if path.is_file() else {}


def merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`base` with the values of `over` put into it, section by section."""
    result = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if both else value
    return result


def prepare(experiment: Experiment) -> list[NodeSpec]:
    """Makes the run's directory, writes experiment.json, and returns the nodes to start.

    Raises ValueError, before anything is written, where model, firmware and rig do not fit.
    """
    run_dir = experiment.out.absolute()
    if run_dir.exists() and any(run_dir.iterdir()):
        raise ValueError(
            f"{experiment.out} is not empty: a run never overwrites another, choose another --out"
        )
    rig = make_rig(experiment.rig)
    card = None if experiment.controller == "excitation" else load_card(experiment.model)
    build = matching_build(experiment, card) if experiment.controller == "mpc" else None
    if experiment.target == "hil" and experiment.controller == "mpc" and not experiment.port:
        raise ValueError("hil needs a board: name its serial port with --port")

    if experiment.controller == "pid":
        gains = node_parameters("pid", experiment.rig).get("decoupling", [])
        if len(gains) != rig.command_min.size * len(AXES):
            raise ValueError(
                f"there are no PID gains for the rig {experiment.rig}: find some with "
                f"`softctl tune --controller pid --model {experiment.model}`"
            )
    load_options(experiment.load)

    curve = None if card is None else reference_curve(experiment, card)
    record = experiment.model_dump(mode="json") | {
        "target": experiment.target if build else None,
        "reference": experiment.reference if curve else None,
        "curve": curve,
        "command_names": list(rig.command_names),
        "command_min": rig.command_min.tolist(),
        "command_max": rig.command_max.tolist(),
        "build": build.model_dump(mode="json") if build else None,
        "model_hash": card.model_hash if card else None,
    }
    run_dir.mkdir(parents=True, exist_ok=True)
    write_json(run_dir / "experiment.json", record)
    return nodes(experiment, rig, card, build, curve, run_dir)


def nodes(
    experiment: Experiment,
    rig: Rig,
    card: ModelCard | None,
    build: FirmwareBuild | None,
    curve: dict[str, Any] | None,
    run_dir: Path,
) -> list[NodeSpec]:
    """The graph of an experiment, in the order of the walk."""
    lace_port = str(run_dir / "lightlace.port")
    clock, rate_hz = experiment.clock, experiment.rate_hz
    neutral = ((rig.command_min + rig.command_max) / 2).tolist()
    commands = {
        "command_names": list(rig.command_names),
        "command_min": rig.command_min.tolist(),
        "command_max": rig.command_max.tolist(),
    }
    graph: dict[str, dict[str, Any]] = {
        "rig": {
            "rig": experiment.rig,
            "seed": experiment.seed,
            **load_options(experiment.load),
            "rate_hz": rate_hz,
            "duration_s": experiment.duration_s,
            "clock": clock,
            "lace_port": lace_port,
        },
        "lightlace": {
            "port": lace_port,
            "clock": clock,
            "signal_names": list(rig.signal_names),
        },
    }
    if curve:
        # The topic whose samples the controller acts on asks for the reference.
        tethered = experiment.controller == "pid"
        graph["reference"] = curve | {
            "rate_hz": rate_hz,
            "preview": build.horizon if build else 0,
            "trigger": "/tip_position" if tethered else "/signals/calibrated",
        }
    if experiment.controller == "mpc":
        graph["mcu"] = {
            "target": experiment.target,
            "firmware": str(experiment.firmware.absolute()),
            "port": experiment.port,
            "rate_hz": rate_hz,
            "clock": clock,
            "command_names": commands["command_names"],
            "command_neutral": neutral,
            # ROS has no empty list of strings, and takes a lone y in YAML for true.
            "signal_names": card.signal_names or [""],
            "axes": [AXES.index(axis) for axis in card.axes],
        }
    elif experiment.controller == "pid":
        graph["pid"] = commands | {"rate_hz": rate_hz, "command_neutral": neutral}
    else:
        graph["excitation"] = commands | {
            "rate_hz": rate_hz,
            "seed": experiment.seed,
            "duration_s": experiment.duration_s,
        }
    graph["logger"] = {"run_dir": str(run_dir), "clock": clock}
    peers = list(graph)
    return [
        NodeSpec(name, {**node_parameters(name, experiment.rig), **own, "peers": peers})
        for name, own in graph.items()
    ]


def load_options(load: str) -> dict[str, Any]:
    """Options of `make_rig` for the load x,y,z@t, in mm and s; none for no load.

    Raises ValueError for anything else.
    """
    if not load:
        return {}
    try:
        where, _, when = load.partition("@")
        x, y, z = (1e-3 * float(part) for part in where.split(","))
        return {"load_offset": [x, y, z], "load_after_s": float(when)}
    except ValueError:
        raise ValueError(f"load '{load}' is not x,y,z@t in mm and s, such as 0,0,-2@10") from None


def reference_curve(experiment: Experiment, card: ModelCard) -> dict[str, Any]:
    """Keyword arguments of references.Reference: the rig's amplitudes on the model's surface."""
    parameters = node_parameters("reference", experiment.rig)
    surface = card.surface or [0.0]
    return {"shape": experiment.reference, "surface": surface} | {
        key: float(parameters[key]) for key in REFERENCE_KEYS
    }


def matching_build(experiment: Experiment, card: ModelCard) -> FirmwareBuild:
    """The firmware of the experiment. Raises ValueError where it does not fit model and rate."""
    build = read_build(experiment.firmware)
    if build.model_hash != card.model_hash:
        raise ValueError(
            f"the firmware in {experiment.firmware} was built from another model "
            f"({build.model_hash}) than {experiment.model} ({card.model_hash}): "
            "run `softctl build` again"
        )
    if not math.isclose(card.rate_hz, experiment.rate_hz):
        raise ValueError(
            f"the model in {experiment.model} predicts at {card.rate_hz:g} Hz; "
            f"it cannot control at {experiment.rate_hz:g} Hz: train at that rate"
        )
    return build


def mpc_settings(rig_name: str) -> MpcSettings:
    """What config/mcu.yaml asks of the MPC, within the limits of the rig."""
    rig = make_rig(rig_name)
    return MpcSettings(
        command_min=rig.command_min.tolist(),
        command_max=rig.command_max.tolist(),
        **node_parameters("mcu", rig_name)["mpc"],
    )
