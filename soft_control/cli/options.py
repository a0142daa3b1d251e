"""What options share: fields of Experiment with their descriptions, numbers that are finite."""

from __future__ import annotations

import json
import math
from typing import Any

import typer
from pydantic import BaseModel, ValidationError

from soft_control.cli.terminal import invalid
from soft_control.experiment.settings import Experiment


def described(field: str, **options: Any) -> typer.models.OptionInfo:
    """An option that is a field of Experiment, with the field's description."""
    return option(Experiment.model_fields[field].description, **options)


def option(help: str | None, **options: Any) -> typer.models.OptionInfo:
    """An option; of a number, one that must be finite."""
    return typer.Option(help=help, callback=finite, **options)


def seed_option(help: str) -> typer.models.OptionInfo:
    """A seed: what every generator of random numbers in use takes."""
    return typer.Option(min=0, max=2**32 - 1, help=help)


def finite(value: Any) -> Any:
    """`value`, unless it is infinite or not a number: those pass every limit or none."""
    if isinstance(value, float) and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is not a finite number")
    return value


def experiment(**values: Any) -> Experiment:
    """The experiment that options describe. Raises ValueError naming the option that is wrong."""
    try:
        return Experiment(**values)
    except ValidationError as error:
        raise ValueError(invalid(error, as_option)) from None


def as_option(field: str) -> str:
    """The option that sets a field: --rate-hz of rate_hz."""
    return f"--{field.replace('_', '-')}"


def from_json(model: type[BaseModel], text: str, option: str, **values: Any) -> Any:
    """A `model` of `values`, which are options of their own, and of the JSON object `text`.

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
        return model(**values, **more)
    except ValidationError as error:

        def named(field: str) -> str:
            return as_option(field) if field in values else f"{option}: {field}"

        raise ValueError(invalid(error, named)) from None
