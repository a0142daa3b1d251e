"""A fault as data: what goes wrong, where, when and for how long, and what must follow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from soft_control.link.codes import Cause, HostLost, State
from soft_control.rigs.parameters import Strict

SAFE_MS = 20.0
"""Within which the safe output begins, once what is tolerated has passed."""
STATES = tuple(state.name.lower() for state in State)
CAUSES = tuple(cause.name.lower() for cause in Cause)
Seconds = Annotated[float, Field(ge=0, le=600)]


class Run(Strict):
    """The run that the fault comes into, as ARM says it."""

    wiring: Literal["mcu", "host"] = "mcu"
    """Where sensor and actuators are."""
    clock: Literal["timer", "samples"] = "timer"
    """What a control period is measured by: the board's timer, or the sensor's samples."""
    source: Literal["mpc", "host"] = "mpc"
    """Who commands."""
    host_lost: Literal["continue", "hold", "stop"] = "stop"
    """What a silent host leads to."""
    host_timeout_ms: int = Field(100, ge=0, le=60_000)
    """Silence of the host that counts; 0: none does."""
    sensor_timeout_ms: int = Field(60, ge=0, le=60_000)
    """Silence of the sensor that counts; 0: none does."""
    age_max_ms: int = Field(17, ge=0, le=60_000)
    """Older messages are refused; 0: none is."""

    @property
    def host_lost_code(self) -> HostLost:
        return HostLost[self.host_lost.upper()]


class Expected(Strict):
    """What must follow."""

    state: str = "running"
    """Of the firmware, when the run is over."""
    cause: str = "none"
    """Why it is in that state."""
    tolerated_ms: float | None = Field(None, ge=0)
    """The safe output begins within 20 ms after so much of the fault has passed, ms; not set: it
    does not endanger, and no safe output comes."""
    refused: int | None = Field(None, ge=0)
    """Messages that are refused by an ERROR; not set: any number."""
    lost: Literal["none", "some", "any"] = "any"
    """Samples of the sensor, or reports of them, that do not come. Whatever is lost is counted."""
    same: bool = False
    """The actuators are told, bit for bit, what they are told without the fault."""
    says: str = ""
    """What whoever starts the run is told must contain this."""
    exit_code: int | None = None
    """Of `softctl run`."""

    @field_validator("state")
    @classmethod
    def _a_state(cls, value: str) -> str:
        return _one_of(value, STATES)

    @field_validator("cause")
    @classmethod
    def _a_cause(cls, value: str) -> str:
        return _one_of(value, CAUSES)

    @property
    def endangers(self) -> bool:
        return self.tolerated_ms is not None


class Fault(Strict):
    """One line of the table."""

    model_config = Strict.model_config | {"extra": "allow"}

    name: str = Field(pattern=r"^[a-z0-9_]{3,64}$")
    stand: Literal["sil", "pil", "session", "graph"] = "sil"
    """Where it is tried: the firmware as a library in simulated time, the board's ELF under QEMU,
    the host's end of the wire alone, or all processes of `softctl run`."""
    what: str
    """Of the table of that stand; settings of it stand beside it."""
    where: str = ""
    """A wire, such as sensor_in, or a process: as the stand says."""
    at_s: Seconds = 0.3
    """When it begins, after the start of the run; with all processes as soon as it is under way."""
    for_s: Seconds = 0.3
    """How long it lasts."""
    run: Run = Run()
    expect: Expected = Expected()

    @property
    def settings(self) -> dict[str, Any]:
        """Those of `what`."""
        return dict(self.model_extra or {})

    @property
    def when(self) -> str:
        begins = f"at {self.at_s:g} s" if self.stand in ("sil", "pil") else "in mid-run"
        return f"{begins} for {self.for_s:g} s" if self.for_s else begins


def check_settings(fault: Fault, kinds: Mapping[str, type[Strict]]) -> None:
    """Raises ValueError where a stand whose faults have these settings, by their `what`, knows no
    such fault, or takes no such settings."""
    if fault.what not in kinds:
        raise ValueError(f"what = {fault.what!r} is none of {', '.join(kinds)}")
    kinds[fault.what].model_validate(fault.settings)


class Supervised(Strict):
    """What is changed in the robot's description, so that all that can be watched is."""

    sensor: dict[str, Any] = {}
    """Over `instruments.sensor`."""
    actuators: dict[str, Any] = {}
    """Over `instruments.actuators`."""


class FaultFile(Strict):
    """A YAML file of faults."""

    robot: Supervised = Supervised()
    faults: list[Fault]

    @model_validator(mode="after")
    def _named_once(self) -> FaultFile:
        names = [fault.name for fault in self.faults]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"the fault {name} is there twice")
        return self


def _one_of(value: str, known: Sequence[str]) -> str:
    if value not in known:
        raise ValueError(f"{value!r} is none of {', '.join(known)}")
    return value
