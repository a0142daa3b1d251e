"""The linker's map: drivers of instruments that a robot does not have are not in its firmware."""

from __future__ import annotations

import json
import re

import pytest

from soft_control.firmware_build import build
from soft_control.link.instruments import ACTUATORS, SENSORS
from soft_control.paths import share

from ..conftest import save_model

DRIVERS = {path.stem for path in (share() / "firmware/src/instruments").glob("*.c")}
ROBOTS = [("lightlace", "dynamixel"), ("magnetic", "hasel_driver"), ("lightlace", "analogue")]


def test_there_are_these_drivers_and_each_is_seen_linked():
    assert DRIVERS == {*SENSORS, *ACTUATORS} == {name for pair in ROBOTS for name in pair}


@pytest.mark.parametrize(("sensor", "actuators"), ROBOTS)
def test_only_the_robots_own_drivers_are_linked(
    sensor, actuators, settings, has_board_compiler, tmp_path
):
    if not has_board_compiler:
        pytest.skip("arm-none-eabi-gcc is not installed")
    save_model(tmp_path, (4,))
    card = json.loads((tmp_path / "fk.json").read_text())
    card["robot"]["instruments"] = {"sensor": {"kind": sensor}, "actuators": {"kind": actuators}}
    for command in card["robot"]["commands"]:  # a hasel_driver has one range for all
        command["max"] = card["robot"]["commands"][0]["max"]
    (tmp_path / "fk.json").write_text(json.dumps(card))
    built = build(tmp_path, settings, tmp_path / "build", ("stm32f405",))
    linked = (built.directory / "firmware.map").read_text()
    units = set(re.findall(r"/(\w+)\.o\b", linked))
    assert {"control_loop", "mpc", "fk"} <= units
    assert units & DRIVERS == {sensor, actuators}
    symbols = set(re.findall(r"^ +0x[0-9a-f]+ +(\w+)$", linked, re.MULTILINE))
    owners = {name for name in DRIVERS if any(s.startswith(f"{name}_") for s in symbols)}
    assert owners == {sensor, actuators}
