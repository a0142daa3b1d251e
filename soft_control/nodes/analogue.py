"""Actuators behind a converter on a serial port of the host: commands become frames."""

from __future__ import annotations

from soft_control.nodes._actuators import ActuatorNode, ActuatorParameters
from soft_control.nodes._node import main as run


class AnalogueParameters(ActuatorParameters):
    """There is nothing more to say: a converter is told the commands as they are."""


class AnalogueNode(ActuatorNode):
    NAME = "analogue"
    Parameters = AnalogueParameters


def main() -> None:
    run(AnalogueNode)


if __name__ == "__main__":
    main()
