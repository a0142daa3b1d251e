"""LightLace ingestion: ASCII lines on a serial port become raw and calibrated sensor signals."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from soft_control.nodes._node import main as run
from soft_control.nodes._sensor import SensorNode, SensorParameters


class LightLaceParameters(SensorParameters):
    signed: bool = Field(False, description="Whether counts may be negative.")


class LightLace(SensorNode):
    NAME = "lightlace"
    CHANNEL = "lace"
    Parameters = LightLaceParameters

    def settings(self) -> dict[str, Any]:
        """What comes before the first line feed is the rest of a line, as on the firmware."""
        return {"signed": self.parameters.signed, "torn_start": True}


def main() -> None:
    run(LightLace)


if __name__ == "__main__":
    main()
