"""Where the project's own files are: in a source checkout, or below share/soft_control."""

from __future__ import annotations

import sys
from pathlib import Path

TEMPLATES = Path(__file__).resolve().parent / "templates"
"""The folder of everything that is filled in: C, HTML, Markdown."""


def share() -> Path:
    """The folder that holds config/, launch/, urdf/ and firmware/."""
    checkout = Path(__file__).resolve().parent.parent
    if (checkout / "package.xml").is_file():
        return checkout
    for prefix in (Path(__file__).resolve().parents[4], Path(sys.prefix)):
        if (prefix / "share" / "soft_control").is_dir():
            return prefix / "share" / "soft_control"
    raise FileNotFoundError(
        "share/soft_control is neither beside the package nor below the Python prefix; "
        "reinstall soft_control"
    )


def config(name: str) -> Path:
    """The configuration file config/<name>.yaml."""
    return share() / "config" / f"{name}.yaml"


def robot(name: str) -> Path:
    """A robot's description, config/robots/<name>.yaml."""
    return share() / "config" / "robots" / f"{name}.yaml"


def tuned(rig: str, node: str) -> Path:
    """What `softctl tune` found for a node on a rig: config/tuned/<rig>_<node>.yaml."""
    return share() / "config" / "tuned" / f"{rig}_{node}.yaml"
