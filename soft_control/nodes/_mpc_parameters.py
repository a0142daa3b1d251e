"""Weights and bounds of the MPC as live parameters of the node mcu."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import Field, ValidationError

from soft_control.control.mpc_settings import MpcSettings, physical_settings
from soft_control.firmware_files import FirmwareBuild
from soft_control.nodes._node import LIVE, NodeParameters
from soft_control.plain_text import first_fault

AS_BUILT = -1.0
"""Of disturbance_ratio; of the others an empty list is."""


def _live(description: str) -> Any:
    return Field([], description=f"{description}; empty: as built.", json_schema_extra=LIVE)


class MpcParameters(NodeParameters):
    """Those of MpcSettings that the firmware takes in a run, by their names and in their units."""

    output_weight: list[float] = _live("Cost of a squared tracking error, 1/unit² on paper")
    terminal_weight: list[float] = _live("The same for the last sample of the horizon")
    output_min: list[float] = _live("Soft lower bounds of the outputs, their units")
    output_max: list[float] = _live("Soft upper bounds of the outputs, their units")
    bound_weight: list[float] = _live("Cost of a squared excess over them, 1/unit² on paper")
    move_weight: list[float] = _live("Cost of a squared move, 1/unit² on paper")
    command_weight: list[float] = _live(
        "Cost of a squared distance from command_reference, 1/unit² on paper"
    )
    command_reference: list[float] = _live("Commands to prefer, their units")
    command_min: list[float] = _live("Lower limits of the commands, not below those of the build")
    command_max: list[float] = _live("Upper limits of the commands, not above those of the build")
    move_max: list[float] = _live("Largest moves in a sample, not above those of the build")
    disturbance_ratio: float = Field(
        AS_BUILT,
        ge=AS_BUILT,
        le=1000.0,
        description="Variance of the offset's change in a sample over that of the measurement's "
        "noise; below 0: as built.",
        json_schema_extra=LIVE,
    )


_OF_OUTPUTS = ("output", "terminal", "bound")
NAMES = tuple(name for name in MpcParameters.model_fields if name in MpcSettings.model_fields)


def asked(parameters: MpcParameters) -> dict[str, Any]:
    """What is not as built."""
    values = {name: getattr(parameters, name) for name in NAMES}
    return {name: value for name, value in values.items() if value not in ([], AS_BUILT)}


def configuration(parameters: MpcParameters, build: FirmwareBuild) -> dict[str, Any]:
    """The fields of CONFIGURE. Raises ValueError naming the parameter that cannot be."""
    if build.mpc is None or build.robot is None:
        raise ValueError(
            f"{build.directory} does not say what its MPC is asked to do: build the firmware again"
        )
    given, built = asked(parameters), build.mpc
    for name, value in given.items():
        of = build.robot.outputs if name.startswith(_OF_OUTPUTS) else build.robot.commands
        if isinstance(value, list) and len(value) != len(of):
            names = ", ".join(one.name for one in of)
            raise ValueError(f"{name} = {value}: wanted {len(of)} values, one for each of {names}")
    _check_narrower("command_min", given, built.command_min, lower=True)
    _check_narrower("command_max", given, built.command_max)
    _check_narrower("move_max", given, built.move_max)
    try:
        settings = MpcSettings(**built.model_dump() | given)
    except ValidationError as error:
        raise ValueError(first_fault(error)) from None
    for command, low, high in zip(
        build.robot.commands, settings.command_min, settings.command_max, strict=True
    ):
        if not low < high:
            raise ValueError(
                f"command_min, command_max of {command.name}: {low:g} to {high:g} is no range"
            )
    return physical_settings(settings, build.robot)


def _check_narrower(
    name: str, given: dict[str, Any], built: Sequence[float], lower: bool = False
) -> None:
    for value, limit in zip(given.get(name, []), built, strict=False):
        if value < limit if lower else value > limit:
            side = "below" if lower else "above"
            raise ValueError(f"{name} = {value:g}: {side} the {limit:g} that the firmware has")
