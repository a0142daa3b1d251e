"""What comes between a rig and its instruments, against the same rig left alone."""

from __future__ import annotations

import numpy as np
import pytest

from soft_control.campaign.disturbed_rig import (
    CHANNEL_KINDS,
    DRIFTS_PER_S,
    SPIKES,
    ChannelFault,
    DisturbedRig,
    Effect,
    Push,
)
from soft_control.rigs import make_rig

FROM_S, RATE_HZ, CHANNEL, FULL = 0.5, 120.0, 5, 145.0


def followed(effect: Effect | None, seed: int = 1, samples: int = 240) -> tuple[np.ndarray, ...]:
    """Times, true outputs, measured outputs and counts of a rig under moving commands."""
    rig = make_rig("tendon", seed=seed)
    if effect is not None:
        rig = DisturbedRig(rig, effect, seed)
    rig.reset()
    t_s = np.arange(samples) / RATE_HZ
    true, measured, counts = [], [], []
    for t in t_s:
        seen = rig.measure()
        true.append(rig.outputs())
        measured.append(seen.outputs)
        counts.append(seen.signals)
        rig.step(np.radians([-10 + 20 * np.sin(3 * t), -20 + 20 * np.cos(3 * t)]), 1 / RATE_HZ)
    return t_s, np.array(true), np.array(measured), np.array(counts)


def faulty(kind: str, seed: int = 1, channel: int = CHANNEL) -> np.ndarray:
    return followed(Effect(channels=(ChannelFault(channel, kind, FROM_S),)), seed)[3]


@pytest.mark.parametrize("kind", CHANNEL_KINDS)
def test_a_channel_is_wrong_from_its_time_on_and_no_other_ever(kind):
    t_s, true, measured, counts = followed(None)
    early = t_s < FROM_S
    found = followed(Effect(channels=(ChannelFault(CHANNEL, kind, FROM_S),)))
    np.testing.assert_array_equal(found[1], true)
    np.testing.assert_array_equal(found[2], measured)
    np.testing.assert_array_equal(found[3][early], counts[early])
    others = np.arange(counts.shape[1]) != CHANNEL
    np.testing.assert_array_equal(found[3][:, others], counts[:, others])
    assert (found[3][~early, CHANNEL] != counts[~early, CHANNEL]).any()


def test_each_kind_reads_what_it_says():
    t_s, _, _, counts = followed(None)
    late = t_s >= FROM_S
    right = counts[late, CHANNEL]
    assert not faulty("dead")[late, CHANNEL].any()
    assert (faulty("stuck")[late, CHANNEL] == right[0]).all() and np.ptp(right) > 10
    for per_s in DRIFTS_PER_S:
        drift = faulty(f"drifting_{per_s:g}")[late, CHANNEL] - right
        np.testing.assert_allclose(drift, per_s * FULL * (t_s[late] - FROM_S), atol=0.5)
    jumps = np.abs(faulty("spiking")[late, CHANNEL] - right)
    share = np.mean(jumps > 0)
    assert 0.2 * SPIKES < share < 3 * SPIKES


@pytest.mark.parametrize("kind", CHANNEL_KINDS)
def test_it_says_since_when_a_channel_is_wrong(kind):
    """A channel whose fault has not shown itself yet, as that of a spike to come, is not wrong."""
    fault = ChannelFault(CHANNEL, kind, FROM_S)
    rig, sound = DisturbedRig(make_rig("tendon", seed=1), Effect(channels=(fault,)), 1), None
    for _ in range(2):  # the second time it is as the first
        rig.reset()
        sound, first = make_rig("tendon", seed=1), None
        assert rig.wrong_from_s == {}
        for k in range(240):
            true, read = sound.measure().signals, rig.measure().signals
            if first is None and (true != read).any():
                first = k
            for one in (rig, sound):
                one.step(np.radians([-10.0, -20.0]), 1 / RATE_HZ)
        assert first >= FROM_S * RATE_HZ
        assert rig.wrong_from_s == {CHANNEL: pytest.approx(first / RATE_HZ)}


def test_a_wrong_reading_is_one_that_the_sensor_can_send():
    """A spike downwards would be below 0 counts, which is the least that LightLace sends."""
    assert faulty("spiking").min() >= 0


def test_spikes_are_those_of_the_seed_and_the_channel():
    np.testing.assert_array_equal(faulty("spiking"), faulty("spiking"))
    late = slice(60, None)
    one = faulty("spiking")[late, 5] - followed(None)[3][late, 5]
    other = faulty("spiking", channel=6)[late, 6] - followed(None)[3][late, 6]
    assert ((one != 0) != (other != 0)).any()


def test_a_push_moves_outputs_and_what_is_measured_and_is_over_when_it_says():
    height = (0.0, 1e-3, -4e-3)
    t_s, true, measured, counts = followed(None)
    found = followed(Effect(pushes=(Push(height, FROM_S, 0.3),)))
    moved = found[1] - true
    np.testing.assert_allclose(found[2] - measured, moved, atol=1e-15)
    np.testing.assert_array_equal(found[3], counts)
    inside = (t_s > FROM_S) & (t_s < FROM_S + 0.3)
    # The rig's clock is a sum of periods: at the edge a rounding of it is a push of nanometres.
    assert np.abs(moved[~inside]).max() < 1e-9 and moved[inside][:, 2].max() < 0
    middle = np.argmin(np.abs(t_s - FROM_S - 0.15))
    np.testing.assert_allclose(moved[middle], height, rtol=1e-3)


def test_a_lost_tracker_measures_nothing_more():
    t_s, true, measured, _ = followed(None)
    found = followed(Effect(tracker_lost_s=FROM_S))
    np.testing.assert_array_equal(found[2][t_s < FROM_S], measured[t_s < FROM_S])
    assert np.isnan(found[2][t_s >= FROM_S]).all()
    np.testing.assert_array_equal(found[1], true)


def test_a_reset_begins_anew():
    effect = Effect(channels=(ChannelFault(CHANNEL, "stuck", 0.1),), tracker_lost_s=0.1)
    rig = DisturbedRig(make_rig("tendon", seed=1), effect, 1)
    rig.reset()
    first = rig.measure()
    for _ in range(3):
        rig.step(np.array([0.5, 0.5]), 0.1)
        rig.measure()
    rig.reset()
    again = rig.measure()
    np.testing.assert_array_equal(again.outputs, first.outputs)
    np.testing.assert_array_equal(again.signals, first.signals)
