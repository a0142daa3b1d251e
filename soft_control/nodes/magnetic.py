"""Magnetometer ingestion: frames on a serial port become raw and calibrated sensor signals."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from soft_control.nodes._node import main as run
from soft_control.nodes._sensor import SensorNode, SensorParameters


class MagneticParameters(SensorParameters):
    median: Literal[1, 3, 5] = Field(
        1, description="Counts are medians over so many frames, 1, 3 or 5."
    )
    start_samples: int = Field(
        0,
        ge=0,
        le=64,
        description="The mean of the first so many frames is taken off all later ones; 0 in "
        "lockstep.",
    )

    @model_validator(mode="after")
    def a_frame_a_tick(self) -> MagneticParameters:
        if self.clock == "lockstep" and self.start_samples:
            raise ValueError(
                f"start_samples = {self.start_samples}: in lockstep each frame is a sample, for "
                "the next one comes when it has been answered; wanted 0"
            )
        return self


class Magnetic(SensorNode):
    NAME = "magnetic"
    CHANNEL = "magnetic"
    Parameters = MagneticParameters

    def settings(self) -> dict[str, Any]:
        return {"median": self.parameters.median, "start_samples": self.parameters.start_samples}


def main() -> None:
    run(Magnetic)


if __name__ == "__main__":
    main()
