"""Options that are fields of models, and settings as JSON."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import typer
from pydantic import BaseModel, Field

from soft_control.cli import options
from soft_control.cli.options import described, finite, from_json
from soft_control.experiment.settings import Experiment


class Settings(BaseModel, extra="forbid"):
    rate_hz: float = Field(120.0, gt=0)
    hidden: tuple[int, ...] = (32,)
    seed: int = 0


def test_a_described_option_says_and_checks_what_the_field_does():
    for name, field in Experiment.model_fields.items():
        info = described(name)
        assert info.help == field.description
        assert info.callback(field.default) == field.default
    with pytest.raises(typer.BadParameter, match="-1: Input should be greater"):
        described("seed").callback(-1)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_refused(value):
    with pytest.raises(typer.BadParameter, match="not a finite number"):
        finite(value)


def test_finite_numbers_pass():
    assert finite(-1.5) == -1.5


def test_settings_are_put_beside_the_options():
    made = from_json(Settings, '{"hidden": [16, 8]}', "--settings", rate_hz=50.0)
    assert made == Settings(rate_hz=50.0, hidden=(16, 8))


@pytest.mark.parametrize(
    ("text", "values", "said"),
    [
        ("{", {}, "--settings '{' is no JSON: Expecting property name"),
        ("[" * 100_000, {}, "nested too deeply"),
        ("null", {}, "--settings 'null' is no JSON object"),
        ('{"rate_hz": 50}', {"rate_hz": 120.0}, "--settings: rate_hz has an option of its own"),
        ('{"sed": 1}', {}, "--settings: sed = 1: no such setting"),
        ('{"seed": "x"}', {}, "--settings: seed = 'x': "),
        ('{"hidden": [1, "x"]}', {}, "--settings: hidden.1 = 'x': "),
        ("{}", {"rate_hz": -1.0}, "--rate-hz = -1.0: Input should be greater than 0"),
    ],
)
def test_what_is_wrong_is_named_as_the_user_calls_it(text, values, said):
    with pytest.raises(ValueError) as error:
        from_json(Settings, text, "--settings", **values)
    assert said in str(error.value)


def test_a_disk_that_is_full_is_said_before_the_work(tmp_path, monkeypatch):
    checked = options.folder_option("Directory.").callback
    assert checked(tmp_path / "new") == tmp_path / "new"
    free = options.SPACE - 1
    usage = SimpleNamespace(total=free, used=0, free=free)
    monkeypatch.setattr(options.shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(typer.BadParameter, match="new: 1023 KiB are free there, 1024 needed"):
        checked(tmp_path / "new")
