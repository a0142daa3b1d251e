"""Options that are fields of a pydantic model, with the descriptions that stand there."""

from __future__ import annotations

import typer

from soft_control.experiment.bringup import Experiment


def described(field: str, **options: object) -> typer.models.OptionInfo:
    """An option that is a field of Experiment, with the field's description."""
    return typer.Option(help=Experiment.model_fields[field].description, **options)
