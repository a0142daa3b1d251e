"""docs/results.md from what `make results` has made: campaigns on both rigs, as one table by task,
figures, who is ahead of whom, and what was asked for beside what was measured."""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from results_figures import IMAGES, draw
from results_goals import GOALS, MISSED, OPEN, REACHED, UNKNOWN, Measured, measure
from results_signals import Signals, alarmed, folded, found_after, signals_of

from nn4mc_codegen.printing.c import template_environment
from soft_control.campaign.disturbances import DISTURBANCES, NOMINAL, parts_of
from soft_control.campaign.report import Picture, cell, compared, names, shown
from soft_control.campaign.results import CONFIDENCE, Comparison, Figure, Results
from soft_control.campaign.store import PLAN_FILE, SCHEMA, TABLE_FILE
from soft_control.campaign.ways import WAYS
from soft_control.paths import TEMPLATES

ROOT = Path(__file__).resolve().parents[1]
STILL = "fixed"
"""The reference that stands still: its error is another thing than that of a path, and in no mean
with one."""
MPCS = ("mpc", "mpc_calibrated", "mpc_tethered")
OTHERS = ("pid", "pid_feedforward", "static_inverse")
"""That the page compares each of MPCS with."""
PIDS = OTHERS[:2]
KINDS = (REACHED, MISSED, OPEN, UNKNOWN)
BOUND = "ipopt"
"""No controller that anyone could put into a robot: in the tables, and in no comparison."""


@dataclass(frozen=True)
class Ended:
    """A campaign."""

    table: pa.Table
    identity: Mapping[str, Any]
    watched: bool
    """Whether it is there for what is doubted in it alone."""


@dataclass(frozen=True)
class Task:
    """A line of the table."""

    name: str
    help: str
    runs: str
    """Seeds, and of how many channels."""
    figures: Sequence[Figure | None]
    """Each controller's; None: it has no run there."""


@dataclass(frozen=True)
class Versus:
    """One of OTHERS, and what each MPC is against it."""

    other: str
    tasks: Sequence[tuple[str, Sequence[Comparison | None]]]
    """(disturbance, each MPC's comparison)"""


@dataclass(frozen=True)
class Ahead:
    """Where a PID is ahead of an MPC, by the comparisons of the page."""

    pid: str
    mpc: str
    tasks: Sequence[tuple[str, Comparison]]
    """All that both have runs of."""

    def won(self, surely: bool) -> list[tuple[str, Comparison]]:
        """Tasks in which the PID's mean RMSE is smaller: so that the interval says so, or not."""
        return [
            (name, found)
            for name, found in self.tasks
            if found.over_all.mean > 0.0 and (found.over_all.verdict == "worse") == surely
        ]


@dataclass(frozen=True)
class Bound:
    """What an optimum of the same problem at every sample would be worth, as trained."""

    iterations: float
    """Of its solver, mean a sample."""
    apart: Comparison
    """The untethered MPC's RMSE from it."""


@dataclass(frozen=True)
class RigPart:
    """What the page says of one rig."""

    name: str
    unit: str
    model: str
    firmware: str
    controllers: Sequence[str]
    mpcs: Sequence[str]
    references: Sequence[str]
    tasks: Sequence[Task]
    still: Sequence[Task]
    """On the reference that stands still."""
    by_reference: Sequence[tuple[str, Sequence[Figure | None]]]
    """As trained."""
    versus: Sequence[Versus]
    ahead: Sequence[Ahead]
    best: Mapping[str, Sequence[str]]
    """By controller the tasks in which its mean RMSE is the least of all; those that all ran."""
    pictures: Sequence[Picture]
    signals: Signals | None
    """None: no controller says which signals it believes."""
    watched_s: float
    """How long the runs are in which only doubt counts."""
    bound: Bound | None

    @property
    def gaps(self) -> bool:
        """Whether there is a task that not every controller ran."""
        return any(one is None for task in self.tasks for one in task.figures)


def main(folders: Sequence[Path], watched: Sequence[Path], docs: Path) -> Path:
    """Writes DOCS/results.md and DOCS/images/results_*.png from the folders of campaigns. Of those
    in `watched` only what was doubted in them counts, and no error."""
    campaigns = [Ended(*read(folder), folder in watched) for folder in [*folders, *watched]]
    tables = pa.concat_tables([one.table for one in campaigns])
    check_one_kind([*folders, *watched], [one.identity for one in campaigns])
    images = docs / IMAGES
    images.mkdir(parents=True, exist_ok=True)
    for old in images.glob("results_*.png"):
        old.unlink()
    rigs = list(dict.fromkeys(tables["rig"].to_pylist()))
    parts, measured, broken = [], [], []
    for rig in rigs:
        mine = [one for one in campaigns if rig in one.identity["rigs"]]
        runs = runs_of(rig, mine)
        parts.append(rig_part(rig, runs, mine[0].identity["rigs"][rig], images))
        measured += [
            measure(goal, runs.moving, runs.still, runs.watched, runs.watched_s)
            for goal in GOALS
            if goal.rig == rig
        ]
        broken += broken_off(tables.filter(pc.equal(tables["rig"], rig)))
    measured += [Measured(goal, []) for goal in GOALS if goal.rig not in rigs]
    environment = template_environment(TEMPLATES)
    environment.filters |= {"cell": cell, "figure": shown, "comparison": compared, "names": names}
    environment.filters |= {"found": found_after, "alarmed": alarmed}
    plans = [one.identity["plan"] for one in campaigns if not one.watched]
    page = environment.get_template("results.md").render(
        runs=tables.num_rows,
        seeds=sorted({len(seeds_of(plan["seeds"])) for plan in plans}, reverse=True),
        duration_s=sorted({plan["duration_s"] for plan in plans}),
        rigs=parts,
        measured=measured,
        kinds={kind: [one.kind for one in measured].count(kind) for kind in KINDS},
        broken=broken,
        bound=BOUND,
        titles={name: way.title for name, way in WAYS.items()},
        sees={name: way.sees_outputs for name, way in WAYS.items()},
        confidence=round(100 * CONFIDENCE),
    )
    path = docs / "results.md"
    path.write_text(page, encoding="utf-8")
    return path


def read(folder: Path) -> tuple[pa.Table, dict[str, Any]]:
    """Table and identity of a campaign. Raises ValueError where it has not ended."""
    try:
        table = pq.read_table(folder / TABLE_FILE, schema=SCHEMA)
        return table, json.loads((folder / PLAN_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{folder}: no campaign that has ended: {error}") from None


def check_one_kind(folders: Sequence[Path], identities: Sequence[Mapping[str, Any]]) -> None:
    """Raises ValueError where two campaigns of a rig are of different models, firmware or code:
    their rows would be no table."""
    known: dict[str, tuple[Path, object]] = {}
    for folder, identity in zip(folders, identities, strict=True):
        for rig, of in identity["rigs"].items():
            kind = (of["model"], of["firmware"], of["rig"], identity["code"])
            first, other = known.setdefault(rig, (folder, kind))
            if other != kind:
                raise ValueError(
                    f"{folder}: its {rig} is of another model, firmware or code than that of "
                    f"{first}: run both campaigns again"
                )


def seeds_of(seeds: int | list[int]) -> list[int]:
    """As a plan has them: how many, or which."""
    return list(range(seeds)) if isinstance(seeds, int) else seeds


def broken_off(table: pa.Table) -> list[tuple[str, str]]:
    """Which run, and why, of all that broke off."""
    columns = ("rig", "reference", "controller", "disturbance", "seed")
    rows = table.select([*columns, "fault"]).to_pylist()
    broken = [row for row in rows if row["fault"] is not None]
    return [(", ".join(str(row[name]) for name in columns), row["fault"]) for row in broken]


# ---------------------------------------------------------------------------------- of one rig


@dataclass(frozen=True)
class Runs:
    """All of a rig."""

    moving: Results
    """Those that follow a path."""
    still: Results
    """Those on the reference that stands still."""
    watched: Results
    """Those that are there for what is doubted in them."""
    watched_s: float
    """How long each of these is, at least."""
    folded: Results
    """Those that follow a path, channels that fail in one way taken together."""
    campaigns: Sequence[Results]
    """The same, by campaign."""


def runs_of(rig: str, campaigns: Sequence[Ended]) -> Runs:
    """Sorted by what they are good for."""
    moving, still, watched, watched_s = [], [], [], []
    for one in campaigns:
        of_rig = one.table.filter(pc.equal(one.table["rig"], rig))
        stands = pc.equal(of_rig["reference"], STILL)
        if one.watched:
            watched.append(of_rig)
            watched_s.append(one.identity["plan"]["duration_s"])
        else:
            moving.append(of_rig.filter(pc.invert(stands)))
            still.append(of_rig.filter(stands))
    none = SCHEMA.empty_table()
    paths = pa.concat_tables([none, *moving])
    return Runs(
        moving=Results(paths),
        still=Results(pa.concat_tables([none, *still])),
        watched=Results(pa.concat_tables([none, *watched])),
        watched_s=min(watched_s, default=0.0),
        folded=Results(folded(paths)),
        campaigns=[Results(folded(table)) for table in moving if table.num_rows],
    )


def rig_part(rig: str, runs: Runs, identity: Mapping[str, Any], images: Path) -> RigPart:
    """All that stands below a rig's heading; its figures are written to `images`."""
    moving = runs.moving
    controllers = moving.names("controller", rig)
    real = [name for name in controllers if name != BOUND]
    mpcs = [name for name in MPCS if name in controllers]
    tasks = [task(runs, rig, name, controllers) for name in runs.folded.names("disturbance", rig)]
    against = [versus(moving, rig, other, mpcs) for other in OTHERS if other in controllers]
    with warnings.catch_warnings():
        # A letter that the font lacks is drawn as a box.
        warnings.filterwarnings("ignore", message="Glyph .* missing", category=UserWarning)
        pictures = list(draw(rig, real, moving, runs.campaigns, images))
    still = runs.still
    return RigPart(
        name=rig,
        unit=moving.unit(rig),
        model=identity["model"],
        firmware=identity["firmware"],
        controllers=controllers,
        mpcs=mpcs,
        references=moving.names("reference", rig),
        tasks=tasks,
        still=[
            Task(
                name, meaning(name), seeds(still, rig, name), figures(still, rig, name, controllers)
            )
            for name in still.names("disturbance", rig)
        ],
        by_reference=[
            (name, figures(moving, rig, NOMINAL, controllers, name))
            for name in moving.names("reference", rig)
        ],
        versus=against,
        ahead=[found for one in against if one.other in PIDS for found in ahead(one, mpcs)],
        best=best(tasks, controllers, real),
        pictures=pictures,
        signals=signals_of(rig, mpcs, moving, runs.watched) if mpcs else None,
        watched_s=runs.watched_s,
        bound=bound(moving, rig),
    )


def bound(results: Results, rig: str) -> Bound | None:
    """None where it, or the untethered MPC, was not run."""
    apart = results.compare(rig, NOMINAL, MPCS[0], BOUND)
    rows = results.rows(rig, NOMINAL, BOUND)
    return Bound(results.iterations(rows), apart) if apart else None


def best(
    tasks: Sequence[Task], controllers: Sequence[str], real: Sequence[str]
) -> dict[str, list[str]]:
    """As RigPart has it, of the `real` ones; who broke off in a run is not the best."""
    found: dict[str, list[str]] = {name: [] for name in real}
    for one in tasks:
        of = dict(zip(controllers, one.figures, strict=True))
        if all(of[name] for name in real):
            errors = [np.inf if of[name].failed else of[name].rmse for name in real]
            found[real[int(np.argmin(errors))]].append(one.name)
    return found


def figures(
    results: Results,
    rig: str,
    disturbance: str,
    controllers: Sequence[str],
    reference: str | None = None,
) -> list[Figure | None]:
    """Of each controller; None: no run."""
    rows = [results.rows(rig, disturbance, name, reference) for name in controllers]
    return [results.figure(of) if of else None for of in rows]


def task(runs: Runs, rig: str, disturbance: str, controllers: Sequence[str]) -> Task:
    """A line of the table; channels that fail in one way are one."""
    found = figures(runs.folded, rig, disturbance, controllers)
    spelled = [
        name for name in runs.moving.names("disturbance", rig) if parts_of(name)[0] == disturbance
    ]
    said = seeds(runs.moving, rig, spelled[0])
    if len(spelled) > 1 or ":" in spelled[0]:
        said += f", {len(spelled)} channel{'s' if len(spelled) > 1 else ''}"
    return Task(disturbance, meaning(disturbance), said, found)


def meaning(disturbance: str) -> str:
    """In a few words."""
    return DISTURBANCES[parts_of(disturbance)[0]].help


def seeds(results: Results, rig: str, disturbance: str) -> str:
    """How many, of whoever has most; and of whom fewer."""
    controllers = results.names("controller", rig)
    counts = [results.seeds(results.rows(rig, disturbance, name)) for name in controllers]
    there = sorted({count for count in counts if count}, reverse=True)
    return " or ".join(map(str, there))


def versus(results: Results, rig: str, other: str, mpcs: Sequence[str]) -> Versus:
    """Every task that `other` has runs of."""
    rows = []
    for name in results.names("disturbance", rig):
        found = [results.compare(rig, name, mpc, other) for mpc in mpcs]
        if any(found):
            rows.append((name, found))
    return Versus(other, rows)


def ahead(against: Versus, mpcs: Sequence[str]) -> list[Ahead]:
    """Of a PID, for each MPC."""
    return [
        Ahead(against.other, mpc, [(name, found[i]) for name, found in against.tasks if found[i]])
        for i, mpc in enumerate(mpcs)
    ]


if __name__ == "__main__":
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("campaigns", nargs="+", type=Path, help="folders of `softctl campaign`")
    asked.add_argument("--watched", nargs="*", type=Path, default=[], help="those of long runs")
    asked.add_argument("--docs", type=Path, default=ROOT / "docs")
    chosen = asked.parse_args()
    try:
        print(main(chosen.campaigns, chosen.watched, chosen.docs))
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
