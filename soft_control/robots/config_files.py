"""Reads the YAML files of config/; whatever is in them, a mistake is one line naming the file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from soft_control.plain_text import one_line

PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
"""Names of robots, rigs and nodes: they become file names."""


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file; an empty one where there is no such file.

    Raises ValueError naming the file for what is no mapping of names, or no YAML at all.
    """
    if not path.is_file():
        return {}
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError, ValueError) as error:
        raise ValueError(f"{path}: not YAML: {one_line(str(error))}") from error
    except RecursionError as error:
        raise ValueError(f"{path}: not YAML: nested too deeply") from error
    return as_mapping({} if values is None else values, str(path))


def as_mapping(values: Any, source: str) -> dict[str, Any]:
    """`values`, which must map names to something. Raises ValueError naming `source`."""
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise ValueError(f"{source}: must be `name: value` lines, not {type(values).__name__}")
    return values
