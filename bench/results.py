"""docs/results.md from what `make results` has made: campaigns on both rigs, as one table by task,
figures, who is ahead of whom, and what was asked for beside what was measured."""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from nn4mc_codegen.printing.c import template_environment
from soft_control.campaign.disturbances import DISTURBANCES, NOMINAL, parts_of
from soft_control.campaign.figures import (
    Drawing,
    draw_boxes,
    draw_errors,
    draw_plane,
    draw_time,
)
from soft_control.campaign.report import Picture, cell, compared, names, shown
from soft_control.campaign.results import CONFIDENCE, Comparison, Figure, Results
from soft_control.campaign.store import PLAN_FILE, SCHEMA, TABLE_FILE
from soft_control.campaign.ways import WAYS
from soft_control.experiment.figures import STYLE, plt
from soft_control.paths import TEMPLATES
from soft_control.rigs import make_rig

ROOT = Path(__file__).resolve().parents[1]
STILL = "fixed"
"""The reference that stands still: its error is another thing than that of a path, and in no mean
with one."""
MPCS = ("mpc", "mpc_calibrated", "mpc_tethered")
OTHERS = ("pid", "pid_feedforward", "static_inverse")
"""That the page compares each of MPCS with."""
PIDS = OTHERS[:2]
IMAGES = "images"
DPI = 100
"""Of figures: as SVG, with a band for each of six controllers, they would be some MB in all."""


@dataclass(frozen=True)
class Goal:
    """What was asked for before it was measured."""

    rig: str
    says: str
    controller: str
    tasks: tuple[str, ...]
    """Disturbances; one that is of each channel stands for all of them. Each has to keep it."""
    rmse: float = np.inf
    """At most so much, mean over references and seeds, in the unit of the errors."""
    worst: float = np.inf
    """The largest error of all runs."""
    below: str = ""
    """Or: a smaller RMSE than that controller's, so that the interval of the difference says so."""
    still: bool = False
    """Whether on the reference that stands still."""


GOALS = (
    Goal("tendon", "as trained, untethered", "mpc", (NOMINAL,), 0.8, 2.2),
    Goal("tendon", "on a point, untethered", "mpc", (NOMINAL,), 0.5, still=True),
    Goal("tendon", "gain 0.8, calibrated", "mpc_calibrated", ("gain_0.8",), 1.0, 2.6),
    Goal("tendon", "gain 1.25, calibrated", "mpc_calibrated", ("gain_1.25",), 1.0, 2.6),
    Goal("tendon", "gain 0.8, not calibrated", "mpc", ("gain_0.8",), 3.9),
    Goal("tendon", "gain 1.25, not calibrated", "mpc", ("gain_1.25",), 5.1),
    Goal("tendon", "each channel dead", "mpc", ("channel_dead",), 1.5, 4.0),
    Goal("tendon", "each channel stuck", "mpc", ("channel_stuck",), 1.5, 4.0),
    Goal("tendon", "each channel drifting", "mpc", ("channel_drifting",), 1.5, 4.0),
    Goal("tendon", "each channel spiking", "mpc", ("channel_spiking",), 1.5, 4.0),
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
)


@dataclass(frozen=True)
class Found:
    """Of one task of a goal."""

    task: str
    mine: Figure
    other: Figure | None
    """Of the controller that it has to be below."""
    apart: Comparison | None
    """From that controller."""


@dataclass(frozen=True)
class Measured:
    """A goal and what came of it."""

    goal: Goal
    found: Sequence[Found]
    """Empty: not measured."""

    @property
    def worst(self) -> Found:
        """The task with the largest RMSE, or with runs that broke off."""
        return max(self.found, key=lambda one: (one.mine.failed, one.mine.rmse))

    @property
    def verdict(self) -> str:
        """reached only where every task keeps every limit, and no run broke off."""
        if not self.found:
            return "not measured"
        said = {self._of(one) for one in self.found}
        return next(one for one in ("**missed**", "open", "reached") if one in said)

    def _of(self, one: Found) -> str:
        goal, mine = self.goal, one.mine
        if mine.failed or not mine.rmse <= goal.rmse or not mine.worst <= goal.worst:
            return "**missed**"
        if not goal.below:
            return "reached"
        if one.other is None or one.apart is None or not mine.rmse < one.other.rmse:
            return "**missed**"
        return "reached" if one.apart.over_all.verdict == "better" else "open"


@dataclass(frozen=True)
class Task:
    """A line of the table."""

    name: str
    help: str
    seeds: int
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

    @property
    def gaps(self) -> bool:
        """Whether there is a task that not every controller ran."""
        return any(one is None for task in self.tasks for one in task.figures)


def main(folders: Sequence[Path], docs: Path) -> Path:
    """Writes DOCS/results.md and DOCS/images/results_*.png from the folders of campaigns."""
    campaigns = [read(folder) for folder in folders]
    tables = pa.concat_tables([table for table, _ in campaigns])
    check_one_kind(folders, [identity for _, identity in campaigns])
    images = docs / IMAGES
    images.mkdir(parents=True, exist_ok=True)
    for old in images.glob("results_*.png"):
        old.unlink()
    rigs = list(dict.fromkeys(tables["rig"].to_pylist()))
    parts, measured, broken = [], [], []
    for rig in rigs:
        of_rig = tables.filter(pc.equal(tables["rig"], rig))
        stands = pc.equal(of_rig["reference"], STILL)
        moving, still = Results(of_rig.filter(pc.invert(stands))), Results(of_rig.filter(stands))
        mine = [(table, who) for table, who in campaigns if rig in who["rigs"]]
        parts.append(rig_part(rig, moving, still, mine, images))
        measured += [measure(goal, moving, still) for goal in GOALS if goal.rig == rig]
        broken += broken_off(of_rig)
    measured += [Measured(goal, []) for goal in GOALS if goal.rig not in rigs]
    environment = template_environment(TEMPLATES)
    environment.filters |= {"cell": cell, "figure": shown, "comparison": compared, "names": names}
    plans = [identity["plan"] for _, identity in campaigns]
    page = environment.get_template("results.md").render(
        runs=tables.num_rows,
        seeds=sorted({len(seeds_of(plan["seeds"])) for plan in plans}, reverse=True),
        duration_s=sorted({plan["duration_s"] for plan in plans}),
        rigs=parts,
        measured=measured,
        verdicts=[one.verdict for one in measured],
        broken=broken,
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


def rig_part(
    rig: str,
    moving: Results,
    still: Results,
    campaigns: Sequence[tuple[pa.Table, Mapping[str, Any]]],
    images: Path,
) -> RigPart:
    """All that stands below a rig's heading; its figures are written to `images`."""
    controllers = moving.names("controller", rig)
    mpcs = [name for name in MPCS if name in controllers]
    disturbances = moving.names("disturbance", rig)
    tasks = [task(moving, rig, name, controllers) for name in disturbances]
    against = [versus(moving, rig, other, mpcs) for other in OTHERS if other in controllers]
    identity = campaigns[0][1]["rigs"][rig]
    with warnings.catch_warnings():
        # A letter that the font lacks is drawn as a box.
        warnings.filterwarnings("ignore", message="Glyph .* missing", category=UserWarning)
        pictures = list(draw(rig, controllers, moving, [t for t, _ in campaigns], images))
    return RigPart(
        name=rig,
        unit=moving.unit(rig),
        model=identity["model"],
        firmware=identity["firmware"],
        controllers=controllers,
        mpcs=mpcs,
        references=moving.names("reference", rig),
        tasks=tasks,
        still=[task(still, rig, name, controllers) for name in still.names("disturbance", rig)],
        by_reference=[
            (name, figures(moving, rig, NOMINAL, controllers, name))
            for name in moving.names("reference", rig)
        ],
        versus=against,
        ahead=[found for one in against if one.other in PIDS for found in ahead(one, mpcs)],
        best=best(tasks, controllers),
        pictures=pictures,
    )


def best(tasks: Sequence[Task], controllers: Sequence[str]) -> dict[str, list[str]]:
    """As RigPart has it; a controller of which a run broke off is not the best."""
    found: dict[str, list[str]] = {name: [] for name in controllers}
    for one in tasks:
        if all(one.figures):
            errors = [np.inf if of.failed else of.rmse for of in one.figures if of]
            found[controllers[int(np.argmin(errors))]].append(one.name)
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


def task(results: Results, rig: str, disturbance: str, controllers: Sequence[str]) -> Task:
    """A line of the table."""
    found = figures(results, rig, disturbance, controllers)
    seeds = max(one.runs // one.references for one in found if one)
    return Task(disturbance, DISTURBANCES[parts_of(disturbance)[0]].help, seeds, found)


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


def measure(goal: Goal, moving: Results, still: Results) -> Measured:
    """What the table says of a goal: of each of its tasks that there are runs of."""
    results = still if goal.still else moving
    found = []
    for name in results.names("disturbance", goal.rig):
        if not {name, parts_of(name)[0]} & set(goal.tasks):
            continue
        mine, other = figures(results, goal.rig, name, [goal.controller, goal.below])
        if mine is not None:
            apart = results.compare(goal.rig, name, goal.controller, goal.below)
            found.append(Found(name, mine, other, apart))
    return Measured(goal, found)


def draw(
    rig: str, controllers: Sequence[str], moving: Results, tables: Sequence[pa.Table], images: Path
) -> Iterator[Picture]:
    """Box plots of each campaign; tracking as trained in time, on the first reference, and in the
    plane, on each; the error over time with every disturbance that all controllers met."""
    robot = make_rig(rig).description

    def put(name: str, caption: str, figure: plt.Figure | None) -> Iterator[Picture]:
        if figure is not None:
            file = f"results_{rig}_{name}.png"
            with plt.rc_context(STYLE):  # it is read again when the figure is written
                figure.savefig(images / file, dpi=DPI, bbox_inches="tight")
            plt.close(figure)
            yield Picture(f"{IMAGES}/{file}", caption)

    drawing = Drawing(moving, rig, robot, controllers)
    references = moving.names("reference", rig)
    yield from put(
        "time",
        f"{references[0]}, as trained: mean and band over seeds",
        draw_time(drawing, NOMINAL, references[0]),
    )
    for reference in references:
        yield from put(
            f"plane_{reference}",
            f"{reference}, as trained: mean, and each seed",
            draw_plane(drawing, NOMINAL, reference),
        )
    of_paths = [one for one in map(Results, tables) if one.names("reference", rig) != [STILL]]
    for number, results in enumerate(of_paths, start=1):
        disturbances = results.names("disturbance", rig)
        of = f"{disturbances[0]} to {disturbances[-1]}"
        # In the colours of all controllers, whoever of them is there.
        drawing = Drawing(results, rig, robot, controllers)
        boxes = draw_boxes(drawing, disturbances)
        yield from put(f"boxes_{number}", f"RMSE of all runs, {of}", boxes)
        errors = draw_errors(drawing, disturbances, references[0])
        caption = f"Tracking error on {references[0]}, mean and band over seeds, {of}"
        yield from put(f"errors_{number}", caption, errors)


if __name__ == "__main__":
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("campaigns", nargs="+", type=Path, help="folders of `softctl campaign`")
    asked.add_argument("--docs", type=Path, default=ROOT / "docs")
    chosen = asked.parse_args()
    try:
        print(main(chosen.campaigns, chosen.docs))
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
