"""What an ensemble of networks knows, as imagined runs that one small network is trained on.

Networks that differ by their seeds alone err differently, so that the mean of their free runs is
nearer to the robot than each of them. A microcontroller has room for one small network: it learns
that mean, on commands that the robot never got. That is distillation of an ensemble (Hinton,
Vinyals, Dean: Distilling the knowledge in a neural network, 2015, arXiv 1503.02531), and unlabelled
inputs made from the measured ones are those of Buciluǎ, Caruana, Niculescu-Mizil: Model
compression, KDD 2006.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from soft_control.learning.model import Model, ModelCard, card_samples, free_run
from soft_control.learning.recording import Recording, warn
from soft_control.learning.settings import TrainingError, TrainingSettings

SETTLE_S = 2.0
"""Of an imagined run left out at its start: the robot was not where its first commands belong."""
DISTANCE_MAX = 3.0
"""Times the median distance from the median free run: a teacher farther off is left out."""


def imagine(
    runs: Sequence[Recording], teachers: Sequence[Model], settings: TrainingSettings
) -> list[Recording]:
    """Imagined runs on the control grid, labelled with the mean of the teachers' free runs.

    `runs` are those measured, on the control grid. Raises TrainingError as `imagined_samples` and
    `consensus` do; warns of each teacher that is left out.
    """
    card = teachers[0].card
    samples = imagined_samples(card, runs, settings)
    settle = round(SETTLE_S * card.rate_hz)
    given = np.vstack([run.command(card.command_names) for run in runs])
    rng = np.random.default_rng(settings.seed)
    imagined, left_out = [], Counter()
    for i in range(settings.imagined_runs):
        run = replace(
            runs[0],
            source=f"imagined run {i + 1}",
            t_s=np.arange(samples) / card.rate_hz,
            commands=shuffled(given, rng)[:samples],
            command_names=tuple(card.command_names),
            outputs=np.tile(runs[0].outputs[0], (samples, 1)),
            signals=np.zeros((samples, 0)),
            signal_names=(),
            reference=None,
            starts=(0,),
        )
        labels, far = consensus(np.stack([free_run(teacher, run) for teacher in teachers]))
        left_out.update(far)
        imagined.append(replace(run, outputs=labels).rows(np.arange(settle, samples)))
    for teacher, times in sorted(left_out.items()):
        warn(
            f"teacher {teacher + 1}",
            f"left out of {times} of {len(imagined)} imagined runs: more than {DISTANCE_MAX:g} "
            "times as far from the median teacher as the others",
        )
    return imagined


def imagined_samples(card: ModelCard, runs: Sequence[Recording], settings: TrainingSettings) -> int:
    """Samples of an imagined run. Raises TrainingError where none can be, or none of use."""
    if card.signal_names:
        raise TrainingError(
            f"teachers = {settings.teachers}: nobody knows the signals of an imagined run; "
            'train with "signals": false'
        )
    samples = min(sum(map(len, runs)), round(settings.imagined_s * card.rate_hz))
    shortest = round(SETTLE_S * card.rate_hz) + card_samples(card) + settings.rollout_samples - 1
    if samples < shortest:
        raise TrainingError(
            f"imagined runs have {samples} samples, as many as imagined_s = "
            f"{settings.imagined_s:g} and the recordings give; of use are {shortest} or more"
        )
    return samples


def shuffled(commands: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(T, m) commands that never were together: each channel rolled by an offset of its own."""
    offsets = rng.integers(len(commands), size=commands.shape[1])
    channels = zip(commands.T, offsets, strict=True)
    return np.column_stack([np.roll(channel, offset) for channel, offset in channels])


def consensus(outputs: np.ndarray) -> tuple[np.ndarray, list[int]]:
    """The mean (T, n) of free runs (teachers, T, n), and which teachers are left out of it.

    A teacher's distance is the root mean square, over all samples, of its distance from the median
    of all. Raises TrainingError where half of the teachers or more have no finite free run.
    """
    finite = np.all(np.isfinite(outputs), axis=(1, 2))
    if 2 * np.count_nonzero(finite) <= len(outputs):
        raise TrainingError(
            f"{np.count_nonzero(~finite)} of {len(outputs)} teachers diverged; choose a smaller "
            "learning_rate"
        )
    away = outputs[finite] - np.median(outputs[finite], axis=0)
    distance = np.full(len(outputs), np.inf)
    distance[finite] = np.sqrt(np.mean(np.sum(away * away, axis=2), axis=1))
    kept = distance <= DISTANCE_MAX * np.median(distance[finite])
    return outputs[kept].mean(axis=0), np.flatnonzero(~kept).tolist()
