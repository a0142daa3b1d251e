"""Controllers that take turns: whose a sample is, and what others have found for the rest."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np

WAITING_MAX = 100_000
"""Samples and commands remembered: in lockstep nobody waits for a controller that follows."""


class Turns:
    """The samples of one controller. Those of its own turn it answers; at all others it follows the
    command that somebody else has found, so that its next turn begins from there.

    Where each sample is answered exactly once, in lockstep, it waits at a sample that is not its
    own until the command is known, and answers one that it has seen before it knew that it was its
    own:

        its turn is told to begin at 7        told        7
        it sees                        5   6       7
        it knows the command of                5   6
        it does                            follow 5, follow 6, answer 7

    In real time it follows the newest command at once.
    """

    def __init__(
        self,
        lockstep: bool,
        step_ns: int,
        answer: Callable[..., None],
        follow: Callable[..., None],
        from_ns: int | None = None,
    ) -> None:
        """answer(stamp_ns, *inputs): of a sample of its own. follow(stamp_ns, command, *inputs).
        from_ns: its turn has begun there; None: it has not. step_ns: to the next sample that
        another one may have."""
        self._lockstep, self._step_ns = lockstep, step_ns if lockstep else 1
        self._answer, self._follow = answer, follow
        self.from_ns = from_ns
        self._next_ns = 0
        self._samples: deque[tuple[int, tuple[Any, ...]]] = deque(maxlen=WAITING_MAX)
        self._told: deque[tuple[int, np.ndarray]] = deque(maxlen=WAITING_MAX)

    def sample(self, now_ns: int, *inputs: Any) -> None:
        """One has come, stamped now_ns, after those before it."""
        self._samples.append((now_ns, inputs))
        self._go_on()

    def told(self, now_ns: int, command: np.ndarray) -> None:
        """The command (m,) of a sample, whoever has found it."""
        self._told.append((now_ns, command))
        self._go_on()

    def begin(self, from_ns: int) -> None:
        """Its turn, from the sample with this stamp on."""
        self.from_ns = from_ns
        self._go_on()

    def end(self) -> int:
        """Its turn is over. Returns the stamp of the first sample that it leaves to others."""
        first_ns = max(self._next_ns, self.from_ns or 0)
        self.from_ns = None
        self._go_on()
        return first_ns

    def _go_on(self) -> None:
        while self._samples:
            now_ns, inputs = self._samples[0]
            command = None
            if not self._is_own(now_ns):
                command = self._command(now_ns)
                if command is None and self._lockstep and not self._is_past(now_ns):
                    return
            self._samples.popleft()
            if self._is_own(now_ns):
                self._next_ns = now_ns + self._step_ns
                self._answer(now_ns, *inputs)
            elif command is not None:
                self._follow(now_ns, command, *inputs)

    def _is_own(self, now_ns: int) -> bool:
        return self.from_ns is not None and now_ns >= self.from_ns

    def _command(self, now_ns: int) -> np.ndarray | None:
        """Of a sample; in real time, where stamps are of several clocks, the newest one."""
        if not self._lockstep:
            return self._told[-1][1] if self._told else None
        while self._told and self._told[0][0] < now_ns:
            self._told.popleft()
        return self._told[0][1] if self._told and self._told[0][0] == now_ns else None

    def _is_past(self, now_ns: int) -> bool:
        """Whether one of a later sample is known: its own was lost on the way."""
        return bool(self._told) and self._told[-1][0] > now_ns
