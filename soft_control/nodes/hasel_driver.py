"""The driver of HASEL actuators on a serial port of the host: commands become duties."""

from __future__ import annotations

from pydantic import Field

from soft_control.nodes._actuators import ActuatorNode, ActuatorParameters
from soft_control.nodes._node import main as run


class HaselDriverParameters(ActuatorParameters):
    steps_per_unit: float = Field(gt=0, description="Steps of duty a unit of the commands.")
    zero_steps: float = Field(description="Steps of duty at command 0.")
    full_steps: int = Field(ge=1, le=65_535, description="Steps of full duty.")
    rearm: bool = Field(
        False,
        description="Realtime: whether high voltage comes back in mid-run when its driver does; "
        "else the run ends when it goes.",
    )


class HaselDriverNode(ActuatorNode):
    NAME = "hasel_driver"
    Parameters = HaselDriverParameters
    MEASURED = ("voltage", "temperature")


def main() -> None:
    run(HaselDriverNode)


if __name__ == "__main__":
    main()
