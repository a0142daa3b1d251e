"""What came of a fault: what was seen, and where that is not what was expected."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from soft_control.faults.fault import SAFE_MS, Fault


@dataclass(frozen=True)
class Loss:
    """Something that did not come, and how many of them somebody has counted."""

    what: str
    lost: int
    counted: int

    def __str__(self) -> str:
        return f"{self.counted} of {self.lost} {self.what}"


@dataclass
class Outcome:
    """Of one fault."""

    fault: Fault
    state: str = ""
    """Of the firmware when the run was over; empty where there is none to ask."""
    cause: str = ""
    safe_ms: float | None = None
    """From the fault's begin to the first command on the way to the safe output; None: none came.
    """
    by_the_wall: bool = False
    """That time is of this machine's clock, however loaded it is, and has no limit."""
    losses: list[Loss] = field(default_factory=list)
    said: str = ""
    """What was said to whoever started the run."""
    failures: list[str] = field(default_factory=list)
    """Whatever is not as expected, each in a line."""
    took_s: float = 0.0

    @property
    def passed(self) -> bool:
        return not self.failures

    @property
    def late_alone(self) -> bool:
        """Whether the time to the safe output is all that is not as expected."""
        return len(self.failures) == 1 and self._late_ms > SAFE_MS

    @property
    def _late_ms(self) -> float:
        """After what is tolerated; 0 where there is no such time, or it has no limit."""
        if self.safe_ms is None or self.by_the_wall:
            return 0.0
        return self.safe_ms - (self.fault.expect.tolerated_ms or 0.0)

    def fail_unless(self, right: bool, otherwise: str) -> None:
        """Notes a failure where it is not right."""
        if not right:
            self.failures.append(otherwise)

    def judge(self) -> None:
        """Against what the fault expects; what a stand alone can know it has noted before."""
        expected = self.fault.expect
        where = (self.state, self.cause)
        wanted = (expected.state, expected.cause)
        self.fail_unless(
            not self.state or where == wanted,
            "is {}: {}, not {}: {}".format(*where, *wanted),
        )
        if expected.tolerated_ms is None:
            self.fail_unless(self.safe_ms is None, "went to the safe output")
        elif self.safe_ms is None:
            self.failures.append("never went to the safe output")
        elif not self.by_the_wall:
            self.fail_unless(
                self._late_ms <= SAFE_MS,
                f"safe output after {self.safe_ms:.1f} ms: {self._late_ms:.1f} ms after the "
                f"{expected.tolerated_ms:g} ms that are tolerated, not {SAFE_MS:g}",
            )
        for loss in self.losses:
            self.fail_unless(loss.counted >= loss.lost, f"lost uncounted: {loss}")
        lost = sum(loss.lost for loss in self.losses if not loss.what.startswith("damaged"))
        self.fail_unless(expected.lost != "none" or lost == 0, f"lost {lost}")
        self.fail_unless(expected.lost != "some" or lost > 0, "nothing was lost: no fault at all")
        self.fail_unless(
            expected.says in self.said, f"said {self.said!r}, in which is no {expected.says!r}"
        )

    def as_json(self) -> dict[str, Any]:
        """The record of it."""
        return {
            "name": self.fault.name,
            "fault": self.fault.model_dump(mode="json"),
            "state": self.state,
            "cause": self.cause,
            "safe_ms": self.safe_ms,
            "by_the_wall": self.by_the_wall,
            "losses": [vars(loss) for loss in self.losses],
            "said": self.said,
            "took_s": round(self.took_s, 3),
            "passed": self.passed,
            "failures": self.failures,
        }
