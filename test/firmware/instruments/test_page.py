"""The examples of docs/instruments.md are what the instruments say."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import pytest

from soft_control.link import magnetic
from soft_control.link.framing import encode_frame
from soft_control.link.instruments import ACTUATORS, SENSORS

PAGE = (Path(__file__).parents[3] / "docs" / "instruments.md").read_text()
SERVOS = {
    "id": [1, 7],
    "counts_per_unit": [1023 / 300 * 57.29578] * 2,
    "zero_count": [512.0] * 2,
    "count_min": [0] * 2,
    "count_max": [1023] * 2,
    "speed": [0, 300],
}
STEPS = {"steps_per_unit": 1000.0, "zero_steps": 500.0, "full_steps": 1000}


def drive(kind: str, config: dict, command: list[float]) -> bytes:
    return ACTUATORS[kind].master(config, len(command)).drive(command)


EXAMPLES = {
    "magnetic": magnetic.encode([1, -2, 300], 7),
    "dynamixel": drive("dynamixel", SERVOS, [0.0, 0.25]),
    "hasel_driver": drive("hasel_driver", STEPS, [0.0, 0.25]),
    "hasel_driver answers": encode_frame(struct.pack("<BBBHh", 0x21, 1, 0, 6000, 315)),
    "analogue": drive("analogue", {}, [0.25, 0.0]),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_its_bytes_are_those_that_are_sent(name):
    blocks = re.findall(r"(?:^    (?:[0-9A-F]{2} ?)+\n)+", PAGE, re.M)
    lines = "".join(blocks).splitlines()
    assert EXAMPLES[name] in [bytes.fromhex(text) for text in (*blocks, *lines)]


def test_its_medians_and_offset_are_those_of_the_reader():
    reader = SENSORS["magnetic"](1, 1.0, 0.0, median=3, start_samples=2)
    frames = [magnetic.encode([count], k) for k, count in enumerate((10, 13, 20, 90, 21))]
    assert reader.feed(b"".join(frames), 0.0) == [[1], [8], [9]]
    assert "13 - 12 = 1, 20 - 12 = 8, 21 - 12 = 9" in PAGE


def test_it_has_a_section_for_each_instrument():
    sections = re.findall(r"^### (\w+)$", PAGE, re.M)
    assert sorted(sections) == sorted([*SENSORS, *ACTUATORS])
