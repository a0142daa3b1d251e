"""Estimated power: the arithmetic by hand, which clocks will do, a source for every number."""

from __future__ import annotations

import copy
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from soft_control.experiment import energy
from soft_control.experiment.energy import (
    Clock,
    Model,
    Part,
    Source,
    Work,
    arithmetic,
    best,
    cheapest,
    estimate,
    estimates,
    lines_of,
    load,
    microcontrollers,
    power_row,
    read_work,
)
from soft_control.experiment.record import write_record
from soft_control.learning.dataset import RecordingError
from soft_control.paths import config
from soft_control.robots import load as load_robot

PROJECT = Path(__file__).resolve().parents[3]
HERE = Source(text="this test", verified=True)
DEMO = Work(28020, 28654, 223, 120.0)


def model(**changes: Any) -> Model:
    values = dict(
        cycles_per_instruction=2.0,
        stall_per_wait_state=0.25,
        cycles_per_byte=50,
        uarts=3,
        clocks_per_bit=0.5,
        share_of_period=0.5,
    )
    return Model(**values | changes, sources=dict.fromkeys(values, HERE))


def part(*clocks: Clock, uarts: int = 3) -> Part:
    names = ("voltage_v", "uarts", "wait_states", "run_ma", "sleep_ma", "extra_ma")
    return Part(
        title="chip",
        core="M4",
        voltage_v=3.0,
        uarts=uarts,
        clocks=clocks,
        sources=dict.fromkeys(names, HERE),
    )


def clock(mhz: float, run: float, sleep: float, extra: float = 0.0, states: int = 0) -> Clock:
    return Clock(mhz=mhz, wait_states=states, run_ma=run, sleep_ma=sleep, extra_ma=extra)


def test_by_hand():
    """10,000 instructions of 2 + 2 · 0.25 cycles and 100 bytes of 50 are 30,000 cycles: at 10 MHz
    3 ms of the 10 of 100 Hz. 3 V · (10 mA · 0.3 + 1 mA · 0.7 + 0.5 mA) = 12.6 mW."""
    work, at = Work(10000, 12000, 100, 100.0), clock(10.0, 10.0, 1.0, 0.5, states=2)
    found = estimate(part(at), at, work, model())
    assert found.cycles == pytest.approx(30000)
    assert found.duty == pytest.approx(0.3)
    assert found.power_mw == pytest.approx(12.6)
    assert found.why_not == ""
    assert arithmetic(found, work, model()) == [
        "cycles = 10,000 instructions × (2 + 0.25 × 2 wait states) + 100 bytes × 50 = 30,000",
        "awake = 30,000 / 10 MHz = 3.00 ms of 10.00 ms = 30.0 %",
        "power = 3 V × (10 mA × 0.300 + 1 mA × 0.700 + 0.5 mA) = 13 mW (estimate)",
    ]


def test_the_longest_step_decides_and_the_median_costs():
    """At 10 MHz the median takes 0.4 of the period, the longest step 0.6."""
    work, at, faster = Work(20000, 30000, 0, 100.0), clock(10.0, 1.0, 1.0), clock(12.0, 1.0, 1.0)
    slow = estimate(part(at), at, work, model())
    assert slow.duty == pytest.approx(0.4)
    assert slow.why_not == "longest step takes 60 % of the period"
    # 60,000 of the 120,000 cycles of a period: just in time.
    assert not estimate(part(faster), faster, work, model()).why_not


def test_the_cheapest_clock_that_will_do_is_neither_slowest_nor_fastest():
    chip = part(clock(5, 1, 0.1), clock(10, 4, 1), clock(20, 7, 2))
    work = Work(15000, 20000, 0, 100.0)  # the longest step: 0.8, 0.4 and 0.2 of the period
    assert cheapest(chip, work, model()).clock.mhz == 10
    # Who sleeps for almost nothing does best to hurry: 4 · 0.3 + 1 · 0.7 against 7 · 0.15.
    hurried = part(clock(10, 4, 1), clock(20, 7, 0.001))
    assert cheapest(hurried, work, model()).clock.mhz == 20


def test_a_clock_below_what_the_lines_need_is_no_choice():
    chip = part(clock(8, 1, 0.1), clock(16, 4, 1))
    demanding, work = model(clocks_per_bit=8), Work(1000, 1000, 0, 100.0)
    assert cheapest(chip, work, demanding).clock.mhz == 16
    slow = estimate(chip, chip.clocks[0], work, demanding)
    assert slow.why_not == "a line of 2 Mbaud needs 16 MHz"
    fast = estimate(chip, chip.clocks[1], replace(work, baud=3_000_000), demanding)
    assert fast.why_not == "a line of 3 Mbaud needs 24 MHz"


def test_a_part_with_too_few_uarts_is_shown_and_never_the_best():
    work, few = Work(1000, 1000, 0, 100.0), part(clock(10, 1, 0.1), uarts=2)
    data = microcontrollers().model_copy(
        update={"model": model(), "parts": {"few": few, "many": part(clock(10, 9, 9))}}
    )
    found = estimates(work, data)
    assert [one.why_not for one in found] == ["", "2 UARTs, not 3"]
    assert found[1].power_mw < found[0].power_mw
    assert best(found).part.uarts == 3
    assert best(found[1:]) is None


@pytest.mark.parametrize("name", microcontrollers().parts)
def test_power_rises_with_rate_and_work(name):
    """At one clock; the steps are short enough that no part is awake all the time."""
    data = microcontrollers()
    chip = data.part(name)
    for at in chip.clocks:
        powers = [
            estimate(chip, at, replace(DEMO, rate_hz=rate), data.model).power_mw
            for rate in (1.0, 5.0, 10.0, 20.0)
        ]
        assert powers == sorted(powers) and powers[0] < powers[-1]
        low, high = (
            estimate(chip, at, Work(n, n, 0, 10.0), data.model).power_mw for n in (1000, 50000)
        )
        assert low < high


@pytest.mark.parametrize("name", microcontrollers().parts)
def test_a_part_needs_less_asleep_and_more_at_a_faster_clock(name):
    """A number that was mistyped would most likely be out of order."""
    clocks = microcontrollers().part(name).clocks
    assert all(one.sleep_ma < one.run_ma for one in clocks)
    for key in ("mhz", "run_ma", "sleep_ma", "extra_ma"):
        values = [getattr(one, key) for one in clocks]
        assert values == sorted(values), key


def test_currents_of_the_stm32f405_are_those_of_its_data_sheet():
    """DS8626 Rev 12: tables 20 and 22 at 168 MHz, all peripherals disabled, 25 °C; table 28: ports
    on HCLK, USART1 on APB2 (a half), USART2 and 3 on APB1 (a quarter)."""
    fastest = microcontrollers().part("stm32f405").clocks[-1]
    assert (fastest.mhz, fastest.run_ma, fastest.sleep_ma) == (168, 40, 12)
    ports_and_uarts = 168 * (2.70 + 2.50) + 84 * 3.51 + 42 * (2.69 + 2.74)
    assert fastest.extra_ma == pytest.approx(1e-3 * ports_and_uarts, abs=1e-3)


def test_the_demo_stays_below_ten_milliwatts_and_docs_say_how():
    data = microcontrollers()
    lines = lines_of(load_robot("tendon"), DEMO.rate_hz)
    assert sum(lines.values()) == DEMO.line_bytes
    found = estimates(DEMO, data)
    least = best(found)
    assert least.power_mw <= 10.0 < data.paper.power_mw
    page = (PROJECT / "docs" / "energy.md").read_text(encoding="utf-8")
    assert f"    {' + '.join(f'{name} {size:g}' for name, size in lines.items())} = 223" in page
    for line in arithmetic(least, DEMO, data.model):
        assert f"    {line}\n" in page
    for one in found:
        figures = f"{one.clock.mhz:g} | {100 * one.duty:.1f} | {one.power_mw:.1f}"
        assert f"| {one.part.title} | {figures}" in page


def test_lines_by_hand():
    """Tendon: two commands, three outputs, eleven signals. A frame is four bytes more than its
    content: SAMPLE has 1 + 8 + 4 · (11 + 3), TELEMETRY 50 + 4 · (11 + 2 + 12). A line is of eleven
    counts, ten commas and a line end; servos are told by 8 + 2 · 5 bytes, one is asked by 8 and
    answers 14."""
    tendon = load_robot("tendon")
    digits = sum(len(str(round(full))) for full in tendon.full_scale_counts)
    assert lines_of(tendon, 120.0) == {
        "sensor": digits + 10 + 2, "actuators": 18 + 8, "their answer": 14, "TELEMETRY": 150 + 4,
    }  # fmt: skip
    assert lines_of(tendon, 120.0, "host") == {"SAMPLE": 65 + 4, "TELEMETRY": 150 + 4}
    # At 2000 Hz the host's line has room for a TELEMETRY every fourth sample.
    assert lines_of(tendon, 2000.0)["TELEMETRY"] == 154 / 4
    # Eighteen counts of 16 bits; six duties, and the supply's state.
    hasel = {"sensor": 2 + 36 + 4, "actuators": 3 + 12 + 4, "their answer": 7 + 4}
    assert lines_of(load_robot("hasel"), 120.0).items() >= hasel.items()


def test_every_number_has_a_source():
    written = yaml.safe_load(config(energy.FILE).read_text(encoding="utf-8"))
    for name in written["parts"]:
        for missing in written["parts"][name]["sources"]:
            torn = copy.deepcopy(written["parts"][name])
            del torn["sources"][missing]
            with pytest.raises(ValueError, match=missing):
                Part.model_validate(torn)
    del written["model"]["sources"]["cycles_per_byte"]
    with pytest.raises(ValueError, match="cycles_per_byte"):
        Model.model_validate(written["model"])


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("voltage_v: 3.3", "voltage_v: -3.3", "voltage_v"),
        ("voltage_v: 3.3", "voltage_v: .nan", "voltage_v"),
        ("core: Cortex-M4F", "kernel: Cortex-M4F", "kernel"),
        ("verified: true", "verified: perhaps", "verified"),
    ],
)
def test_a_broken_data_file_is_one_line_that_names_it(tmp_path, old, new, said):
    text = config(energy.FILE).read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / "torn.yaml"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ValueError, match=said) as caught:
        load(path)
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


def test_a_report_names_the_best_part_and_the_firmwares_own(record):
    given = record(robot=load_robot("tendon"), rate_hz=120.0)
    counted = {"step_instructions_median": 45150, "step_instructions_max": 46233}
    said = power_row(counted, given.robot, given.rate_hz)
    assert said == "7.5 mW on STM32U585, 27 mW on STM32F405 (estimate)"
    none = {"step_instructions_median": None, "step_instructions_max": None}
    assert power_row(none, given.robot, given.rate_hz) == "-"
    much = {key: 10**8 for key in counted}
    assert power_row(much, given.robot, given.rate_hz).startswith("not on STM32F405: longest step")


def test_what_a_run_did_is_read_from_its_folder(tmp_path, record):
    folder = tmp_path / "run"
    folder.mkdir()
    write_record(folder, record())

    def refused(summary: str) -> str:
        (folder / "summary.json").write_text(summary)
        with pytest.raises(RecordingError) as caught:
            read_work(folder)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    with pytest.raises(RecordingError, match="no summary.json: make the run again"):
        read_work(folder)
    uncounted = {"step_instructions_median": None, "step_instructions_max": None}
    assert "run an MPC with --target pil" in refused(json.dumps(uncounted))
    for torn in ("", "[]", "3", '{"step_instructions_median": "x", "step_instructions_max": 1}'):
        assert "no summary of a run" in refused(torn)
    for pair in ((5, 4), (-1, 4), (1, 2**32), (1, 10**300)):
        keys = ("step_instructions_median", "step_instructions_max")
        assert "no median and largest" in refused(json.dumps(dict(zip(keys, pair, strict=True))))
    counted = {"step_instructions_median": 100, "step_instructions_max": 200}
    (folder / "summary.json").write_text(json.dumps(counted))
    with_host, with_mcu = (
        Work(100, 200, math.ceil(sum(lines_of(record().robot, 20.0, wiring).values())), 20.0)
        for wiring in ("host", "mcu")
    )
    assert read_work(folder) == with_host != with_mcu
    write_record(folder, record(wiring="mcu"))
    assert read_work(folder) == with_mcu
