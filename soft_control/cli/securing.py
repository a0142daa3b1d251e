"""softctl secure: keys and permissions for the ROS graph."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from soft_control.cli.options import folder_option
from soft_control.cli.terminal import say


def secure(
    out: Annotated[Path, folder_option("Folder for the keys, a keystore of SROS 2.")] = Path(
        "keys"
    ),
    namespace: Annotated[
        str, typer.Option(help="Of the robot, such as /left; default: none.")
    ] = "",
    node: Annotated[
        list[str] | None, typer.Option(help="Only for this node; may be given again.")
    ] = None,
    topic: Annotated[
        list[str] | None,
        typer.Option(help="Of other people's nodes, which tracker and logger may hear, too."),
    ] = None,
    days: Annotated[int, typer.Option(min=1, max=3650, help="How long the keys hold.")] = 365,
) -> None:
    """Make keys for the ROS graph, with which each node may say and hear what it needs.

    One command for one robot; said again for another namespace, or before the keys run out, the
    same authority signs. Then, wherever nodes are started by `softctl run` or a launch file:

    \b
    softctl secure --out keys
    export ROS_SECURITY_KEYSTORE=$PWD/keys ROS_SECURITY_ENABLE=true
    export ROS_SECURITY_STRATEGY=Enforce
    softctl run --target pil --out runs/mpc

    A ROS 2 whose middleware was built without security says so, and starts nothing: that of the
    wheels was.
    """
    try:
        import cryptography  # noqa: F401
    except ImportError:
        raise ValueError("cryptography is missing: pip install soft_control[secure]") from None
    from soft_control.security.keystore import make_keystore

    names = make_keystore(out, namespace, tuple(node or ()), days, tuple(topic or ()))
    say(f"{out}: {len(names)} enclaves, {names[0]} to {names[-1]}, for {days} days")
    say(f"keep {out / 'private'} to yourself: who has it can let anyone in")
