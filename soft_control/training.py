"""Learn a rig's forward kinematics: recordings in, model directory out.

The network predicts the increment of the tip position and is trained on its own predictions, rolled out with their
state carried along the run, because that is how the controller uses it. TensorFlow is imported only here, and only
once a training starts.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from soft_control.dataset import Recording, live_signals, resample, windows
from soft_control.evaluation import (
    CARD_FILE,
    NETWORK_FILE,
    IncrementNetwork,
    Model,
    ModelCard,
    evaluate,
    file_hash,
    free_run,
    load_model,
    normalised_windows,
    rmse_mm,
)
from soft_control.references import fit_surface

__all__ = ["ModelCard", "Progress", "TrainingSettings", "evaluate", "free_run", "load_model", "train"]

HELD_SAMPLES = 12  # signals stand still for up to this long at the end of a rollout: the MPC's horizon
ZIP_TIME = (1980, 1, 1, 0, 0, 0)  # same weights, same file


class TrainingSettings(BaseModel):
    """How a network is trained."""

    model_config = ConfigDict(use_attribute_docstrings=True, extra="forbid")

    rig: str = "tendon"
    """Name of the rig, for the model card."""
    rate_hz: float = Field(120.0, gt=0)
    """Control rate; recordings are resampled to it."""
    input_lags: int = Field(3, ge=1)
    """nd: commands that the network sees."""
    output_lags: int = Field(3, ge=1)
    """dd: positions that the network sees."""
    input_delay: int = Field(5, ge=0)
    """d: whole samples of transport delay."""
    signals: bool = True
    """Whether the network sees the live signals."""
    hidden: tuple[int, ...] = (32, 32)
    """Units of the hidden layers, all tanh (ReLU networks can diverge in free run)."""
    updates: int = Field(3000, ge=1)
    """Gradient steps on rollouts."""
    warm_start_updates: int = Field(500, ge=0)
    """Gradient steps on single samples before that."""
    batch: int = Field(64, ge=1)
    """Rollouts side by side."""
    rollout_samples: int = Field(40, ge=1)
    """Samples through which the gradient of an update goes back."""
    reset_share: float = Field(0.05, ge=0, le=1)
    """Share of the rollouts that an update puts back to the measured truth somewhere else."""
    held_share: float = Field(0.5, ge=0, le=1)
    """Share of the rollouts whose signals stand still at their end, as they do in the MPC's horizon."""
    learning_rate: float = Field(5e-3, gt=0)
    """Of Adam at the start; falls to zero along a cosine."""
    clip: float = Field(0.5, gt=0)
    """Largest norm of a gradient."""
    difference_gain: float = Field(5.0, ge=1)
    """How much larger than the lags themselves their differences appear to the network in training."""
    weight_decay: float = Field(0.0, ge=0)
    """Weight of the squared kernels in the loss."""
    seed: int = 0
    """Same seed, same recordings, same machine: same file."""


class Progress(BaseModel):
    """Where a training stands; handed to the progress callback."""

    stage: str
    """"warm start" or "rollout"."""
    update: int
    updates: int
    loss: float
    """Mean squared error, normalised."""
    free_run_mm: float | None = None
    """Of the latest validation, if there are validation runs."""


class TrainingError(ValueError):
    """Recordings that nothing can be learned from."""


def train(
    recordings: Sequence[Recording],
    validation: Sequence[Recording],
    settings: TrainingSettings,
    out_dir: str | Path,
    progress: Callable[[Progress], None] = lambda _: None,
) -> ModelCard:
    """Train on whole runs and write OUT_DIR/fk.keras and OUT_DIR/fk.json.

    With validation runs, the network kept is the one with the smallest free-run error on them; without, the last.
    Raises TrainingError or RecordingError, warns about what is left out.
    """
    if not recordings:
        raise TrainingError("no recording to train on")
    runs = [resample(run, settings.rate_hz) for run in recordings]
    validation_runs = [resample(run, settings.rate_hz) for run in validation]
    card = _blank_card(runs, settings)
    keras_model = _build(card, settings)
    streams = _Streams(card, runs, settings)
    network = _fit(keras_model, card, streams, validation_runs, settings, progress)

    out_dir = Path(out_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    _save(keras_model, out_dir / NETWORK_FILE)
    evaluated = validation_runs or runs
    card = card.model_copy(
        update={
            "metrics": evaluate(Model(card, network), evaluated),
            "evaluated_on": [run.source for run in evaluated],
            "model_hash": file_hash(out_dir / NETWORK_FILE),
        }
    )
    (out_dir / CARD_FILE).write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return card


def _blank_card(runs: Sequence[Recording], settings: TrainingSettings) -> ModelCard:
    """Sizes, normalisation and surface; no metrics yet."""
    commands = np.vstack([run.commands for run in runs])
    position = np.vstack([run.position for run in runs])
    names = live_signals(runs) if settings.signals else []
    signals = np.vstack([run.signal(names) for run in runs])
    low, high = commands.min(axis=0), commands.max(axis=0)
    still = [name for name, a, b in zip(runs[0].command_names, low, high, strict=True) if a == b]
    if still:
        raise TrainingError(f"command {', '.join(still)} never moves in {runs[0].source}")
    offset = position.mean(axis=0)
    scale = float(np.sqrt(np.mean((position - offset) ** 2)))
    if scale == 0.0:
        raise TrainingError(f"the tip never moves in {', '.join(run.source for run in runs)}")
    return ModelCard(
        rig=settings.rig,
        rate_hz=settings.rate_hz,
        input_lags=settings.input_lags,
        output_lags=settings.output_lags,
        input_delay=settings.input_delay,
        command_names=list(runs[0].command_names),
        command_offset=((low + high) / 2).tolist(),
        command_scale=((high - low) / 2).tolist(),
        output_offset=offset.tolist(),
        output_scale=scale,
        signal_names=names,
        signal_offset=signals.mean(axis=0).tolist(),
        signal_scale=signals.std(axis=0).tolist(),
        surface=list(fit_surface(position)) if commands.shape[1] <= 2 else None,
        metrics={},
        evaluated_on=[],
        recordings=[run.source for run in runs],
        model_hash="",
    )


# -------------------------------------------------------------------------------------------------- network


def _tensorflow():
    """TensorFlow and Keras, quiet; imported as late as possible because it takes seconds."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import keras
    import tensorflow as tf

    return tf, keras


def _build(card: ModelCard, settings: TrainingSettings):
    """Named inputs -> concatenate -> dense … -> add the newest output."""
    _, keras = _tensorflow()
    layers = keras.layers
    inputs = {name: keras.Input((size,), name=name) for name, size in card.input_sizes().items()}
    a = layers.Concatenate(name="x")(list(inputs.values()))
    for i, units in enumerate(settings.hidden):
        initial = keras.initializers.GlorotUniform(seed=settings.seed + i)
        a = layers.Dense(units, "tanh", kernel_initializer=initial, name=f"hidden_{i}")(a)
    # A small last layer: the first prediction is "nothing moves", near the truth at any control rate.
    initial = keras.initializers.RandomNormal(stddev=0.01, seed=settings.seed + len(settings.hidden))
    outputs = len(card.output_offset)
    increment = layers.Dense(outputs, kernel_initializer=initial, name="increment")(a)
    y = layers.Add(name="next_output")([inputs["output"], increment])
    return keras.Model(list(inputs.values()), y, name="fk")


def _save(keras_model, path: Path) -> None:
    """Write the .keras archive without the times that Keras puts into it: the model hash stands for the weights."""
    keras_model.save(path)
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in sorted(archive.namelist())}
    entries["metadata.json"] = _without_date(entries["metadata.json"])
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in entries.items():
            archive.writestr(zipfile.ZipInfo(name, ZIP_TIME), content)


def _without_date(metadata: bytes) -> bytes:
    import json

    kept = {key: value for key, value in json.loads(metadata).items() if key != "date_saved"}
    return json.dumps(kept, sort_keys=True).encode()


# -------------------------------------------------------------------------------------------------- training


class _Streams:
    """Rollouts side by side, each walking along a run with its own predictions as output lags."""

    def __init__(self, card: ModelCard, runs: Sequence[Recording], settings: TrainingSettings):
        self.settings = settings
        self.rng = np.random.default_rng(settings.seed)
        pieces = [
            windows(run, card.input_lags, card.output_lags, card.input_delay, card.signal_names)
            for run in runs
        ]
        x = np.vstack([normalised_windows(card, x) for x, _, _ in pieces]).astype(np.float32)
        self.basis = _basis(x, card, settings.difference_gain)
        self.commands, self.lags, self.signals = np.split(
            x, [card.command_columns, card.command_columns + card.output_columns], axis=1
        )
        labels = np.vstack([card.normalised_output(y) for _, y, _ in pieces])
        self.labels = labels.astype(np.float32)
        # From each sample, how many samples of its run are left.
        self.left = np.concatenate([np.arange(len(x), 0, -1) for x, _, _ in pieces])
        self.starts = np.flatnonzero(self.left >= settings.rollout_samples)
        if not len(self.starts):
            raise TrainingError(
                f"every run is shorter than one rollout of {settings.rollout_samples} samples"
            )
        self.at = self.rng.choice(self.starts, settings.batch)
        self.state = self.lags[self.at]

    def single(self) -> tuple[np.ndarray, ...]:
        """Random windows: commands, output lags, signals, label."""
        at = self.rng.integers(len(self.left), size=self.settings.batch * 8)
        return self.commands[at], self.lags[at], self.signals[at], self.labels[at]

    def rollout(self) -> tuple[np.ndarray, ...]:
        """Commands (L, B, …), output lags at the start (B, …), signals (L, B, …), labels (L, B, n)."""
        samples, batch = self.settings.rollout_samples, self.settings.batch
        again = (self.left[self.at] < samples) | (self.rng.random(batch) < self.settings.reset_share)
        self.at = np.where(again, self.rng.choice(self.starts, batch), self.at)
        state = np.where(again[:, None], self.lags[self.at], self.state)
        rows = np.arange(samples)[:, None] + self.at
        held = self.rng.random(batch) < self.settings.held_share
        longest = min(HELD_SAMPLES, samples)
        from_row = np.where(held, samples - self.rng.integers(1, longest + 1, batch), samples)
        signal_rows = np.minimum(np.arange(samples)[:, None], from_row) + self.at
        return self.commands[rows], state, self.signals[signal_rows], self.labels[rows]

    def carry(self, state: np.ndarray) -> None:
        """Go on from the predicted output lags at the end of a rollout."""
        self.state = state
        # Past the end of everything there is nothing left, which the next rollout sees.
        self.at = np.minimum(self.at + self.settings.rollout_samples, len(self.left) - 1)


def _basis(x: np.ndarray, card: ModelCard, largest: float) -> np.ndarray:
    """(inputs, inputs): x @ basis is what the network is trained on, newest lags and differences of lags.

    Neighbouring lags are nearly equal and all that tells a motion is in their differences, far too small beside
    the lags for gradient descent to find. Scaled to unit spread they are found, and the network that is saved
    takes plain lags all the same: its first kernel is multiplied by this matrix.
    """
    basis = np.eye(x.shape[1])
    blocks = [
        (0, card.input_lags, len(card.command_names)),
        (card.command_columns, card.output_lags, len(card.output_offset)),
    ]
    for start, lags, width in blocks:
        for column in range(start + width, start + lags * width):
            spread = np.std(x[:, column - width] - x[:, column]) or 1.0
            gain = min(1.0 / spread, largest)
            basis[column - width, column] = gain
            basis[column, column] = -gain
    return basis


def _fit(keras_model, card, streams, validation, settings: TrainingSettings, progress):
    """Train the layers of `keras_model` in place; returns the same network as NumPy."""
    tf, keras = _tensorflow()
    dense = [layer for layer in keras_model.layers if layer.weights]
    variables = keras_model.trainable_variables
    command_end = card.command_columns
    n = len(card.output_offset)
    basis = streams.basis
    basis_tf = tf.constant(basis, tf.float32)

    def network() -> IncrementNetwork:
        (kernel, bias), *rest = [layer.get_weights() for layer in dense]
        return IncrementNetwork([(basis @ kernel, bias), *rest], command_end)

    def rollout(commands, state, signals):
        """Predictions (L, B, n) and the output lags at the end."""
        outputs = []
        for k in range(commands.shape[0]):
            a = tf.concat([commands[k], state, signals[k]], axis=1) @ basis_tf
            for layer in dense:
                a = layer(a)
            y = state[:, :n] + a
            state = tf.concat([y, state[:, : state.shape[1] - n]], axis=1)
            outputs.append(y)
        return tf.stack(outputs), state

    def updater(updates: int):
        """One compiled gradient step with an optimiser of its own."""
        schedule = keras.optimizers.schedules.CosineDecay(settings.learning_rate, updates)
        adam = keras.optimizers.Adam(schedule, global_clipnorm=settings.clip)
        adam.build(variables)

        @tf.function(jit_compile=True, autograph=False)
        def update(commands, state, signals, labels):
            with tf.GradientTape() as tape:
                outputs, state = rollout(commands, state, signals)
                mean_square = tf.reduce_mean(tf.reduce_sum((outputs - labels) ** 2, axis=-1))
                squares = [tf.reduce_sum(layer.kernel**2) for layer in dense]
                loss = mean_square + settings.weight_decay * tf.add_n(squares)
            adam.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
            return mean_square, state

        return update

    report_every = max(1, settings.updates // 100)
    updates = settings.warm_start_updates
    update = updater(max(updates, 1))
    for i in range(1, updates + 1):
        commands, state, signals, labels = streams.single()
        loss, _ = update(commands[None], state, signals[None], labels[None])
        if i % report_every == 0:
            progress(Progress(stage="warm start", update=i, updates=updates, loss=loss))

    updates = settings.updates
    update = updater(updates)
    validate_every = max(1, updates // 20)
    best_mm, best = np.inf, None
    error_mm = None
    for i in range(1, updates + 1):
        commands, state, signals, labels = streams.rollout()
        loss, state = update(commands, state, signals, labels)
        streams.carry(state.numpy())
        if validation and i % validate_every == 0:
            model = Model(card, network())
            error_mm = rmse_mm(np.vstack([free_run(model, run) - run.position for run in validation]))
            if error_mm < best_mm:
                best_mm, best = error_mm, keras_model.get_weights()
        if i % report_every == 0:
            progress(
                Progress(
                    stage="rollout", update=i, updates=updates, loss=loss, free_run_mm=error_mm
                )
            )
    if best is not None:
        keras_model.set_weights(best)
    dense[0].kernel.assign(basis @ dense[0].kernel.numpy())
    return IncrementNetwork([layer.get_weights() for layer in dense], command_end)
