"""A firmware that takes over from another in mid-run, the tendon rig in the loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from soft_control.control.mpc_settings import MpcSettings
from soft_control.control.references import Reference
from soft_control.experiment.closed_loop import calibration
from soft_control.experiment.node_parameters import mpc_settings
from soft_control.experiment.returning_session import ReturningSession
from soft_control.experiment.trajectory import ToldReference, shifted, tabulate, trajectory
from soft_control.firmware_build import build
from soft_control.firmware_files import KeptBuild, read_build
from soft_control.learning.card import ModelCard
from soft_control.link.codes import TETHERED, SolverStatus
from soft_control.link.learned_map import LearnedMap
from soft_control.link.opening import open_session
from soft_control.link.session import LinkError
from soft_control.rigs import make_rig

RATE_HZ = 120.0
SHAPE = Reference(
    ("x", "y", "z"), "figure_eight", (0.0, 0.0125, 0.025), (0.0,) * 3, (0, 1, 2), angular_rate=0.8
)
ROUNDING = 1e-6
"""Of a command, rad: float32, and the estimate's beginning."""


@pytest.fixture(scope="module")
def gentle(tendon, tmp_path_factory) -> Path:
    """Another firmware of the same model, that moves less willingly and looks less far ahead."""
    out = tmp_path_factory.mktemp("gentle")
    settings = mpc_settings("tendon")
    weights = [10.0 * w for w in settings.move_weight]
    changed = settings.model_copy(update={"move_weight": weights, "horizon": 12})
    build(tendon.model, MpcSettings(**changed.model_dump()), out, ("host",))
    return out


class Run:
    """The rig in closed loop with a firmware, which follows its own trajectory or a stream."""

    def __init__(
        self, tendon: SimpleNamespace, target: str = "sil", streamed: bool = False, **modes: object
    ) -> None:
        card = tendon.card
        self.card, self.target, self.modes, self.streamed = card, target, modes, streamed
        self.rig = make_rig("tendon", seed=3)
        self.rig.reset()
        self.calibrate = calibration(self.rig).apply
        self.live = [card.robot.signal_names.index(name) for name in card.signal_names]
        self.session = ReturningSession(self.open, KeptBuild(read_build(tendon.firmware), target))
        self.rest = card.robot.output_rest
        if not streamed:
            table = tabulate(SHAPE, RATE_HZ, 2000, 1200)
            self.told = ToldReference(self.session, table, RATE_HZ, np.array(self.rest))
        self.k = 0
        self.commands: list[Sequence[float]] = []
        self.statuses: list[int] = []
        self.predicted: list[Sequence[float]] = []
        self.relived: Sequence[float] = ()
        """What a new firmware predicts for its first sample."""
        self.errors: list[float] = []

    def open(self, firmware, wired):
        session = open_session(self.target, firmware, timeout_s=10.0)  # on a busy machine
        real = session.observe

        def observe(k, signals, command):
            answer = real(k, signals, command)
            self.relived = answer.predicted
            return answer

        session.observe = observe
        return session

    def wanted(self, first: int, count: int) -> list[list[float]]:
        return SHAPE.values((first + np.arange(count)) / RATE_HZ).tolist()

    def run(self, samples: int) -> Run:
        horizon = self.session.info.horizon
        for _ in range(samples):
            k = self.k
            if k == 0:
                ahead = self.wanted(0, horizon) if self.streamed else ()
                neutral = self.card.robot.command_neutral
                self.session.arm(neutral, self.rest, ahead, **self.modes)
            seen = self.rig.measure()
            if k < self.modes.get("tethered_samples", 0):
                self.session.measurement(k, seen.outputs)
            last = self.wanted(k + horizon, 1)[0] if self.streamed else self.told.at(k + horizon)
            signals = self.calibrate(seen.signals)[self.live]
            answer = self.session.sample(k, signals, last)
            self.commands.append(answer.command)
            self.statuses.append(answer.status)
            self.predicted.append(answer.predicted)
            self.errors.append(1e3 * np.linalg.norm(self.rig.outputs() - self.wanted(k, 1)[0]))
            self.rig.step(np.array(answer.command), 1 / RATE_HZ)
            self.k += 1
        return self

    def replace(self, folder: Path, **how: bool):
        return self.session.replace(KeptBuild(read_build(folder), self.target), **how)


def assert_bounded(commands: Sequence[Sequence[float]], k: int) -> None:
    """No move is above the limit, and that of the first sample k of another firmware no larger than
    the largest around it."""
    moves = np.abs(np.diff(np.array(commands), axis=0)).max(axis=1)
    assert moves.max() <= mpc_settings("tendon").move_max[0] + ROUNDING
    around = np.concatenate([moves[k - 61 : k - 1], moves[k : k + 60]])
    assert moves[k - 1] <= around.max()


@pytest.fixture
def run(tendon) -> Callable[..., Run]:
    made = []

    def make(*arguments, **choices) -> Run:
        made.append(Run(tendon, *arguments, **choices))
        return made[-1]

    yield make
    for one in made:
        one.session.close()


@pytest.fixture(scope="module")
def untouched(tendon) -> Run:
    """As it goes on where nothing is replaced."""
    return Run(tendon).run(700)


@pytest.mark.parametrize("target", ["sil", "pil"])
def test_a_firmware_has_no_other_memory_than_that_of_its_samples(run, tendon, untouched, target):
    """It has lived through the whole run, and predicts what the old one did, but for the rounding
    of commands told in physical units; its first plan alone is not the one that had been improved
    from sample to sample."""
    one = run(target).run(100)
    assert one.replace(tendon.firmware).k == 100
    one.run(100)
    assert one.commands[:100] == untouched.commands[:100]
    assert one.predicted[99] == untouched.predicted[99]
    assert one.relived == pytest.approx(untouched.predicted[99], abs=1e-8)
    assert_bounded(one.commands, 100)


def test_in_a_longer_run_the_last_two_seconds_are_enough(run, tendon, untouched):
    one = run().run(450)
    replaced = one.replace(tendon.firmware)
    assert replaced.k == 450 and replaced.before.build_id == replaced.now.build_id
    one.run(250)
    assert one.commands[:450] == untouched.commands[:450]
    assert_bounded(one.commands, 450)
    assert np.mean(one.errors[460:]) < 1.2 * np.mean(untouched.errors[460:])


@pytest.mark.parametrize(
    "choices", [{}, {"tethered_samples": TETHERED}, {"streamed": True}], ids=str
)
def test_another_firmware_takes_over_without_a_step(run, tendon, gentle, choices):
    one = run(**choices).run(400)
    if choices.get("streamed"):  # whoever streams it reckons with a horizon
        with pytest.raises(ValueError, match="its horizon is 12, the run's 14"):
            one.replace(gentle, same_horizon=True)
        one.replace(tendon.firmware, same_horizon=True)
    else:
        replaced = one.replace(gentle)
        assert replaced.now.horizon == 12 and replaced.now.build_id != replaced.before.build_id
    one.run(200)
    assert_bounded(one.commands, 400)
    assert SolverStatus.NOT_FINITE not in one.statuses
    assert np.mean(one.errors[400:]) < 2.0 * np.mean(one.errors[200:400])


def added(known: LearnedMap, card: ModelCard) -> np.ndarray:
    """(T, 3) by a map, along the first three seconds of the reference."""
    v = SHAPE.values(np.arange(0.0, 3.0, 0.1)) - np.array(card.output_offset)
    i, j = np.triu_indices(3)
    return v @ (known.gain - np.eye(3)).T + known.offset + v[:, i] * v[:, j] @ known.curve.T


def test_what_has_been_learned_of_the_robot_goes_on_in_the_new_one(run, tendon):
    """Also the rest of its calibration: 4 s are told, and the firmware changes after 3 and 7 s."""
    told = round(4 * RATE_HZ)
    one = run(tethered_samples=told, adapts=True).run(360)
    before = one.session.adaptation()
    one.replace(tendon.firmware)
    goes_on = one.session.adaptation()
    assert before.believed == 360 - round(0.25 * RATE_HZ)  # the first ones are looked on
    # It has relived two seconds, in which it learned more, since what it began with is as uncertain
    # as at first: it is nearer to that than to the robot as it was recorded. Elements of a map
    # stand in for one another, what they add does not.
    was, now = (added(known, tendon.card) for known in (before, goes_on))
    assert np.abs(now - was).mean() < 0.9 * np.abs(now).mean()
    one.run(480)
    assert_bounded(one.commands, 360)
    learned = one.session.adaptation()
    one.replace(tendon.firmware)
    np.testing.assert_allclose(one.session.adaptation().gain, learned.gain, atol=1e-6)
    np.testing.assert_allclose(one.session.adaptation().curve, learned.curve, rtol=1e-5)
    assert one.session.adaptation().believed == 0  # there was nothing measured to relive
    one.run(60)
    assert_bounded(one.commands, 840)


def test_settings_given_in_mid_run_are_those_of_the_new_one(run, tendon):
    one = run().run(100)
    from soft_control.control.mpc_settings import physical_settings

    settings = mpc_settings("tendon")
    narrow = settings.model_copy(update={"command_max": [0.0, -0.2]})
    given = physical_settings(narrow, tendon.card.robot)
    one.session.configure(given)
    one.run(200)
    one.session.replace(KeptBuild(read_build(tendon.firmware), "sil"), given)
    one.run(200)
    assert np.array(one.commands)[150:].max(axis=0) == pytest.approx([0.0, -0.2], abs=ROUNDING)


def test_one_that_does_not_fit_or_does_not_start_leaves_the_old_one(
    run, tendon, untouched, tmp_path, monkeypatch
):
    import shutil

    one = run().run(100)
    other = Path(shutil.copytree(tendon.firmware, tmp_path / "other"))
    record = (other / "firmware.json").read_text()
    (other / "firmware.json").write_text(
        record.replace(read_build(other).build_id, "0123456789abcdef")
    )
    with pytest.raises(LinkError, match="0123456789abcdef"):
        one.replace(other)
    (other / "libfirmware.so").write_bytes(b"no library")
    with pytest.raises(LinkError):
        one.replace(other)
    (other / "libfirmware.so").unlink()
    with pytest.raises(RuntimeError, match="libfirmware.so"):
        one.replace(other)
    real = one.session.info

    def of_another_robot(firmware, wired):
        session = open_session("sil", firmware)
        session.info = type(real)(**{**vars(real), "signals": 9, "rate_hz": 50.0})
        return session

    monkeypatch.setattr(one.session, "_open", of_another_robot)
    with pytest.raises(ValueError, match="2, 3 and 9 commands, outputs and signals, the run 2, 3"):
        one.replace(tendon.firmware)
    one.run(100)
    assert one.commands == untouched.commands[:200]


def test_it_stays_though_its_folder_goes(tendon, tmp_path):
    import shutil

    folder = Path(shutil.copytree(tendon.firmware, tmp_path / "build"))
    kept = KeptBuild(read_build(folder), "pil")
    shutil.rmtree(folder)
    with kept.again() as build, open_session("pil", build) as session:
        assert session.info.build_id == kept.build.build_id


@pytest.mark.parametrize("periodic", [True, False])
@pytest.mark.parametrize("samples", [0, 1, 7, 333, 5000])
def test_a_trajectory_goes_on_where_it_is(periodic, samples):
    """By the firmware's own rule, in float64, of a curve that bends little between its points."""
    angle = np.linspace(0, 2 * np.pi, 400, endpoint=not periodic)
    points = np.column_stack([np.cos(angle), np.sin(angle)])
    step = round((1 << 32) / 700.5)

    def at(table, k):
        way = k * step % (1 << 32) if periodic else min(k * step, 1 << 32)
        pieces = len(table) if periodic else len(table) - 1
        index, share = divmod(way / (1 << 32) * pieces, 1.0)
        index = int(index)
        end = (index + 1) % len(table) if periodic else min(index + 1, len(table) - 1)
        here = np.array(table[index % len(table)])
        return here + share * (np.array(table[end]) - here)

    moved = shifted(points.tolist(), step, periodic, samples)
    for k in (0, 1, 13, 500, 900):
        np.testing.assert_allclose(at(moved, k), at(points, samples + k), atol=2e-4)


def test_the_table_of_the_run_is_the_one_that_is_shifted():
    table = tabulate(SHAPE, RATE_HZ, 2000, 1200)
    told = trajectory(table, RATE_HZ, np.zeros(3))
    moved = np.array(shifted(told.points.tolist(), told.step, told.periodic, 450))
    np.testing.assert_allclose(moved[0], SHAPE.values(np.array([450 / RATE_HZ]))[0], atol=2e-6)
