"""report.md and its figures: what a paper prints of a campaign."""

from __future__ import annotations

import itertools
import shutil
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from nn4mc_codegen.printing.c import template_environment
from soft_control.campaign.disturbances import DISTURBANCES, parts_of
from soft_control.campaign.figures import (
    Drawing,
    draw_boxes,
    draw_errors,
    draw_plane,
    draw_time,
    drawn,
)
from soft_control.campaign.plan import Campaign
from soft_control.campaign.results import CONFIDENCE, Comparison, Difference, Figure, Results
from soft_control.campaign.ways import WAYS
from soft_control.paths import TEMPLATES
from soft_control.plain_text import printable

REPORT_FILE = "report.md"
FIGURES = "figures"

Progress = Callable[[int, int], None]
"""Figures drawn, and in all."""


@dataclass(frozen=True)
class Pair:
    """Two controllers of a rig, task by task."""

    one: str
    other: str
    tasks: Sequence[tuple[str, Comparison]]
    """(disturbance, comparison)"""

    def by(self, verdict: str) -> list[str]:
        """Tasks with that verdict."""
        return [name for name, found in self.tasks if found.over_all.verdict == verdict]


@dataclass(frozen=True)
class Picture:
    """A figure of the report."""

    file: str
    """Below the report's folder."""
    caption: str


@dataclass(frozen=True)
class RigPart:
    """What the report says of one rig."""

    name: str
    unit: str
    controllers: Sequence[str]
    references: Sequence[str]
    by_disturbance: Sequence[tuple[str, Sequence[Figure | None]]]
    """(disturbance, figure each controller); None: it has no run there."""
    by_reference: Sequence[tuple[str, Sequence[Figure | None]]]
    """The same by reference, with the rig's first disturbance."""
    first: str
    """That disturbance."""
    pairs: Sequence[Pair]
    pictures: Sequence[Picture]


def write_report(
    campaign: Campaign, table: pa.Table, folder: Path, progress: Progress = lambda done, all: None
) -> Path:
    """Writes FOLDER/report.md and FOLDER/figures/, and returns the page's path. The same table
    gives the same bytes."""
    results = Results(table)
    shutil.rmtree(folder / FIGURES, ignore_errors=True)
    (folder / FIGURES).mkdir()
    total = sum(2 + 2 * len(results.names("reference", rig)) for rig in campaign.kits)
    count = itertools.count(1)

    def put(name: str, figure: object) -> None:
        if figure is not None:
            (folder / FIGURES / name).write_text(drawn(figure), encoding="utf-8")
        progress(next(count), total)

    with warnings.catch_warnings():
        # A letter that the font lacks is drawn as a box.
        warnings.filterwarnings("ignore", message="Glyph .* missing", category=UserWarning)
        parts = [_rig_part(campaign, results, rig, folder, put) for rig in campaign.kits]
    environment = template_environment(TEMPLATES)
    environment.filters |= {"cell": cell, "figure": shown, "comparison": compared, "names": names}
    page = environment.get_template("campaign.md").render(
        plan=campaign.plan,
        rows=len(campaign.rows),
        rigs=parts,
        skipped=campaign.skipped,
        faults=[(campaign.rows[i], reason) for i, reason in results.faults()],
        titles={name: way.title for name, way in WAYS.items()},
        meaning=_meaning,
        confidence=round(100 * CONFIDENCE),
    )
    path = folder / REPORT_FILE
    path.write_text(page, encoding="utf-8")
    return path


def _rig_part(
    campaign: Campaign, results: Results, rig: str, folder: Path, put: Callable[[str, object], None]
) -> RigPart:
    disturbances = results.names("disturbance", rig)
    references = results.names("reference", rig)
    controllers = [name for name in campaign.compared if name in results.names("controller", rig)]
    first = disturbances[0]
    drawing = Drawing(results, rig, campaign.kits[rig].robot, controllers)

    def figures(disturbance: str, reference: str | None = None) -> list[Figure | None]:
        rows = [results.rows(rig, disturbance, name, reference) for name in controllers]
        return [results.figure(of) if of else None for of in rows]

    pictures = []

    def picture(name: str, caption: str, figure: object) -> None:
        put(f"{rig}_{name}.svg", figure)
        if figure is not None:
            pictures.append(Picture(f"{FIGURES}/{rig}_{name}.svg", caption))

    picture("boxes", "RMSE of all runs", draw_boxes(drawing, disturbances))
    for number, reference in enumerate(references, start=1):
        where = f"{printable(reference)}, {first}"
        time = draw_time(drawing, first, reference)
        picture(f"time_{number}", f"{where}: mean and band over seeds", time)
        plane = draw_plane(drawing, first, reference)
        picture(f"plane_{number}", f"{where}: mean, and each seed", plane)
    errors = draw_errors(drawing, disturbances, references[0])
    picture("errors", f"Tracking error on {printable(references[0])}, mean and band", errors)
    return RigPart(
        name=rig,
        unit=results.unit(rig),
        controllers=controllers,
        references=references,
        by_disturbance=[(name, figures(name)) for name in disturbances],
        by_reference=[(name, figures(first, name)) for name in references],
        first=first,
        pairs=pairs(results, rig, controllers),
        pictures=pictures,
    )


def pairs(results: Results, rig: str, controllers: Sequence[str]) -> list[Pair]:
    """Each controller against each that stands behind it, in the tasks that both have runs of."""
    found = []
    for one, other in itertools.combinations(controllers, 2):
        tasks = [
            (name, results.compare(rig, name, one, other))
            for name in results.names("disturbance", rig)
        ]
        there = [(name, comparison) for name, comparison in tasks if comparison]
        if there:
            found.append(Pair(one, other, there))
    return found


def _meaning(disturbance: str) -> str:
    return DISTURBANCES[parts_of(disturbance)[0]].help


# ------------------------------------------------------------------------------ as text


def cell(text: object) -> str:
    """Anyone's text in a Markdown table or line: it is what it says and nothing else."""
    marks = {mark: f"\\{mark}" for mark in "\\`*_[]<>|#"}
    return "".join(marks.get(c, c) for c in printable(text))


def names(texts: Sequence[str]) -> str:
    """Several, or none, in a sentence."""
    return ", ".join(map(cell, texts)) or "none"


def shown(figure: Figure | None, references: int = 1) -> str:
    """Mean RMSE / worst maximum; and of how many `references`, where it is not all of them."""
    if figure is None:
        return "-"
    said = [] if np.isnan(figure.rmse) else [f"{figure.rmse:.2f} / {figure.worst:.2f}"]
    if figure.references < references:
        said.append(f"on {figure.references} of {references} references")
    if figure.failed:
        said.append(f"{figure.failed} of {figure.runs} broke off")
    return ", ".join(said)


def cell_of(results: Results, rig: str, disturbance: str, controller: str) -> str:
    """A task's figure, for the terminal."""
    rows = results.rows(rig, disturbance, controller)
    references = len(results.names("reference", rig))
    return shown(results.figure(rows) if rows else None, references)


def compared(found: Difference) -> str:
    """Mean difference with its interval."""
    if np.isnan(found.mean):
        return "-"
    interval = "one pair" if np.isnan(found.low) else f"{found.low:+.3f} to {found.high:+.3f}"
    return f"{found.mean:+.3f} ({interval})"
