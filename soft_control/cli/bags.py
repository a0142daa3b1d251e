"""softctl bag: what one does with a recorded bag."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from soft_control.cli.terminal import say, warn


def recover(
    path: Annotated[
        Path, typer.Argument(help="Directory of a run or of a bag, whose logger was killed.")
    ],
) -> None:
    """Make a bag whole whose logger was killed: its index, metadata.yaml, and summary.json.

    What was recorded is in the file to the last half second; `ros2 bag`, Foxglove and softctl read
    it once it has its metadata. Nothing is overwritten: all messages go into a new file beside the
    old one. A bag that is whole stays as it is.

    \b
    softctl bag recover runs/latest
    softctl bag recover data/monday/bag
    """
    from soft_control.experiment.bag_recovery import bag_in, recover
    from soft_control.experiment.summary import SUMMARY_FILE, finish
    from soft_control.learning.bag import RECORD_FILE

    found = recover(bag_in(path))
    amount = f"{found.messages:,} messages on {found.topics} topics, {found.duration_s:.1f} s"
    if found.file is None:
        say(f"{found.bag} is whole: {amount}")
    else:
        say(f"saved {amount}, in {found.file}")
        if found.lost_bytes:
            warn(f"{found.lost_bytes:,} bytes at the end were torn, left out")
    run_dir = found.bag.absolute().parent
    if not (run_dir / RECORD_FILE).is_file():
        return
    if found.file is not None or not (run_dir / SUMMARY_FILE).is_file():
        if finish(run_dir):
            say(f"summed up in {run_dir / SUMMARY_FILE}")
