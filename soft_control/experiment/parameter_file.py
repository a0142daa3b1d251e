"""Parameters of somebody's own for the nodes of a run, from a ROS parameter file."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from soft_control.robots.config_files import as_mapping, read_yaml

EVERY = ("/**", "/*", "*")
"""Keys of what is meant for all nodes that have such a parameter."""

Given = Mapping[str, Mapping[str, Any]]
"""Node -> parameter -> value."""


def read_parameter_file(
    path: str, known: Mapping[str, Sequence[str]], namespace: str
) -> dict[str, dict[str, Any]]:
    """What the file gives to each node of a run.

    known: nodes of the run, each with its parameters. namespace: of the run,
    /left. What the file says of a node by name goes over what it says of all. Raises ValueError for
    a node or a parameter that the run has not: it would do nothing.
    """
    given: dict[str, dict[str, Any]] = {name: {} for name in known}
    if not Path(path).is_file():
        raise ValueError(f"--params-file {path}: no such file")
    of_all, of_one = _sections(path)
    for key, value in of_all.items():
        having = [name for name, parameters in known.items() if key in parameters]
        if not having:
            every = {parameter for parameters in known.values() for parameter in parameters}
            raise ValueError(
                f"{path}: no node of this run has a parameter {key}{_meant(key, every)}"
            )
        for name in having:
            given[name][key] = value
    for said, values in of_one:
        name = said.removeprefix(namespace).strip("/") if namespace else said.strip("/")
        if name not in known:
            meant = _meant(name, known)
            raise ValueError(f"{path}: {said} is no node of this run: {', '.join(known)}{meant}")
        for key in values:
            if key not in known[name]:
                raise ValueError(f"{path}: {said} has no parameter {key}{_meant(key, known[name])}")
        given[name] |= values
    return given


def _meant(said: str, known: Iterable[str]) -> str:
    """What may have been meant by a name that is not known, or where it belongs."""
    if said == "mpc":  # as in config/, in a description, and in what `softctl tune` writes
        return (
            ": the firmware has it built in; write it below nodes.mcu.mpc into the description, "
            "and `softctl build` it again with --robot"
        )
    near = difflib.get_close_matches(said, known, n=1)
    return f"; is it {near[0]}?" if near else ""


def _sections(path: str) -> tuple[dict[str, Any], list[tuple[str, dict[str, Any]]]]:
    """Parameters of all nodes, and of each that is named."""
    of_all: dict[str, Any] = {}
    of_one = []
    for key, section in read_yaml(Path(path)).items():
        held = as_mapping(section, f"{path}: {key}")
        if set(held) != {"ros__parameters"}:
            raise ValueError(f"{path}: {key}: wanted parameters below ros__parameters")
        values = as_mapping(held["ros__parameters"], f"{path}: {key}: ros__parameters")
        if key in EVERY:
            of_all |= values
        else:
            of_one.append((str(key), values))
    return of_all, of_one


def check_free(given: Given, decided: Given, path: str) -> None:
    """Raises ValueError for a parameter that the run itself decides: nothing would come of it."""
    for name, values in given.items():
        for key in values:
            if key in decided[name]:
                raise ValueError(
                    f"{path}: {key} of {name} is what the run says by its own options: leave it out"
                )
