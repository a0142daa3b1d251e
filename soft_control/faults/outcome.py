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
            late_ms = self.safe_ms - expected.tolerated_ms
            self.fail_unless(
                late_ms <= SAFE_MS,
                f"safe output after {self.safe_ms:.1f} ms: {late_ms:.1f} ms after the "
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
