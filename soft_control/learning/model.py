"""The learned forward kinematics as NumPy, and how well it predicts.

`Model` needs no TensorFlow. Whatever predicts one sample, y(k+1) = step(x(k)), can be put through
the same free run: this network, the firmware generated from it, a fallback network.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from nn4mc_codegen.importers import read_model
from nn4mc_codegen.ops.dense import Dense
from soft_control.learning.dataset import AXES, Recording, resample, windows

CARD_FILE = "fk.json"
NETWORK_FILE = "fk.keras"
ROLLOUT_SAMPLES = 10
BASELINE_LAGS_S = (0.05, 0.2)  # the transport delay of the tendon rig, and its faster creep
BASELINE_RIDGE = 1e-3


class ModelError(ValueError):
    """A model directory that cannot be used, or a recording that does not suit the model."""


class SignalMap(BaseModel):
    """The position that the signals alone give: normalised position = weights @ normalised signals.

    Least squares; both sides are centred, so there is no constant.
    """

    model_config = ConfigDict(use_attribute_docstrings=True, extra="forbid")

    weights: list[list[float]]
    """n rows of p."""
    residual_mm: list[float]
    """RMS error on the recordings of `evaluated_on`, one an axis; its square is the variance of the
    noise with which the signals show a position."""


class ModelCard(BaseModel):
    """What goes with the network file; it works on normalised = (physical - offset) / scale."""

    model_config = ConfigDict(use_attribute_docstrings=True, extra="forbid")

    rig: str
    """Name of the rig that was recorded."""
    rate_hz: float
    """Control rate; the network predicts one such sample ahead."""
    input_lags: int
    """nd: commands the network sees, u(k-d) … u(k-d-nd+1)."""
    output_lags: int
    """dd: positions the network sees, y(k) … y(k-dd+1)."""
    input_delay: int
    """d: whole samples of transport delay that the network need not learn."""
    axes: list[str] = list(AXES)
    """The n axes along which the tip moves; on the others it stays at 0."""
    command_names: list[str]
    command_offset: list[float]
    """rad or the rig's own unit, one a command."""
    command_scale: list[float]
    """rad or the rig's own unit, one a command."""
    output_offset: list[float]
    """m, one an axis."""
    output_scale: float
    """m, one for all axes, so that errors stay isotropic."""
    signal_names: list[str]
    """The live signals that the network sees; constant ones were left out."""
    signal_offset: list[float]
    """Of the calibrated, unitless signals."""
    signal_scale: list[float]
    signal_map: SignalMap | None = None
    """None without signals."""
    surface: list[float] | None
    """Of `references.surface_terms`, m: the surface x(y, z) that two servos reach; else none."""
    metrics: dict[str, float]
    """mm, over the recordings of `evaluated_on`; see `evaluate`."""
    evaluated_on: list[str]
    """The runs held out for validation, or the training runs where none was."""
    recordings: list[str]
    """The training runs."""
    model_hash: str
    """First 16 hex digits of the SHA-256 of the network file."""

    @property
    def command_columns(self) -> int:
        """nd·m, leading entries of x."""
        return self.input_lags * len(self.command_names)

    @property
    def output_columns(self) -> int:
        """dd·n, the entries of x after the commands."""
        return self.output_lags * len(self.output_offset)

    def input_sizes(self) -> dict[str, int]:
        """The network's named inputs in their order in x; inputs of size 0 do not exist."""
        outputs = len(self.output_offset)
        sizes = {
            "commands": self.command_columns,
            "output": outputs,
            "past_outputs": self.output_columns - outputs,
            "signals": len(self.signal_names),
        }
        return {name: size for name, size in sizes.items() if size}

    def normalised_command(self, command: np.ndarray) -> np.ndarray:
        """(…, m) rad -> normalised."""
        return (command - np.array(self.command_offset)) / np.array(self.command_scale)

    def normalised_output(self, position: np.ndarray) -> np.ndarray:
        """(…, 3) m -> (…, n) normalised."""
        return (self.on_axes(position) - np.array(self.output_offset)) / self.output_scale

    def position(self, output: np.ndarray) -> np.ndarray:
        """(…, n) normalised -> (…, 3) m."""
        return self.in_space(output * self.output_scale + np.array(self.output_offset))

    def on_axes(self, position: np.ndarray) -> np.ndarray:
        """(…, 3) -> (…, n): the axes along which the tip moves."""
        return np.asarray(position)[..., [AXES.index(axis) for axis in self.axes]]

    def in_space(self, position: np.ndarray) -> np.ndarray:
        """(…, n) -> (…, 3): 0 on the other axes."""
        position = np.asarray(position)
        placed = np.zeros((*position.shape[:-1], len(AXES)))
        placed[..., [AXES.index(axis) for axis in self.axes]] = position
        return placed

    def normalised_signal(self, signal: np.ndarray) -> np.ndarray:
        """(…, p) calibrated -> normalised."""
        return (signal - np.array(self.signal_offset)) / np.array(self.signal_scale)


class IncrementNetwork:
    """y(k+1) = y(k) + dense layers of x, tanh between them, the last one linear. float64."""

    def __init__(self, layers: Sequence[tuple[np.ndarray, np.ndarray]], output_column: int):
        self.layers = [(np.asarray(w, dtype=float), np.asarray(b, dtype=float)) for w, b in layers]
        outputs = len(self.layers[-1][1])
        self._newest = slice(output_column, output_column + outputs)

    def step(self, x: np.ndarray) -> np.ndarray:
        """x (…, inputs) -> y(k+1) (…, n), all normalised."""
        a = x
        for w, b in self.layers[:-1]:
            a = np.tanh(a @ w + b)
        w, b = self.layers[-1]
        return x[..., self._newest] + a @ w + b

    def jacobian(self, x: np.ndarray, columns: int) -> tuple[np.ndarray, np.ndarray]:
        """x (inputs,) -> y (n,) and its derivatives (n, columns) by the first entries of x."""
        a, chain = x, np.eye(len(x))[:, :columns]
        for w, b in self.layers[:-1]:
            a = np.tanh(a @ w + b)
            chain = (1.0 - a * a)[:, None] * (w.T @ chain)
        w, b = self.layers[-1]
        jacobian = w.T @ chain
        jacobian += np.eye(len(x))[self._newest, :columns]
        return x[self._newest] + a @ w + b, jacobian


class Model:
    """A model directory in memory: card and network, on normalised values."""

    def __init__(self, card: ModelCard, network: IncrementNetwork):
        self.card = card
        self.network = network

    def step(self, x: np.ndarray) -> np.ndarray:
        """Normalised x (…, inputs) -> normalised y(k+1) (…, n)."""
        return self.network.step(x)

    def jacobian(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """y(k+1) (n,) and its derivatives (n, nd·m + dd·n) by the command and output lags."""
        return self.network.jacobian(x, self.card.command_columns + self.card.output_columns)


class Predictor(Protocol):
    """All that a free run needs."""

    card: ModelCard

    def step(self, x: np.ndarray) -> np.ndarray: ...


# --------------------------------------------------------------------------------------- prediction


def free_run(model: Predictor, recording: Recording) -> np.ndarray:
    """Predicted positions (T, 3), m, from commands and signals alone.

    All lags start at the first command and the first measured position; no other measured position
    is seen. The recording must be on the model's control grid (`resample`), else ModelError.
    """
    card = model.card
    if not recording.on_grid(card.rate_hz):
        raise ModelError(
            f"{recording.source}: not sampled at {card.rate_hz:g} Hz; resample it first"
        )
    commands = card.normalised_command(recording.commands)
    signals = card.normalised_signal(recording.signal(card.signal_names))
    start = card.normalised_output(recording.position[0])
    outputs = np.empty((len(recording), len(start)))
    outputs[0] = start
    m, n = commands.shape[1], len(start)
    command_end = card.command_columns
    output_end = command_end + card.output_columns
    x = np.concatenate(
        [np.tile(commands[0], card.input_lags), np.tile(start, card.output_lags), signals[0]]
    )
    for k in range(len(recording) - 1):
        x[m:command_end] = x[: command_end - m]
        x[:m] = commands[max(k - card.input_delay, 0)]
        x[output_end:] = signals[k]
        y = model.step(x)
        x[command_end + n : output_end] = x[command_end : output_end - n]
        x[command_end : command_end + n] = y
        outputs[k + 1] = y
    return card.position(outputs)


def rollouts(model: Predictor, recording: Recording, samples: int, held: bool) -> np.ndarray:
    """Errors (S, 3), m, at the end of rollouts over `samples` from every window of the recording.

    The commands are those of the run; signals are live, or `held` at their first value as they are
    in the MPC's horizon.
    """
    card = model.card
    x, _, first = card_windows(card, recording)
    x = normalised_windows(card, x)
    starts = len(x) - samples + 1
    if starts < 1:
        raise ModelError(f"{recording.source}: too short for a rollout over {samples} samples")
    n = len(card.output_offset)
    command_end = card.command_columns
    output_end = command_end + card.output_columns
    rolled = x[:starts].copy()
    for j in range(samples):
        rolled[:, :command_end] = x[j : j + starts, :command_end]
        if not held:
            rolled[:, output_end:] = x[j : j + starts, output_end:]
        y = model.step(rolled)
        rolled[:, command_end + n : output_end] = rolled[:, command_end : output_end - n].copy()
        rolled[:, command_end : command_end + n] = y
    return card.position(y) - recording.position[first + samples : first + samples + starts]


def card_windows(card: ModelCard, recording: Recording) -> tuple[np.ndarray, np.ndarray, int]:
    """`dataset.windows` as the card's network sees them."""
    return windows(
        recording,
        card.input_lags,
        card.output_lags,
        card.input_delay,
        card.signal_names,
        card.axes,
    )


def normalised_windows(card: ModelCard, x: np.ndarray) -> np.ndarray:
    """Windows (S, inputs) in physical units -> normalised, entry by entry."""
    offset = np.concatenate(
        [
            np.tile(card.command_offset, card.input_lags),
            np.tile(card.output_offset, card.output_lags),
            card.signal_offset,
        ]
    )
    scale = np.concatenate(
        [
            np.tile(card.command_scale, card.input_lags),
            np.full(card.output_columns, card.output_scale),
            card.signal_scale,
        ]
    )
    return (x - offset) / scale


# ------------------------------------------------------------------------------------------ metrics


def rmse_mm(error: np.ndarray) -> float:
    """Root mean square of the 3-D distance, mm, of errors (T, 3), m."""
    return float(1e3 * np.sqrt(np.mean(np.sum(error * error, axis=1))))


def evaluate(model: Predictor, recordings: Recording | Sequence[Recording]) -> dict[str, float]:
    """RMSE of the distance over one run or several, mm; of the free run also p95 and maximum."""
    runs = [recordings] if isinstance(recordings, Recording) else list(recordings)
    runs = [resample(run, model.card.rate_hz) for run in runs]

    def ahead(samples: int, held: bool) -> float:
        return rmse_mm(np.vstack([rollouts(model, run, samples, held) for run in runs]))

    free = np.vstack([free_run(model, run) - run.position for run in runs])
    distance = 1e3 * np.linalg.norm(free, axis=1)
    return {
        "one_step_mm": ahead(1, held=False),
        "ten_step_live_mm": ahead(ROLLOUT_SAMPLES, held=False),
        "ten_step_held_mm": ahead(ROLLOUT_SAMPLES, held=True),
        "free_run_mm": rmse_mm(free),
        "free_run_p95_mm": float(np.percentile(distance, 95)),
        "free_run_max_mm": float(np.max(distance)),
    }


def least_squares_baseline(
    training: Sequence[Recording], test: Recording, rate_hz: float
) -> np.ndarray:
    """Positions (T, 3), m, on the test run's control grid by a model without memory.

    Least squares on the quadratic terms of the commands `BASELINE_LAGS_S` ago, standardised, with a
    small ridge, without which terms that are nearly equal make it useless on another run.
    """
    runs = [resample(run, rate_hz) for run in training]
    terms = np.vstack([_quadratic_terms(run.commands, rate_hz) for run in runs])
    position = np.vstack([run.position for run in runs])
    mean, spread = terms.mean(axis=0), terms.std(axis=0)
    terms = (terms - mean) / spread
    ridge = BASELINE_RIDGE * len(terms) * np.eye(terms.shape[1])
    centre = position.mean(axis=0)
    coefficients = np.linalg.solve(terms.T @ terms + ridge, terms.T @ (position - centre))
    tested = _quadratic_terms(resample(test, rate_hz).commands, rate_hz)
    return (tested - mean) / spread @ coefficients + centre


def _quadratic_terms(commands: np.ndarray, rate_hz: float) -> np.ndarray:
    """The lagged commands (the first one before the start) and all their products, (T, …)."""
    samples = np.arange(len(commands))
    lags = [round(lag_s * rate_hz) for lag_s in BASELINE_LAGS_S]
    lagged = np.hstack([commands[np.maximum(samples - lag, 0)] for lag in lags])
    row, column = np.triu_indices(lagged.shape[1])
    return np.hstack([lagged, lagged[:, row] * lagged[:, column]])


# ---------------------------------------------------------------------------------- model directory


def load_card(directory: str | Path) -> ModelCard:
    """The card DIR/fk.json. Raises ModelError when it or its network is missing or broken."""
    directory = Path(directory)
    for name in (CARD_FILE, NETWORK_FILE):
        if not (directory / name).is_file():
            raise ModelError(f"{directory}: no {name}: not a model directory of softctl train")
    try:
        card = ModelCard.model_validate_json((directory / CARD_FILE).read_text(encoding="utf-8"))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ModelError(f"{directory / CARD_FILE}: {where}: {first['msg']}") from error
    network_file = directory / NETWORK_FILE
    if file_hash(network_file) != card.model_hash:
        raise ModelError(
            f"{network_file}: its hash is not the card's {card.model_hash}; train again"
        )
    return card


def load_model(directory: str | Path) -> Model:
    """Card and network, read without TensorFlow. Raises ModelError as `load_card` does."""
    card = load_card(directory)
    graph, _ = read_model(Path(directory) / NETWORK_FILE)
    dense = [node.op for node in graph.nodes if isinstance(node.op, Dense)]
    layers = [(op.kernel, op.bias) for op in dense]
    return Model(card, IncrementNetwork(layers, card.command_columns))


def fit_signal_map(
    card: ModelCard, training: Sequence[Recording], held_out: Sequence[Recording]
) -> SignalMap | None:
    """Fitted to the runs that the card's normalisation comes from, judged by those held out."""
    if not card.signal_names:
        return None

    def both(runs: Sequence[Recording]) -> tuple[np.ndarray, np.ndarray]:
        signals = np.vstack([run.signal(card.signal_names) for run in runs])
        positions = np.vstack([run.position for run in runs])
        return card.normalised_signal(signals), card.normalised_output(positions)

    weights = np.linalg.lstsq(*both(training), rcond=None)[0]
    signals, positions = both(held_out)
    residual = np.sqrt(np.mean((signals @ weights - positions) ** 2, axis=0))
    return SignalMap(
        weights=weights.T.tolist(), residual_mm=(1e3 * card.output_scale * residual).tolist()
    )


def file_hash(path: Path) -> str:
    """First 16 hex digits of the SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
