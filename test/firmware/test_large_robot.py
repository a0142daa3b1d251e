"""A firmware of six commands and nine outputs at 100 Hz: the whole body of config/robots/trunk."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest

from soft_control import firmware_build as module
from soft_control.control.mpc_settings import MpcSettings, physical_settings
from soft_control.learning.card import NETWORK_FILE, load_card
from soft_control.link.errors import LinkError
from soft_control.link.framing import CONTENT_MAX
from soft_control.link.learned_map import LearnedMap
from soft_control.link.messages import Configure, Sizes, content_max
from soft_control.rigs import describe

TRUNK = describe("trunk")
SIZES = Sizes(commands=6, outputs=9, signals=0)
LAGS, DELAY, HORIZON = 3, 15, 23
SCALE_M = [0.02] * 3 + [0.03] * 3 + [0.04] * 3
"""Of the outputs: the tip moves twice as far as the first body."""


@pytest.fixture(scope="module")
def trunk_settings() -> MpcSettings:
    return MpcSettings(
        horizon=HORIZON,
        control_horizon=2,
        iterations=1,
        tail_continues=False,
        output_weight=[1.0] * SIZES.outputs,
        move_weight=[0.02] * SIZES.commands,
        command_min=TRUNK.command_min.tolist(),
        command_max=TRUNK.command_max.tolist(),
        move_max=[command.speed_max / TRUNK.rate_hz for command in TRUNK.commands],
    )


@pytest.fixture(scope="module")
def trunk(model_dir, trunk_settings, boards, tmp_path_factory):
    """The firmware of an increment network 45-32-32-9, tanh, with random weights."""
    import keras

    folder = tmp_path_factory.mktemp("trunk")
    keras.utils.set_random_seed(3)
    m, n = SIZES.commands, SIZES.outputs
    sizes = {"commands": LAGS * m, "output": n, "past_outputs": (LAGS - 1) * n}
    inputs = {name: keras.Input((size,), name=name) for name, size in sizes.items()}
    x = keras.layers.Concatenate()(list(inputs.values()))
    for _ in range(2):
        x = keras.layers.Dense(32, activation="tanh")(x)
    small = keras.initializers.RandomNormal(stddev=0.02)
    output = keras.layers.Add()(
        [inputs["output"], keras.layers.Dense(n, kernel_initializer=small)(x)]
    )
    keras.Model(list(inputs.values()), output).save(folder / NETWORK_FILE)
    changes = {
        "robot": TRUNK,
        "rate_hz": TRUNK.rate_hz,
        "input_delay": DELAY,
        "output_names": list(TRUNK.output_names),
        "command_names": list(TRUNK.command_names),
        "command_offset": [0.0] * m,
        "command_scale": TRUNK.command_max.tolist(),
        "output_offset": [0.0] * n,
        "output_scale": SCALE_M,
        "signal_names": [],
        "signal_offset": [],
        "signal_scale": [],
        "signal_model": None,
        "memory_s": [],
        "model_hash": hashlib.sha256((folder / NETWORK_FILE).read_bytes()).hexdigest()[:16],
    }
    card = load_card(model_dir).model_copy(update=changes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "load_card", lambda directory: card)
        return module.build(folder, trunk_settings, folder / "build", boards)


def reference(k: int) -> np.ndarray:
    """(9,) m: every coordinate swings by 10 mm."""
    return 0.01 * np.sin(0.015 * k + np.arange(SIZES.outputs))


def answers(session, settings: MpcSettings) -> list[tuple]:
    """Of a run whose weights change on the way and that is told measured outputs."""
    changes = {"output_weight": [4.0] * 9, "disturbance_ratio": 0.1}
    session.arm(TRUNK.command_neutral, np.zeros(9), [reference(k) for k in range(HORIZON)])
    found = []
    for k in range(12):
        if k == 6:
            session.configure(physical_settings(settings.model_copy(update=changes), TRUNK))
        session.measurement(k, 0.5 * reference(k))
        found.append(session.sample(k, (), reference(k + HORIZON)))
    assert session.hello().bad_frames == 0
    return found


def test_its_messages_are_longer_than_those_of_small_robots():
    assert Configure.length_min(SIZES) == content_max(SIZES) == 329 > CONTENT_MAX


def test_sil_and_pil_give_the_same_bits_in_time(open_target, trunk, trunk_settings):
    sil = answers(open_target("sil", trunk), trunk_settings)
    assert {answer.flags for answer in sil} == {0}
    assert np.ptp([answer.command for answer in sil], axis=0).min() > 0.0
    # An error costs four times as much at once; without CONFIGURE the cost would go down.
    assert sil[6].cost > 2.0 * sil[5].cost
    pil = answers(open_target("pil", trunk), trunk_settings)
    for one, other in zip(sil, pil, strict=True):
        assert (one.command, one.predicted, one.cost) == (
            other.command,
            other.predicted,
            other.cost,
        )
    # 526,000 instructions are 1.34 million cycles by nn4mc_codegen.trial.cycles, 8.0 of the 10 ms;
    # 1.4 million are allowed.
    assert max(answer.step_cost for answer in pil) < 550_000
    # 1200 points of a reference take 43,200 bytes.
    assert trunk.flash_percent < 10.0 and trunk.ram_bytes < 43_200 + (28 << 10)


def test_a_map_takes_no_gain_from_another_body(open_target, trunk):
    """Three coordinates to a body, each with gains of its own body's alone."""
    session, rng = open_target("sil", trunk), np.random.default_rng(1)
    gain = np.eye(9) + 0.1 * np.kron(np.eye(3), rng.uniform(-1, 1, (3, 3)))
    known = replace(LearnedMap.as_recorded(9), gain=gain, offset=0.001 * np.arange(9.0))
    session.adapt(known)
    told = session.adaptation()
    np.testing.assert_allclose(told.gain, gain, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(told.offset, known.offset, rtol=1e-6, atol=1e-9)
    for i, j, value in ((0, 3, 0.01), (4, 8, -0.01), (8, 0, 1e-9)):
        other = gain.copy()
        other[i, j] = value
        with pytest.raises(LinkError, match="refused ADAPT: bad value"):
            session.adapt(replace(known, gain=other))
    # Six commands reach more than a surface: no point of this robot has products.
    with pytest.raises(LinkError, match="refused ADAPT: bad value"):
        session.adapt(replace(known, curve=np.eye(9, 6)))
    np.testing.assert_array_equal(session.adaptation().gain, told.gain)
    np.testing.assert_array_equal(session.adaptation().offset, told.offset)
