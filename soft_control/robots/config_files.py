"""Reads the YAML files of config/; whatever is in them, a mistake is one line naming the file."""

from __future__ import annotations

import copy
import functools
import re
from pathlib import Path
from typing import Any

import yaml

from soft_control.plain_text import one_line
from soft_control.small_files import read_small_text

PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
"""Names of robots, rigs and nodes: they become file names."""


class _Loader(yaml.SafeLoader):
    """Safe, and refuses a name that is there twice, of which the first would be lost silently."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        names: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if key.value in names:
                raise yaml.constructor.ConstructorError(
                    problem=f"{key.value} is there twice", problem_mark=key.start_mark
                )
            names.add(key.value)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file; an empty one where there is no such file.

    Raises ValueError naming the file for what is no mapping of names, or no YAML at all.
    """
    if not path.is_file():
        return {}
    try:
        values = copy.deepcopy(_parsed(read_small_text(path)))
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not YAML in UTF-8, byte {error.start}: save it so") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f": line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        tab = "; indent by blanks" if "'\\t'" in (error.problem or "") else ""
        said = one_line(f"{error.context or ''} {error.problem or ''}{tab}")
        raise ValueError(f"{path}{where}: not YAML: {said}") from error
    except (yaml.YAMLError, ValueError) as error:
        raise ValueError(f"{path}: not YAML: {one_line(str(error))}") from error
    except RecursionError as error:
        raise ValueError(f"{path}: not YAML: nested too deeply") from error
    return as_mapping({} if values is None else values, str(path))


@functools.lru_cache(maxsize=64)
def _parsed(text: str) -> Any:
    """What is in a file. A campaign makes a rig, from the same two files, for each of its runs."""
    return yaml.load(text, _Loader)


def as_mapping(values: Any, source: str) -> dict[str, Any]:
    """`values`, which must map names to something. Raises ValueError naming `source`."""
    if not isinstance(values, dict):
        raise ValueError(f"{source}: must be `name: value` lines, not {type(values).__name__}")
    for key in values:
        if not isinstance(key, str):
            raise ValueError(f"{source}: the name {one_line(str(key))} must be text: in quotes")
    return values
