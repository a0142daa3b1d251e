"""docs/trunk.md, which `make trunk` writes, keeps the limits that the trunk is held to."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "trunk.md").read_text(encoding="utf-8")
TIP_MM, CYCLES_MILLION, FLASH_PERCENT = 7.5, 1.4, 10.0
"""RMSE of a free run over run 2, which chose nothing; of a control step; of 1 MiB."""


def rows(of: str) -> dict[str, list[str]]:
    """Second cell -> the cells after it, of the rows of the page whose first cell is `of`."""
    cells = [[c.strip() for c in line.split("|")[1:-1]] for line in PAGE.splitlines()]
    return {row[1]: row[2:] for row in cells if row and row[0] == of}


def test_firmware_and_network_say_the_same_and_the_tip_is_known():
    for run in ("run 2", "run 1 with 100 g", "run 1 with 300 g"):
        found = rows(run)
        network = found["network, float64"]
        assert found["firmware, sil"] == found["firmware, pil"] == network
    assert float(rows("run 2")["firmware, pil"][2]) <= TIP_MM
    assert float(rows("run 2")["least squares on lagged commands"][2]) > TIP_MM


def test_the_whole_body_is_controlled_in_time_and_within_limits():
    lines = [line for line in PAGE.splitlines() if " measured |" in line]
    assert len(lines) == 3
    for line in lines:
        outside, fastest = (cell.strip() for cell in line.split("|")[6:8])
        # The limits went through float32 on the microcontroller.
        assert outside == "0" and float(fastest) <= 1.001
    (longest,) = re.findall(r"longest step of the runs above is ([\d.]+) million", PAGE)
    assert float(longest) <= CYCLES_MILLION
    (flash,) = re.findall(r"\(([\d.]+) % of 1 MiB\)", PAGE)
    assert float(flash) < FLASH_PERCENT
