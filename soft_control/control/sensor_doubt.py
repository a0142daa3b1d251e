"""Which signals to believe: the twin of firmware/src/loop/sensor_doubt.c, in float64.

Each signal is compared with what it should be by the outputs that the network predicts and by the
commands (learning/signal_model.py). What is found, and by what:

    implausible   not finite, or far outside of what the recordings held: by itself, at once
    stuck         the same for longer than noise lets a live signal be: by itself
    far           a single sample further from its prediction than any that was recorded
    drifted       the mean of these distances, with their sign, larger than any

The last two compare with a model, and where many signals disagree with it, it is the model that is
wrong: a load, another gain. So they count only while most of the signals that are neither
implausible nor stuck agree; of one or two signals none is found by them.

A signal that is not believed counts as what it should be: it then says nothing, neither true nor
false. With a network that was trained on all signals, in free run on the tendon rig, RMSE in mm,
all there 0.89; all missing, as their mean 8.5, as expected 1.34; one missing, as expected at most
1.08. A network trained with missing ones at their mean errs by 0.83 to 1.05 as its seed falls, be
they there or not, and tracks worse: docs/architecture.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from soft_control.control.observer import SignalFunction

if TYPE_CHECKING:  # the card knows the compiler, which no node shall import
    from soft_control.learning.card import ModelCard

HEADROOM = 1.75
"""Times the largest distances of the recordings. On the tendon rig, closed loop, four references,
sound signals come to 1.2 of them where all is as trained, to 2 with the creep doubled; with 2.25 a
drift of half a full scale in a second is found after 0.40 s instead of 0.34 and costs up to 4.3 mm
instead of 3.1."""
MARGIN = 0.25
"""Of the range of the recordings, that a signal may be beyond it."""
AGREEING_S = 2.0
"""A channel that comes back is believed after it has agreed for so long."""


@dataclass(frozen=True)
class DoubtConfig:
    """Of one controller; doubt_config_t."""

    per_gate: np.ndarray
    """(p,) 1 / the largest innovation that is not far."""
    slow_max: np.ndarray
    """(p,) of the mean innovation, as a share of that."""
    low: np.ndarray
    """(p,) smallest plausible value, normalised."""
    high: np.ndarray
    """(p,) largest plausible value, normalised."""
    still_max: list[int]
    """Samples in a row that may equal that before them."""
    slow_gain: float
    agreeing_samples: int


@dataclass
class DoubtState:
    """doubt_state_t."""

    last: np.ndarray
    """(p,) signals of the sample before."""
    expected: np.ndarray
    """(p,) what those of this sample should be: a missing one counts as that."""
    slow: np.ndarray
    """(p,) mean innovation, as a share of the largest one that is not far."""
    still: np.ndarray
    """(p,) samples in a row that were equal to that before them."""
    agreeing: np.ndarray
    """(p,) samples for which a channel has been no reason for doubt."""
    doubted: np.ndarray
    """(p,) channels found and not believed again."""
    found: int = 0
    """How often a channel has been found."""


def doubt_config(card: ModelCard, headroom: float = HEADROOM) -> DoubtConfig | None:
    """None where all signals are believed: by a model that does not know what they should be, or
    with a headroom of 0."""
    doubt = card.signal_doubt
    if doubt is None or headroom == 0.0:
        return None
    low, high = card.normalised_signal(np.array(card.trained.signals).T)
    margin = MARGIN * (high - low)
    innovation = np.array(doubt.innovation)
    return DoubtConfig(
        per_gate=1.0 / (headroom * innovation),
        slow_max=np.array(doubt.slow_innovation) / innovation,
        low=low - margin,
        high=high + margin,
        still_max=list(doubt.still_samples),
        slow_gain=min(1.0, 1.0 / (doubt.slow_s * card.rate_hz)),
        agreeing_samples=min(max(1, round(AGREEING_S * card.rate_hz)), 65_534),
    )


def reset(config: DoubtConfig) -> DoubtState:
    """All are believed."""
    size = len(config.low)
    zeros = np.zeros(size)
    return DoubtState(
        last=np.full(size, np.nan),
        expected=zeros.copy(),
        slow=zeros.copy(),
        still=np.zeros(size, int),
        agreeing=np.zeros(size, int),
        doubted=np.zeros(size, bool),
    )


def step(
    config: DoubtConfig,
    function: SignalFunction,
    state: DoubtState,
    signals: np.ndarray,
    predicted: np.ndarray,
    command: np.ndarray,
) -> np.ndarray:
    """(p,) channels that are doubted, by the signals (p,), the outputs (n,) that the
    network predicts for it, without any offset, and the newest command (m,) that these have seen;
    all normalised."""
    state.expected = function.weights @ function.features(predicted, command)

    finite = np.isfinite(signals)
    implausible = ~finite | ~((signals >= config.low) & (signals <= config.high))
    state.still = np.where(signals == state.last, np.minimum(state.still + 1, 65_535), 0)
    state.last = np.where(finite, signals, np.nan)
    stuck = state.still > np.array(config.still_max)
    # An implausible value says nothing of how far the others were off.
    innovation = np.where(implausible, 0.0, signals - state.expected) * config.per_gate
    state.slow += config.slow_gain * (np.clip(innovation, -1.0, 1.0) - state.slow)
    far = np.abs(innovation) > 1.0
    drifted = np.abs(state.slow) > config.slow_max

    sane = ~(implausible | stuck)
    one_against_many = 2 * np.sum(sane & (far | drifted)) < np.sum(sane)
    state.agreeing = np.where(
        implausible | stuck | far | drifted,
        0,
        np.minimum(state.agreeing + 1, config.agreeing_samples),
    )
    state.doubted &= state.agreeing < config.agreeing_samples
    found = implausible | stuck | ((far | drifted) & one_against_many)
    state.found += int(np.sum(found & ~state.doubted))
    state.doubted |= found
    return state.doubted
