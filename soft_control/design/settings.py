"""What is searched, what it may cost, and what one design is."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from soft_control.experiment.energy import shown

Method = Literal["gauss_newton", "newton"]
"""Of MpcSettings; `soloway` is there for comparison only."""
Units = Annotated[int, Field(ge=1, le=4096)]
Lags = Annotated[int, Field(ge=1, le=1000)]
Samples = Annotated[int, Field(ge=1, le=100)]
Limit = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]


class _Said(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True, extra="forbid", allow_inf_nan=False)


class DesignSettings(_Said):
    """What is searched, and how well each design is looked at. A pair is a smallest and a largest
    value."""

    units: tuple[Units, Units] = (4, 24)
    """Of a hidden layer."""
    layers: tuple[Samples, Samples] = (1, 2)
    """Hidden layers."""
    input_lags: tuple[Lags, Lags] = (1, 4)
    """nd: commands that the network sees."""
    output_lags: tuple[Lags, Lags] = (1, 4)
    """dd: outputs that the network sees."""
    signals: tuple[bool, ...] = Field((True, False), min_length=1)
    """Whether the network sees the robot's signals; a robot without has no choice."""
    beyond_delay: tuple[Samples, Samples] = (3, 9)
    """Samples of the horizon N beyond the transport delay, which no command reaches earlier."""
    control_horizon: tuple[Samples, Samples] = (1, 4)
    """Nc: moves that the MPC plans; never more than the samples beyond the delay."""
    iterations: tuple[Samples, Samples] = (1, 2)
    """Of the solver in a sample."""
    methods: tuple[Method, ...] = Field(("gauss_newton", "newton"), min_length=1)
    """Of the solver."""
    tail_continues: tuple[bool, ...] = Field((True, False), min_length=1)
    """Whether beyond Nc the last move goes on, or the command is held."""
    references: tuple[str, ...] = Field(
        ("figure_eight", "pringle", "diagonal", "swirl"), min_length=1
    )
    """What the search is judged by: the mean error over these, but for the one reported."""
    screening_updates: int = Field(1000, ge=1, le=10**8)
    """Gradient steps of a training in the search."""
    screening_rollout: int = Field(40, ge=1, le=10**4)
    """Samples of its rollouts."""
    updates: int | None = Field(None, ge=1, le=10**8)
    """Gradient steps for those that may be on the front; by default as the robot's description or
    `softctl train` has it."""
    finalists: int = Field(12, ge=1, le=1000)
    """Designs that are trained in full and run in pil."""
    batch: int = Field(4, ge=1, le=100)
    """Designs that the search proposes at once, whatever the cores: more keep more cores busy and
    learn less from one another."""

    @model_validator(mode="after")
    def _in_order(self) -> DesignSettings:
        for name, value in self:
            if isinstance(value, tuple) and len(value) == 2 and type(value[0]) is int:
                if value[0] > value[1]:
                    raise ValueError(f"{name} = {list(value)}: not in order")
        return self


class Design(BaseModel):
    """One network with one controller around it."""

    model_config = ConfigDict(use_attribute_docstrings=True, extra="forbid", frozen=True)

    hidden: tuple[Units, ...]
    """Units of the hidden layers."""
    input_lags: Lags
    output_lags: Lags
    signals: bool
    horizon: Samples
    control_horizon: Samples
    iterations: Samples
    method: Literal["gauss_newton", "newton", "soloway"]
    tail_continues: bool

    @property
    def network(self) -> dict[str, object]:
        """Fields of TrainingSettings."""
        return self.model_dump(include={"hidden", "input_lags", "output_lags", "signals"})

    @property
    def mpc(self) -> dict[str, object]:
        """Fields of MpcSettings."""
        return self.model_dump(exclude={"hidden", "input_lags", "output_lags", "signals"})

    def line(self) -> str:
        """It in a line: units, lags, horizons, solver."""
        units = "+".join(map(str, self.hidden))
        felt = ", signals" if self.signals else ""
        tail = "" if self.tail_continues else ", held"
        method = self.method.replace("_", "-")
        return (
            f"{units} units, nd {self.input_lags}, dd {self.output_lags}{felt}; "
            f"{self.horizon}/{self.control_horizon}{tail}, {method} x{self.iterations}"
        )


class Costs(_Said):
    """Of a build, on the emulated part."""

    flash_bytes: int
    ram_bytes: int
    """Static variables and the stack."""
    instructions: int
    """Of a control step, median."""
    instructions_max: int
    """Of the longest step."""
    power_mw: float
    """Estimated for the part that the budget is of."""
    too_slow: str = ""
    """Why that part will not do, in words; empty: it will."""


class Budget(_Said):
    """What a design may cost; None: as much as it likes."""

    flash_bytes: Limit | None = None
    """All that is loaded into flash."""
    ram_bytes: Limit | None = None
    """Static variables and the stack."""
    instructions: Limit | None = None
    """Of the longest control step."""
    power_mw: Limit | None = None
    """Estimated mean power."""

    def excess(self, costs: Costs) -> dict[str, float]:
        """Of each limit, how far it is exceeded, as a share of it; at most 0 where it is met."""
        found = {"the part": 1.0 if costs.too_slow else 0.0}
        for name, (cost, _) in _counted(costs).items():
            limit = getattr(self, name)
            if limit is not None:
                found[name] = cost / limit - 1.0
        return found

    def beyond(self, costs: Costs) -> str:
        """Which limits a design exceeds, by how much, in words; empty: none."""
        said = []
        for name, (cost, words) in _counted(costs).items():
            limit = getattr(self, name)
            if limit is not None and cost > limit:
                said.append(words.format(cost=_said(name, cost), limit=_said(name, limit)))
        return "; ".join(said + ([costs.too_slow] if costs.too_slow else []))

    def line(self) -> str:
        """The limits in a line."""
        words = {"flash_bytes": "flash {} B", "ram_bytes": "RAM {} B"}
        words |= {"instructions": "{} instructions a step", "power_mw": "{}"}
        set_to = [
            text.format(_said(name, limit))
            for name, text in words.items()
            if (limit := getattr(self, name)) is not None
        ]
        return ", ".join(set_to) or "no limit"


def _counted(costs: Costs) -> dict[str, tuple[float, str]]:
    """Limit -> what counts against it, and the words for an excess."""
    return {
        "flash_bytes": (costs.flash_bytes, "flash {cost} B, not {limit}"),
        "ram_bytes": (costs.ram_bytes, "RAM {cost} B, not {limit}"),
        "instructions": (costs.instructions_max, "longest step {cost} instructions, not {limit}"),
        "power_mw": (costs.power_mw, "{cost}, not {limit}"),
    }


def _said(name: str, value: float) -> str:
    if name != "power_mw":
        return f"{math.floor(value):,}"
    return shown(value)
