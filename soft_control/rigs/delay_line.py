"""Commands on their way to the actuators: each arrives a fixed time after it was given.

Only a changed command is put on the way, so a line holds a few entries however long a run is:

    given at     0.00 [1]   0.01 [1]   0.02 [2]        with a delay of 0.05 s
    arrives at   0.05 [1]              0.07 [2]
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any


class DelayLine:
    """Times are in s on the rig's clock, commands (m,) in the rig's units."""

    def __init__(self, delay_s: float, held: Sequence[float] = ()) -> None:
        """`held`: the command that has acted for ever; empty: the first one given is a change."""
        self._delay_s = delay_s
        self._last = list(held)
        self._on_the_way: list[tuple[float, list[float]]] = []

    def give(self, command: list[float], now_s: float) -> None:
        """Puts `command` on its way, unless it is the one given last."""
        if command != self._last:
            self._last = command
            self._on_the_way.append((now_s + self._delay_s, command))

    @property
    def next_s(self) -> float:
        """When the next command arrives; infinity where none is on its way."""
        return self._on_the_way[0][0] if self._on_the_way else math.inf

    def take(self) -> list[float]:
        """The command that arrives at `next_s`."""
        return self._on_the_way.pop(0)[1]

    def save(self) -> dict[str, Any]:
        """What is on its way, as JSON can hold it."""
        return {
            "last": list(self._last),
            "on_the_way": [[at, list(command)] for at, command in self._on_the_way],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from `save()`."""
        self._last = list(state["last"])
        self._on_the_way = [(at, list(command)) for at, command in state["on_the_way"]]
