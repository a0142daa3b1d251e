"""Which signals to believe: the twin of firmware/src/loop/sensor_doubt.c, in float64.

Each signal is compared with what it should be by the outputs that the network predicts and by the
commands (learning/signal_model.py). What is found, and by what:

    implausible   not finite, or far outside of what the recordings held: by itself, at once
    stuck         the same for longer than noise lets a live signal be: by itself
    far           a single sample further from its prediction than any that was recorded
    drifted       what the other signals do not explain of these distances adds up

A network that is off, or a pose that the outputs do not tell, moves many signals in a way that the
recordings have shown; a drift moves one. So of a distance x that is subtracted which the others let
expect, and the rest adds up in two sums (Page, Continuous inspection schemes, Biometrika 1954), in
which nothing stays of what is smaller than a slack:

    rest = x - others @ x     up = max(0, up + rest - slack)     down = max(0, down - rest - slack)

While one signal lies it spoils the rests of the others: only the one with the largest sum is found,
a signal that is not believed counts as what the others let expect, and the sums of the others begin
anew when one has been found.

Far and drifted compare with a model, and where many signals disagree with it, it is the model that
is wrong: a load, another gain, more creep. So they count only while most of the signals that are
neither implausible nor stuck have agreed for `SETTLED_S`, and what was found by them is believed
again when that ends; of one or two signals none is found by them.

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
"""Times the largest distances of the recordings."""
SLACK = 0.6
"""Times the headroom and the largest mean rest of the recordings."""
SUM = 1.75
"""Times the largest sum of the recordings."""
MARGIN = 0.25
"""Of the range of the recordings, that a signal may be beyond it."""
AGREEING_S = 2.0
"""A channel that comes back is believed after it has agreed for so long."""
SETTLED_S = 5.0
"""Signals that disagree with the model within so long disagree at once. On the tendon rig with the
creep doubled sound signals were doubted in 93 % of all samples with 0 s, in 8 % with 2 s, and in
3 % with 5, 10 and 20 s."""
SUM_MAX = 2.0
"""What has lied for long is forgiven as soon as what has just."""


@dataclass(frozen=True)
class DoubtConfig:
    """Of one controller; doubt_config_t."""

    per_gate: np.ndarray
    """(p,) 1 / the largest innovation that is not far."""
    others: np.ndarray
    """(p, p) innovation that those of the others let expect, 1 at the gate; 0 of itself."""
    slack: np.ndarray
    """(p,) rest that does not add up, 1 at the gate."""
    per_sum: np.ndarray
    """(p,) 1 / the largest sum that is no drift."""
    low: np.ndarray
    """(p,) smallest plausible value, normalised."""
    high: np.ndarray
    """(p,) largest plausible value, normalised."""
    still_max: list[int]
    """Samples in a row that may equal that before them."""
    agreeing_samples: int
    settled_samples: int


@dataclass
class DoubtState:
    """doubt_state_t."""

    last: np.ndarray
    """(p,) signals of the sample before."""
    expected: np.ndarray
    """(p,) what those of this sample should be: a missing one counts as that."""
    up: np.ndarray
    """(p,) sum of the rests, 1 at the largest that is no drift;"""
    down: np.ndarray
    """(p,) that of their negatives."""
    still: np.ndarray
    """(p,) samples in a row that were equal to that before them."""
    agreeing: np.ndarray
    """(p,) samples for which a channel has been no reason for doubt."""
    at_odds: np.ndarray
    """(p,) samples until a disagreement with the model is forgotten."""
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
    gate = headroom * np.array(doubt.innovation)
    return DoubtConfig(
        per_gate=1.0 / gate,
        others=np.array(doubt.others) * gate / gate[:, None],
        slack=SLACK * headroom * np.array(doubt.slow_rest) / gate,
        per_sum=gate / (SUM * np.array(doubt.rest_sum)),
        low=low - margin,
        high=high + margin,
        still_max=list(doubt.still_samples),
        agreeing_samples=min(max(1, round(AGREEING_S * card.rate_hz)), 65_534),
        settled_samples=min(max(1, round(SETTLED_S * card.rate_hz)), 65_534),
    )


def reset(config: DoubtConfig) -> DoubtState:
    """All are believed."""
    size = len(config.low)
    zeros = np.zeros(size)
    return DoubtState(
        last=np.full(size, np.nan),
        expected=zeros.copy(),
        up=zeros.copy(),
        down=zeros.copy(),
        still=np.zeros(size, int),
        agreeing=np.zeros(size, int),
        at_odds=np.zeros(size, int),
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
    off = np.where(implausible, 0.0, signals - state.expected) * config.per_gate
    far = np.abs(off) > 1.0
    drifted = _add_up(config, state, np.clip(off, -1.0, 1.0), implausible)
    sums = np.where(state.doubted, -1.0, np.maximum(state.up, state.down))
    most = np.arange(len(sums)) == np.argmax(sums)

    state.at_odds = np.where(
        far | drifted, config.settled_samples, np.maximum(state.at_odds - 1, 0)
    )
    insane = implausible | stuck
    model_holds = 2 * np.sum(~insane & (state.at_odds > 0)) < np.sum(~insane)
    state.agreeing = np.where(
        insane | far | drifted, 0, np.minimum(state.agreeing + 1, config.agreeing_samples)
    )
    found = insane | ((far | drifted & most) & model_holds)
    forgiven = (state.agreeing >= config.agreeing_samples) | (~far & ~model_holds)
    new = found & ~state.doubted
    state.doubted = found | (state.doubted & ~forgiven)
    state.found += int(np.sum(new))
    if new.any():  # what adds up while a signal lies says nothing of the others
        state.up = np.where(state.doubted, state.up, 0.0)
        state.down = np.where(state.doubted, state.down, 0.0)
    return state.doubted


def _add_up(
    config: DoubtConfig, state: DoubtState, innovation: np.ndarray, implausible: np.ndarray
) -> np.ndarray:
    """(p,) whose rests have added up to more than 1. Those that are not believed explain
    nothing."""
    left_out = state.doubted | implausible
    told = np.where(left_out, 0.0, innovation)
    counts = np.where(left_out, config.others @ told, innovation)
    rest = innovation - config.others @ counts
    state.up = np.clip(state.up + config.per_sum * (rest - config.slack), 0.0, SUM_MAX)
    state.down = np.clip(state.down + config.per_sum * (-rest - config.slack), 0.0, SUM_MAX)
    return (state.up > 1.0) | (state.down > 1.0)
