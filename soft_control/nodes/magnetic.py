"""Magnetometer ingestion: frames on a serial port become signals, and each sensor's field."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator
from sensor_msgs.msg import MagneticField

from soft_control.experiment.ros_messages import to_stamp
from soft_control.nodes._node import main as run
from soft_control.nodes._sensor import SensorNode, SensorParameters
from soft_control.robots.description import AXES
from soft_control.topics import field_topic

TESLA_PER_GAUSS = 1e-4


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

    counts_per_gauss: float = Field(
        1711.0, gt=0, description="Of the magnetometers; LIS3MDL at 16 gauss: 1711."
    )
    sensor_frame: str = Field(
        "", description="Frame of the fields; behind it comes the number of the sensor."
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
    """Its channels are x, y, z of one sensor, then of the next; fields go out while somebody
    listens to them."""

    NAME = "magnetic"
    CHANNEL = "magnetic"
    Parameters = MagneticParameters

    def start(self) -> None:
        self.fields = [
            self.publish_on(MagneticField, field_topic(sensor))
            for sensor in range(len(self.names) // len(AXES))
        ]
        super().start()

    def publish(self, now_ns: int, counts: list[int]) -> None:
        super().publish(now_ns, counts)
        for sensor, publisher in enumerate(self.fields):
            if publisher.get_subscription_count():
                publisher.publish(self.field(now_ns, sensor, counts))

    def field(self, now_ns: int, sensor: int, counts: list[int]) -> MagneticField:
        """Of one sensor, in tesla."""
        p: MagneticParameters = self.parameters
        first = len(AXES) * sensor
        x, y, z = (
            count * TESLA_PER_GAUSS / p.counts_per_gauss for count in counts[first : first + 3]
        )
        message = MagneticField()
        message.header.stamp = to_stamp(now_ns)
        message.header.frame_id = f"{p.sensor_frame}{sensor}" if p.sensor_frame else ""
        message.magnetic_field.x, message.magnetic_field.y, message.magnetic_field.z = x, y, z
        return message

    def settings(self) -> dict[str, Any]:
        return {"median": self.parameters.median, "start_samples": self.parameters.start_samples}


def main() -> None:
    run(Magnetic)


if __name__ == "__main__":
    main()
