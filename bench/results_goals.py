"""What was asked for before it was measured, and what came of it.

The first table of docs/results.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from soft_control.campaign.disturbances import NOMINAL, parts_of
from soft_control.campaign.report import compared, shown
from soft_control.campaign.results import Comparison, Doubt, Figure, Results
from soft_control.campaign.ways import WAYS

FOUND_S = 0.5
"""In which a signal that lies should be found."""
SILENT_S = 600.0
"""In which no signal should be doubted that says what it feels."""
DRIFTS = ("channel_drifting_0.5", "channel_drifting_0.1", "channel_drifting_0.05")
REACHED, MISSED, OPEN, UNKNOWN = "reached", "**missed**", "open", "not measured"
UNSEEN = np.inf
"""Time after which a fault was found that nobody found."""


@dataclass(frozen=True)
class Goal:
    """What was asked for before it was measured. Of several tasks each has to keep it."""

    rig: str
    says: str
    controller: str
    tasks: tuple[str, ...]
    """Disturbances; one that is of each channel stands for all of them."""
    rmse: float = np.inf
    """At most so much, mean over references and seeds, in the unit of the errors."""
    worst: float = np.inf
    """The largest error of all runs."""
    below: str = ""
    """Or: a smaller RMSE than that controller's, so that the interval of the difference says so."""
    found_s: float = np.inf
    """Or: a signal that fails is doubted after so long, in each run."""
    silent: bool = False
    """Or: no signal is doubted while each says what it feels, for SILENT_S."""
    still: bool = False
    """Whether on the reference that stands still."""

    @property
    def limit(self) -> str:
        """As the page says it."""
        if self.silent:
            return "none"
        if self.below:
            return f"below {WAYS[self.below].title}"
        if self.found_s < np.inf:
            return f"{self.found_s:g} s"
        return f"{self.rmse:g}" + (f" / {self.worst:g}" if self.worst < np.inf else "")


def _found(rig: str) -> list[Goal]:
    kinds = {"dead": "dead", "stuck": "stuck", "spiking": "spiking"}
    kinds |= {
        f"drifting_{drift}": f"drifting by {100 * drift:g} % of full scale a second"
        for drift in (0.5, 0.1)
    }
    return [
        Goal(rig, f"each channel {says}, found within", "mpc", (f"channel_{kind}",),
             found_s=FOUND_S)
        for kind, says in kinds.items()
    ]  # fmt: skip


GOALS = (
    Goal("tendon", "as trained, untethered", "mpc", (NOMINAL,), 0.8, 2.2),
    Goal("tendon", "on a point, untethered", "mpc", (NOMINAL,), 0.5, still=True),
    Goal("tendon", "gain 0.8, calibrated", "mpc_calibrated", ("gain_0.8",), 1.0, 2.6),
    Goal("tendon", "gain 1.25, calibrated", "mpc_calibrated", ("gain_1.25",), 1.0, 2.6),
    Goal("tendon", "gain 0.8, not calibrated", "mpc", ("gain_0.8",), 3.9),
    Goal("tendon", "gain 1.25, not calibrated", "mpc", ("gain_1.25",), 5.1),
    Goal("tendon", "each channel dead", "mpc", ("channel_dead",), 1.5, 4.0),
    Goal("tendon", "each channel stuck", "mpc", ("channel_stuck",), 1.5, 4.0),
    Goal("tendon", "each channel drifting, fast or slowly", "mpc", DRIFTS, 1.5, 4.0),
    Goal("tendon", "each channel spiking", "mpc", ("channel_spiking",), 1.5, 4.0),
    *_found("tendon"),
    Goal("tendon", "ten minutes as trained, false alarms", "mpc", (NOMINAL,), silent=True),
    Goal("tendon", "all channels dead", "mpc", ("channels_dead",), 2.0),
    Goal("tendon", "as trained, tethered", "mpc_tethered", (NOMINAL,), 0.3),
    Goal("tendon", "gain 0.8, tethered", "mpc_tethered", ("gain_0.8",), 0.8),
    Goal("tendon", "gain 1.25, tethered", "mpc_tethered", ("gain_1.25",), 0.8),
    *(
        Goal("tendon", f"{says}, tethered", "mpc_tethered", (task,), below="pid_feedforward")
        for says, task in (("gain 0.8", "gain_0.8"), ("gain 1.25", "gain_1.25"))
    ),
    Goal("hasel", "as trained, untethered", "mpc", (NOMINAL,), 0.3, 0.8),
    Goal("hasel", "gain 0.8, calibrated", "mpc_calibrated", ("gain_0.8",), 0.45),
    Goal("hasel", "gain 1.2, calibrated", "mpc_calibrated", ("gain_1.2",), 0.45),
    Goal("hasel", "magnets 1 % weaker, untethered", "mpc", ("magnets_weak",), 0.4),
    *_found("hasel"),
    Goal("hasel", "ten minutes as trained, false alarms", "mpc", (NOMINAL,), silent=True),
)


@dataclass(frozen=True)
class Found:
    """Of one task of a goal."""

    task: str
    mine: Figure
    doubt: Doubt | None
    other: Figure | None
    """Of the controller that it has to be below."""
    apart: Comparison | None
    """From that controller."""

    @property
    def found_s(self) -> float:
        """The longest time to find a fault."""
        if self.doubt is None or self.doubt.missed or not self.doubt.failed:
            return UNSEEN
        return self.doubt.worst_s


@dataclass(frozen=True)
class Measured:
    """A goal and what came of it."""

    goal: Goal
    found: Sequence[Found]
    """Empty: not measured."""

    @property
    def figure(self) -> str:
        """As the page says it: of several tasks the largest of each figure, and whose it is."""
        if not self.found:
            return "-"
        if self.goal.silent:
            return "; ".join(map(_alarms, self.found))
        if self.goal.found_s < np.inf:
            return self._times()
        mean = max(self.found, key=lambda one: (one.mine.failed, one.mine.rmse))
        if self.goal.below:
            against = f", against {shown(mean.other)}" if mean.other else ""
            by = f": {compared(mean.apart.over_all)}" if mean.apart else ""
            return f"{shown(mean.mine)}{against}{by}"
        largest = max(self.found, key=lambda one: np.nan_to_num(one.mine.worst))
        if mean.mine.failed or len(self.found) == 1:
            return shown(mean.mine) + (f" ({mean.task})" if len(self.found) > 1 else "")
        tasks = " / ".join(dict.fromkeys((mean.task, largest.task)))
        return f"{mean.mine.rmse:.2f} / {largest.mine.worst:.2f} ({tasks})"

    def _times(self) -> str:
        doubts = [one.doubt for one in self.found if one.doubt]
        found = sum(doubt.found for doubt in doubts)
        if not found:
            return f"found in none of {sum(doubt.failed for doubt in doubts)} runs"
        mean_s = sum(doubt.mean_s * doubt.found for doubt in doubts if doubt.found) / found
        last = max((one for one in self.found if one.doubt), key=lambda one: one.doubt.worst_s)
        said = f"mean {mean_s:.2f} s, worst {last.doubt.worst_s:.2f} s ({last.task})"
        missed = sum(doubt.missed for doubt in doubts)
        return said + (f", in {missed} of {found + missed} runs never" if missed else "")

    @property
    def kind(self) -> str:
        """REACHED only where every task keeps every limit, and no run broke off."""
        if not self.found:
            return UNKNOWN
        said = {self._of(one) for one in self.found}
        return next(one for one in (MISSED, OPEN, REACHED) if one in said)

    @property
    def verdict(self) -> str:
        """The same; where it is missed, by how much."""
        if self.kind != MISSED:
            return self.kind
        goal = self.goal
        over = {
            "RMSE by ": max(one.mine.rmse for one in self.found) - goal.rmse,
            "largest by ": max(one.mine.worst for one in self.found) - goal.worst,
        }
        if goal.found_s < np.inf:
            late_s = [one.found_s for one in self.found if one.found_s < UNSEEN]
            over = {"by ": max(late_s, default=0.0) - goal.found_s}
        if goal.below:
            mean = max(self.found, key=lambda one: one.mine.rmse)
            over = {"by ": mean.mine.rmse - mean.other.rmse if mean.other else np.nan}
        said = [f"{of}{by:.2g}" for of, by in over.items() if by > 0.0]
        unit = " s" if goal.found_s < np.inf else ""
        return f"{MISSED}, {', '.join(said)}{unit}" if said and not goal.silent else MISSED

    def _of(self, one: Found) -> str:
        goal, mine = self.goal, one.mine
        if goal.silent:
            return REACHED if one.doubt and not one.doubt.alarms else MISSED
        if goal.found_s < np.inf:
            return REACHED if one.found_s <= goal.found_s else MISSED
        if mine.failed or not mine.rmse <= goal.rmse or not mine.worst <= goal.worst:
            return MISSED
        if not goal.below:
            return REACHED
        if one.other is None or one.apart is None or not mine.rmse < one.other.rmse:
            return MISSED
        return REACHED if one.apart.over_all.verdict == "better" else OPEN


def _alarms(one: Found) -> str:
    if one.doubt is None:
        return "nobody told"
    return f"{one.doubt.alarms:,} of {one.doubt.samples:,} samples"


def measure(
    goal: Goal, moving: Results, still: Results, watched: Results, watched_s: float
) -> Measured:
    """What the table says of a goal: of each of its tasks that there are runs of, in those that
    move, stand still, or are `watched`, each for so many seconds."""
    results = still if goal.still else watched if goal.silent else moving
    found = []
    if goal.silent and watched_s < SILENT_S:
        return Measured(goal, [])
    for name in results.names("disturbance", goal.rig):
        if not {name, parts_of(name)[0]} & set(goal.tasks):
            continue
        rows = results.rows(goal.rig, name, goal.controller)
        theirs = results.rows(goal.rig, name, goal.below)
        if rows:
            found.append(
                Found(
                    name,
                    results.figure(rows),
                    results.doubt(rows),
                    results.figure(theirs) if theirs else None,
                    results.compare(goal.rig, name, goal.controller, goal.below),
                )
            )
    return Measured(goal, found)
