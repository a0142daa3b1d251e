"""sensor_doubt.c: faults are found in time, sound signals are believed, and the twin agrees.

The signals here are exactly what the configuration expects, but for noise and rounding as the
tendon rig's light guides have them. Found on trained models: docs/closed_loop.md.
"""

from __future__ import annotations

import ctypes
import json
from collections.abc import Callable
from ctypes import c_bool, c_float, c_uint16
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from soft_control.control import sensor_doubt
from soft_control.control.observer import SignalFunction
from soft_control.control.sensor_doubt import DoubtConfig, doubt_config
from soft_control.firmware_build import build
from soft_control.learning.card import SignalDoubt, load_card
from soft_control.learning.signal_model import predicted_signals
from soft_control.link.codes import Clock, Source, State, Supervisor
from soft_control.link.lace_line import format_line

from ..conftest import CModel, M, N, P, signal_model_of_test
from .test_control_loop import REST, Run
from .wired import PERIOD_S, Wired

RATE_HZ = 120.0
INPUTS = N + M
NOISE = np.array([0.1, 0.03, 0.04, 0.35])
QUANTUM = NOISE / 0.67
"""As the rig has it: 0.67 counts of noise, then rounded."""
LIMIT_SAMPLES = round(0.5 * RATE_HZ)
FAULT = 1200  # sample
DOUBT_SOURCES = ("loop/sensor_doubt.c", "loop/signal_model.c", "solver/number.c")
KNOWN = signal_model_of_test()
FUNCTION = SignalFunction(np.array(KNOWN.hidden), np.array(KNOWN.weights))


OTHERS = 0.05 * (NOISE[:, None] / NOISE) * (1.0 - np.eye(P))
"""Each one a little of what all others say."""


def doubt_of_test_model() -> SignalDoubt:
    return SignalDoubt(
        innovation=(4.2 * NOISE).tolist(),
        others=OTHERS.tolist(),
        slow_rest=(0.8 * NOISE).tolist(),
        rest_sum=(6.0 * NOISE).tolist(),
        still_samples=[35] * P,
    )


@pytest.fixture(scope="session")
def doubting(model_dir, settings, boards, tmp_path_factory):
    """A firmware of the test network that doubts its signals, its card and its configuration."""
    folder = tmp_path_factory.mktemp("doubting")
    (folder / "fk.keras").write_bytes((model_dir / "fk.keras").read_bytes())
    card = json.loads((model_dir / "fk.json").read_text())
    card["signal_doubt"] = doubt_of_test_model().model_dump()
    # Plausible is 0.5 -+ 1, normalised -+5, and a quarter of that range beyond.
    card["trained"] = {
        "commands": [[-1.7, 1.4], [-1.7, 0.9]],
        "outputs": [[-0.02, 0.02]] * N,
        "signals": [[-0.5, 1.5]] * P,
    }
    (folder / "fk.json").write_text(json.dumps(card))
    built = build(folder, settings, folder / "firmware", boards)
    return built, folder, doubt_config(load_card(folder))


class CConfig(ctypes.Structure):
    """doubt_config_t"""

    _fields_ = [
        ("per_gate", c_float * P),
        ("others", c_float * P * P),
        *((name, c_float * P) for name in ("slack", "per_sum", "low", "high")),
        ("still_max", c_uint16 * P),
        ("agreeing_samples", c_uint16),
        ("settled_samples", c_uint16),
    ]

    @classmethod
    def of(cls, config: DoubtConfig) -> CConfig:
        made = cls()
        for name, kind in cls._fields_:
            value = getattr(config, name)
            if issubclass(kind, ctypes.Array):
                array = np.ctypeslib.as_array(getattr(made, name))
                array[...] = np.asarray(value)
            else:
                setattr(made, name, value)
        return made


class CState(ctypes.Structure):
    """doubt_state_t"""

    _fields_ = [
        *((name, c_float * P) for name in ("last", "expected", "up", "down")),
        *((name, c_uint16 * P) for name in ("still", "agreeing", "at_odds")),
        ("doubted", c_bool * P),
        ("found", c_uint16),
    ]


class Firmware:
    """The C, one sample after another."""

    def __init__(self, library: Path, config: DoubtConfig) -> None:
        self._library = ctypes.CDLL(str(library))
        self._config, self.state = CConfig.of(config), CState()
        self._model = CModel.of(KNOWN)
        self._library.sensor_doubt_reset(ctypes.byref(self.state))

    def step(self, signals, predicted, command) -> np.ndarray:
        arrays = [np.ascontiguousarray(a, np.float32) for a in (signals, predicted, command)]
        pointers = [a.ctypes.data_as(ctypes.POINTER(c_float)) for a in arrays]
        self._library.sensor_doubt_step(
            ctypes.byref(self._config),
            ctypes.byref(self._model),
            ctypes.byref(self.state),
            *pointers,
        )
        return np.array(self.state.doubted)


@pytest.fixture
def firmware_doubt(doubting) -> Firmware:
    built, _, config = doubting
    return Firmware(built.library, config)


@dataclass
class Motion:
    """(T, …) what the network predicts, its commands, and the signals that are expected."""

    predicted: np.ndarray
    commands: np.ndarray
    expected: np.ndarray
    signals: np.ndarray


def motion(samples: int, seed: int) -> Motion:
    """A curve that returns after some seconds, as references do, at another pace for each seed."""
    rng = np.random.default_rng(seed)
    t_s = np.arange(samples) / RATE_HZ
    turns = rng.uniform(0.15, 0.4, INPUTS) * t_s[:, None] + rng.uniform(0, 1, INPUTS)
    z = np.sin(2 * np.pi * turns)
    expected = predicted_signals(FUNCTION.hidden, FUNCTION.weights, z)
    felt = expected + NOISE * rng.standard_normal(expected.shape)
    return Motion(z[:, :N], z[:, N:], expected, np.round(felt / QUANTUM) * QUANTUM)


Lie = Callable[[np.ndarray, int, np.random.Generator], np.ndarray]
"""The signals (T,) of one channel from the fault on, as they come instead."""
FAULTS: dict[str, Lie] = {
    "dead": lambda s, i, rng: np.full_like(s, -10.0),
    "stuck": lambda s, i, rng: np.full_like(s, s[0]),
    "saturated": lambda s, i, rng: np.full_like(s, 10.0),
    # A tenth of the samples is off by the range that the channel has.
    "spiking": lambda s, i, rng: s + 4.0 * rng.choice([-1, 1], len(s)) * (rng.random(len(s)) < 0.1),
    # By half of its full scale in a second, and by five times its noise: a tenth, of the first one.
    "drifting": lambda s, i, rng: s + 2.5 * np.arange(len(s)) / RATE_HZ,
    "drifting slowly": lambda s, i, rng: s - 5.0 * NOISE[i] * np.arange(len(s)) / RATE_HZ,
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_of_each_channel_is_found_within_half_a_second(doubting, fault):
    built, _, config = doubting
    for channel in range(P):
        for seed in range(5):
            seen = motion(FAULT + LIMIT_SAMPLES, seed)
            rng = np.random.default_rng(seed)
            lies = FAULTS[fault](seen.signals[FAULT - 1 :, channel], channel, rng)
            seen.signals[FAULT:, channel] = lies[1:]
            doubt = Firmware(built.library, config)
            for k in range(FAULT + LIMIT_SAMPLES):
                doubted = doubt.step(seen.signals[k], seen.predicted[k], seen.commands[k])
                assert k >= FAULT or not doubted.any()
            assert doubted.tolist() == [i == channel for i in range(P)], (channel, seed)


def test_all_channels_dead_are_found_at_once(doubting, firmware_doubt):
    _, _, config = doubting
    seen = motion(200, 1)
    for k in range(200):
        dead = k >= 100
        signals = np.full(P, -10.0) if dead else seen.signals[k]
        doubted = firmware_doubt.step(signals, seen.predicted[k], seen.commands[k])
        assert doubted.all() if dead else not doubted.any()


def test_no_false_alarm_in_ten_minutes(doubting, firmware_doubt):
    _, _, config = doubting
    seen = motion(round(600 * RATE_HZ), 2)
    for row in zip(seen.signals, seen.predicted, seen.commands, strict=True):
        assert not firmware_doubt.step(*row).any()
    assert firmware_doubt.state.found == 0


def test_a_single_spark_costs_its_channel_two_seconds(doubting, firmware_doubt):
    _, _, config = doubting
    seen = motion(700, 3)
    seen.signals[100, 1] = np.nan
    seen.signals[400, 2] += 4.0
    out = 2 * round(RATE_HZ)
    for k in range(700):
        doubted = firmware_doubt.step(seen.signals[k], seen.predicted[k], seen.commands[k])
        wanted = [False, 100 <= k < 100 + out, 400 <= k < 400 + out, False]
        assert doubted.tolist() == wanted, k
    assert firmware_doubt.state.found == 2


def test_a_channel_that_comes_back_is_believed_after_two_seconds_of_agreement(
    doubting, firmware_doubt
):
    _, _, config = doubting
    back, again, spark = 300, 2 * round(RATE_HZ), 100
    seen = motion(1000, 4)
    seen.signals[100:back, 0] = -10.0
    seen.signals[back + spark, 0] = 10.0  # the two seconds begin anew
    doubted = []
    for row in zip(seen.signals, seen.predicted, seen.commands, strict=True):
        doubted.append(firmware_doubt.step(*row)[0])
    change = np.flatnonzero(np.diff(doubted)) + 1
    assert change[0] == 100
    assert change[1] - (back + spark) == again
    assert len(change) == 2


def test_where_many_signals_disagree_it_is_the_model_that_is_wrong(doubting, firmware_doubt):
    """The network predicts other outputs than there are, such as under a load that signals feel."""
    _, _, config = doubting
    seen = motion(3000, 5)
    moved = seen.predicted + np.array([1.5, -1.5, 1.5])
    disagree = doubted = 0
    for row in zip(seen.signals, moved, seen.commands, strict=True):
        doubted += firmware_doubt.step(*row).any()
        disagree += np.sum(np.array(firmware_doubt.state.at_odds) > 0) >= P / 2
    assert disagree > 2900
    # What is found while it is a minority that disagrees is believed again when it is not.
    assert doubted < 60
    assert not any(firmware_doubt.state.doubted)


def test_a_drift_spoils_no_other_signal(doubting, firmware_doubt):
    """Of two that say nearly the same, each explains the other: both rests grow while one drifts,
    and it is the one that drifts which is found. Then the sums of the other one begin anew."""
    _, _, config = doubting
    others = config.others.copy()
    others[0, 1] = others[1, 0] = 0.7
    rows = replace(config, others=others)
    seen = motion(1500, 7)
    seen.signals[300:, 0] += 0.8 * np.arange(1200) / RATE_HZ
    state, largest = sensor_doubt.reset(rows), 0.0
    for k, row in enumerate(zip(seen.signals, seen.predicted, seen.commands, strict=True)):
        doubted = sensor_doubt.step(rows, FUNCTION, state, *row)
        assert doubted.tolist()[1:] == [False] * (P - 1)
        largest = max(largest, max(state.up[1], state.down[1])) if k < 360 else largest
    assert doubted[0] and largest > 0.1


def hostile(samples: int, seed: int) -> tuple[np.ndarray, ...]:
    """Sound stretches, and lies of all kinds on any channels for any time."""
    rng = np.random.default_rng(seed)
    seen = motion(samples, seed)
    signals = seen.signals
    k = 0
    while k < samples:
        length = int(rng.integers(1, 400))
        part = slice(k, k + length)
        channels = np.flatnonzero(rng.random(P) < 0.3)
        kind = rng.integers(6)
        for i in channels:
            if kind == 0:
                signals[part, i] = rng.choice([np.nan, np.inf, -np.inf, 3e38, 0.0])
            elif kind == 1:
                signals[part, i] = signals[k, i]
            elif kind == 2:
                signals[part, i] += rng.normal(0, 3)
            elif kind == 3:
                signals[part, i] += 0.03 * np.arange(len(signals[part, i]))
            elif kind == 4:
                signals[part, i] += 3 * (rng.random(len(signals[part, i])) < 0.1)
        k += length
    return signals.astype(np.float32), seen.predicted, seen.commands


def test_the_twin_agrees_over_ten_thousand_steps(doubting, firmware_doubt):
    """Of float32 against float64: innovations of single samples lie at 1e-6 of each other, and no
    sample of this seed comes so near to a limit."""
    _, _, config = doubting
    state = sensor_doubt.reset(config)
    doubts = 0
    for row in zip(*hostile(10_000, 6), strict=True):
        doubted = sensor_doubt.step(config, FUNCTION, state, *(np.float64(part) for part in row))
        assert firmware_doubt.step(*row).tolist() == doubted.tolist()
        in_c = firmware_doubt.state
        np.testing.assert_allclose(np.array(in_c.expected), state.expected, atol=1e-5)
        np.testing.assert_allclose(np.array(in_c.up), state.up, atol=1e-4)
        np.testing.assert_allclose(np.array(in_c.down), state.down, atol=1e-4)
        assert list(in_c.at_odds) == state.at_odds.tolist()
        assert list(in_c.agreeing) == state.agreeing.tolist()
        doubts += state.doubted.sum()
    assert in_c.found == state.found > 20
    assert 5_000 < doubts < 39_000


def test_a_million_hostile_steps_under_sanitizers(doubting, hostile_steps):
    built, _, _ = doubting
    found, sound = hostile_steps("doubt_fuzz.c", built, DOUBT_SOURCES)
    assert found > 300 and sound > 100_000


# ------------------------------------------------------------------------------- in the walk


def commands_with(session, *said: float) -> list[tuple[float, ...]]:
    """Of half a second in which the channels say `said`."""
    run, found = Run(session), []
    for k in range(60):
        values = np.array(said) + 0.001 * np.sin(k)  # no channel is stuck
        reference = np.array([0.0, 0.012 * np.sin((k + 12) / 20), 0.0])
        found.append(run.session.sample(k, values, reference).command)
    return found


def test_the_walk_goes_on_without_a_channel_that_lies(open_target, doubting):
    """What a doubted channel says makes no difference."""
    built, _, _ = doubting
    first, *others = [
        commands_with(open_target("sil", built), 0.6, 0.4, lie, 0.5) for lie in (7.5, 1e6, -1e30)
    ]
    assert np.isfinite(first).all()
    assert all(other == first for other in others)


def test_what_is_not_believed_counts_as_what_it_should_be(open_target, doubting, firmware):
    """The other firmware is the same but for the doubt; it is told what the twin expects."""
    built, folder, config = doubting
    card, state = load_card(folder), sensor_doubt.reset(config)
    doubted = commands_with(open_target("sil", built), *[-1e30] * P)
    run, told = Run(open_target("sil", firmware)), []
    outputs = card.normalised_output(np.zeros(N))
    commands = [card.normalised_command(np.array(REST))] * (card.input_delay + 1)
    for k in range(60):
        reference = np.array([0.0, 0.012 * np.sin((k + 12) / 20), 0.0])
        sensor_doubt.step(config, FUNCTION, state, np.full(P, -1e30), outputs, commands[-1])
        answer = run.session.sample(k, 0.5 + 0.2 * state.expected, reference)
        outputs = card.normalised_output(np.array(answer.predicted))
        commands = [card.normalised_command(np.array(answer.command)), *commands[:-1]]
        told.append(answer.command)
    # Signals, outputs and commands have gone through float32 and their units, there and back.
    np.testing.assert_allclose(doubted, told, atol=1e-5)
    assert np.ptp(told, axis=0).min() > 0.1


def test_values_that_are_used_again_are_not_stuck(doubting):
    """Three channels are dead. Their sensor pauses after 20 samples for 40 periods, which are no
    evidence; the 36th sample that is equal to the first is too often."""
    built, folder, config = doubting
    robot = load_card(folder).robot
    wired, others = Wired(built, robot), [0] * (len(robot.signals) - 1)
    wired.arm(clock=Clock.TIMER, source=Source.HOLD)

    def come(samples: int) -> None:
        for k in range(samples):
            wired.heartbeat()
            wired.tick(format_line([20 + k % 2, *others]))

    assert config.still_max == [35] * P
    come(20)
    wired.wait(40 * PERIOD_S)
    assert len(wired.telemetry) >= 59 and wired.telemetry[-1].flags & Supervisor.SENSOR_HELD
    assert {one.doubted & 0b1110 for one in wired.telemetry} == {0}
    come(16)
    assert wired.telemetry[-1].doubted & 0b1110 == 0
    come(1)
    assert wired.state == State.RUNNING and wired.telemetry[-1].doubted & 0b1110 == 0b1110


def test_a_model_without_it_believes_all(open_target):
    said = [0.5] * (P - 1)
    assert commands_with(open_target("sil"), 0.5, *said) != commands_with(
        open_target("sil"), 7.5, *said
    )


def test_pil_doubts_as_sil_does(open_target, doubting):
    """The same bits, while channels die one after the other."""
    built, _, _ = doubting
    rng = np.random.default_rng(8)
    said = 0.5 + 0.05 * rng.standard_normal((120, P))
    for channel in range(P):
        said[30 * channel + 10 :, channel] = -3.0
    runs = [Run(open_target(target, built)) for target in ("sil", "pil")]
    for k, values in enumerate(said):
        reference = np.array([0.0, 0.012 * np.sin((k + 12) / 20), 0.0])
        here, there = (run.session.sample(k, values, reference) for run in runs)
        assert (here.command, here.predicted) == (there.command, there.predicted)
