"""The table of softctl's commands, and its entry point."""

from __future__ import annotations

import sys
from collections.abc import Callable

import typer

from soft_control.cli import (
    bags,
    benchmarks,
    building,
    campaigning,
    crashing,
    describing,
    designing,
    energy,
    faulting,
    flashing,
    learning,
    monitoring,
    proving,
    recording,
    running,
    securing,
    terminal,
)
from soft_control.processes import end_with_parent

COMMANDS = {
    "describe": describing.describe,
    "parameters": describing.parameters,
    "collect": recording.collect,
    "train": learning.train,
    "adopt": learning.adopt,
    "twin": learning.twin,
    "check-model": learning.check_model,
    "codegen": building.codegen,
    "build": building.build,
    "prove": proving.prove,
    "flash": flashing.flash,
    "keep": flashing.keep,
    "crash": crashing.crash,
    "run": running.run,
    "replay": running.replay,
    "tune": running.tune,
    "design": designing.design,
    "monitor": monitoring.monitor,
    "report": running.report,
    "energy": energy.energy,
    "campaign": campaigning.campaign,
    "secure": securing.secure,
    "faults": faulting.faults,
}
BENCHMARKS = {
    "msd": benchmarks.msd,
    "ipopt": benchmarks.ipopt,
    "closed-loop": benchmarks.closed_loop,
}
BAGS = {
    "recover": bags.recover,
}
"""What one does with a bag."""


NAME = "softctl"


def group_of(commands: dict[str, Callable[..., None]], help: str) -> typer.Typer:
    """A group of commands, which alone prints its help. All text is plain, brackets too."""
    group = typer.Typer(help=help, rich_markup_mode=None, add_completion=False)

    @group.callback(invoke_without_command=True, help=help)
    def help_alone(context: typer.Context) -> None:
        if context.invoked_subcommand is None:
            typer.echo(context.get_help())

    for name, command in commands.items():
        group.command(name)(command)
    return group


app = group_of(
    COMMANDS,
    """From a rig to firmware in the loop.

    \b
    softctl collect --out data/tendon                record the rig
    softctl train data/tendon --out models/tendon    learn its forward kinematics
    softctl check-model models/tendon                is what it learned fit for the controller?
    softctl twin data/tendon --out twins/tendon      a rig learned from recordings, to rehearse on
    softctl build models/tendon --out build/tendon   network and controller become firmware
    softctl prove build/tendon                       what it needs at the worst
    softctl flash build/tendon --by swd              onto a board
    softctl run --target pil --out runs/mpc          track a reference with it
    softctl run --controller pid --out runs/pid      and with the baseline
    softctl report runs/mpc runs/pid                 compare
    softctl campaign first.yaml                      and over rigs, disturbances and seeds
    softctl faults                                   what follows when something goes wrong
    softctl design data/tendon --instructions 25000  what is worth its cost?

    Exit codes: 0 done; 1 a run failed, or a check or comparison was lost; 2 a mistake in what was
    asked for, said in one line; 130 stopped by Ctrl-C.""",
)
app.add_typer(
    group_of(
        BENCHMARKS,
        """Comparisons that anyone can repeat; each writes a page and, where it helps, a figure.

        \b
        softctl benchmark msd --out docs""",
    ),
    name="benchmark",
)
app.add_typer(
    group_of(
        BAGS,
        """What one does with a recorded bag.

        \b
        softctl bag recover runs/latest""",
    ),
    name="bag",
)


def main() -> None:
    """Entry point of `softctl`."""
    end_with_parent()
    sys.exit(terminal.carry_out(app, NAME, sys.argv[1:]))
