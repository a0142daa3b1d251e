"""What a robot is called, measured in and limited to: one class, which everything else asks."""

from __future__ import annotations

from pathlib import Path

from soft_control import paths
from soft_control.plain_text import printable
from soft_control.robots.config_files import PLAIN_NAME, read_yaml
from soft_control.robots.description import RobotDescription, described

__all__ = ["RobotDescription", "load", "names", "said_in"]


def said_in(robot: RobotDescription) -> str:
    """Where a person finds what a robot's description says: its file in config/robots/, unless that
    one says something else."""
    path = paths.robot(robot.name)
    try:
        if path.is_file() and load(path).nodes == robot.nodes:
            return str(path)
    except ValueError:
        pass
    return f"the description of {robot.name}"


def names() -> list[str]:
    """Of the robots that have a file in config/robots/."""
    return sorted(path.stem for path in paths.robot("_").parent.glob("*.yaml"))


def load(name_or_path: str | Path) -> RobotDescription:
    """The description in a YAML file, or in config/robots/<name>.yaml for a name.

    A path has a folder or the ending .yaml or .yml. Where the file does not say `name`, the robot
    is called as the file. Raises ValueError in one line, naming file and field.
    """
    path = Path(name_or_path)
    if path.suffix.lower() not in (".yaml", ".yml") and path.name == str(name_or_path):
        if not PLAIN_NAME.fullmatch(path.name):
            raise ValueError(f"{path.name!r} is no name: letters, digits, _ . and - make one")
        path = paths.robot(path.name)
        if not path.is_file():
            raise ValueError(
                f"unknown robot '{name_or_path}': described are {', '.join(names())} in "
                f"{path.parent}; name the file of another one, such as ./{name_or_path}.yaml"
            )
    if not path.is_file():
        raise ValueError(f"{printable(path)}: no such file")
    return described({"name": path.stem, **read_yaml(path)}, printable(path))
