"""softctl monitor: a page that shows a running graph and switches it."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from soft_control.cli.terminal import say
from soft_control.network import keep_to_loopback

PORT = 8710
DOMAIN = "ROS_DOMAIN_ID"


def monitor(
    namespace: Annotated[
        str | None, typer.Option(help="Of the one robot to show; by default all that are found.")
    ] = None,
    domain: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=232,
            help="ROS domain; by default ROS_DOMAIN_ID, and without that the one in which "
            "`softctl run` is at work.",
        ),
    ] = None,
    robot: Annotated[
        str,
        typer.Option(
            help="Description with names, units and limits, by file or name; by default that of "
            "the run that the graph says it is."
        ),
    ] = "",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Of the page, on 127.0.0.1; 0: any free one.")
    ] = PORT,
    open_page: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
) -> None:
    """Show a running graph in the browser: path, error, commands, signals, solver, diagnostics.

    The page switches the controller and sets what parameters the nodes let be set while they run.
    It is served on the loopback by this command and needs nothing from elsewhere. The graph may
    start later, end and come again. Ctrl-C ends it.

    \b
    softctl monitor --open
    softctl monitor --domain 42 --namespace /left
    """
    keep_to_loopback(os.environ)
    from soft_control import robots
    from soft_control.monitor.command import attend

    description = robots.load(robot) if robot else None
    asked = domain if domain is not None else _domain_of_environment()

    def ready(url: str) -> None:
        where = f"ROS domain {asked}" if asked is not None else "the runs of this machine"
        say(f"{url} shows {where}; Ctrl-C ends it")
        if open_page:
            typer.launch(url)

    attend(asked, namespace, description, port, ready)


def _domain_of_environment() -> int | None:
    """None where it says nothing. Raises ValueError for what is no domain."""
    said = os.environ.get(DOMAIN, "").strip()
    if not said:
        return None
    if not said.isascii() or not said.isdigit() or int(said) > 232:
        raise ValueError(f"{DOMAIN} is {said!r}: wanted a number from 0 to 232")
    return int(said)
