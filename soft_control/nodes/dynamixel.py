"""Dynamixel AX-12A servos on a serial port of the host: commands become goals, answers a status."""

from __future__ import annotations

from pydantic import Field, model_validator

from soft_control.nodes._actuators import ActuatorNode, ActuatorParameters
from soft_control.nodes._node import check_lengths
from soft_control.nodes._node import main as run

EACH = ("id", "counts_per_unit", "zero_count", "count_min", "count_max", "speed")
COUNTS = 1023


class DynamixelParameters(ActuatorParameters):
    id: list[int] = Field(description="Of each servo, 0 to 253.")
    counts_per_unit: list[float] = Field(description="Counts of each servo a unit of its command.")
    zero_count: list[float] = Field(description="Count of each servo at command 0.")
    count_min: list[int] = Field(description="Smallest count that each servo may be told.")
    count_max: list[int] = Field(description="Largest count that each servo may be told.")
    speed: list[int] = Field(
        description="Of each servo in steps of 0.111 / min, up to 1023; 0: as fast as it can."
    )

    @model_validator(mode="after")
    def a_servo_a_command(self) -> DynamixelParameters:
        each = {key: getattr(self, key) for key in EACH}
        check_lengths(self.command_names, "command", **each)
        if len(set(self.id)) < len(self.id) or not all(0 <= servo <= 253 for servo in self.id):
            raise ValueError(f"id = {self.id}: wanted numbers from 0 to 253, all different")
        for low, high, speed in zip(self.count_min, self.count_max, self.speed, strict=True):
            if not 0 <= low <= high <= COUNTS or not 0 <= speed <= COUNTS:
                raise ValueError(
                    f"count_min = {self.count_min}, count_max = {self.count_max}, speed = "
                    f"{self.speed}: wanted ranges of 0 to {COUNTS}"
                )
        if 0.0 in self.counts_per_unit:
            raise ValueError("counts_per_unit has a 0")
        return self


class DynamixelServos(ActuatorNode):
    NAME = "dynamixel"
    Parameters = DynamixelParameters
    MEASURED = ("position", "load", "voltage", "temperature")

    def name_of(self, index: int) -> str:
        """Servos answer in turn, each for itself."""
        return f"{self.NAME}: {self.parameters.command_names[index]}"


def main() -> None:
    run(DynamixelServos)


if __name__ == "__main__":
    main()
