"""The figures of docs/results.md.

They are PNG: as SVG, with a band each controller, they would be some MB in all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from soft_control.campaign.disturbances import NOMINAL
from soft_control.campaign.figures import (
    Drawing,
    draw_boxes,
    draw_errors,
    draw_plane,
    draw_time,
)
from soft_control.campaign.report import Picture
from soft_control.campaign.results import Results
from soft_control.experiment.figures import STYLE, plt
from soft_control.rigs import make_rig

IMAGES = "images"
DPI = 100


def draw(
    rig: str,
    controllers: Sequence[str],
    moving: Results,
    campaigns: Sequence[Results],
    images: Path,
) -> Iterator[Picture]:
    """Tracking as trained in time, on the first reference, and in the plane, on each; of each
    campaign box plots, and the error over time."""
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
    for number, results in enumerate(campaigns, start=1):
        disturbances = results.names("disturbance", rig)
        of = f"{disturbances[0]} to {disturbances[-1]}"
        # In the colours of all controllers, whoever of them is there.
        drawing = Drawing(results, rig, robot, controllers)
        boxes = draw_boxes(drawing, disturbances)
        yield from put(f"boxes_{number}", f"RMSE of all runs, {of}", boxes)
        first = results.names("reference", rig)[0]
        errors = draw_errors(drawing, disturbances, first)
        caption = f"Tracking error on {first}, mean and band over runs, {of}"
        yield from put(f"errors_{number}", caption, errors)
