"""docs/reference/: pages on every setting and command, written from the models and functions."""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import typer
from pydantic import BaseModel

from soft_control import nodes, paths
from soft_control.benchmarks.mass_spring_damper import Benchmark
from soft_control.benchmarks.pages import write_page
from soft_control.campaign.plan import Plan
from soft_control.control.mpc_settings import MpcSettings
from soft_control.design.settings import DesignSettings
from soft_control.experiment.settings import Experiment
from soft_control.learning.training import TrainingSettings
from soft_control.learning.twin import TwinSettings
from soft_control.rigs import RIGS, rig_class
from soft_control.rigs.learned import LearnedParameters
from soft_control.robots.config_files import read_yaml
from soft_control.robots.description import RobotDescription
from soft_control.robots.units import UNITS

WORDS = {"integer": "whole number", "number": "number", "boolean": "true or false"}
"""JSON Schema's types in words; a text says itself what it is."""
MANY = {"whole number": "whole numbers", "number": "numbers", "text": "texts"}
PEERS = "peers"
"""Of every node, and said once."""
SHOWN_VALUE = 60
"""Characters of a value in a table; a longer one is to be read in its file."""


ROBOT_EXAMPLE = """\
name: finger
rate_hz: 100
commands:
  - {name: left, unit: Pa, display_unit: kPa, min: 0, max: 80 kPa, speed_max: 400 kPa/s}
  - {name: right, unit: Pa, display_unit: kPa, min: 0, max: 80 kPa}
outputs:                       # two coordinates of a point, and an angle
  - {name: x, unit: m, display_unit: mm, point: tip, axis: x}
  - {name: z, unit: m, display_unit: mm, point: tip, axis: z, rest: -120 mm}
  - {name: twist, unit: rad, display_unit: deg}
signals:
  - {name: strain}
recording:
  run: seen_(\\d+)\\.csv          # a run is named by what was seen ...
  files: ['told_\\1.csv']        # ... and what was told is in another file
  join: ID                     # rows of one number belong together
  time: {column: t_ms, unit: ms}
  columns:
    x: {column: "x (cm)", unit: cm}
    z: {column: "z (cm)", unit: cm}
"""
"""A test reads it as the page shows it."""


@dataclass(frozen=True)
class Row:
    """One field of a model."""

    name: str
    kind: str
    """What it may be, with its limits."""
    default: str
    value: str
    """What it is set to in config/; empty where nothing is said there."""
    meaning: str


@dataclass(frozen=True)
class Section:
    """One model."""

    title: str
    about: str
    rows: list[Row]
    source: str = ""
    """The file in config/ that sets it."""
    parts: tuple[Section, ...] = ()
    """Models that its fields hold."""


@dataclass(frozen=True)
class Option:
    """An option or argument of a command."""

    name: str
    kind: str
    default: str
    meaning: str


@dataclass(frozen=True)
class Command:
    """One command of softctl."""

    name: str
    about: str
    options: list[Option]


def write_pages(folder: Path) -> list[Path]:
    """Writes the pages into `folder`: the same models and functions give the same bytes."""
    return [
        write_page(folder, "configuration", sections=sections()),
        write_page(
            folder, "robot", section=sections()["robot"][0], units=_units(), example=ROBOT_EXAMPLE
        ),
        write_page(folder, "commands", commands=list(commands())),
    ]


# ---------------------------------------------------------------------------------- configuration


def sections() -> dict[str, list[Section]]:
    """Sections of the page on configuration, by the place where the settings are made."""
    return {
        "run": [section(Experiment, "softctl run")],
        "training": [section(TrainingSettings, "softctl train --settings")],
        "design": [section(DesignSettings, "softctl design --settings")],
        "twin": [
            section(TwinSettings, "softctl twin --settings"),
            section(LearnedParameters, "learned"),
        ],
        "mpc": [section(MpcSettings, "mpc", "mcu", _node_values("mcu").get("mpc", {}))],
        "robot": [section(RobotDescription, "robot")],
        "rigs": [section(rig_class(name).Parameters, name, name, _config(name)) for name in RIGS],
        "nodes": [
            section(model, name, name, _node_values(name)) for name, model in _node_parameters()
        ],
        "campaign": [section(Plan, "softctl campaign")],
        "benchmark": [
            section(Benchmark, "softctl benchmark msd", "msd_benchmark", _config("msd_benchmark"))
        ],
    }


def section(
    model: type[BaseModel], title: str, source: str = "", values: Mapping[str, Any] | None = None
) -> Section:
    """The fields of a model, and of the models that it holds; `values` stand in
    config/<source>.yaml."""
    schema = model.model_json_schema()
    parts = schema.get("$defs", {})
    return Section(
        title=title,
        about=_first_paragraph(schema.get("description", "")),
        rows=_rows(schema, values or {}),
        source=f"{source}.yaml" if values else "",
        parts=tuple(
            Section(
                name, _first_paragraph(parts[name].get("description", "")), _rows(parts[name], {})
            )
            for name in _in_order(schema, parts)
            if "properties" in parts[name]  # JsonValue has none: it may be anything
        ),
    )


def _in_order(schema: Mapping[str, Any], parts: Mapping[str, Any]) -> list[str]:
    """Names of the parts as they are first mentioned, each followed by its own."""
    found: list[str] = []
    for name in re.findall(r'"#/\$defs/(\w+)"', json.dumps(schema.get("properties", {}))):
        found += [one for one in (name, *_in_order(parts[name], parts)) if one not in found]
    return found


def _rows(schema: Mapping[str, Any], values: Mapping[str, Any]) -> list[Row]:
    required = schema.get("required", [])
    return [
        Row(
            name=name,
            kind=kind(field),
            default="required" if name in required else _shown(field.get("default")),
            value=_shown(values[name]) if name in values else "",
            meaning=_one_line(field.get("description", "")),
        )
        for name, field in schema["properties"].items()
        if name != PEERS
    ]


def kind(field: Mapping[str, Any]) -> str:
    """What a field of a JSON Schema may be, in words.

    >>> kind({"type": "array", "items": {"type": "integer", "minimum": 1}, "minItems": 1})
    'list of whole numbers, each ≥ 1, at least 1'
    """
    if "anyOf" in field:
        return " or ".join(kind(one) for one in field["anyOf"])
    if "$ref" in field:
        name = field["$ref"].rpartition("/")[2]
        if name == "JsonValue":
            return "value"
        return f"[{name}](#{name.lower()})"
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    said = field.get("type")
    if said == "null":
        return "none"
    if said == "array":
        return _list_kind(field)
    if said == "object":
        inner = field.get("additionalProperties")
        if not isinstance(inner, dict):
            return "names and values"
        word = kind(inner)
        return f"names, each with {'' if word.startswith('names') else 'a '}{word}"
    if said == "string":
        return "path" if field.get("format") == "path" else "text"
    return f"{WORDS[said]}{_limits(field)}"


def _list_kind(field: Mapping[str, Any]) -> str:
    fixed = field.get("prefixItems")
    if fixed and any(one != fixed[0] for one in fixed):
        return f"({', '.join(map(kind, fixed))})"
    one = fixed[0] if fixed else field.get("items", {})
    limits = _limits(one)
    word = kind(one).removesuffix(limits)
    least, most = (len(fixed),) * 2 if fixed else (field.get("minItems"), field.get("maxItems"))
    many = MANY.get(word, word) + (f", each{limits}" if limits else "")
    if least is not None and least == most:
        return f"{least} {many}"
    said = f"list of {many}"
    said += f", at least {least}" if least is not None else ""
    return said + (f", at most {most}" if most is not None else "")


def _limits(field: Mapping[str, Any]) -> str:
    signs = {
        "minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<",
    }  # fmt: skip
    numbers = {key: field[key] for key in signs if key in field}
    said = [
        f"{signs[key]} {number if isinstance(number, int) else format(number, '.10g')}"
        for key, number in numbers.items()
    ]
    return f" {', '.join(said)}" if said else ""


def _node_parameters() -> Iterator[tuple[str, type[BaseModel]]]:
    """Name and parameters of every node: needs ROS 2, for that is what nodes import."""
    from soft_control.nodes._node import NodeParameters, RigNode

    for module in pkgutil.iter_modules(nodes.__path__):
        if module.name.startswith("_"):
            continue
        loaded = importlib.import_module(f"{nodes.__name__}.{module.name}")
        for _, node in inspect.getmembers(loaded, inspect.isclass):
            if issubclass(node, RigNode) and node.Parameters is not NodeParameters:
                yield module.name, node.Parameters


def _config(name: str) -> dict[str, Any]:
    return read_yaml(paths.config(name))


def _node_values(node: str) -> dict[str, Any]:
    return _config(node).get(node, {}).get("ros__parameters", {})


def _units() -> dict[str, list[str]]:
    """What is measured to its units, the SI one first."""
    found: dict[str, list[str]] = {}
    for name, (kind_of, _) in UNITS.items():
        found.setdefault(kind_of, []).append(name)
    return found


# --------------------------------------------------------------------------------------- commands


def commands() -> Iterator[Command]:
    """All commands, in the order of `softctl --help`."""
    from soft_control.cli.app import BAGS, BENCHMARKS, COMMANDS

    for name, function in COMMANDS.items():
        yield _command(f"softctl {name}", function)
    for group, commands in (("benchmark", BENCHMARKS), ("bag", BAGS)):
        for name, function in commands.items():
            yield _command(f"softctl {group} {name}", function)


def _command(name: str, function: Callable[..., None]) -> Command:
    about = inspect.getdoc(function) or ""
    # A paragraph below a \b is an example, which help shows as it stands.
    about = re.sub(r"\x08\n((?:.+\n?)+)", lambda block: f"```sh\n{block[1].rstrip()}\n```\n", about)
    hints = get_type_hints(function, include_extras=True)
    parameters = inspect.signature(function).parameters.values()
    options = [_option(parameter, hints[parameter.name]) for parameter in parameters]
    return Command(name, about.strip(), options)


def _option(parameter: inspect.Parameter, hint: Any) -> Option:
    annotation, info = get_args(hint)[:2]
    needed = parameter.default is inspect.Parameter.empty
    if isinstance(info, typer.models.ArgumentInfo):
        name = parameter.name.upper()
    else:
        name = _option_name(parameter.name, annotation, info)
    return Option(
        name=name,
        kind=_annotated_kind(annotation, info),
        default="required" if needed else _shown(parameter.default),
        meaning=_one_line(info.help or ""),
    )


def _option_name(field: str, annotation: Any, info: Any) -> str:
    """All names that it is typed by. Typer keeps the first of `typer.Option("--set")` as what looks
    like a default."""
    declared = [info.default, *(info.param_decls or ())]
    names = [one for one in declared if isinstance(one, str) and one.startswith("--")]
    if not names:
        dashed = field.replace("_", "-")
        names = [f"--{dashed}", f"--no-{dashed}"] if annotation is bool else [f"--{dashed}"]
    return ", ".join(names)


def _annotated_kind(annotation: Any, info: Any) -> str:
    if get_origin(annotation) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(annotation))
    kinds = [kind for kind in get_args(annotation) or (annotation,) if kind is not type(None)]
    names = {bool: "", int: "whole number", float: "number", str: "text", Path: "path"}
    many = str(annotation).startswith("list") or "list[" in str(annotation)
    inner = get_args(kinds[0])[0] if get_args(kinds[0]) else kinds[0]
    limits = {"minimum": info.min, "maximum": info.max}
    said = names[inner] + _limits(
        {key: value for key, value in limits.items() if value is not None}
    )
    return f"{said}, may be repeated" if many else said


# --------------------------------------------------------------------------------------- cells


def _shown(value: Any) -> str:
    """A value in a cell, as it is written in YAML or on the command line."""
    if value is None or value in ("", [], ()):
        return ""
    if isinstance(value, (Path, str)):
        return f"`{value}`"
    text = json.dumps(value)
    return f"`{text}`" if len(text) <= SHOWN_VALUE else "see the file"


def _one_line(text: str) -> str:
    """Text in a cell of a table: in one line, and with no mark that ends the cell."""
    return " ".join(text.split()).replace("|", "\\|")


def _first_paragraph(text: str) -> str:
    return _one_line(text.partition("\n\n")[0])


if __name__ == "__main__":
    write_pages(paths.share() / "docs" / "reference")
