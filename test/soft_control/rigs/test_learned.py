"""A twin steps as its networks say, at rest stays at rest, and its files are read as data."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from soft_control.rigs import describe, make_rig
from soft_control.rigs.twin_files import CARD_FILE, NETWORK_FILE, file_hash

PERIOD_S = 0.02


@pytest.fixture(scope="module")
def twin(twin_by_hand, tmp_path_factory):
    return twin_by_hand(tmp_path_factory.mktemp("twin"))


@pytest.fixture
def folder(twin, tmp_path):
    """A copy to break."""
    return shutil.copytree(twin.folder, tmp_path / "broken")


def commands(samples: int, seed: int = 0) -> np.ndarray:
    """(samples, 2) Pa, some of them beyond the limits, each held for a few samples."""
    rng = np.random.default_rng(seed)
    return np.repeat(rng.uniform((-4e4, -1.4e5), (2.4e5, 1.4e5), (samples // 4 + 1, 2)), 4, axis=0)[
        :samples
    ]


def simulated(twin, given: np.ndarray) -> np.ndarray:
    """(samples + 1, z) states of the twin, written down once more in the plainest way: `given` are
    the commands, one a sample."""
    card = twin.card
    robot = card.robot
    limited = np.clip(given, robot.command_min, robot.command_max)
    u = (limited - card.command_offset) / np.array(card.command_scale)
    at_rest = (robot.command_neutral - card.command_offset) / np.array(card.command_scale)
    runs = []
    for (w1, b1), (w2, b2) in twin.networks:
        w1, b1, w2, b2 = (a.astype(np.float32).astype(float) for a in (w1, b1, w2, b2))
        states = [np.array(card.rest[0])] * 2
        for k in range(len(u)):
            newest = u[k - card.input_delay] if k >= card.input_delay else at_rest
            older = u[k - card.input_delay - 1] if k >= card.input_delay + 1 else at_rest
            x = np.concatenate([newest, older, states[-1], states[-2]])
            states.append(states[-1] + np.tanh(x @ w1 + b1) @ w2 + b2)
        runs.append(states[1:])
    return np.mean(runs, axis=0) * card.state_scale + card.state_offset


def test_its_outputs_are_those_of_its_networks(twin):
    """1e-12 of their size: the order of sums alone differs."""
    given = commands(200)
    wanted = simulated(twin, given)
    rig = make_rig(str(twin.folder), output_noise=())
    seen = [rig.outputs()]
    for command in given:
        rig.step(command, PERIOD_S)
        seen.append(rig.outputs())
    np.testing.assert_allclose(seen, wanted[:, :3], rtol=0, atol=1e-12)
    assert np.ptp(wanted[:, :3], axis=0).min() > 0.01


def test_between_its_samples_it_goes_straight_however_time_is_cut(twin):
    given = commands(60)
    wanted = simulated(twin, given)
    rng = np.random.default_rng(1)
    rig = make_rig(str(twin.folder))
    for k, command in enumerate(given):
        share = rng.uniform(0.1, 0.9)
        rig.step(command, share * PERIOD_S)
        between = wanted[k] + share * (wanted[k + 1] - wanted[k])
        np.testing.assert_allclose(rig.outputs(), between[:3], rtol=0, atol=1e-12)
        rig.step(command, (1.0 - share) * PERIOD_S)
        np.testing.assert_allclose(rig.outputs(), wanted[k + 1, :3], rtol=0, atol=1e-12)


@pytest.mark.parametrize("delay", [0, 1, 5])
def test_a_command_shows_after_the_delay(twin_by_hand, tmp_path, delay):
    twin = twin_by_hand(tmp_path, delay=delay)
    rig = make_rig(str(twin.folder))
    rest = rig.outputs()
    moved = []
    for _ in range(delay + 2):
        rig.step(rig.command_max, PERIOD_S)
        moved.append(np.max(np.abs(rig.outputs() - rest)) > 1e-6)
    assert moved == [False] * delay + [True, True]


def test_it_rests_where_it_is_reset_to_under_commands_at_mid_range(twin):
    rig = make_rig(str(twin.folder))
    np.testing.assert_allclose(rig.outputs(), 0.0, atol=1e-8)
    rig.step(rig.command_max, 1.0)
    rig.reset()
    rig.step(rig.description.command_neutral, 100.0)
    np.testing.assert_allclose(rig.outputs(), 0.0, atol=1e-8)


def test_signals_are_counts_of_both_signs_and_those_that_stand_still_do(twin):
    rig = make_rig(str(twin.folder))
    assert rig.signal_names == ("still", "bend")
    seen = []
    for command in commands(300):
        seen.append(rig.measure().signals)
        rig.step(command, PERIOD_S)
    wanted = simulated(twin, commands(300))[:-1, 3]
    seen = np.array(seen)
    assert seen.dtype.kind == "i" and set(seen[:, 0]) == {7}
    assert seen[:, 1].min() < 0 < seen[:, 1].max()
    noise = seen[:, 1] / rig.description.full_scale_counts[1] - wanted
    # 300 samples tell a standard deviation to 12 %, three times out of three.
    assert np.std(noise) == pytest.approx(1e-3, rel=0.12) and abs(np.mean(noise)) < 2e-4


def test_outputs_are_measured_with_the_noise_of_the_recordings(twin):
    rig = make_rig(str(twin.folder), seed=4)
    seen = np.array([rig.measure().outputs for _ in range(2000)])
    np.testing.assert_allclose(seen.std(axis=0), twin.card.noise[:3], rtol=0.06)


def test_gain_and_load_move_the_outputs_about_rest(twin):
    """As on the other rigs: a gain is of what commands do, a load comes on in mid-run."""
    given = commands(100)
    nominal = simulated(twin, given)
    load = (1e-3, 0.0, -0.5)
    rig = make_rig(str(twin.folder), gain=1.25, load_offset=load, load_after_s=1.0)
    for k, command in enumerate(given):
        loaded = -np.expm1(-max(k * PERIOD_S - 1.0, 0.0) / 0.02)
        wanted = 1.25 * nominal[k, :3] + loaded * np.array(load)
        np.testing.assert_allclose(rig.outputs(), wanted, rtol=0, atol=2e-8)
        rig.step(command, PERIOD_S)
    assert loaded > 0.99


def test_it_goes_on_from_a_saved_state_with_the_same_bits(twin):
    rig = make_rig(str(twin.folder), seed=3)
    for command in commands(50):
        rig.measure()
        rig.step(command, 0.0137)
    saved = json.loads(json.dumps(rig.save()))

    def go_on(rig):
        seen = []
        for command in commands(50, seed=1):
            seen.append((rig.measure(), rig.outputs()))
            rig.step(command, 0.0137)
        return [(*m.outputs, *m.signals, *y) for m, y in seen]

    first = go_on(rig)
    other = make_rig(str(twin.folder), seed=8)
    other.restore(saved)
    assert go_on(other) == first
    rig.reset(3)
    again = make_rig(str(twin.folder), seed=3)
    np.testing.assert_array_equal(rig.measure().outputs, again.measure().outputs)
    assert np.any(make_rig(str(twin.folder), seed=4).measure().outputs != again.measure().outputs)


def test_a_robot_without_signals_has_a_twin(twin_by_hand, tmp_path):
    rig = make_rig(str(twin_by_hand(tmp_path, signals=False).folder))
    rig.step(rig.command_max, 0.1)
    assert rig.measure().signals.shape == (0,) and rig.signal_names == ()


def test_its_description_is_the_robots(twin):
    robot = describe(str(twin.folder))
    assert robot == twin.card.robot and robot.name == "arm"


def test_what_is_no_twin_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"unknown rig '.*': choose one of hasel, .*, or a direct"):
        make_rig(str(tmp_path))
    with pytest.raises(ValueError, match="unknown rig 'a\\\\x00b'"):
        make_rig("a\0b")


def broken(folder, **changes):
    values = json.loads((folder / CARD_FILE).read_text())
    (folder / CARD_FILE).write_text(json.dumps(values | changes))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rate_hz": "fast"}, "rate_hz = 'fast': "),
        ({"rate_hz": -1}, "rate_hz = -1: "),
        ({"noise": [1.0]}, "noise: 1 values instead of 4"),
        ({"state_scale": [0.0] * 4}, "state_scale.0 = 0.0: "),
        ({"command_offset": [1e999, 0.0]}, "command_offset.0 = inf: "),
        ({"hidden": [4096] * 16}, "hidden: networks of .* numbers, at most"),
        ({"hidden": [7]}, f"{NETWORK_FILE}: float32 of shape .*, but {CARD_FILE} asks for"),
        ({"rest": []}, r"rest = \[\]: "),
        ({"rest": [[3.0] * 4] * 2}, "rest: the networks do not rest there"),
        (
            {"moving": ["lace"]},
            "moving and still together must be the robot's signals, still, bend",
        ),
        ({"robot": {"name": "../x"}}, "robot.name = '../x': "),
        ({"input_delay": 10**9}, "input_delay = 1000000000: "),
        ({"network_hash": "0" * 16}, f"{NETWORK_FILE}: its hash is not that of {CARD_FILE}"),
        ({"more": 1}, "more = 1: "),
    ],
)
def test_a_broken_card_is_one_line_that_names_file_and_field(folder, changes, said):
    broken(folder, **changes)
    with pytest.raises(ValueError, match=said) as error:
        make_rig(str(folder))
    assert str(folder) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"\xff\xfe", b"[" * 10**6, b'{"robot": \x00}', b"null"]
)
def test_a_card_that_is_no_card_is_one_line(folder, text):
    (folder / CARD_FILE).write_bytes(text)
    with pytest.raises(ValueError, match=CARD_FILE) as error:
        make_rig(str(folder))
    assert "\n" not in str(error.value) and len(str(error.value)) < 1000


def numbers(folder) -> np.ndarray:
    return np.load(folder / NETWORK_FILE)


HOSTILE = {
    "no file": lambda path, old: path.unlink(),
    "empty": lambda path, old: path.write_bytes(b""),
    "text": lambda path, old: path.write_text("1, 2, 3"),
    "an archive": lambda path, old: path.write_bytes(b"PK\x05\x06" + bytes(18)),
    "objects": lambda path, old: np.save(path, np.array([print, len], dtype=object)),
    "doubles": lambda path, old: np.save(path, old.astype(float)),
    "another shape": lambda path, old: np.save(path, old[None]),
    "cut short": lambda path, old: path.write_bytes(path.read_bytes()[:-4]),
    "a header that promises 16 TB": lambda path, old: path.write_bytes(
        path.read_bytes().replace(b"(%d,)" % len(old), b"(%d,)" % 2**42, 1)
    ),
    "a header that is code": lambda path, old: path.write_bytes(
        b"\x93NUMPY\x01\x00\x20\x00" + b"__import__('os').abort()".ljust(32)
    ),
    "not a number": lambda path, old: np.save(path, np.where(old == old[0], np.nan, old)),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_network_file_is_one_line_that_names_it(folder, kind):
    path = folder / NETWORK_FILE
    HOSTILE[kind](path, numbers(folder))
    if path.is_file():
        broken(folder, network_hash=file_hash(path))
    with pytest.raises(ValueError, match=NETWORK_FILE) as error:
        make_rig(str(folder))
    assert "\n" not in str(error.value)
