"""Learn a robot's forward kinematics: recordings in, model directory out.

The network predicts the increment of the outputs and is trained on its own predictions,
rolled out with their state carried along the run, because that is how the controller uses it.
TensorFlow is imported only here, and only once a training starts.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from pydantic import BaseModel

from soft_control.learning import sessions
from soft_control.learning.blank_card import blank_card, checked_card, robot_of
from soft_control.learning.dataset import Recording, resample, window_samples
from soft_control.learning.errors import described, rmse
from soft_control.learning.lag_basis import differences, whitening
from soft_control.learning.model import (
    CARD_FILE,
    NETWORK_FILE,
    ROLLOUT_SAMPLES,
    IncrementNetwork,
    Model,
    ModelCard,
    card_windows,
    error_weights,
    evaluate,
    file_hash,
    free_run,
    load_model,
    normalised_windows,
    overall,
)
from soft_control.learning.quiet_tensorflow import tensorflow
from soft_control.learning.rest import fit_rest_signals
from soft_control.learning.settings import TrainingError, TrainingSettings
from soft_control.learning.signal_doubt import fit_signal_doubt
from soft_control.learning.signal_model import blank_signal_model, fit_signal_model
from soft_control.learning.signal_shift import SignalShift
from soft_control.learning.suitability import check_long_enough, compare_ranges
from soft_control.learning.teachers import imagine, imagined_samples

__all__ = [
    "ModelCard", "Progress", "TrainingError", "TrainingSettings",
    "evaluate", "free_run", "load_model", "train", "untrained",
]  # fmt: skip

# Signals stand still for up to so many samples at the end of a rollout: twice the MPC's horizon.
# With its 12 samples the network still leans on signals too much to predict well without them.
HELD_SAMPLES = 24
VALIDATIONS = 20  # in the course of a training
ZIP_TIME = (1980, 1, 1, 0, 0, 0)  # same weights, same file


class Progress(BaseModel):
    """Where a training stands; handed to the progress callback."""

    stage: str
    """"warm start", "rollout", either after "teacher 1 of 10, ", or "imagined runs"."""
    update: int
    updates: int
    loss: float = np.nan
    """Mean squared distance, normalised."""
    free_run: str = ""
    """The errors of the latest validation, by group, if there are validation runs."""


def train(
    recordings: Sequence[Recording],
    validation: Sequence[Recording],
    settings: TrainingSettings,
    out_dir: str | Path,
    progress: Callable[[Progress], None] = lambda _: None,
) -> ModelCard:
    """Train on whole runs and write OUT_DIR/fk.keras and OUT_DIR/fk.json.

    With validation runs, the network kept is the one with the smallest free-run error on them;
    without, the last. Raises TrainingError or RecordingError, warns about what is left out.
    """
    if not recordings:
        raise TrainingError("no recording to train on")
    robot = robot_of([*recordings, *validation], settings)
    shortest = window_samples(settings.input_lags, settings.output_lags, settings.input_delay)
    runs = [resample(run, settings.rate_hz, shortest) for run in recordings]
    validation_runs = [resample(run, settings.rate_hz, shortest) for run in validation]
    card = blank_card(robot, runs, validation_runs, settings)
    for run in validation_runs:
        compare_ranges(card, run)
    if settings.sessions == "aligned":
        parts = sessions.parts_judged(validation_runs or runs, runs)
    else:
        parts = validation_runs or runs
    for run in parts:
        check_long_enough(run, shortest + ROLLOUT_SAMPLES - 1)
    out_dir = Path(out_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    known = list(runs)
    if settings.teachers:
        imagined_samples(card, runs, settings)  # raises now rather than minutes later
        teachers = _teachers(card, runs, validation_runs, settings, progress)
        progress(Progress(stage="imagined runs", update=0, updates=1))
        known += imagine(runs, teachers, settings)
    trainee = fit(card, known, validation_runs, settings, progress)
    if not all(np.all(np.isfinite(w)) for part in trainee.learned() for w in part):
        raise TrainingError("the training diverged; choose a smaller learning_rate")

    trainee.save(out_dir / NETWORK_FILE)
    judged = trainee.judged(validation_runs or runs)
    runs, evaluated, found = trainee.judged(runs).seen, judged.seen, {}
    if trainee.maps:
        found = sessions.reference_fields(card, trainee.maps.values(), runs)
    model = trainee.as_model()
    felt = fit_signal_model(model, runs, evaluated, settings.seed)
    found |= {
        "signal_model": felt,
        "rest_signals": fit_rest_signals(card, runs, evaluated),
        "signal_doubt": fit_signal_doubt(model, felt, runs, evaluated),
        "metrics": evaluate(judged.models, judged.runs),
        "evaluated_on": [run.source for run in evaluated],
        "model_hash": file_hash(out_dir / NETWORK_FILE),
    }
    card = checked_card(**(dict(card) | found))
    (out_dir / CARD_FILE).write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return card


def untrained(
    recordings: Sequence[Recording],
    validation: Sequence[Recording],
    settings: TrainingSettings,
    out_dir: str | Path,
) -> ModelCard:
    """The model directory of a network that has learned nothing, for what one of its size takes to
    run. Raises as `train` does."""
    robot = robot_of([*recordings, *validation], settings)
    shortest = window_samples(settings.input_lags, settings.output_lags, settings.input_delay)
    runs = [resample(run, settings.rate_hz, shortest) for run in recordings]
    card = blank_card(robot, runs, [], settings)
    (out_dir := Path(out_dir)).mkdir(parents=True, exist_ok=True)
    _Trainee(card, settings, np.eye(sum(card.input_sizes().values()))).save(out_dir / NETWORK_FILE)
    found = {"model_hash": file_hash(out_dir / NETWORK_FILE)}
    card = checked_card(**(dict(card) | found | {"signal_model": blank_signal_model(card)}))
    (out_dir / CARD_FILE).write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return card


# ------------------------------------------------------------------------------------------ network


class _Trainee:
    """The network in training: a Keras model whose first kernel is learned in a basis of its own
    (`lag_basis`), and the maps of the sessions, if they are aligned. The network that is saved
    takes plain lags all the same: its first kernel is basis @ kernel.
    """

    def __init__(
        self,
        card: ModelCard,
        settings: TrainingSettings,
        basis: np.ndarray,
        aligned: Sequence[str] = (),
    ):
        tf, _ = tensorflow()
        self.card = card
        self.weights_of_errors = tf.constant(error_weights(card), tf.float32)
        self.keras = _build(card, settings)
        self.dense = [layer for layer in self.keras.layers if layer.weights]
        self.basis = basis
        self._basis = tf.constant(self.basis, tf.float32)
        self.maps = sessions.LearnedMaps(tf, card, aligned) if aligned else None

    def rollout(self, commands, state, beside):
        """Predictions (L, B, n) from the output lags `state` (B, dd·n), and the lags at the end."""
        tf, _ = tensorflow()
        n = len(self.card.output_offset)
        outputs = []
        for k in range(commands.shape[0]):
            a = tf.concat([commands[k], state, beside[k]], axis=1) @ self._basis
            for layer in self.dense:
                a = layer(a)
            outputs.append(state[:, :n] + a)
            state = tf.concat([outputs[-1], state[:, : state.shape[1] - n]], axis=1)
        return tf.stack(outputs), state

    def updater(self, updates: int, settings: TrainingSettings, maps=None):
        """One compiled gradient step, with an optimiser of its own for so many updates; with the
        maps of sessions these are learned as well, and it takes the session of each rollout (B,).
        """
        tf, keras = tensorflow()
        variables = [*self.keras.trainable_variables, *(maps.variables if maps else [])]
        schedule = keras.optimizers.schedules.CosineDecay(settings.learning_rate, updates)
        adam = keras.optimizers.Adam(schedule, global_clipnorm=settings.clip)
        adam.build(variables)

        widths = [len(self.card.signal_names), self.card.memory_columns]

        @tf.function(jit_compile=True, autograph=False)
        def update(commands, state, beside, labels, session=None):
            with tf.GradientTape() as tape:
                if maps:
                    commands = maps.commands(commands, session)
                    signals, memory = tf.split(beside, widths, axis=-1)
                    beside = tf.concat([signals, maps.commands(memory, session)], axis=-1)
                outputs, end = self.rollout(commands, state, beside)
                outputs = maps.outputs(outputs, session) if maps else outputs
                errors = self.weights_of_errors * (outputs - labels)
                loss = tf.reduce_mean(tf.reduce_sum(errors**2, axis=-1))
                loss = loss + maps.penalty() if maps else loss
            adam.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
            return loss, end

        return update

    def weights(self) -> list[np.ndarray]:
        """Kernels and biases in turn, the first kernel for plain lags."""
        first, *rest = self.keras.get_weights()
        return [(self.basis @ first).astype(np.float32), *rest]

    def learned(self) -> list[list[np.ndarray]]:
        """All that is learned, for `set`."""
        maps = self.maps.variables if self.maps else []
        return [self.keras.get_weights(), [variable.numpy() for variable in maps]]

    def set(self, learned: list[list[np.ndarray]]) -> None:
        """Back to what was learned."""
        weights, maps = learned
        self.keras.set_weights(weights)
        for variable, value in zip(self.maps.variables if self.maps else [], maps, strict=True):
            variable.assign(value)

    def judged(self, runs: Sequence[Recording]) -> sessions.Judged:
        """Who predicts which parts of the runs."""
        return sessions.judged(self.as_model(), self.maps and self.maps.values(), runs)

    def as_model(self) -> Model:
        """The network as NumPy."""
        weights = self.weights()
        layers = list(zip(weights[::2], weights[1::2], strict=True))
        return Model(self.card, IncrementNetwork(layers, self.card.command_columns))

    def save(self, path: Path) -> None:
        """Write the .keras archive without the times and addresses that Keras puts into it."""
        learned = self.keras.get_weights()
        self.keras.set_weights(self.weights())
        self.keras.save(path)
        self.keras.set_weights(learned)
        with zipfile.ZipFile(path) as archive:
            entries = {name: archive.read(name) for name in sorted(archive.namelist())}
        for name in ("config.json", "metadata.json"):
            content = _reproducible(json.loads(entries[name]), {})
            entries[name] = json.dumps(content, sort_keys=True).encode()
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in entries.items():
                archive.writestr(zipfile.ZipInfo(name, ZIP_TIME), content)


def _reproducible(value, numbers: dict[int, int]):
    """A JSON value without date; its shared_object_id, which are addresses, numbered from 0."""
    if isinstance(value, list):
        return [_reproducible(item, numbers) for item in value]
    if not isinstance(value, dict):
        return value
    kept = {k: _reproducible(v, numbers) for k, v in value.items() if k != "date_saved"}
    if "shared_object_id" in kept:
        address = kept["shared_object_id"]
        kept["shared_object_id"] = numbers.setdefault(address, len(numbers))
    return kept


def _build(card: ModelCard, settings: TrainingSettings):
    """Named inputs -> concatenate -> dense … -> add the newest output."""
    _, keras = tensorflow()
    layers = keras.layers
    inputs = {name: keras.Input((size,), name=name) for name, size in card.input_sizes().items()}
    a = layers.Concatenate(name="x")(list(inputs.values()))
    for i, units in enumerate(settings.hidden):
        initial = keras.initializers.GlorotUniform(seed=settings.seed + i)
        a = layers.Dense(units, "tanh", kernel_initializer=initial, name=f"hidden_{i}")(a)
    # A small last layer: at first nothing moves, which is nearly true of one sample at any rate.
    seed = settings.seed + len(settings.hidden)
    initial = keras.initializers.RandomNormal(stddev=0.01, seed=seed)
    outputs = len(card.output_offset)
    increment = layers.Dense(outputs, kernel_initializer=initial, name="increment")(a)
    y = layers.Add(name="next_output")([inputs["output"], increment])
    return keras.Model(list(inputs.values()), y, name="fk")


# ----------------------------------------------------------------------------------------- training


def fit(
    card: ModelCard,
    runs: Sequence[Recording],
    validation: Sequence[Recording],
    settings: TrainingSettings,
    progress,
) -> _Trainee:
    """One network, trained; its weights may be no numbers."""
    streams = _Streams(card, runs, settings)
    if settings.difference_gain is None:
        lags = np.hstack([streams.commands, streams.lags])
        basis = whitening(card, lags, settings.whitening)
    else:
        basis = differences(card, settings.difference_gain)
    aligned = sessions.named(runs) if settings.sessions == "aligned" else []
    trainee = _Trainee(card, settings, basis, aligned)
    _warm_start(trainee, streams, settings, progress)
    _roll_out(trainee, streams, validation, settings, progress)
    return trainee


def _teachers(
    card: ModelCard,
    runs: Sequence[Recording],
    validation: Sequence[Recording],
    settings: TrainingSettings,
    progress,
) -> list[Model]:
    """Networks trained as this one would be without teachers, each from a seed of its own."""
    found = []
    for i in range(settings.teachers):

        def show(state: Progress, of: str = f"teacher {i + 1} of {settings.teachers}") -> None:
            progress(state.model_copy(update={"stage": f"{of}, {state.stage}"}))

        own = {
            "seed": settings.seed + i,
            "hidden": settings.teacher_hidden,
            "updates": settings.teacher_updates,
        }
        teacher = settings.model_copy(update=own)
        found.append(fit(card, runs, validation, teacher, show).as_model())
    return found


class _Streams:
    """Rollouts side by side, each walking along a run with its own predictions as output lags."""

    def __init__(self, card: ModelCard, runs: Sequence[Recording], settings: TrainingSettings):
        self.settings = settings
        self.rng = np.random.default_rng(settings.seed)
        pieces = [card_windows(card, part) for run in runs for part in run.segments()]
        x = np.vstack([normalised_windows(card, x) for x, _, _ in pieces]).astype(np.float32)
        ends = np.cumsum([card.command_columns, card.output_columns, len(card.signal_names)])
        self.commands, self.lags, self.signals, self.memory = np.split(x, ends, axis=1)
        labels = np.vstack([card.normalised_output(y) for _, y, _ in pieces])
        self.labels = labels.astype(np.float32)
        # How many windows of its run are left from each one on.
        self.left = np.concatenate([np.arange(len(x), 0, -1) for x, _, _ in pieces])
        names = sessions.named(runs)
        of = [names.index(run.session) for run in runs for _ in run.segments()]
        self.session = np.repeat(of, [len(x) for x, _, _ in pieces]).astype(np.int32)
        self.maps: sessions.Alignment | None = None
        self.starts = np.flatnonzero(self.left >= settings.rollout_samples)
        if not len(self.starts):
            raise TrainingError(
                f"every run is shorter than one rollout of {settings.rollout_samples} samples"
            )
        self.at = self.rng.choice(self.starts, settings.batch)
        self.remaining = self.left[self.at]
        self.state = self.lags[self.at]
        self.shift = SignalShift(card, settings, self.rng)

    def single(self) -> tuple[np.ndarray, ...]:
        """Rollouts over one sample: the same shapes as `rollout`, with L = 1 and a larger batch."""
        at = self.rng.integers(len(self.left), size=self.settings.batch * 8)
        beside = np.hstack([self.signals[at], self.memory[at]])
        return self.commands[None, at], self.lags[at], beside[None], self.labels[None, at]

    def rollout(self) -> tuple[np.ndarray, ...]:
        """Commands (L, B, …), output lags at the start (B, …), signals and labels (L, B, …)."""
        samples, batch = self.settings.rollout_samples, self.settings.batch
        again = self.rng.random(batch) < self.settings.reset_share
        again |= self.remaining < samples
        self.at = np.where(again, self.rng.choice(self.starts, batch), self.at)
        self.remaining = self.left[self.at]
        start = self.lags[self.at]
        if self.maps:
            start = self.maps.network_lags(start, self.session[self.at]).astype(np.float32)
        self.state = np.where(again[:, None], start, self.state)
        self.shift.draw(again)
        held = self.rng.random(batch) < self.settings.held_share
        still = self.rng.integers(0, min(HELD_SAMPLES, samples - 1) + 1, batch)
        row = np.arange(samples)[:, None]
        seen = self.at + np.minimum(row, samples - 1 - np.where(held, still, 0))
        at = self.at + row
        signals = self.shift.of(self.signals[seen])
        beside = np.concatenate([signals, self.memory[at]], axis=-1)
        return self.commands[at], self.state, beside, self.labels[at]

    def carry(self, state: np.ndarray) -> None:
        """Go on from the predicted output lags at the end of a rollout."""
        self.state = state
        self.at = self.at + self.settings.rollout_samples
        self.remaining = self.remaining - self.settings.rollout_samples


def _warm_start(trainee: _Trainee, streams: _Streams, settings: TrainingSettings, progress) -> None:
    """One-step predictions, so that the first rollouts stay near the truth."""
    updates = settings.warm_start_updates
    update = trainee.updater(max(updates, 1), settings)
    for i in range(1, updates + 1):
        loss, _ = update(*streams.single())
        if i % 20 == 0 or i == updates:
            progress(Progress(stage="warm start", update=i, updates=updates, loss=float(loss)))


def _roll_out(
    trainee: _Trainee,
    streams: _Streams,
    validation: Sequence[Recording],
    settings: TrainingSettings,
    progress,
) -> None:
    """Train on rollouts; leaves the weights that did best on the validation runs."""
    updates = settings.updates
    maps = trainee.maps if trainee.maps and trainee.maps.variables else None
    update = trainee.updater(updates, settings, maps)
    least, best, said = np.inf, None, ""
    card = trainee.card
    for i in range(1, updates + 1):
        streams.maps = maps.values() if maps else None
        rollouts = streams.rollout()
        loss, state = update(*rollouts, *([streams.session[streams.at]] if maps else []))
        streams.carry(state.numpy())
        if validation and (i % max(1, updates // VALIDATIONS) == 0 or i == updates):
            errors = trainee.judged(validation).errors()
            error, said = overall(card, errors), described(card.robot, rmse(card.robot, errors), 2)
            if error < least:
                least, best = error, trainee.learned()
        if i % 20 == 0 or i == updates:
            report = Progress(stage="rollout", update=i, updates=updates, loss=float(loss))
            progress(report.model_copy(update={"free_run": said}))
    if best is not None:
        trainee.set(best)
