"""The numbers that stand for words are the same in the firmware's headers and in link/codes.py."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from soft_control.link import codes

FIRMWARE = Path(__file__).resolve().parents[3] / "firmware"

# Enumeration -> header, prefix of its names in C, names that only C has.
PAIRS = {
    codes.SolverStatus: ("src/solver/mpc.h", "MPC_", {}),
    codes.Supervisor: ("src/loop/supervisor.h", "SUPERVISOR_", {}),
    codes.State: ("src/loop/supervisor.h", "STATE_", {}),
    codes.Cause: ("src/loop/supervisor.h", "CAUSE_", {}),
    codes.Clock: ("src/wire/message.h", "CLOCK_", {}),
    codes.Wiring: ("src/wire/message.h", "WIRING_", {}),
    codes.Source: ("src/wire/message.h", "SOURCE_", {}),
    codes.HostLost: ("src/wire/message.h", "HOST_LOST_", {"CHOICES"}),
    codes.Keep: ("src/wire/message.h", "KEEP_", {"CHOICES"}),
    codes.ErrorCode: ("src/wire/message.h", "MESSAGE_", {"OK"}),
    codes.ResetCause: ("boards/board.h", "RESET_", {}),
    codes.StepCostUnit: ("boards/board.h", "STEP_COST_", {}),
}


def enumeration(header: str, prefix: str) -> dict[str, int]:
    """Name without prefix -> number, of the enumeration whose first name has the prefix."""
    text = re.sub(r"/\*.*?\*/", "", (FIRMWARE / header).read_text(), flags=re.DOTALL)
    (body,) = re.findall(rf"typedef enum \{{(\s*{prefix}[^}}]*)\}}", text)
    found, number = {}, 0
    for entry in filter(None, (part.strip() for part in body.split(","))):
        name, _, value = entry.partition("=")
        number = int(value, 0) if value else number
        found[name.strip()] = number
        number += 1
    return {k.removeprefix(prefix): v for k, v in found.items() if k.startswith(prefix)}


@pytest.mark.parametrize("kind", PAIRS, ids=lambda kind: kind.__name__)
def test_the_firmware_has_the_same_numbers(kind):
    header, prefix, own = PAIRS[kind]
    ours = {member.name: int(member) for member in kind}
    if kind is codes.SolverStatus:
        text = (FIRMWARE / "src/wire/message.h").read_text()
        assert int(re.search(r"MESSAGE_STATUS_NONE (\d+)", text).group(1)) == ours.pop("NONE")
    theirs = enumeration(header, prefix)
    assert {name: number for name, number in theirs.items() if name not in own} == ours


def test_no_enumeration_of_the_host_is_left_out():
    there = {value for value in vars(codes).values() if isinstance(value, type)}
    assert {kind for kind in there if kind.__module__ == codes.__name__} == set(PAIRS)
