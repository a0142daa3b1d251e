"""What the table of a campaign says: figures by task, and which controller is better, how surely.

A task is a rig with a disturbance. Two controllers are compared on the runs of a task that both
made, pair by pair: same reference, same seed and so the same noise. The bootstrap of their
differences is paired, as it is one of the differences themselves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
from scipy.stats import bootstrap

from soft_control.campaign.disturbances import fails_channels

CONFIDENCE = 0.95
RESAMPLES = 5000
"""Of a bootstrap: the ends of an interval then move by some percent of its width from seed to
seed, and the seed is always the same."""
MARGIN = 1e-9
"""In the unit of the errors: what differs by less is equal, as where a disturbance does not reach
either controller."""

Place = tuple[str, int]
"""Reference and seed."""
Verdict = Literal["better", "worse", "equal", "open"]


@dataclass(frozen=True)
class Figure:
    """Of a controller in a task, over references and seeds."""

    runs: int
    failed: int
    """Runs that broke off, and are in no figure."""
    references: int
    """That the runs are of."""
    rmse: float
    """Mean of the runs' RMSE; not a number where none has any."""
    worst: float
    """Largest error of all runs."""
    late: float
    """Mean of the runs' RMSE from their middle on."""


@dataclass(frozen=True)
class Doubt:
    """What a firmware told of its signals in some runs, by its telemetry."""

    samples: int
    """Of all these runs, of the part that counts."""
    alarms: int
    """Samples in which a signal was doubted that said what it felt."""
    alarmed: int
    """Runs that had one."""
    failed: int
    """Runs in which a channel failed."""
    found: int
    """Of these, in which it was found."""
    mean_s: float
    """From the first sample in which what it said was wrong to the first in which it was not
    believed; of those found; not a number where there is none."""
    worst_s: float

    @property
    def missed(self) -> int:
        """Runs in which a channel failed, and nobody noticed."""
        return self.failed - self.found


@dataclass(frozen=True)
class Difference:
    """Of the RMSE of one controller from that of another one, paired; in the unit of the errors."""

    mean: float
    """Not a number without a pair that both have figures of."""
    low: float
    """Of the interval that it lies in with CONFIDENCE; not a number where there are fewer than two
    to find one from."""
    high: float

    @property
    def verdict(self) -> Verdict:
        """What can be said of the one: nothing, where the interval holds 0, or there is none."""
        if self.low > -MARGIN and self.high < MARGIN:
            return "equal"
        if self.high < 0.0:
            return "better"
        return "worse" if self.low > 0.0 else "open"


@dataclass(frozen=True)
class Comparison:
    """One controller against another in a task."""

    pairs: int
    """Of runs with the same reference and seed."""
    won: int
    """Pairs in which it has the smaller RMSE, or the other broke off."""
    lost: int
    over_all: Difference
    """Mean over references of their means over seeds; the interval is over references, whose
    runs from seed to seed are no evidence of their own about another reference. Of a single
    reference it is over seeds."""
    by_reference: Mapping[str, Difference]
    """Mean over seeds, and the interval over them."""

    def references(self, verdict: Verdict) -> list[str]:
        """Those with that verdict."""
        return [name for name, one in self.by_reference.items() if one.verdict == verdict]


class Results:
    """A campaign's table, by what a report asks of it."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table
        names = ("rig", "reference", "controller", "disturbance", "seed", "fault", "unit", "of")
        columns = {name: table[name].to_pylist() for name in names}
        self._rmse, self._max, self._late = (
            table[name].to_numpy(zero_copy_only=False) for name in ("rmse", "max", "rmse_late")
        )
        self._samples, self._found_s, self._alarms, self._iterations = (
            table[name].to_numpy(zero_copy_only=False).astype(float)
            for name in ("samples", "found_s", "doubted_sound", "iterations")
        )
        self._fault, self._columns = columns["fault"], columns
        self._rows: dict[tuple[str, str, str], dict[Place, int]] = {}
        keys = zip(
            *(columns[name] for name in ("rig", "disturbance", "controller", "reference", "seed")),
            strict=True,
        )
        for i, (rig, disturbance, controller, reference, seed) in enumerate(keys):
            self._rows.setdefault((rig, disturbance, controller), {})[reference, seed] = i

    def names(self, column: str, rig: str) -> list[str]:
        """Of references, controllers or disturbances of a rig, in the order of the table."""
        pairs = zip(self._columns["rig"], self._columns[column], strict=True)
        return list(dict.fromkeys(name for at, name in pairs if at == rig))

    def unit(self, rig: str) -> str:
        """Of the rig's errors, on paper; 1 where no run of it has any."""
        units = zip(self._columns["rig"], self._columns["unit"], strict=True)
        return next((unit for at, unit in units if at == rig and unit), "1")

    def rows(
        self, rig: str, disturbance: str, controller: str, reference: str | None = None
    ) -> list[int]:
        """Numbers of the rows, of one reference or of all."""
        found = self._rows.get((rig, disturbance, controller), {})
        return [i for (at, _), i in found.items() if reference in (None, at)]

    def sound(self, rows: Sequence[int]) -> list[int]:
        """Those that have figures."""
        return [i for i in rows if self._fault[i] is None]

    def figure(self, rows: Sequence[int]) -> Figure:
        """Of these rows."""
        sound = self.sound(rows)
        references = len({self._columns["reference"][i] for i in rows})
        if not sound:
            return Figure(len(rows), len(rows), references, np.nan, np.nan, np.nan)
        return Figure(
            len(rows),
            len(rows) - len(sound),
            references,
            float(np.mean(self._rmse[sound])),
            float(np.max(self._max[sound])),
            float(np.mean(self._late[sound])),
        )

    def doubt(self, rows: Sequence[int]) -> Doubt | None:
        """Of these rows; None where nobody says which signals it believes."""
        told = [i for i in self.sound(rows) if not np.isnan(self._alarms[i])]
        if not told:
            return None
        failed = [i for i in told if fails_channels(self._columns["disturbance"][i])]
        found_s = self._found_s[failed]
        found_s = found_s[np.isfinite(found_s)]
        return Doubt(
            samples=int(self._samples[told].sum()),
            alarms=int(self._alarms[told].sum()),
            alarmed=int(np.sum(self._alarms[told] > 0)),
            failed=len(failed),
            found=len(found_s),
            mean_s=float(found_s.mean()) if found_s.size else np.nan,
            worst_s=float(found_s.max()) if found_s.size else np.nan,
        )

    def iterations(self, rows: Sequence[int]) -> float:
        """Mean of a solver's iterations a sample; not a number where nobody counts them."""
        told = self._iterations[self.sound(rows)]
        return float(told.mean()) if told.size else np.nan

    def seeds(self, rows: Sequence[int]) -> int:
        """How many different ones these rows have."""
        return len({self._columns["seed"][i] for i in rows})

    def rmse(self, rows: Sequence[int]) -> np.ndarray:
        """(K,) of the sound ones of these rows."""
        return self._rmse[self.sound(rows)]

    def trace(self, row: int, outputs: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Times (T,), s, outputs (T, n) and reference (T, n), in their units on paper."""
        t_s, seen, wanted = (
            self._table[name][row].values.to_numpy()
            for name in ("t_s", "outputs", "reference_outputs")
        )
        return t_s, seen.reshape(-1, outputs), wanted.reshape(-1, outputs)

    def faults(self) -> list[tuple[int, str]]:
        """Number and reason of each row that broke off."""
        return [(i, reason) for i, reason in enumerate(self._fault) if reason is not None]

    def compare(self, rig: str, disturbance: str, one: str, other: str) -> Comparison | None:
        """`one` against `other`; None where they have no run of this task in common."""
        mine, theirs = (self._rows.get((rig, disturbance, name), {}) for name in (one, other))
        common = {place: (i, theirs[place]) for place, i in mine.items() if place in theirs}
        if not common:
            return None
        won = lost = 0
        apart: dict[str, list[float]] = {}
        for (reference, _), (a, b) in common.items():
            apart.setdefault(reference, [])
            broke_off = [self._fault[i] is not None for i in (a, b)]
            if any(broke_off):
                won, lost = won + (broke_off == [False, True]), lost + (broke_off == [True, False])
                continue
            difference = float(self._rmse[a] - self._rmse[b])
            won, lost = won + (difference < -MARGIN), lost + (difference > MARGIN)
            apart[reference].append(difference)
        by_reference = {name: difference_of(values) for name, values in apart.items()}
        means = [found.mean for found in by_reference.values() if not np.isnan(found.mean)]
        single = next(iter(by_reference.values())) if len(by_reference) == 1 else None
        return Comparison(len(common), won, lost, single or difference_of(means), by_reference)


def difference_of(apart: Sequence[float]) -> Difference:
    """The mean of paired differences (K,), and the interval that it lies in with CONFIDENCE.

    Bias-corrected and accelerated bootstrap over the pairs (Efron, "Better bootstrap confidence
    intervals", 1987), which needs three pairs; of two, from the one to the other.
    """
    values = np.asarray(apart, dtype=float)
    if not values.size:
        return Difference(np.nan, np.nan, np.nan)
    mean = float(values.mean())
    if len(values) == 1:
        return Difference(mean, np.nan, np.nan)
    if len(values) == 2 or np.ptp(values) < MARGIN:
        return Difference(mean, float(values.min()), float(values.max()))
    found = bootstrap(
        (values,),
        np.mean,
        n_resamples=RESAMPLES,
        confidence_level=CONFIDENCE,
        method="BCa",
        random_state=np.random.default_rng(0),
    ).confidence_interval
    return Difference(mean, float(found.low), float(found.high))
