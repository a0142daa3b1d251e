"""The corpus that libFuzzer has found (make fuzz-decoders), under sanitizers: C and Python find the
same in its inputs, and in what becomes of them on a bad line."""

from __future__ import annotations

import importlib.util
import random
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def decoders():
    spec = importlib.util.spec_from_file_location("decoders", HERE / "decoders.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


NAMES = sorted(path.stem for path in (HERE / "corpus").glob("*.txt"))


def damaged(chance: random.Random, data: bytes) -> bytes:
    """A bit flipped, a byte lost, one said twice, or the rest cut off."""
    at = chance.randrange(len(data) + 1)
    before, behind = data[:at], data[at:]
    flipped = bytes(byte ^ 1 << chance.randrange(8) for byte in behind[:1])
    return before + chance.choice((flipped + behind[1:], behind[1:], behind[:1] + behind, b""))


@pytest.mark.parametrize("name", NAMES)
def test_c_and_python_find_the_same(decoders, name, tmp_path):
    try:
        built = decoders.program(name, tmp_path, ("gcc", decoders.SANITIZERS))
    except subprocess.CalledProcessError:
        built = decoders.program(name, tmp_path, ("gcc",))  # a system without its libasan
    chance, corpus = random.Random(7), decoders.read_corpus(name)
    assert len(corpus) > 50
    inputs = [*corpus, *(damaged(chance, one) for one in corpus for _ in range(10))]
    inputs += [chance.choice(corpus) + chance.choice(corpus) for _ in range(200)]
    different = decoders.differing(name, built, [one[: 2 * decoders.INPUT_BYTES] for one in inputs])
    assert not different, different[0].hex()
    found = decoders.found_by(built, corpus)
    assert len(set(found)) > 10  # it is a corpus of many things


def test_every_decoder_has_a_corpus(decoders):
    assert set(NAMES) == set(decoders.DECODERS)


def test_a_twin_that_differs_is_found(decoders, tmp_path, monkeypatch):
    built = decoders.program("lightlace", tmp_path, ("gcc",))
    other = decoders.DECODERS["lightlace"]._replace(
        twin=decoders.sensor("lightlace", 3, signed=False, torn_start=False)
    )
    monkeypatch.setitem(decoders.DECODERS, "lightlace", other)
    assert decoders.differing("lightlace", built, decoders.read_corpus("lightlace"))
