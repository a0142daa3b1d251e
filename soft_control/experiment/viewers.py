"""The configuration of RViz for one robot among others: its topics, frames and prefix."""

from __future__ import annotations

import yaml

from soft_control.paths import share


def rviz_file(namespace: str, frame: str) -> str:
    """What rviz/soft_control.rviz says, for the robot whose nodes are below `namespace`, such as
    left, or in none, and whose fixed frame is `frame`, without its prefix."""
    said = yaml.safe_load((share() / "rviz" / "soft_control.rviz").read_text())
    manager = said["Visualization Manager"]
    prefix = f"{namespace}/" if namespace else ""
    manager["Global Options"]["Fixed Frame"] = f"{prefix}{frame}"
    for display in manager["Displays"]:
        for key in ("Topic", "Description Topic"):
            if key in display:
                display[key]["Value"] = f"/{prefix}{display[key]['Value'].lstrip('/')}"
        if "TF Prefix" in display:
            display["TF Prefix"] = namespace
    return yaml.safe_dump(said, sort_keys=False)
