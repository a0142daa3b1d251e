from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from nn4mc_codegen.importers import read_model
from soft_control import robots
from soft_control.learning.dataset import (
    Recording,
    RecordingError,
    RecordingWarning,
    read_recording,
    resample,
)
from soft_control.learning.errors import rmse
from soft_control.learning.excitation import excitation
from soft_control.learning.model import (
    ModelError,
    evaluate,
    free_run,
    least_squares_baseline,
    load_card,
    load_model,
    rollouts,
)
from soft_control.learning.network_file import write_increment_network
from soft_control.learning.surface import fit_surface
from soft_control.learning.training import TrainingError, TrainingSettings, _Streams, train

PROJECT = Path(__file__).resolve().parents[3]
RATE_HZ = 50.0
TENDON, HASEL = robots.load("tendon"), robots.load("hasel")
TINY = TrainingSettings(
    rig="tendon", rate_hz=RATE_HZ, input_lags=2, output_lags=2, input_delay=1, hidden=(6,),
    updates=30, warm_start_updates=10, batch=8, rollout_samples=20, difference_gain=5.0,
    learning_rate=5e-3,
)  # fmt: skip

# A stable linear rig: y(k+1) = y(k) + B u(k-1) - 0.2 y(k), commands in rad, outputs in m.
POLE = 0.2
B = POLE * np.array([[0.02, 0.0], [0.01, 0.03], [-0.02, 0.01]])


def linear_run(seed: int, samples: int = 600, **changes) -> Recording:
    limit = np.array([1.0, 0.5])
    commands = excitation(samples / RATE_HZ, RATE_HZ, -limit, limit, 0.2 * limit, seed)
    position = np.zeros((samples, 3))
    for k in range(samples - 1):
        position[k + 1] = position[k] + B @ commands[max(k - 1, 0)] - POLE * position[k]
    rng = np.random.default_rng(seed)
    fields = {
        "source": f"run {seed}",
        "t_s": np.arange(samples) / RATE_HZ,
        "commands": commands,
        "outputs": position,
        "signals": 0.5 + 10 * position[:, 1:] + 0.01 * rng.normal(size=(samples, 2)),
        "reference": None,
        "command_names": ("servo_0", "servo_1"),
        "output_names": ("x", "y", "z"),
        "signal_names": ("lace_00", "lace_01"),
    }
    return Recording(**(fields | changes))


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> SimpleNamespace:
    """The linear rig after a tiny training, and what the training reported."""
    pytest.importorskip("tensorflow", reason="training needs soft_control[train]")
    folder = tmp_path_factory.mktemp("model")
    reports = []
    card = train([linear_run(1), linear_run(2)], [linear_run(3)], TINY, folder, reports.append)
    return SimpleNamespace(folder=folder, card=card, reports=reports)


# ------------------------------------------------------------------------------------- the card


def test_card_says_what_went_in(trained):
    card = trained.card
    runs = [linear_run(1), linear_run(2)]
    position = np.vstack([run.outputs for run in runs])
    assert card == load_card(trained.folder)
    assert card.recordings == ["run 1", "run 2"]
    assert card.evaluated_on == ["run 3"]
    assert card.input_sizes() == {"commands": 4, "output": 3, "past_outputs": 3, "signals": 2}
    scale = np.array(card.output_scale)
    assert card.surface == fit_surface(position, card.output_names, commands=2, scale=scale)
    spread = np.vstack([card.normalised_output(run.outputs) for run in runs])
    np.testing.assert_allclose([spread.mean(), (spread**2).mean()], [0, 1], atol=1e-9)
    commands = np.vstack([card.normalised_command(run.commands) for run in runs])
    np.testing.assert_allclose([commands.min(axis=0), commands.max(axis=0)], [[-1, -1], [1, 1]])
    np.testing.assert_allclose(card.outputs(card.normalised_output(position)), position)


def test_metrics_are_those_of_the_saved_network(trained):
    # The same float32 weights before and after the file: only the order of sums may differ.
    again = evaluate(load_model(trained.folder), linear_run(3))
    for found, stored in zip(again, trained.card.metrics, strict=True):
        assert found.model_dump() == pytest.approx(stored.model_dump(), rel=1e-9)


def test_progress_counts_both_stages_and_validates(trained):
    last = {report.stage: report for report in trained.reports}
    assert last["warm start"].update == TINY.warm_start_updates
    assert last["rollout"].update == TINY.updates
    name, value, unit = last["rollout"].free_run.split()
    assert (name, unit) == ("tip", "mm") and float(value) > 0
    # The last validation need not be the best one; two digits are shown.
    assert trained.card.metrics[0].free_run <= float(value) + 0.005


def test_without_signals_or_older_outputs_these_inputs_do_not_exist(tmp_path):
    pytest.importorskip("tensorflow", reason="training needs soft_control[train]")
    settings = TINY.model_copy(update={"signals": False, "output_lags": 1, "updates": 1})
    card = train([linear_run(1)], [], settings, tmp_path)
    assert card.input_sizes() == {"commands": 4, "output": 3}
    assert card.signal_model is None and card.signal_doubt is None
    assert card.evaluated_on == ["run 1"]
    assert card.metrics[0].ten_step_live == card.metrics[0].ten_step_held


# --------------------------------------------------------------------- the network in three forms


def test_numpy_form_is_the_keras_model_and_the_compilers(trained):
    keras = pytest.importorskip("keras")
    model = load_model(trained.folder)
    graph, model_hash = read_model(trained.folder / "fk.keras")
    in_keras = keras.saving.load_model(trained.folder / "fk.keras")
    sizes = model.card.input_sizes()
    assert model_hash == model.card.model_hash
    assert {tensor.name: tensor.size for tensor in graph.inputs} == sizes
    x = np.random.default_rng(0).normal(size=(20, sum(sizes.values())))
    parts = np.split(x.astype(np.float32), np.cumsum(list(sizes.values()))[:-1], axis=1)
    # float32 sums of some ten terms of order 1
    np.testing.assert_allclose(model.step(x), np.asarray(in_keras(parts)), atol=2e-6)
    for row in x:
        np.testing.assert_allclose(model.step(row), graph.evaluate(row), atol=1e-12)
        y, jacobian = model.jacobian(row)
        np.testing.assert_allclose(y, model.step(row), atol=1e-12)
        np.testing.assert_allclose(jacobian, graph.jacobian(row)[:, :10], atol=1e-12)


def test_loading_and_free_running_need_no_tensorflow(trained):
    code = (
        "import sys\n"
        "from soft_control.learning.training import load_model, free_run, TrainingSettings\n"
        f"load_model({str(trained.folder)!r})\n"
        "assert not {'tensorflow', 'keras'} & set(sys.modules)"
    )
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


# ------------------------------------------------------------------------------------- training


def test_loss_is_that_of_a_plain_rollout(tmp_path):
    pytest.importorskip("tensorflow", reason="training needs soft_control[train]")
    # One update so small that the saved network is the one whose loss was reported.
    settings = TINY.model_copy(
        update={"updates": 1, "warm_start_updates": 0, "learning_rate": 1e-12, "held_share": 1.0}
    )
    reports = []
    run = linear_run(1)
    card = train([run], [], settings, tmp_path, reports.append)
    model = load_model(tmp_path)
    commands, state, signals, labels = _Streams(card, [run], settings).rollout()
    squares = []
    for b in range(settings.batch):
        lags = list(state[b].reshape(2, 3).astype(float))
        for k in range(settings.rollout_samples):
            y = model.step(np.concatenate([commands[k, b], *lags, signals[k, b]]))
            lags = [y, *lags[:-1]]
            squares.append(np.sum((y - labels[k, b]) ** 2))
    # float32 against float64 over 20 samples
    assert reports[-1].loss == pytest.approx(np.mean(squares), rel=1e-4)


def test_a_trained_card_says_what_its_signals_should_be(trained):
    known = trained.card.signal_model
    assert np.shape(known.weights) == (2, 1 + 3 + 2 + len(known.hidden))
    assert trained.card.signal_doubt is not None


def test_streams_walk_along_their_run_and_hold_signals_at_the_end(trained):
    runs = [linear_run(1), linear_run(2, samples=173)]
    settings = TINY.model_copy(update={"reset_share": 0.0, "held_share": 1.0})
    streams = _Streams(trained.card, runs, settings)
    length = settings.rollout_samples
    before, held = None, 0
    for update in range(60):
        carried, ran_out = streams.state, streams.remaining < length
        commands, state, signals, labels = streams.rollout()
        restarted = np.any(state != carried, axis=1)
        assert not np.any(restarted & ~ran_out)
        assert np.all(streams.remaining >= length)
        for b in range(settings.batch):
            if restarted[b] or before is None:
                np.testing.assert_array_equal(state[b], streams.lags[streams.at[b]])
            else:
                np.testing.assert_array_equal(state[b], before[b])
        rows = streams.at + np.arange(length)[:, None]
        first_held = np.any(signals != streams.signals[rows], axis=2).argmax(axis=0)
        for b, first in enumerate(first_held):
            if first:  # from there on, what the sample before had
                still = np.broadcast_to(signals[first - 1, b], (length - first, 2))
                np.testing.assert_array_equal(signals[first:, b], still)
        held += np.count_nonzero(first_held)
        before = np.full_like(state, update)
        streams.carry(before)
    assert held > 0.8 * 60 * settings.batch  # all but those that are held for 0 samples


def test_streams_see_the_signals_of_one_other_day_until_they_are_put_back(trained):
    settings = TINY.model_copy(update={"reset_share": 0.3, "held_share": 0.0, "signal_offset": 1.0})
    streams = _Streams(trained.card, [linear_run(1), linear_run(2)], settings)
    rows = np.arange(settings.rollout_samples)[:, None]
    before, kept = None, 0
    for update in range(30):
        carried = streams.state
        _, state, signals, _ = streams.rollout()
        added = signals - streams.signals[streams.at + rows]
        np.testing.assert_allclose(added, np.broadcast_to(added[0], added.shape), atol=1e-5)
        assert np.all(np.any(np.abs(added[0]) > 1e-3, axis=1))
        if before is not None:
            same = np.all(np.abs(added[0] - before) < 1e-5, axis=1)
            np.testing.assert_array_equal(same, np.all(state == carried, axis=1))
            kept += np.count_nonzero(same)
        before = added[0]
        streams.carry(np.full_like(state, update))
    assert 0.4 < kept / (29 * settings.batch) < 0.8  # 0.7 of those whose run has not ended


def test_same_seed_same_file_in_another_process(tmp_path, trained):
    job = ([linear_run(1), linear_run(2)], [linear_run(3)], TINY, tmp_path)
    (tmp_path / "job").write_bytes(pickle.dumps(job))
    code = (
        "import pickle, sys; from soft_control.learning.training import train\n"
        "train(*pickle.load(open(sys.argv[1], 'rb')))"
    )
    subprocess.run(
        [sys.executable, "-c", code, tmp_path / "job"],
        check=True, capture_output=True, env=os.environ | {"PYTHONPATH": str(PROJECT)},
    )  # fmt: skip
    for name in ("fk.keras", "fk.json"):
        assert (tmp_path / name).read_bytes() == (trained.folder / name).read_bytes()


def test_another_seed_is_another_network(tmp_path, trained):
    other = TINY.model_copy(update={"seed": 1})
    card = train([linear_run(1), linear_run(2)], [linear_run(3)], other, tmp_path)
    assert card.model_hash != trained.card.model_hash


def test_a_linear_rig_is_recovered(tmp_path):
    pytest.importorskip("tensorflow", reason="training needs soft_control[train]")
    settings = TINY.model_copy(
        update={"updates": 400, "warm_start_updates": 200, "batch": 32, "hidden": (16,)}
    )
    train([linear_run(1), linear_run(2)], [], settings, tmp_path)
    unseen = linear_run(7)
    (errors,) = evaluate(load_model(tmp_path), unseen)
    # The tip moves by 15 mm RMS; trainings of this length come to 0.9 to 1.1 % of that.
    (size_mm,) = rmse(TENDON, unseen.outputs - unseen.outputs.mean(axis=0))
    assert size_mm > 10
    assert errors.unit == "mm" and errors.free_run < 0.02 * size_mm
    assert errors.one_step < errors.free_run * 1.5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"commands": np.zeros((600, 2))}, "run 1: command servo_0, servo_1 never moves"),
        ({"outputs": np.zeros((600, 3))}, "run 1: tip never moves"),
        (
            {"t_s": np.arange(600) / RATE_HZ * 1e-3},
            r"too short: 0\.012 s hold one sample at 50",
        ),
    ],
)
def test_what_teaches_nothing_is_an_error(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        train([linear_run(1, **changes)], [], TINY, tmp_path)


def test_no_runs_short_runs_and_unlike_runs_are_errors(tmp_path):
    with pytest.raises(TrainingError, match="no recording"):
        train([], [], TINY, tmp_path)
    with pytest.raises(TrainingError, match="shorter than one rollout of 20"):
        train([linear_run(1, samples=20)], [], TINY, tmp_path)
    with pytest.raises(RecordingError, match="run 2: too short: 12 samples .*, 13 are needed"):
        train([linear_run(1)], [linear_run(2, samples=12)], TINY, tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        train([linear_run(1)], [], TINY, tmp_path / "file" / "model")
    with pytest.raises(
        TrainingError, match="run 2: its commands are a, b, those of the robot tendon"
    ):
        train([linear_run(1), linear_run(2, command_names=("a", "b"))], [], TINY, tmp_path)


def test_the_rig_is_named_by_the_recordings_or_by_the_user(tmp_path):
    anonymous = TINY.model_copy(update={"rig": None})
    with pytest.raises(TrainingError, match="run 1: .* does not say which robot .* with --rig"):
        train([linear_run(1)], [], anonymous, tmp_path)
    said = r"not of one robot: hasel \(run 1\), tendon \(run 2\)"
    with pytest.raises(TrainingError, match=said):
        runs = [linear_run(1, robot=HASEL), linear_run(2, robot=TENDON)]
        train(runs, [], anonymous, tmp_path)
    with pytest.raises(TrainingError, match=r"not of one robot: hasel \(run 3\), tendon \(--rig\)"):
        train([linear_run(1)], [linear_run(3, robot=HASEL)], TINY, tmp_path)
    with pytest.raises(TrainingError, match="commands are servo_0, servo_1, those of .* hasel"):
        train([linear_run(1, robot=HASEL)], [], anonymous, tmp_path)
    assert not list(tmp_path.iterdir())


def test_positions_in_millimetres_are_refused(tmp_path):
    with pytest.raises(
        TrainingError, match=r"run 1: [xyz] spans .* m: are these numbers in .*mm.*\?"
    ):
        train([linear_run(1, outputs=1e3 * linear_run(1).outputs)], [], TINY, tmp_path)


def test_a_recording_with_swapped_commands_trains_the_same_network(tmp_path, trained):
    """Bags and files may have the names in any order; the card has them in the robot's."""
    runs = [linear_run(seed) for seed in (1, 2, 3)]
    runs[:2] = [
        replace(run, commands=run.commands[:, ::-1], command_names=run.command_names[::-1])
        for run in runs[:2]
    ]
    card = train(runs[:2], runs[2:], TINY, tmp_path)
    assert card == trained.card


def test_rollouts_of_the_training_stay_within_a_segment(trained):
    run = linear_run(1)
    cut = run.rows(np.arange(600), starts=(0, 100, 130))
    streams = _Streams(trained.card, [cut], TINY)
    # The first window of a segment ends at its sample 2 (delay 1, lags 2), the last one before its
    # last sample; a rollout of 20 needs as many windows after one another.
    starts = np.concatenate([np.arange(0, 97 - 19), 97 + np.arange(27 - 19), 124 + np.arange(448)])
    np.testing.assert_array_equal(streams.starts, starts)
    np.testing.assert_array_equal(streams.left[[0, 96, 97, 123, 124]], [97, 1, 27, 1, 467])


def test_a_constant_signal_is_left_out_with_a_warning(tmp_path):
    pytest.importorskip("tensorflow", reason="training needs soft_control[train]")
    signals = linear_run(2).signals * [1, 0]
    settings = TINY.model_copy(update={"updates": 1})
    with pytest.warns(RecordingWarning, match="run 2: constant, left out: signal lace_01"):
        card = train([linear_run(1), linear_run(2, signals=signals)], [], settings, tmp_path)
    assert card.signal_names == ["lace_00"]


# ------------------------------------------------------------------------------------ free runs


class TrueRig:
    """The linear rig behind the model's card: what a perfect network would predict."""

    def __init__(self, card):
        self.card = card

    def step(self, x: np.ndarray) -> np.ndarray:
        u = x[..., 0:2] * np.array(self.card.command_scale) + np.array(self.card.command_offset)
        y = self.card.outputs(x[..., 4:7])
        return self.card.normalised_output(y + u @ B.T - POLE * y)


def test_a_perfect_predictor_has_no_error(trained):
    (errors,) = evaluate(TrueRig(trained.card), [linear_run(4), linear_run(5)])
    # rounding of float64 over hundreds of samples, mm
    assert max(errors.model_dump(exclude={"group", "unit"}).values()) < 1e-9


def test_free_run_is_the_obvious_loop_and_sees_one_position(trained):
    model, run = load_model(trained.folder), linear_run(4)
    card = model.card
    u, s = card.normalised_command(run.commands), card.normalised_signal(run.signals)
    y = [card.normalised_output(run.outputs[0])]
    for k in range(len(run) - 1):
        x = [u[max(k - 1, 0)], u[max(k - 2, 0)], y[k], y[max(k - 1, 0)], s[k]]
        y.append(model.step(np.concatenate(x)))
    predicted = free_run(model, run)
    np.testing.assert_allclose(predicted, card.outputs(np.array(y)), rtol=1e-12)

    hidden = run.outputs.copy()
    hidden[1:] = 99.0
    blind = linear_run(4, outputs=hidden)
    np.testing.assert_array_equal(free_run(model, blind), predicted)


def test_free_run_and_rollouts_start_anew_after_a_gap(trained):
    model, run = load_model(trained.folder), linear_run(4)
    cut = run.rows(np.arange(600), starts=(0, 200))
    parts = list(cut.segments())
    assert [len(part) for part in parts] == [200, 400]
    predicted = np.vstack([free_run(model, part) for part in parts])
    np.testing.assert_array_equal(free_run(model, cut), predicted)
    np.testing.assert_array_equal(predicted[200], card_outputs(model.card, run, 200))
    errors = np.vstack([rollouts(model, part, 10, held=True) for part in parts])
    # Batches of another size: the sums of a product may be in another order.
    np.testing.assert_allclose(rollouts(model, cut, 10, held=True), errors, rtol=0, atol=1e-12)


def card_outputs(card, run: Recording, k: int) -> np.ndarray:
    """A measured position after normalising and back."""
    return card.outputs(card.normalised_output(run.outputs[k]))


def test_prediction_goes_by_the_names_of_commands_and_signals(trained):
    model, run = load_model(trained.folder), linear_run(4)
    swapped = replace(
        run,
        commands=run.commands[:, ::-1],
        command_names=run.command_names[::-1],
        signals=run.signals[:, ::-1],
        signal_names=run.signal_names[::-1],
    )
    assert evaluate(model, swapped) == evaluate(model, run)
    baselines = [least_squares_baseline([run], test, RATE_HZ) for test in (run, swapped)]
    np.testing.assert_array_equal(*baselines)


@pytest.mark.parametrize("constant", [0.0, 0.3, 1e-300])
def test_the_baseline_of_commands_that_stand_still_is_a_number(constant):
    run = linear_run(1)
    still = linear_run(2, commands=run.commands * [1, 0] + [0, constant])
    for runs, tested in (([still], run), ([still], still), ([run], still)):
        found = least_squares_baseline(runs, tested, RATE_HZ)
        assert np.all(np.isfinite(found))
    with np.errstate(all="ignore"), pytest.raises(ModelError, match="nothing finite"):
        least_squares_baseline([linear_run(2, commands=1e200 * run.commands)], run, RATE_HZ)
    stopped = linear_run(3, commands=np.full((600, 2), constant))
    found = least_squares_baseline([stopped], run, RATE_HZ)
    # Commands that tell nothing: the mean of the training.
    np.testing.assert_allclose(found, np.tile(stopped.outputs.mean(axis=0), (600, 1)))


@pytest.mark.parametrize("held", [False, True])
def test_rollouts_are_the_obvious_loop(trained, held):
    model, run = load_model(trained.folder), linear_run(4, samples=40)
    card = model.card
    u, s = card.normalised_command(run.commands), card.normalised_signal(run.signals)
    truth = card.normalised_output(run.outputs)
    errors = []
    for k in range(2, len(run) - 5):
        y = {k: truth[k], k - 1: truth[k - 1]}
        for j in range(k, k + 5):
            signal = s[k] if held else s[j]
            y[j + 1] = model.step(np.concatenate([u[j - 1], u[j - 2], y[j], y[j - 1], signal]))
        errors.append((y[k + 5] - truth[k + 5]) * card.output_scale)
    np.testing.assert_allclose(rollouts(model, run, 5, held), errors, atol=1e-12)


def test_off_the_grid_or_too_short_is_an_error(trained):
    model, run = load_model(trained.folder), linear_run(4)
    with pytest.raises(ModelError, match="run 4: not sampled at 50 Hz"):
        free_run(model, resample(run, 60.0))
    with pytest.raises(ModelError, match="too short for a rollout over 10"):
        rollouts(model, linear_run(4, samples=9), 10, held=False)


# -------------------------------------------------------------------------------- model directory


def test_a_broken_model_directory_is_an_error(trained, tmp_path):
    card = json.loads((trained.folder / "fk.json").read_text())
    with pytest.raises(ModelError, match="no fk.json"):
        load_model(tmp_path)
    (tmp_path / "fk.json").write_text(json.dumps(card))
    with pytest.raises(ModelError, match="no fk.keras"):
        load_model(tmp_path)
    (tmp_path / "fk.keras").write_bytes((trained.folder / "fk.keras").read_bytes() + b"x")
    with pytest.raises(ModelError, match="its hash is not the card's"):
        load_model(tmp_path)
    (tmp_path / "fk.json").write_text(json.dumps(card | {"rate_hz": "fast"}))
    with pytest.raises(ModelError, match="rate_hz"):
        load_model(tmp_path)
    (tmp_path / "fk.keras").write_bytes((trained.folder / "fk.keras").read_bytes())
    (tmp_path / "fk.json").write_text(json.dumps(card | {"input_lags": 5}))
    with pytest.raises(ModelError, match="fk.keras: a network from .* but its card is of one from"):
        load_model(tmp_path)


# ---------------------------------------------------------------------------------- the real rig


def test_a_recorded_run_is_predicted_by_another_days_network(shared_data, tmp_path):
    pytest.importorskip("tensorflow", reason="training needs soft_control[train]")
    run, unseen = (
        read_recording(shared_data / "tendon_rig" / f"{name}.csv", robots.load("tendon_recorded"))
        for name in ("2020-09-23_cdc6946", "2020-09-28_13417d5")
    )
    settings = TrainingSettings(
        signals=False, hidden=(32, 32), updates=1000, rollout_samples=40,
        difference_gain=5.0, learning_rate=5e-3,
    )  # fmt: skip
    train([run], [], settings, tmp_path)
    model = load_model(tmp_path)
    unseen = resample(unseen, settings.rate_hz)
    (error_mm,) = rmse(run.robot, free_run(model, unseen) - unseen.outputs)
    baseline = least_squares_baseline([run], unseen, settings.rate_hz)
    # 2.0 mm is the requirement; so few updates reach 1.3 to 1.6 mm.
    assert error_mm < 2.0
    # 1.60 mm when this was written
    assert 1.3 < rmse(run.robot, baseline - unseen.outputs)[0] < 1.7


def test_keras_opens_what_is_written_without_it(tmp_path):
    keras = pytest.importorskip("keras", reason="Keras is not installed")
    random = np.random.default_rng(0)
    layers = [(random.normal(size=s), random.normal(size=s[1])) for s in ((4, 5), (5, 2))]
    path = tmp_path / "fk.keras"
    write_increment_network(path, layers, {"commands": 2, "output": 2})
    x = random.normal(size=(1, 4)).astype(np.float32)
    found = np.asarray(keras.models.load_model(path)([x[:, :2], x[:, 2:]]))
    (V_, c), (W_, b) = layers
    np.testing.assert_allclose(found, x[:, 2:] + np.tanh(x @ V_ + c) @ W_ + b, atol=1e-6)
