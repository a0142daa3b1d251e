"""The learned forward kinematics as NumPy, and how well it predicts.

`Model` needs no TensorFlow. Whatever predicts one sample, y(k+1) = step(x(k)), can be put through
the same free run: this network, the firmware generated from it, a fallback network. Nothing is
predicted across a gap: in the segments of a recording, each prediction starts anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from nn4mc_codegen.graph.ir import Graph
from nn4mc_codegen.importers import read_model
from nn4mc_codegen.ops.dense import Dense
from soft_control.learning.card import (
    CARD_FILE,
    NETWORK_FILE,
    Errors,
    ModelCard,
    ModelError,
    file_hash,
    load_card,
)
from soft_control.learning.dataset import Recording, resample, window_samples, windows
from soft_control.learning.errors import distances, rmse

__all__ = [
    "CARD_FILE", "NETWORK_FILE", "ROLLOUT_SAMPLES", "Errors", "IncrementNetwork", "Model",
    "ModelCard", "ModelError", "card_samples", "card_windows", "evaluate", "file_hash",
    "free_run", "least_squares_baseline", "load_card", "load_model", "model_of",
    "RecurrentModel", "error_weights", "normalised_windows", "overall", "rollouts",
]  # fmt: skip

ROLLOUT_SAMPLES = 10
REST_SAMPLES = 40
"""After so many samples of rest a run of a recurrent network begins; mpc.c has the same."""
RECURRENT_ROLLOUTS = 300
"""Of a recurrent network, evenly over a recording: each is made sample by sample."""
BASELINE_LAGS_S = (0.05, 0.2)  # the transport delay of the tendon rig, and its faster creep
BASELINE_RIDGE = 1e-3


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

    def run(self, x: np.ndarray) -> np.ndarray:
        """Normalised x (S, inputs), one sample after the other -> normalised y (S, n)."""
        return self.step(x)

    def jacobian(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """y(k+1) (n,) and its derivatives (n, nd·m + dd·n) by the command and output lags."""
        return self.network.jacobian(x, self.card.command_columns + self.card.output_columns)


class RecurrentModel(Model):
    """A model whose network has a state of its own, which `step` moves on."""

    def __init__(self, card: ModelCard, graph: Graph):
        self.card = card
        self.graph = graph
        self._state = np.zeros(graph.state_size)

    @property
    def network(self) -> IncrementNetwork:
        raise ModelError(
            f"the model {self.card.model_hash} is recurrent; what is asked for is made for "
            "networks that see lags alone, as `softctl train` makes them"
        )

    def start(self, x: np.ndarray) -> None:
        """Rest with the inputs x (inputs,), of which signals count as 0."""
        rest = np.array(x, dtype=float)
        first = self.card.command_columns + self.card.output_columns
        rest[first : first + len(self.card.signal_names)] = 0.0
        self._state = np.zeros(self.graph.state_size)
        for _ in range(REST_SAMPLES):
            _, self._state = self.graph.step(rest, self._state)

    def step(self, x: np.ndarray) -> np.ndarray:
        """Normalised x (inputs,) -> normalised y(k+1) (n,), one sample after the other. Raises
        ModelError for several at once: each would need a state of its own."""
        if np.ndim(x) != 1:
            raise ModelError(
                f"the model {self.card.model_hash} is recurrent: it predicts whole runs, sample "
                "after sample, and no windows that are taken out of them"
            )
        y, self._state = self.graph.step(x, self._state)
        return y

    def run(self, x: np.ndarray) -> np.ndarray:
        """From a state of zeros, as the network of a file is run."""
        return self.graph.run(x)[0]

    def states_before(self, x: np.ndarray, k: np.ndarray) -> np.ndarray:
        """State (S, states) before each of the windows x (S, inputs), normalised, which are those
        of the samples k (S,): what the samples before have made of it, and after a gap rest."""
        found = np.empty((len(x), self.graph.state_size))
        for i, row in enumerate(x):
            if not i or k[i] != k[i - 1] + 1:
                self.start(row)
            found[i] = self._state
            self.step(row)
        return found


class _SideBySide:
    """A recurrent model with a state for each of several rows."""

    def __init__(self, model: RecurrentModel, states: np.ndarray):
        self._graph, self._states = model.graph, states

    def step(self, x: np.ndarray) -> np.ndarray:
        """x (S, inputs) -> y (S, n), normalised."""
        made = [self._graph.step(*pair) for pair in zip(x, self._states, strict=True)]
        self._states = np.array([state for _, state in made])
        return np.array([y for y, _ in made])


class Predictor(Protocol):
    """All that a free run needs."""

    card: ModelCard

    def step(self, x: np.ndarray) -> np.ndarray: ...


# --------------------------------------------------------------------------------------- prediction


def free_run(model: Predictor, recording: Recording) -> np.ndarray:
    """Predicted outputs (T, n), in their units, from commands and signals alone.

    In each segment all lags start at its first command and first measured outputs; no others are
    seen. The recording must be on the model's control grid (`resample`), else
    ModelError.
    """
    card = model.card
    if not recording.on_grid(card.rate_hz):
        raise ModelError(
            f"{recording.source}: not sampled at {card.rate_hz:g} Hz; resample it first"
        )
    return np.vstack([_free_run(model, segment) for segment in recording.segments()])


def _free_run(model: Predictor, segment: Recording) -> np.ndarray:
    card = model.card
    commands = card.normalised_command(segment.command(card.command_names))
    signals = card.normalised_signal(segment.signal(card.signal_names))
    start = card.normalised_output(segment.output(card.output_names)[0])
    outputs = np.empty((len(segment), len(start)))
    outputs[0] = start
    m, n = commands.shape[1], len(start)
    command_end = card.command_columns
    output_end = command_end + card.output_columns
    beside = np.hstack([signals, slow_means(card, commands)])
    x = np.concatenate(
        [np.tile(commands[0], card.input_lags), np.tile(start, card.output_lags), beside[0]]
    )
    if isinstance(model, RecurrentModel):
        model.start(x)
    for k in range(len(segment) - 1):
        x[m:command_end] = x[: command_end - m]
        x[:m] = commands[max(k - card.input_delay, 0)]
        x[output_end:] = beside[k]
        y = model.step(x)
        x[command_end + n : output_end] = x[command_end : output_end - n]
        x[command_end : command_end + n] = y
        outputs[k + 1] = y
    return card.outputs(outputs)


def slow_means(card: ModelCard, commands: np.ndarray) -> np.ndarray:
    """(T, memory_columns) slow means of the commands (T, m) of one segment, as the network sees
    them at each sample: of those until u(k-d). The first command has been there for ever."""
    from scipy.signal import lfilter  # slow to import, and few networks have such means

    acting = commands[np.maximum(np.arange(len(commands)) - card.input_delay, 0)]
    means = [np.zeros((len(commands), 0))]
    for gain in card.memory_gains()[:: commands.shape[1]]:
        start = (1.0 - gain) * acting[:1]
        means.append(lfilter([gain], [1.0, gain - 1.0], acting, axis=0, zi=start)[0])
    return np.hstack(means)


def rollouts(model: Predictor, recording: Recording, samples: int, held: bool) -> np.ndarray:
    """Errors (S, n), in the outputs' units, at the end of rollouts over `samples` from every window
    of the recording after which so many samples follow without a gap.

    The commands are those of the run; signals are live, or `held` at their first value as they are
    in the MPC's horizon. A recurrent network has its state from the samples before, and begins at
    RECURRENT_ROLLOUTS of the windows.
    """
    card = model.card
    x, _, k = card_windows(card, recording)
    x = normalised_windows(card, x)
    last = samples - 1
    starts = np.flatnonzero(k[last:] - k[: max(len(k) - last, 0)] == last)
    if not len(starts):
        raise ModelError(f"{recording.source}: too short for a rollout over {samples} samples")
    if isinstance(model, RecurrentModel):
        starts = starts[:: -(-len(starts) // RECURRENT_ROLLOUTS)]
        model = _SideBySide(model, model.states_before(x, k)[starts])
    n = len(card.output_offset)
    command_end = card.command_columns
    output_end = command_end + card.output_columns
    memory = len(x[0]) - card.memory_columns
    rolled = x[starts]
    for j in range(samples):
        rolled[:, :command_end] = x[starts + j, :command_end]
        rolled[:, memory:] = x[starts + j, memory:]
        if not held:
            rolled[:, output_end:memory] = x[starts + j, output_end:memory]
        y = model.step(rolled)
        rolled[:, command_end + n : output_end] = rolled[:, command_end : output_end - n].copy()
        rolled[:, command_end : command_end + n] = y
    return card.outputs(y) - recording.output(card.output_names)[k[starts] + samples]


def card_samples(card: ModelCard) -> int:
    """Samples that one window of the card's network takes: no shorter segment is of use."""
    return window_samples(card.input_lags, card.output_lags, card.input_delay)


def card_windows(
    card: ModelCard, recording: Recording
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`dataset.windows` as the card's network sees them: its commands, outputs and signals, and
    after these the slow means of the commands."""
    x, y, k = windows(
        recording,
        card.input_lags,
        card.output_lags,
        card.input_delay,
        card.signal_names,
        card.command_names,
        card.output_names,
    )
    if not card.memory_s:
        return x, y, k
    commands = recording.command(card.command_names)
    means = np.vstack([slow_means(card, commands[start:end]) for start, end in recording.bounds])
    return np.hstack([x, means[k]]), y, k


def normalised_windows(card: ModelCard, x: np.ndarray) -> np.ndarray:
    """Windows (S, inputs) in physical units -> normalised, entry by entry."""
    offset = np.concatenate(
        [
            np.tile(card.command_offset, card.input_lags),
            np.tile(card.output_offset, card.output_lags),
            card.signal_offset,
            np.tile(card.command_offset, len(card.memory_s)),
        ]
    )
    scale = np.concatenate(
        [
            np.tile(card.command_scale, card.input_lags),
            np.tile(card.output_scale, card.output_lags),
            card.signal_scale,
            np.tile(card.command_scale, len(card.memory_s)),
        ]
    )
    return (x - offset) / scale


# ------------------------------------------------------------------------------------------ metrics


def error_weights(card: ModelCard) -> np.ndarray:
    """(n,) factors of normalised errors by which those of one unit on paper count alike: a
    millimetre of a body that hardly moves is no more than one of the tip. 1 where no two groups
    share a unit.

    On the trunk's run 1, of which the last tenth was held out, three networks erred by 6.9 mm at
    the tip so, and by 8.4 mm with errors that counted by each body's own scale.
    """
    robot = card.robot
    scale = np.array(card.output_scale) * robot.output_factors
    weights = np.ones(len(scale))
    for unit in {output.shown_in for output in robot.outputs}:
        columns = [i for i, output in enumerate(robot.outputs) if output.shown_in == unit]
        relative = scale[columns] / np.max(scale[columns])
        weights[columns] = relative / np.sqrt(np.mean(relative**2))
    return weights


def overall(card: ModelCard, error: np.ndarray) -> float:
    """Root mean square of all errors (T, n) as training counts them: one number for all groups,
    which of one point ranks as its distance does."""
    counted = error_weights(card) * error / np.array(card.output_scale)
    return float(np.sqrt(np.mean(np.sum(counted**2, axis=1))))


def evaluate(
    model: Predictor | Sequence[Predictor], recordings: Recording | Sequence[Recording]
) -> list[Errors]:
    """Errors over one run or several, one for each group of the robot's outputs; by one model, or
    each run by one of its own."""
    runs = [recordings] if isinstance(recordings, Recording) else list(recordings)
    models = list(model) if isinstance(model, Sequence) else [model] * len(runs)
    card, robot = models[0].card, models[0].card.robot
    runs = [resample(run, card.rate_hz, card_samples(card)) for run in runs]

    def ahead(samples: int, held: bool) -> list[float]:
        pairs = zip(models, runs, strict=True)
        return rmse(robot, np.vstack([rollouts(by, run, samples, held) for by, run in pairs]))

    pairs = zip(models, runs, strict=True)
    free = np.vstack([free_run(by, run) - run.output(card.output_names) for by, run in pairs])
    rows = zip(
        robot.groups,
        ahead(1, held=False),
        ahead(ROLLOUT_SAMPLES, held=False),
        ahead(ROLLOUT_SAMPLES, held=True),
        rmse(robot, free),
        distances(robot, free),
        strict=True,
    )
    return [
        Errors(
            group=group.name,
            unit=group.unit,
            one_step=one_step,
            ten_step_live=live,
            ten_step_held=held,
            free_run=over_all,
            free_run_p95=float(np.percentile(distance, 95)),
            free_run_max=float(np.max(distance)),
        )
        for group, one_step, live, held, over_all, distance in rows
    ]


def least_squares_baseline(
    training: Sequence[Recording], test: Recording, rate_hz: float
) -> np.ndarray:
    """Outputs (T, n) of the test run, on its control grid, by a model without memory.

    Least squares on the quadratic terms of the commands `BASELINE_LAGS_S` ago, standardised, with a
    small ridge, without which terms that are nearly equal make it useless on another run. A term
    that never changes in the training tells nothing and counts for nothing. Raises ModelError where
    numbers too large for their squares leave nothing finite.
    """
    names = training[0].command_names
    runs = [resample(run, rate_hz) for run in training]
    terms = np.vstack([_quadratic_terms(run, names, rate_hz) for run in runs])
    outputs = np.vstack([run.output(test.output_names) for run in runs])
    mean, spread = terms.mean(axis=0), terms.std(axis=0)
    moves = spread > 1e-12 * np.max(np.abs(terms), axis=0)  # beyond the rounding of the mean
    weight = np.divide(1.0, spread, out=np.zeros_like(spread), where=moves)
    terms = (terms - mean) * weight
    ridge = BASELINE_RIDGE * len(terms) * np.eye(terms.shape[1])
    centre = outputs.mean(axis=0)
    coefficients = np.linalg.solve(terms.T @ terms + ridge, terms.T @ (outputs - centre))
    tested = _quadratic_terms(resample(test, rate_hz), names, rate_hz)
    found = (tested - mean) * weight @ coefficients + centre
    if not np.all(np.isfinite(found)):
        raise ModelError(f"{test.source}: least squares gives nothing finite: are the units right?")
    return found


def _quadratic_terms(recording: Recording, names: Sequence[str], rate_hz: float) -> np.ndarray:
    """The lagged commands (a segment's first one before its start) and all products, (T, …)."""
    lags = [round(lag_s * rate_hz) for lag_s in BASELINE_LAGS_S]
    pieces = []
    for segment in recording.segments():
        samples, commands = np.arange(len(segment)), segment.command(names)
        pieces.append(np.hstack([commands[np.maximum(samples - lag, 0)] for lag in lags]))
    lagged = np.vstack(pieces)
    row, column = np.triu_indices(lagged.shape[1])
    return np.hstack([lagged, lagged[:, row] * lagged[:, column]])


# ---------------------------------------------------------------------------------- model directory


def load_model(directory: str | Path) -> Model:
    """Card and network, read without TensorFlow. Raises ModelError as `load_card` does, and for a
    network that is not the card's."""
    return model_of(load_card(directory), Path(directory) / NETWORK_FILE)


def model_of(card: ModelCard, path: Path) -> Model:
    """The network of a file with its card. Raises ModelError where it is not the card's."""
    graph, _ = read_model(path)
    _check_network(path, graph, card)
    if graph.states:
        return RecurrentModel(card, graph)
    dense = [node.op for node in graph.nodes if isinstance(node.op, Dense)]
    layers = [(op.kernel, op.bias) for op in dense]
    return Model(card, IncrementNetwork(layers, card.command_columns))


def _check_network(path: Path, graph: Graph, card: ModelCard) -> None:
    """Raises ModelError where the network's inputs and outputs are not those of the card."""
    sizes = {tensor.name: tensor.size for tensor in graph.inputs}
    outputs = graph.output.size
    wanted = list(card.input_sizes().items())  # in their order: x is flat
    if list(sizes.items()) != wanted or outputs != len(card.output_names):
        raise ModelError(
            f"{path}: a network from {sizes} to {outputs} outputs, but its card is of one from "
            f"{card.input_sizes()} to {len(card.output_names)}"
        )
    if graph.state_size != card.states:
        raise ModelError(
            f"{path}: a network with {graph.state_size} states, but its card says {card.states}"
        )
