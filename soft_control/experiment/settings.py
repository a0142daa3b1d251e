"""What a run is asked to be: the options of `softctl run`, the arguments of the launch file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, Field, field_validator, model_validator

from soft_control.control.controllers import CONTROLLERS, TARGETS, standby
from soft_control.control.references import SHAPES
from soft_control.rigs import RIGS, check_rig

CLOSED = {"controller": tuple(CONTROLLERS), "target": TARGETS}
"""Fields of Experiment that are an entry of a table."""


class Experiment(BaseModel, extra="forbid"):
    """One run: rig x controller x target x reference."""

    rig: str = Field(
        "tendon",
        description=f"Simulated rig: {', '.join(RIGS)}; or a directory of `softctl twin`.",
    )
    sim: bool = Field(
        True,
        description="Whether the rig is simulated; false: the robot is there, its sensor and its "
        "actuators at serial ports, in realtime.",
    )
    sensor_port: str = Field(
        "", description="Serial port of the robot's own sensor, e.g. /dev/ttyUSB0 or usb:A50285BI."
    )
    actuator_port: str = Field(
        "",
        description="Serial port of the robot's own actuators, e.g. /dev/ttyUSB1 or usb:A50285BJ.",
    )
    tracker: bool = Field(
        False,
        description="Whether a motion tracker measures the robot's own outputs: node tracker.",
    )
    robot: str = Field(
        "",
        description="A later description of the rig's robot, by file or name; by default the rig's "
        "own.",
    )
    controller: str = Field(
        "mpc",
        description="; ".join(f"{name}: {entry.help}" for name, entry in CONTROLLERS.items()) + ".",
    )
    standby: str = Field(
        "",
        description="Other controllers that wait, with commas, e.g. pid,open_loop: `ros2 param set "
        "/mcu controller pid` chooses one while the robot moves.",
    )
    target: str = Field(
        "pil",
        description="Where the firmware runs: sil in process, pil on an emulated Cortex-M4F, "
        "hil on a board.",
    )
    wiring: Literal["host", "mcu"] = Field(
        "host",
        description="Where sensor and actuators are: at nodes of the host, or at the "
        "microcontroller, which then needs nobody.",
    )
    host_lost: Literal["continue", "hold", "stop"] = Field(
        "continue",
        description="Wiring mcu: what the microcontroller does when it hears nothing of the host.",
    )
    cut: str = Field(
        "",
        description="Wiring mcu: cuts the host's line to the microcontroller for so long from when "
        "on, s, e.g. 4@8.",
    )
    reference: str = Field(
        "figure_eight",
        description=f"Shape: {', '.join(SHAPES)}; or a CSV file: t_s and a column an output, or a "
        "recorded run of the robot.",
    )
    clock: Literal["lockstep", "realtime"] = Field(
        "lockstep",
        description="lockstep: the rig waits for each command, the same bits on any machine; "
        "realtime: the wall clock.",
    )
    rate_hz: float | None = Field(
        None, gt=0, le=10_000, description="Control rate, Hz; by default the robot's."
    )
    duration_s: float = Field(
        20.0,
        gt=0,
        le=1e6,
        description="Length of the run in the rig's time, s; a calibration comes before it.",
    )
    calibrate_s: float = Field(
        0.0,
        ge=0.0,
        le=1e5,
        description="So long before the run, s, the firmware is told the measured outputs on a "
        "rich motion and learns what the robot of today is like; then the tether is cut.",
    )
    adaptation: str = Field(
        "",
        description="What an earlier run has learned of the robot of today, with which this one "
        "begins: that run's directory, or its adaptation.json.",
    )
    # ROS parameters are of 64 bits.
    seed: int = Field(0, ge=0, lt=2**63, description="Of the rig's noise and of the excitation.")
    load: str = Field(
        "",
        description="Constant load put on in mid-run: the displacement of each output that it "
        "causes, in the units on paper, and when, s, e.g. 0,0,-2@10.",
    )
    model: Path = Field(Path("models/tendon"), description="Directory that `softctl train` wrote.")
    firmware: Path = Field(
        Path("build/tendon"), description="Directory that `softctl build` wrote."
    )
    port: str = Field(
        "", description="Serial port of the board (hil only), e.g. /dev/ttyACM0 or usb:066DFF."
    )
    namespace: str = Field(
        "",
        description="Of the robot's nodes and topics in ROS, e.g. left; so that several robots can "
        "be in one graph.",
    )
    visual: bool = Field(
        False,
        description="Also says what viewers draw: joints of the robot's links, markers, frames.",
    )
    params_file: str = Field(
        "", description="ROS parameters of the run's nodes, over those of config/."
    )
    out: Path = Field(Path("runs/latest"), description="Directory of the run; must not exist.")

    @property
    def length_s(self) -> float:
        """Of the whole run: calibration, and what is asked for after it."""
        return self.calibrate_s + self.duration_s

    @model_validator(mode="after")
    def _real_time(self) -> Experiment:
        """A robot of one's own does not wait for anybody."""
        if not self.sim:
            self.clock = "realtime"
        return self

    @field_validator("namespace")
    @classmethod
    def _full_namespace(cls, value: str) -> str:
        """As ROS says it, "/left"; none is empty."""
        names = [name for name in value.split("/") if name]
        if not all(re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name) for name in names):
            raise ValueError("wanted names of letters, digits and _, a letter first")
        return "".join(f"/{name}" for name in names)

    @field_validator("standby")
    @classmethod
    def _can_wait(cls, value: str) -> str:
        standby(value)
        return value

    @field_validator("rate_hz", mode="before")
    @classmethod
    def _none_of_launch(cls, value: Any) -> Any:
        """A launch file has texts only: an empty one is none."""
        return None if value == "" else value

    @field_validator("rig", "controller", "target", "reference")
    @classmethod
    def _known(cls, value: str, info: Any) -> str:
        if info.field_name == "rig":
            return check_rig(value)
        if info.field_name == "reference" and value.lower().endswith(".csv"):
            return value
        known = CLOSED.get(info.field_name, SHAPES)
        if value not in known:
            more = ", or a file .csv" if info.field_name == "reference" else ""
            raise ValueError(f"unknown, choose one of {', '.join(known)}{more}")
        return value


def choices(name: str) -> list[str] | None:
    """All that a field of Experiment may be; None where there is no such list."""
    kind = Experiment.model_fields[name].annotation
    if kind is bool:
        return ["true", "false", "True", "False"]
    return list(CLOSED.get(name, get_args(kind) if get_origin(kind) is Literal else ())) or None
