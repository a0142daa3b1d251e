"""softctl energy: what it prints, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from soft_control import robots
from soft_control.experiment.record import RunRecord, write_record


@pytest.fixture
def run_dir(softctl) -> Path:
    """A run of the tendon rig as the demo leaves it, without its bag, which nobody asks for."""
    folder = Path("run")
    folder.mkdir()
    record = RunRecord(
        robot=robots.load("tendon"),
        controller="mpc",
        title="MPC",
        sees_position=False,
        has_preview=True,
        target="pil",
        reference=None,
        curve=None,
        clock="lockstep",
        rate_hz=120.0,
        duration_s=20.0,
        seed=0,
        load="",
        model="",
        firmware="",
        port="",
        out="",
        build=None,
        model_hash=None,
    )
    write_record(folder, record)
    counted = {"step_instructions_median": 45150, "step_instructions_max": 46233}
    (folder / "summary.json").write_text(json.dumps(counted))
    return folder


def test_all_parts_and_the_paper_stand_beside_each_other(softctl, run_dir):
    ended = softctl("energy", run_dir)
    assert ended.code == 0 and ended.err == ""
    for title in ("STM32F405", "STM32L476", "STM32U585", "nRF52840", "MK66FX1M0"):
        assert title in ended.out
    assert "45.4" in ended.out and "estimated power at 120 Hz" in ended.out
    assert "STM32U585 at 55 MHz, an estimate:" in ended.out
    assert "** no choice: nRF52840 at 64 MHz: 2 UARTs, not 3" in ended.out
    assert ended.out.count("estimate") >= 4


def test_one_part_is_shown_at_every_clock_with_its_sources(softctl, run_dir):
    ended = softctl("energy", run_dir, "--part", "stm32f405", "--line-bytes", 0)
    assert ended.code == 0
    assert all(f" {mhz} " in ended.out for mhz in (16, 25, 30, 60, 90, 120, 144, 168))
    assert "DS8626 Rev 12, table 22" in ended.out
    assert ", 0 bytes on the lines" in ended.out


def test_what_was_not_read_in_a_data_sheet_is_marked(softctl, run_dir):
    assert (
        "run_ma, not verified: From memory" in softctl("energy", run_dir, "--part", "stm32l476").out
    )
    assert "not verified" not in softctl("energy", run_dir, "--part", "stm32f405").out


def test_a_rate_that_no_part_reaches_is_said(softctl, run_dir):
    ended = softctl("energy", run_dir, "--rate-hz", 20000)
    assert ended.code == 0 and ended.err == "warning: no part will do\n"
    assert "- **" in ended.out and "of the period" in ended.out


def test_mistakes_are_one_line(softctl, run_dir):
    assert softctl("energy", run_dir, "--part", "z80").mistake() == (
        "no part z80: there are stm32f405, stm32l476, stm32u585, nrf52840, mk66fx1m0"
    )
    assert "is no run" in softctl("energy", "nowhere").mistake()
    for rate in ("nan", "inf", "0", "-1"):
        assert "--rate-hz" in softctl("energy", run_dir, "--rate-hz", rate).mistake()
    (run_dir / "summary.json").write_text("{}")
    assert "run an MPC with --target pil" in softctl("energy", run_dir).mistake()
