"""What `softctl prove` finds out about a build, and whether that will do."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

STEP_OVER_SEEN = 1.5
"""Times the worst step that was seen: a bound above that tells too little to plan by."""
STACK_OVER_SEEN = 1.3


class _Found(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True, frozen=True)


class Work(_Found):
    """The most that a piece of the program takes."""

    name: str
    instructions: int
    """As the emulator counts them, each one that is fetched; of a step without what its own
    measuring takes."""
    cycles: int
    """Modelled, memory without wait states."""


class LoopBound(_Found):
    """A loop on the way."""

    function: str
    place: str
    """file.c:12"""
    turns: int
    """At most in one go."""
    said: bool
    """By LOOP_BOUND; else found in the machine code."""


class StackPiece(_Found):
    """A function or an exception on the deepest stack."""

    name: str
    bytes: int


class Unbounded(_Found):
    """What cannot be bounded."""

    function: str
    address: int
    place: str
    what: str
    remedy: str


class Seen(_Found):
    """The worst of samples that look for it, on the emulated board."""

    samples: int
    step_instructions: int
    stack_bytes: int
    """High-water mark of the painted stack."""


class NetworkBound(_Found):
    """Of the learned model, over its box of inputs."""

    lipschitz: float
    """Of the next output by all lags of commands and outputs; normalised, 2-norm."""
    command_gain: list[list[float]]
    """Rows: outputs, columns: commands. Output at the next sample by a command that all its lags
    are, in the units that the robot is shown in."""
    units: list[list[str]]
    """Of these."""
    loop_gain: float
    """Next output by such commands; normalised, 2-norm."""
    mpc_gain: float
    """Commands by an error that stays over the horizon, at most; normalised, 2-norm."""
    forgetting: float
    """The sum of what an output follows of all past ones; below 1 a free run forgets its
    beginning."""
    horizon_gain: float
    """The largest output within the horizon by a held command; normalised."""


class Proof(_Found):
    """Of one build."""

    build_id: str
    model_hash: str
    step: Work | None
    """Between the two looks at the clock that `step_cost` is the difference of; None where the
    program has none."""
    sample: Work
    """A whole sample."""
    sample_after_gap: Work
    """One that has the most missing samples to bridge that there may be."""
    interrupts: list[Work]
    """Each handler, once."""
    period_cycles: int | None
    """Of a control period at the board's clock; None: that is not known."""
    needed_cycles: int
    """Of a period in which a sample is longest and all lines bring what they have to."""
    needed_with_waits: int
    """The same with the wait states of the flash at that clock, whose cost is assumed."""
    stack: list[StackPiece]
    stack_reserved: int
    loops: list[LoopBound]
    by_function: dict[str, int]
    """Instructions of the longest step (or sample) in each function."""
    blind_stores: list[str]
    """Places of stores whose address is not known."""
    problems: list[Unbounded]
    seen: Seen | None
    network: NetworkBound | None

    @property
    def stack_bytes(self) -> int:
        return sum(piece.bytes for piece in self.stack)

    def failures(self) -> list[str]:
        """Why this is no proof or will not do, a line each; none: all is well."""
        lines = self.unbounded() + self.shortfalls()
        if self.seen is not None and self.step is not None:
            lines += _against(
                "step", "instructions", self.step.instructions,
                self.seen.step_instructions, STEP_OVER_SEEN,
            )  # fmt: skip
            lines += _against(
                "stack", "bytes", self.stack_bytes, self.seen.stack_bytes, STACK_OVER_SEEN
            )
        return lines

    def unbounded(self) -> list[str]:
        """What cannot be bounded, a line each."""
        return [
            f"{', '.join(filter(None, (p.function, p.place)))} (0x{p.address:08x}): "
            f"{p.what}; {p.remedy}"
            for p in self.problems
        ]

    def shortfalls(self) -> list[str]:
        """Where control period or stack do not suffice, a line each. Where something is not
        bounded, the cycles that were counted are none that a sample needs."""
        lines = []
        period = None if self.problems else self.period_cycles
        if period is not None and self.needed_cycles > period:
            lines.append(
                f"a sample needs up to {self.needed_cycles:,} cycles, the control period has "
                f"{period:,}: lower the rate, the horizon or the network"
            )
        if self.stack_bytes > self.stack_reserved:
            lines.append(
                f"the stack needs {self.stack_bytes:,} bytes, {self.stack_reserved:,} are "
                "reserved: build the firmware again without STACK="
            )
        return lines


def _against(what: str, unit: str, bound: int, seen: int, times: float) -> list[str]:
    if seen > bound:
        return [f"{what}: {seen:,} {unit} were seen, more than the bound of {bound:,}: it is wrong"]
    if bound > times * seen:
        return [
            f"{what}: the bound of {bound:,} {unit} is {bound / seen:.2f} times the worst seen, "
            f"more than {times:g}: more samples, or bounds of loops that are nearer"
        ]
    return []
