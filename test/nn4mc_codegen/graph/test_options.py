"""Options: refused where unknown, and repeated in the command line that the header shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from nn4mc_codegen.graph.check import ModelError
from nn4mc_codegen.graph.options import Options


def test_defaults_are_not_repeated():
    assert Options().command_line("m.keras") == "nn4mc compile m.keras --name fk"


def test_command_line_says_all_that_matters():
    options = Options(
        "arm",
        jacobian=["u", "state"],
        hvp=4,
        optimize="size",
        weights="ram",
        representative=Path("somewhere") / "x.npy",
        self_test=3,
    )
    assert options.command_line("m.h5") == (
        "nn4mc compile m.h5 --name arm --jacobian u,state --hvp 4 --optimize size --weights ram "
        "--representative x.npy --self-test 3"
    )


@pytest.mark.parametrize(
    "wrong",
    [{"optimize": "fast"}, {"weights": "eeprom"}, {"dtype": "int4"}, {"layout": "tar"}],
)
def test_unknown_choices_are_refused(wrong):
    ((option, value),) = wrong.items()
    with pytest.raises(ModelError, match=f"{option} '{value}' is unknown; use "):
        Options(**wrong)
