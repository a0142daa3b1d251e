"""The table of softctl's commands, and its entry point."""

from __future__ import annotations

import typer

from soft_control.cli import benchmarks, building, learning, recording, running, terminal

COMMANDS = {
    "collect": recording.collect,
    "train": learning.train,
    "check-model": learning.check_model,
    "codegen": building.codegen,
    "build": building.build,
    "run": running.run,
    "replay": running.replay,
    "tune": running.tune,
    "report": running.report,
}
BENCHMARKS = {
    "msd": benchmarks.msd,
    "ipopt": benchmarks.ipopt,
    "closed-loop": benchmarks.closed_loop,
}


def typer_of(commands: dict, help: str) -> typer.Typer:
    """A group of commands. Text is plain: brackets are brackets, and nothing is marked up."""
    group = typer.Typer(
        help=help,
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        add_completion=False,
    )
    for name, command in commands.items():
        group.command(name)(command)
    return group


app = typer_of(
    COMMANDS,
    """softctl: from a rig to firmware in the loop.

    The way: collect (record the rig) -> train (learn its forward kinematics) -> build (network and
    controller become firmware) -> run (track a reference with it) -> report. `replay` checks the
    firmware against recorded runs; `codegen` gives the network's C alone.""",
)
app.add_typer(
    typer_of(
        BENCHMARKS,
        "Comparisons that anyone can repeat; each writes a page and, where it helps, a figure.",
    ),
    name="benchmark",
)


def main() -> None:
    """Entry point: what a user got wrong is one line and exit code 2, a failed run exit code 1."""
    terminal.carry_out(app)
