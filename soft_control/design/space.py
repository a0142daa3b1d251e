"""What a point of the search means: a design, and the description of a robot that asks for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from soft_control.control.mpc_settings import MpcSettings
from soft_control.design.settings import Design
from soft_control.experiment.node_parameters import merged, mpc_settings
from soft_control.learning.settings import TrainingSettings, described_settings
from soft_control.plain_text import first_fault
from soft_control.robots import said_in
from soft_control.robots.description import RobotDescription


def design_of(values: Mapping[str, Any], input_delay: int) -> Design:
    """The design of a point, whose names are those of `sampling.distributions`."""
    return Design(
        hidden=tuple(values[f"units_{i}"] for i in range(values["layers"])),
        input_lags=values["input_lags"],
        output_lags=values["output_lags"],
        signals=values["signals"],
        horizon=input_delay + values["beyond_delay"],
        control_horizon=min(values["control_horizon"], values["beyond_delay"]),
        iterations=values["iterations"],
        method=values["method"],
        tail_continues=values["tail_continues"],
    )


def present(robot: RobotDescription, signals: bool) -> Design:
    """What the robot has without a search: by its description and config/."""
    training, mpc = described_settings(robot, said_in(robot)), mpc_settings(robot)
    network = {name: getattr(training, name) for name in ("hidden", "input_lags", "output_lags")}
    names = ("horizon", "control_horizon", "iterations", "method", "tail_continues")
    return Design(
        **network,
        signals=training.signals and signals,
        **{name: getattr(mpc, name) for name in names},
    )


def designed(robot: RobotDescription, design: Design, updates: int | None) -> RobotDescription:
    """The same robot, whose description asks for this network and this controller: `softctl train`
    and `softctl build` make the design of it without further options."""
    training = {**robot.training, **design.network, "hidden": list(design.hidden)}
    if updates is not None:
        training["updates"] = updates
    nodes = {**robot.nodes, "mcu": merged(robot.nodes.get("mcu", {}), {"mpc": design.mpc})}
    return robot.model_copy(update={"training": training, "nodes": nodes})


def settings_of(robot: RobotDescription, design: Design) -> MpcSettings:
    """What the firmware of a designed robot is asked.

    Raises ValueError where a file of config/tuned/ says otherwise than the design.
    """
    found = mpc_settings(robot)
    for name, value in design.mpc.items():
        if getattr(found, name) != value:
            raise ValueError(
                f"config/tuned/{robot.name}_mcu.yaml sets {name} to {getattr(found, name)}, which "
                "the search is to choose: take it out there"
            )
    return found


def training_of(robot: RobotDescription, seed: int, **changes: Any) -> TrainingSettings:
    """How the network of a designed robot is trained, with `changes`. Raises ValueError in one line
    where that cannot be."""
    found = described_settings(robot, said_in(robot))
    try:
        return TrainingSettings.model_validate(found.model_dump() | {"seed": seed} | changes)
    except ValidationError as error:
        raise ValueError(first_fault(error)) from None
