"""How the microcontroller in the loop is: what came with each sample, and what it has counted."""

from __future__ import annotations

import contextlib
from typing import Any

from soft_control.experiment.health import INACTIVE, Health, Level, McuWatch
from soft_control.link.codes import Cause, State, Supervisor, in_words
from soft_control.link.errors import Gone
from soft_control.link.messages import Info, Telemetry
from soft_control.nodes._diagnostics import Diagnostics

FIELDS = list(Info.__dataclass_fields__)
COUNTERS = FIELDS[FIELDS.index("missed_samples") :]
"""What INFO counts since the last reset, and its extremes."""
AT_REST = State.STOPPED, State.FAULT


class McuHealth:
    """Collects over a second. Samples may come in a thread of their own."""

    def __init__(self, node: Any) -> None:
        """node: the node mcu, whose firmware has been reached."""
        self._node = node
        self._watch = McuWatch()
        self._samples = self._deadline_misses = 0
        self._latencies_ms: list[float] = []
        self._step_costs: list[float] = []
        self._state, self._cause = int(State.ARMED), int(Cause.NONE)
        self.diagnostics = Diagnostics(
            node, f"{node.parameters.target}, {node.session.info.board}", self.judge
        )

    def on_sample(self, now_ns: int, told: Telemetry) -> None:
        """Its answer, published now. Where the host has the instruments, a command that leaves more
        than a period after its sample has missed its deadline."""
        if self._node.owns_instruments:
            latency_ms, late = told.latency_us / 1e3, bool(told.flags & Supervisor.LATE)
            self._state, self._cause = told.state, told.cause
        else:
            latency_ms = (self._node.get_clock().now().nanoseconds - now_ns) / 1e6
            late = latency_ms > self._node.period_ns / 1e6
        self._samples += 1
        self._deadline_misses += late
        self._latencies_ms.append(latency_ms)
        if self._node.unit != "none":
            self._step_costs.append(told.step_cost)

    def on_too_late(self) -> None:
        """A sample that the firmware has refused for its age."""
        self._deadline_misses += 1

    def ask(self) -> None:
        """For the counters, and for what has been learned, which another start would not know."""
        self._node.session.ask_info()
        if self._node.parameters.learns:
            self._node.session.ask_adaptation()

    def judge(self, elapsed_s: float) -> Health:
        """Of the second that has passed; asks the microcontroller for its counters, which the next
        one will have, where no thread does."""
        if not self._node.is_active:
            return INACTIVE
        absence = self._node.absence
        if absence.lasts:
            words = f"away for {absence.seconds():.1f} s: {absence.reason}"
            return Health(Level.ERROR, words, dict(absence.counts()))
        info = self._node.session.info
        if not self._node.owns_instruments:
            with contextlib.suppress(Gone):  # the next sample finds that out
                self.ask()
            self._state, self._cause = info.state, info.cause
        latencies_ms, self._latencies_ms = self._latencies_ms, []
        step_costs, self._step_costs = self._step_costs, []
        counts = {
            "samples": self._samples,
            "deadline_misses": self._deadline_misses,
            **{name: getattr(info, name) for name in COUNTERS},
            "telemetry_missing": self._node.session.lost,
            **absence.counts(),
        }
        return self._watch.judge(
            elapsed_s,
            counts,
            latencies_ms,
            step_costs,
            in_words(State, self._state),
            in_words(Cause, self._cause) if self._cause else "",
            self._state in AT_REST,
        )
