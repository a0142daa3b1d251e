"""Estimated power of a run's controller on microcontrollers: instructions, cycles, currents.

For each control period the part is awake for a step and for the bytes on its lines, and asleep for
the rest (WFI with its clocks on, so that its UARTs receive):

    cycles = instructions (cycles an instruction + stall · wait states) + bytes · cycles a byte
    duty   = cycles · rate / clock
    power  = voltage (run current · duty + sleep current (1 - duty) + extra current)

The bytes are those of the frames and lines themselves, by the robot and where its instruments hang.
All numbers stand in config/microcontrollers.yaml, each with its source; docs/energy.md is the page.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field, ValidationError, model_validator

from soft_control import paths
from soft_control.experiment.record import read_record
from soft_control.firmware_instruments import HOST_BAUD, actuator_config, telemetry_every
from soft_control.learning.dataset import RecordingError
from soft_control.link import magnetic
from soft_control.link.framing import frame_size
from soft_control.link.instruments import ACTUATORS
from soft_control.link.lace_line import format_line
from soft_control.link.messages import Sample, Sizes, Telemetry
from soft_control.plain_text import first_fault, printable
from soft_control.robots.config_files import read_yaml
from soft_control.robots.description import RobotDescription
from soft_control.robots.recording_format import Strict

FILE = "microcontrollers"
OWN = "stm32f405"
"""The part that the firmware is built for."""

Wiring = Literal["host", "mcu"]
"""Where sensor and actuators hang."""
Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]


class Source(Strict):
    """Where a number comes from."""

    text: Annotated[str, Field(min_length=1)]
    """Document, revision, table, conditions."""
    verified: bool
    """Whether the number was read there when it was written down."""


class Model(Strict):
    """What holds for all parts."""

    cycles_per_instruction: Positive
    """Without wait states."""
    stall_per_wait_state: NotNegative
    """Cycles an instruction for each wait state of the flash."""
    cycles_per_byte: NotNegative
    """For each byte on a line, either way."""
    uarts: Annotated[int, Field(ge=1)]
    """Lines that the firmware needs."""
    clocks_per_bit: Positive
    """That the fastest of the lines needs."""
    share_of_period: Annotated[float, Field(gt=0.0, le=1.0)]
    """In which the longest step must be done."""
    sources: dict[str, Source]
    """Of each of these numbers, by its name."""

    @model_validator(mode="after")
    def _all_have_sources(self) -> Model:
        _check_sources(self.sources, set(type(self).model_fields) - {"sources"})
        return self


class Clock(Strict):
    """Typical currents of a part at one clock."""

    mhz: Positive
    wait_states: Annotated[int, Field(ge=0)]
    """Of the flash."""
    run_ma: Positive
    sleep_ma: Positive
    """After WFI, with all clocks on."""
    extra_ma: NotNegative
    """What run and sleep leave out: ports, UARTs, clock source."""


class Part(Strict):
    """A microcontroller."""

    title: Annotated[str, Field(min_length=1)]
    core: str
    voltage_v: Positive
    uarts: Annotated[int, Field(ge=0)]
    clocks: Annotated[tuple[Clock, ...], Field(min_length=1)]
    sources: dict[str, Source]
    """Of each number, by its name."""
    note: str = ""
    """What else is to be known."""

    @model_validator(mode="after")
    def _all_have_sources(self) -> Part:
        wanted = set(Clock.model_fields) - {"mhz"} | {"voltage_v", "uarts"}
        _check_sources(self.sources, wanted)
        return self

    @property
    def verified(self) -> bool:
        """Whether all its numbers were read in their sources."""
        return all(source.verified for source in self.sources.values())


class Paper(Strict):
    """The figure to compare with."""

    title: str
    power_mw: Positive
    source: str


class Microcontrollers(Strict):
    """config/microcontrollers.yaml."""

    paper: Paper
    model: Model
    parts: dict[str, Part]

    def part(self, name: str) -> Part:
        """Raises ValueError in one line for a name that is none."""
        if name not in self.parts:
            raise ValueError(f"no part {printable(name)}: there are {', '.join(self.parts)}")
        return self.parts[name]


def _check_sources(sources: dict[str, Source], wanted: set[str]) -> None:
    if wrong := sources.keys() ^ wanted:
        raise ValueError(f"sources: one for each number, wrong: {', '.join(sorted(wrong))}")


def load(path: Path | None = None) -> Microcontrollers:
    """Reads the data file. Raises ValueError naming it."""
    path = path or paths.config(FILE)
    try:
        return Microcontrollers.model_validate(read_yaml(path))
    except ValidationError as error:
        raise ValueError(f"{path}: {first_fault(error)}") from None


@functools.cache
def microcontrollers() -> Microcontrollers:
    """The project's own data file."""
    return load()


# ---------------------------------------------------------------------------------------- a run


@dataclass(frozen=True)
class Work:
    """What a controller does each control period."""

    instructions: int
    """Of a step, median."""
    instructions_max: int
    """Of the longest step."""
    line_bytes: int
    """On all lines, both ways."""
    rate_hz: float
    baud: int = HOST_BAUD
    """Of the fastest line."""


def lines_of(robot: RobotDescription, rate_hz: float, wiring: Wiring = "mcu") -> dict[str, float]:
    """Bytes a control period of each thing that goes over the microcontroller's lines, as if its
    network took all of the robot's signals. What does not go over them in every period is left out.

    Raises ValueError for commands that the robot's actuators cannot be told.
    """
    sizes = Sizes(len(robot.commands), len(robot.outputs), len(robot.signals))
    telemetry = Telemetry.length_min(sizes)
    if wiring == "host":
        sample = Sample.length_min(sizes)
        return {"SAMPLE": frame_size(sample), "TELEMETRY": frame_size(telemetry)}
    kind = ACTUATORS[robot.instruments.actuators.kind]
    config = actuator_config(robot)
    master, device = (end(config, sizes.commands) for end in kind)
    device.feed(master.drive(robot.command_neutral), 0.0)  # the first arms them as well
    driven = master.drive(robot.command_neutral)
    return {
        "sensor": len(_sensor_sample(robot)),
        "actuators": len(driven),
        "their answer": len(device.feed(driven, 0.0)),
        "TELEMETRY": frame_size(telemetry) / telemetry_every(telemetry, rate_hz),
    }


def _sensor_sample(robot: RobotDescription) -> bytes:
    """All channels at full scale."""
    sensor = robot.instruments.sensor
    counts = [round(full) for full in robot.full_scale_counts]
    if sensor.kind == "magnetic":
        return magnetic.encode([0] * len(counts), 1)
    return format_line(counts, sensor.format)


def work_of(
    summary: dict[str, Any], robot: RobotDescription, rate_hz: float, wiring: Wiring = "mcu"
) -> Work | None:
    """The work that a run's summary tells of; None where no instructions were counted.

    Raises ValueError as `lines_of` does.
    """
    median, longest = (summary.get(f"step_instructions_{key}") for key in ("median", "max"))
    if median is None or longest is None:
        return None
    line_bytes = math.ceil(sum(lines_of(robot, rate_hz, wiring).values()))
    baud = HOST_BAUD
    if wiring == "mcu":
        baud = max(baud, robot.instruments.sensor.baud, robot.instruments.actuators.baud)
    return Work(int(median), int(longest), line_bytes, rate_hz, baud)


def read_work(run_dir: Path) -> Work:
    """The work of the run in `run_dir`. Raises RecordingError in one line where there is none."""
    record = read_record(run_dir)
    path = run_dir / "summary.json"
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
        work = work_of(summary, record.robot, record.rate_hz, record.wiring)
    except FileNotFoundError:
        raise RecordingError(f"{run_dir} has no summary.json: make the run again") from None
    except OSError as error:
        raise RecordingError(f"{path}: {error.strerror}") from None
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise RecordingError(f"{path}: no summary of a run: {error}") from None
    if work is None:
        raise RecordingError(
            f"{run_dir} has no instruction counts: run an MPC with --target pil, which counts them"
        )
    if not 0 <= work.instructions <= work.instructions_max < 2**32:  # a u32 on the wire
        raise RecordingError(f"{path}: its instructions are no median and largest of one run")
    return work


# ------------------------------------------------------------------------------------- estimates


class Estimate(NamedTuple):
    """Power of one part at one clock; an estimate in every number."""

    part: Part
    clock: Clock
    cycles: float
    """Of a control period, in which the part is awake."""
    duty: float
    """Awake share of the period; 1 or more where the clock does not suffice."""
    power_mw: float
    why_not: str
    """Why this is no choice, in words; empty: it is one."""


def estimate(part: Part, clock: Clock, work: Work, model: Model) -> Estimate:
    """Power of `part` at `clock`; `why_not` is about the clock."""

    def cycles_of(instructions: int) -> float:
        each = model.cycles_per_instruction + model.stall_per_wait_state * clock.wait_states
        return instructions * each + work.line_bytes * model.cycles_per_byte

    available = 1e6 * clock.mhz / work.rate_hz
    cycles, longest = cycles_of(work.instructions), cycles_of(work.instructions_max) / available
    awake = min(cycles / available, 1.0)
    current_ma = clock.run_ma * awake + clock.sleep_ma * (1.0 - awake) + clock.extra_ma
    why_not = ""
    if clock.mhz < (least_mhz := model.clocks_per_bit * work.baud / 1e6):
        why_not = f"a line of {work.baud / 1e6:g} Mbaud needs {least_mhz:g} MHz"
    elif longest > model.share_of_period:
        why_not = f"longest step takes {100 * longest:.0f} % of the period"
    return Estimate(part, clock, cycles, cycles / available, part.voltage_v * current_ma, why_not)


def cheapest(part: Part, work: Work, model: Model) -> Estimate:
    """At the clock that needs least of those that will do; at the fastest where none will."""
    found = [estimate(part, clock, work, model) for clock in part.clocks]
    choices = [one for one in found if not one.why_not]
    if choices:
        one = min(choices, key=lambda one: one.power_mw)
    else:
        one = max(found, key=lambda one: one.clock.mhz)
    lacking = f"{part.uarts} UARTs, not {model.uarts}" if part.uarts < model.uarts else ""
    return one._replace(why_not=lacking or one.why_not)


def estimates(work: Work, data: Microcontrollers) -> list[Estimate]:
    """Of every part at its cheapest clock: those that will do first, the least power first."""
    found = [cheapest(part, work, data.model) for part in data.parts.values()]
    return sorted(found, key=lambda one: (bool(one.why_not), one.power_mw))


def best(found: Sequence[Estimate]) -> Estimate | None:
    """The least of those that will do; None where none does."""
    return min((e for e in found if not e.why_not), key=lambda e: e.power_mw, default=None)


def arithmetic(found: Estimate, work: Work, model: Model) -> list[str]:
    """How an estimate comes about, a line each step."""
    part, clock = found.part, found.clock
    period_ms, awake_ms = 1e3 / work.rate_hz, found.cycles / clock.mhz / 1e3
    awake = min(found.duty, 1.0)
    return [
        f"cycles = {work.instructions:,} instructions × ({model.cycles_per_instruction:g} + "
        f"{model.stall_per_wait_state:g} × {clock.wait_states} wait states) + {work.line_bytes} "
        f"bytes × {model.cycles_per_byte:g} = {found.cycles:,.0f}",
        f"awake = {found.cycles:,.0f} / {clock.mhz:g} MHz = {awake_ms:.2f} ms "
        f"of {period_ms:.2f} ms = {100 * found.duty:.1f} %",
        f"power = {part.voltage_v:g} V × ({clock.run_ma:g} mA × {awake:.3f} + "
        f"{clock.sleep_ma:g} mA × {1 - awake:.3f} + {clock.extra_ma:g} mA) = "
        f"{shown(found.power_mw)} (estimate)",
    ]


def shown(power_mw: float) -> str:
    """A power with two digits, for an estimate has no more.

    >>> shown(7.568), shown(27.61)
    ('7.6 mW', '28 mW')
    """
    digits = max(0, 1 - math.floor(math.log10(power_mw))) if power_mw > 0 else 0
    return f"{power_mw:.{digits}f} mW"


def power_row(
    summary: dict[str, Any], robot: RobotDescription, rate_hz: float, wiring: Wiring = "mcu"
) -> str:
    """What a report says of a run: the best part, and the one that the firmware is built for."""
    work = work_of(summary, robot, rate_hz, wiring)
    if work is None:
        return "-"
    data = microcontrollers()
    own = cheapest(data.part(OWN), work, data.model)
    least = best(estimates(work, data))
    said = {
        one.part.title: f"not on {one.part.title}: {one.why_not}"
        if one.why_not
        else f"{shown(one.power_mw)} on {one.part.title}"
        for one in (least, own)
        if one
    }
    return f"{', '.join(said.values())} (estimate)"
