"""Wires do to bytes what their damage says, and the same each time."""

from __future__ import annotations

import pytest

from soft_control.faults.wire import DAMAGES, Wire

DATA = bytes(range(1, 101))


def carried(name: str, writes: int = 1, **settings) -> bytes:
    wire = Wire(seed=3)
    wire.damage = DAMAGES[name].model_validate(settings)
    return b"".join(wire.carry(DATA, 0.0) for _ in range(writes))


def test_a_whole_wire_changes_nothing():
    wire = Wire()
    assert wire.whole and wire.carry(DATA, 5.0) == DATA


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("drop", bytes(b for b in DATA if b % 10)),
        ("duplicate", b"".join(bytes([b]) * (1 if b % 10 else 2) for b in DATA)),
    ],
)
def test_every_tenth_byte(name, wanted):
    assert carried(name, every=10) == wanted


def test_a_flipped_byte_differs_in_one_bit():
    changed = [a ^ b for a, b in zip(DATA, carried("flip", every=10), strict=True)]
    assert [i + 1 for i, bits in enumerate(changed) if bits] == list(range(10, 101, 10))
    assert all(bits.bit_count() == 1 for bits in changed if bits)


def test_bytes_change_places():
    got = carried("reorder", every=10)
    assert sorted(got) == sorted(DATA) and got != DATA
    assert got[9:11] == bytes([11, 10])


def test_counting_goes_on_over_writes():
    whole = carried("drop", every=7, writes=3)
    assert len(whole) == 300 - 300 // 7


def test_what_is_cut_short_is_the_first_half():
    assert carried("truncate", every=1) == DATA[:50]


def test_a_cut_lets_nothing_through_and_a_storm_nothing_but_noise():
    assert carried("cut") == b""
    assert len(carried("storm", size=70)) == 70
    assert carried("garbage", size=7)[7:] == DATA


@pytest.mark.parametrize("name", DAMAGES)
def test_the_same_bytes_are_damaged_alike(name):
    assert carried(name, writes=5) == carried(name, writes=5)


def test_what_is_late_keeps_its_order_when_the_wire_is_whole_again():
    wire = Wire()
    wire.damage = DAMAGES["delay"].model_validate({"delay_s": 0.5})
    assert wire.carry(b"early", 0.0) == b""
    wire.damage = None
    assert wire.carry(b"late", 0.1) == b"" and not wire.whole
    assert wire.carry(b"", 0.5) == b"earlylate"
    assert wire.whole and wire.carry(b"now", 0.6) == b"now"
