"""A network that was trained elsewhere becomes a model directory, if it is fit to be one.

It takes what the controller's networks take, x = [commands, outputs, signals] with their lags,
newest first, in the units of the robot's description, and gives the next outputs in theirs; scales
may be inside of it. One with a state of its own takes one time step after the other, from a state
of zeros. Its layers are rewritten for the card's scales, and must then predict what the network
itself predicts.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nn4mc_codegen.graph.check import ModelError as NetworkError
from nn4mc_codegen.graph.ir import Graph
from nn4mc_codegen.importers import read_model
from soft_control.learning.blank_card import blank_card, checked_card, robot_of
from soft_control.learning.dataset import Recording, resample, window_samples
from soft_control.learning.foreign_layers import Chain, read_chain
from soft_control.learning.model import (
    CARD_FILE,
    NETWORK_FILE,
    ROLLOUT_SAMPLES,
    Model,
    ModelCard,
    ModelError,
    card_windows,
    evaluate,
    file_hash,
    model_of,
    normalised_windows,
)
from soft_control.learning.model_check import ModelReport, check
from soft_control.learning.network_file import write_increment_network, write_recurrent_network
from soft_control.learning.rest import fit_rest_signals
from soft_control.learning.settings import TrainingError, TrainingSettings
from soft_control.learning.signal_doubt import fit_signal_doubt
from soft_control.learning.signal_model import fit_signal_model
from soft_control.learning.suitability import check_long_enough

COMPARED = 300
"""Windows of the recordings; of a recurrent network the first ones, one after the other."""
AGREEMENT = 1e-4
"""Of the outputs' scale: float32 weights that scales of float32 have been multiplied into."""


def adopt(
    network: Path,
    recordings: Sequence[Recording],
    validation: Sequence[Recording],
    settings: TrainingSettings,
    out_dir: Path,
) -> tuple[ModelCard, ModelReport]:
    """Write OUT_DIR/fk.keras and OUT_DIR/fk.json of a network file, if it is fit: else nothing.

    The recordings give the scales and ranges of the card; by `validation`, or where there is none
    by them, the network is judged. Raises ModelError, TrainingError, RecordingError or HostError.
    """
    if not recordings:
        raise TrainingError("no recording to take scales from: name runs of the robot")
    try:
        graph, _ = read_model(network)
    except NetworkError as error:
        raise ModelError(str(error)) from None
    robot = robot_of([*recordings, *validation], settings)
    shortest = window_samples(settings.input_lags, settings.output_lags, settings.input_delay)
    runs = [resample(run, settings.rate_hz, shortest) for run in recordings]
    judged = [resample(run, settings.rate_hz, shortest) for run in validation] or runs
    for run in judged:
        check_long_enough(run, shortest + ROLLOUT_SAMPLES - 1)
    card = blank_card(robot, runs, judged, settings)
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder)
        try:
            order = _columns(graph, card)
            chain = _normalised(card, read_chain(graph, _newest(card, order)), order)
            _write(made / NETWORK_FILE, chain, card)
            card = checked_card(**(dict(card) | {"states": graph.state_size}))
            model = model_of(card, made / NETWORK_FILE)
            _check_same(graph, model, order, judged)
        except ModelError as error:
            raise ModelError(f"{network.name}: {error}") from None
        felt = fit_signal_model(model, runs, judged, settings.seed)
        found = {
            "signal_model": felt,
            "rest_signals": fit_rest_signals(card, runs, judged),
            "signal_doubt": fit_signal_doubt(model, felt, runs, judged),
            "metrics": evaluate(model, judged),
            "evaluated_on": [run.source for run in judged],
            "model_hash": file_hash(made / NETWORK_FILE),
        }
        card = checked_card(**(dict(card) | found))
        text = card.model_dump_json(indent=2) + "\n"
        (made / CARD_FILE).write_text(text, encoding="utf-8")
        report = check(made, judged)
        if report.fit:
            out_dir.mkdir(parents=True, exist_ok=True)
            for name in (NETWORK_FILE, CARD_FILE):
                shutil.copyfile(made / name, out_dir / name)
    return card, report


def _columns(graph: Graph, card: ModelCard) -> np.ndarray:
    """Of each element of the network's flat input the column of the card's x."""
    sizes = card.input_sizes()
    total = sum(sizes.values())
    given = {tensor.name: tensor.size for tensor in graph.inputs}
    starts = dict(zip(sizes, np.cumsum([0, *sizes.values()]).tolist(), strict=False))
    if given == sizes:
        return np.concatenate([starts[name] + np.arange(n) for name, n in given.items()])
    if len(given) == 1 and graph.input_size == total:
        return np.arange(total)
    told = ", ".join(f"{name} ({n})" for name, n in given.items())
    wanted = ", ".join(f"{name} ({n})" for name, n in sizes.items())
    raise ModelError(
        f"its inputs are {told}; it takes {wanted}, or all {total} as one: set the lags by "
        "--settings"
    )


def _newest(card: ModelCard, order: np.ndarray) -> slice:
    """Where the newest outputs stand in the network's flat input."""
    first = int(np.flatnonzero(order == card.command_columns)[0])
    return slice(first, first + len(card.output_names))


def _normalised(card: ModelCard, chain: Chain, order: np.ndarray) -> Chain:
    """From a chain on physical inputs in the file's order one on normalised ones in the card's."""
    zero = np.zeros((1, sum(card.input_sizes().values())))
    offset = -normalised_windows(card, zero)[0]  # in units of the scale
    scale = 1.0 / (normalised_windows(card, zero + 1.0)[0] + offset)
    taken = np.zeros((len(order), len(order)))
    taken[np.arange(len(order)), order] = scale[order]
    outputs = np.array(card.output_scale)
    return chain.scaled(taken, (scale * offset)[order], outputs, np.array(card.output_offset))


def _write(path: Path, chain: Chain, card: ModelCard) -> None:
    if any(op.states for op in chain.hidden):
        write_recurrent_network(path, chain, card.input_sizes())
        return
    layers = [*((op.kernel, op.bias) for op in chain.hidden), (chain.kernel, chain.bias)]
    write_increment_network(path, layers, card.input_sizes())


def _check_same(graph: Graph, model: Model, order: np.ndarray, runs: Sequence[Recording]) -> None:
    """Raises ModelError where the layers do not predict what the network predicts."""
    card = model.card
    x = np.vstack([card_windows(card, run)[0] for run in runs])
    if graph.states:
        x = x[:COMPARED]
        meant = graph.run(x[:, order])[0]
    else:
        x = x[:: max(len(x) // COMPARED, 1)]
        meant = np.array([graph.evaluate(row[order]) for row in x])
    found = card.outputs(model.run(normalised_windows(card, x)))
    error = float(np.max(np.abs(found - meant) / np.array(card.output_scale)))
    if not error < AGREEMENT:
        raise ModelError(
            f"its layers, rewritten, differ from it by {error:.1e} of the outputs' scale"
        )
