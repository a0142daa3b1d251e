"""How a node is, judged once a second from what it has counted; knows no ROS and no clock."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np


class Level(enum.IntEnum):
    """As diagnostic_msgs/DiagnosticStatus counts them."""

    OK = 0
    WARN = 1
    ERROR = 2


@dataclass(frozen=True)
class Health:
    """Of a node, over the last second or so."""

    level: Level
    message: str
    """One line for people."""
    numbers: dict[str, float]
    """By name, each with its unit in the name; those without are counts since the node started."""


AWAY, BACK = "unplugged", "plugged in again"
"""What is said of a device whose port has gone, and that has come back."""
AWAY_S = 0.5
"""Who has been away for less is said to be back, and nothing before."""
INACTIVE = Health(Level.OK, "not active", {})
"""Of a node that its lifecycle keeps from its hardware."""


@dataclass
class Since:
    """What has been added to counts since they were looked at last."""

    _before: dict[str, float] = field(default_factory=dict)

    def last(self, **totals: float) -> dict[str, float]:
        """Of each count by its name; one that has begun anew, as after a reset, counts from 0."""
        added = {}
        for name, total in totals.items():
            before = self._before.get(name, 0)
            added[name] = total - before if total >= before else total
        self._before |= totals
        return added


class SensorWatch:
    """Of a sensor that writes samples by itself."""

    SILENT_S = 0.5

    def __init__(self) -> None:
        self._since = Since()

    def judge(
        self, elapsed_s: float, counts: Mapping[str, int], silent_s: float, away_s: float = 0.0
    ) -> Health:
        """counts, since the start: samples and dropped, valid and damaged ones; of what has a port
        also reconnections, how often that has come back, and lost, the samples that had passed
        meanwhile. silent_s: since the last valid one; away_s: since the port has gone, 0: it is
        there."""
        new = self._since.last(**counts)
        rate_hz = new["samples"] / elapsed_s
        numbers = {**counts, "rate_hz": rate_hz, "silent_s": silent_s, "away_s": away_s}
        if away_s > AWAY_S:
            return Health(Level.ERROR, f"{AWAY} for {away_s:.1f} s", numbers)
        if silent_s > self.SILENT_S:
            return Health(Level.ERROR, f"no valid sample for {silent_s:.1f} s", numbers)
        faults = []
        if new.get("reconnections"):
            faults.append(f"{BACK}: {new['lost']:.0f} samples lost")
        if new["dropped"]:
            faults.append(
                f"dropped {new['dropped']:.0f} damaged samples ({counts['dropped']} so far)"
            )
        if faults:
            return Health(Level.WARN, "; ".join(faults), numbers)
        return Health(Level.OK, f"{rate_hz:.0f} samples a second", numbers)


class ActuatorWatch:
    """Of actuators behind a gate that refuses and limits commands."""

    def __init__(self) -> None:
        self._since = Since()

    def judge(
        self,
        elapsed_s: float,
        counts: Mapping[str, int],
        ages_s: Sequence[float],
        silent: bool,
        errors: int,
        safe_output: str,
        away_s: float = 0.0,
    ) -> Health:
        """counts: commands taken, refused and limited, samples lost on the wire, answers that were
        damaged, and how often the port has come back, since the start. ages_s: of the samples that
        commands of the last second answered, refused ones too. silent: nobody commands any more.
        errors: bits that any actuator reports. away_s: since the port has gone, 0: it is there."""
        new = self._since.last(**counts)
        oldest_s = max(map(abs, ages_s), default=0.0)
        numbers = {
            **counts,
            "rate_hz": new["commands"] / elapsed_s,
            "command_age_ms": 1e3 * oldest_s,
            "silent": float(silent),
            "errors": float(errors),
            "away_s": away_s,
        }
        faults = []
        if away_s > AWAY_S:
            faults.append(f"{AWAY} for {away_s:.1f} s")
        if new.get("reconnections"):
            faults.append(BACK)
        if errors:
            faults.append(f"error bits 0x{errors:02x}")
        if silent:
            faults.append(f"the controller is silent: safe output '{safe_output}'")
        if new["refused"]:
            faults.append(
                f"refused {new['refused']:.0f} commands, the oldest for a sample "
                f"{oldest_s:.3f} s ago"
            )
        for name, said in (
            ("limited", "commands limited"),
            ("lost", "samples lost on the wire"),
            ("bad", "damaged answers"),
        ):
            if new[name]:
                faults.append(f"{new[name]:.0f} {said}")
        if not faults:
            said = f"{numbers['rate_hz']:.0f} commands a second"
            return Health(Level.OK, said if counts["commands"] else "no command yet", numbers)
        level = Level.ERROR if errors or away_s > AWAY_S else Level.WARN
        return Health(level, "; ".join(faults), numbers)


class McuWatch:
    """Of a microcontroller in the loop: what comes with each sample, and what it counts itself."""

    FAULTS = {
        "deadline_misses": "missed deadlines",
        "missed_samples": "samples missed",
        "lost_points": "points of the reference lost",
        "bad_frames": "damaged frames",
        "refused": "messages or commands refused",
        "limited": "commands limited",
        "sensor_dropped": "samples of the sensor dropped",
        "actuator_bad": "damaged answers of actuators",
        "telemetry_missing": "reports that never came",
        "rearmed": "times armed again",
        "reconnections": "reconnections",
        "lost_samples": "samples lost",
    }
    """Counts of which each new one is worth a warning."""

    def __init__(self) -> None:
        self._since = Since()

    def judge(
        self,
        elapsed_s: float,
        counts: Mapping[str, int],
        latencies_ms: Sequence[float],
        step_costs: Sequence[float],
        state: str,
        reason: str,
        at_rest: bool,
    ) -> Health:
        """counts: samples answered, and those of FAULTS and others, since the start. latencies_ms,
        step_costs: of the samples of the last second. state: of the firmware, and the reason for it
        or "". at_rest: that state is none of a run."""
        new = self._since.last(**counts)
        numbers = {**counts, "rate_hz": new["samples"] / elapsed_s}
        for name, values in (("latency_ms", latencies_ms), ("step_cost", step_costs)):
            if len(values):
                numbers |= {name: float(np.median(values)), f"{name}_max": float(max(values))}
        where = f"{state}: {reason}" if reason else state
        faults = [f"{new[name]:.0f} {said}" for name, said in self.FAULTS.items() if new.get(name)]
        said = "; ".join([where, *faults] if faults else [where])
        if at_rest and counts["samples"]:
            return Health(Level.ERROR, said, numbers)
        if faults:
            return Health(Level.WARN, said, numbers)
        return Health(Level.OK, f"{where}, {numbers['rate_hz']:.0f} samples a second", numbers)


class WriterWatch:
    """Of what writes messages to disk."""

    def __init__(self) -> None:
        self._since = Since()

    def judge(self, elapsed_s: float, messages: int, size: int) -> Health:
        """Written since the start, and bytes of them."""
        new = self._since.last(messages=messages, bytes=size)
        numbers = {
            "messages": messages,
            "rate_hz": new["messages"] / elapsed_s,
            "bytes": size,
            "bytes_per_s": new["bytes"] / elapsed_s,
        }
        said = f"{numbers['rate_hz']:.0f} messages, {numbers['bytes_per_s'] / 1e3:.0f} kB a second"
        return Health(Level.OK, said, numbers)
