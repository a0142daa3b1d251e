"""Of the node mcu: its microcontroller has gone, and is looked for while the run goes on."""

from __future__ import annotations

import time
from typing import Any

from soft_control.experiment.returning_session import Returned
from soft_control.link.errors import Gone, LinkError
from soft_control.link.returning import Backoff


class Absence:
    """Whether it is away, and how often it was. One thread uses it; others look."""

    def __init__(self, node: Any) -> None:
        """node: the node mcu."""
        self._node = node
        self.rearmed = 0
        """How often it has come back and was armed anew: it knew nothing of the run, or has its
        samples from the host."""
        self.reconnections = 0
        """How often it has come back and had run on."""
        self.lost_samples = 0
        """Of which nobody here knows what the robot was told."""
        self._gone: Gone | None = None
        self._gone_s = 0.0
        self._backoff = Backoff()

    @property
    def may_end(self) -> bool:
        """Whether to look for one that goes. In lockstep a microcontroller that has the instruments
        does not say how far the robot has gone without it; a library does not come back."""
        p = self._node.parameters
        lockstep_in_material = self._node.owns_instruments and not self._node.realtime
        return p.reconnect_s > 0 and p.target != "sil" and not lockstep_in_material

    @property
    def lasts(self) -> bool:
        """Whether it is away now."""
        return self._gone is not None

    def seconds(self) -> float:
        """For how long it has been away, s; 0: it is there."""
        return time.monotonic() - self._gone_s if self.lasts else 0.0

    @property
    def reason(self) -> str:
        """Why it is away, in one line."""
        return str(self._gone)

    def counts(self) -> dict[str, int]:
        """For diagnostics and the bag."""
        return {
            "rearmed": self.rearmed,
            "reconnections": self.reconnections,
            "lost_samples": self.lost_samples,
        }

    def begin(self, gone: Gone) -> None:
        """It has gone; raises `gone` where it is not looked for."""
        if not self.may_end:
            raise gone
        self._gone, self._gone_s, self._backoff = gone, time.monotonic(), Backoff()

    def forget(self) -> None:
        """One has been opened anew, whatever there was before."""
        self._gone = None

    @property
    def wait_s(self) -> float:
        """Until it is worth to look again, s."""
        return self._backoff.wait_s

    def look(self, next_k: int | None = None) -> Returned | None:
        """Looks for it, if it is time to; what it was found like, or None. next_k: as of `go_on`.

        Raises LinkError where it has been away for too long, and as ReturningSession.go_on where it
        is there and the run cannot go on.
        """
        p = self._node.parameters
        if not self._backoff.is_due(time.monotonic()):
            return None
        try:
            returned = self._node.session.go_on(p.rearm, next_k)
        except LinkError as error:
            if self.seconds() < p.reconnect_s:
                return None
            raise LinkError(
                f"{self._gone}; not back within {p.reconnect_s:g} s: {error}"
            ) from error
        words = f"the microcontroller was away for {self.seconds():.2f} s ({self._gone})"
        if returned.armed:
            self.rearmed += 1
            words += f" and has been armed again from sample {returned.k} on"
        else:
            self.reconnections += 1
            words += " and has run on"
        self._gone = None
        self._node.get_logger().warning(words)
        return returned
