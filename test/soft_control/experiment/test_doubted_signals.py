"""A signal that lies is found by the firmware of a trained model, and told."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from soft_control.experiment.closed_loop import record
from soft_control.firmware_files import read_build
from soft_control.learning.dataset import Recording
from soft_control.learning.suitability import suited
from soft_control.link.opening import open_session

RATE_HZ = 120.0
FROM = 600
"""Sample at which the signal begins to lie."""


@pytest.fixture(scope="module")
def recorded(tendon_model) -> Recording:
    return suited(tendon_model.card, record("tendon", seed=950, duration_s=10.0, rate_hz=RATE_HZ))


def dead(signal: np.ndarray) -> None:
    signal[FROM:] = 0.0


def stuck(signal: np.ndarray) -> None:
    signal[FROM:] = signal[FROM]


def spiking(signal: np.ndarray) -> None:
    signal[FROM::20] += 0.5
    signal[FROM + 10 :: 20] -= 0.5


def drifting(signal: np.ndarray) -> None:
    signal[FROM:] += 0.5 * np.arange(len(signal) - FROM) / RATE_HZ


def doubted(tendon, run: Recording) -> np.ndarray:
    """(T,) bits of TELEMETRY, sample by sample, along the recorded commands."""
    card = tendon.card
    commands, signals = run.command(card.command_names), run.signal(card.signal_names)
    with open_session("sil", read_build(tendon.firmware)) as session:
        session.arm(commands[0], run.outputs[0])
        rows = zip(signals, commands, strict=True)
        return np.array([session.observe(k, s, u).doubted for k, (s, u) in enumerate(rows)])


@pytest.mark.parametrize("lie", [dead, stuck, spiking, drifting])
def test_one_signal_that_lies_is_found_within_half_a_second(tendon, recorded, lie):
    """The issue's bound; of the model's signals, each the one that lies."""
    names = tendon.card.signal_names
    for i, name in enumerate(names):
        column = recorded.signal_names.index(name)
        signals = recorded.signals.copy()
        lie(signals[:, column])
        found = doubted(tendon, replace(recorded, signals=signals))
        assert not found[:FROM].any(), name
        first = int(np.flatnonzero(found & (1 << i))[0])
        assert first - FROM <= RATE_HZ / 2, name
        assert not (found & ~(1 << i)).any(), name


def test_none_is_doubted_where_none_lies(tendon, recorded):
    assert not doubted(tendon, recorded).any()
