"""What options share: fields of Experiment, finite numbers, seeds, where to write, JSON."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer
from pydantic import BaseModel, ValidationError

from soft_control.experiment.settings import Experiment
from soft_control.plain_text import first_fault

SPACE = 1 << 20
"""Bytes that are free where a command writes: a model and its firmware have 0.7 MB, and what cannot
be written is best said before the work."""


def described(field: str, help: str | None = None, *names: str) -> typer.models.OptionInfo:
    """An option that is a field of Experiment: described as there, and checked as there, in
    whatever command it is; `names`, where it has others. None, where the command has another
    default, is left to it."""

    def checked(value: Any) -> Any:
        if value is None:
            return None
        try:
            return getattr(Experiment(**{field: value}), field)
        except ValidationError as error:
            raise typer.BadParameter(first_fault(error, {field: ""})) from None

    said = help or Experiment.model_fields[field].description
    return typer.Option(*names, help=said, callback=checked)


def option(help: str, **limits: float) -> typer.models.OptionInfo:
    """A number, which must be finite: what is not passes every limit or none."""
    return typer.Option(help=help, callback=finite, **limits)


def finite(value: float | None) -> float | None:
    """`value` itself; None where it was not given. Raises BadParameter if it is infinite or not a
    number."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is not a finite number")
    return value


def folder_option(help: str) -> typer.models.OptionInfo:
    """A folder to write into, which is made where it is missing. That it can be is checked before
    the work whose result would be lost."""
    return typer.Option(help=help, callback=lambda path: path and _can_hold(path, path))


def file_option(help: str) -> typer.models.OptionInfo:
    """A file to write, in a folder that is made where it is missing."""

    def checked(path: Path | None) -> Path | None:
        if path is not None and path.is_dir():
            raise typer.BadParameter(f"{path} is a folder, not a file")
        return path and _can_hold(path, path.absolute().parent)

    return typer.Option(help=help, callback=checked)


def _can_hold(path: Path, folder: Path) -> Path:
    """`path`, if `folder` is there and can be written to, or can be made."""
    there = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise typer.BadParameter(f"{path}: {there} is no folder that you may write to")
    free = shutil.disk_usage(there).free
    if free < SPACE:
        raise typer.BadParameter(f"{path}: {free >> 10} KiB are free there, {SPACE >> 10} needed")
    return path


def seed_option(help: str) -> typer.models.OptionInfo:
    """A seed: what every generator of random numbers in use takes."""
    return typer.Option(min=0, max=2**32 - 1, help=help)


def from_json(
    model: type[BaseModel],
    text: str,
    option: str,
    base: Mapping[str, Any] | None = None,
    **values: Any,
) -> Any:
    """A `model` of `values`, which are options of their own, and of the JSON object `text`; what
    neither sets is as in `base`.

    Raises ValueError naming `option` and the setting that is wrong.
    """
    try:
        more = json.loads(text)
    except (ValueError, RecursionError) as error:
        said = "nested too deeply" if isinstance(error, RecursionError) else error
        raise ValueError(f"{option} {text!r} is no JSON: {said}") from None
    if not isinstance(more, dict):
        raise ValueError(f'{option} {text!r} is no JSON object, such as {{"seed": 1}}')
    for field in sorted(values.keys() & more.keys()):
        raise ValueError(f"{option}: {field} has an option of its own, {as_option(field)}")
    try:
        return model(**{**(base or {}), **values, **more})
    except ValidationError as error:
        named = {field: as_option(field) for field in values}
        raise ValueError(first_fault(error, named, otherwise=f"{option}: ")) from None


def as_option(field: str) -> str:
    """The option that sets a field: --rate-hz of rate_hz."""
    return f"--{field.replace('_', '-')}"
