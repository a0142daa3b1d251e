"""A parameter file: what it gives, and what its mistakes may have meant."""

from __future__ import annotations

import pytest
import yaml

from soft_control.experiment.parameter_file import read_parameter_file

KNOWN = {"mcu": ["move_weight", "rate_hz"], "logger": ["rate_hz"]}


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"mcu": {"move_weigth": [1.0]}}, "mcu has no parameter move_weigth; is it move_weight?"),
        ({"/**": {"move_weigth": [1.0]}}, "has a parameter move_weigth; is it move_weight?"),
        ({"mcuu": {}}, "mcuu is no node of this run: mcu, logger; is it mcu?"),
        ({"mcu": {"kp": 1.0}}, "mcu has no parameter kp$"),
        ({"mcu": {"mpc": {}}}, "no parameter mpc: .* below nodes.mcu.mpc .* `softctl build` it"),
    ],
)
def test_what_was_meant_by_a_mistake_is_said(sections, said, tmp_path):
    file = tmp_path / "own.yaml"
    file.write_text(yaml.safe_dump({k: {"ros__parameters": v} for k, v in sections.items()}))
    with pytest.raises(ValueError, match=said.replace("?", r"\?")):
        read_parameter_file(str(file), KNOWN, "")
