"""Recordings of several days, aligned: every session has maps of its own around one network.

Horns are mounted anew, a tracker finds another frame, a tendon has stretched. Pooled, such sessions
contradict one another, and a network learns their mean, which no day ever was. Aligned, the network
is that of one of them, the reference, and each other one goes through maps of its own that are
learned with it. Normalised, command by command and within a point,

    command of the reference = (1 + a) command + b            the outputs of its network
    output of the session = (1 + A) output of the network + c

The maps of the reference, the session of the first recording, are identity. The state of a roll-out
is the network's, so that one that begins at measured outputs takes them back through its map.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from soft_control.learning.card import ModelCard, SessionMap
from soft_control.learning.dataset import split_tail
from soft_control.learning.model import Predictor, free_run
from soft_control.learning.recording import Recording
from soft_control.learning.suitability import trained_on
from soft_control.learning.surface import fit_surface

RIDGE = 1e-4
"""Of the squares of all that a map differs by from identity, beside the mean squared distance: what
a session did not excite stays as it is in the reference."""


def named(runs: Sequence[Recording]) -> list[str]:
    """The sessions of runs, that of the first one, which is the reference, before the others."""
    return list(dict.fromkeys(run.session for run in runs))


def parts_judged(runs: Sequence[Recording], training: Sequence[Recording]) -> list[Recording]:
    """As recorded, what aligned sessions are judged by: all of a run of a session that is trained
    on, of another one the second half. Raises RecordingError as `split_tail`."""
    known = named(training)
    return [run if run.session in known else split_tail(run, 0.5)[1] for run in runs]


def reference_fields(
    card: ModelCard, alignment: Alignment, seen: Sequence[Recording]
) -> dict[str, Any]:
    """What the card says of aligned sessions, and of the runs as the reference shows them."""
    outputs = np.vstack([run.outputs for run in seen])
    scale = np.array(card.output_scale)
    commands = len(card.command_names)
    return {
        "sessions": alignment.written(card),
        "surface": fit_surface(outputs, card.output_names, commands, scale),
        "trained": trained_on(seen, card.robot, card.signal_names),
    }


@dataclass(frozen=True)
class SessionMaps:
    """Those of one session, normalised."""

    command_gain: np.ndarray
    """(m,), 1 + a."""
    command_offset: np.ndarray
    """(m,), b."""
    output_gain: np.ndarray
    """(n, n), 1 + A."""
    output_offset: np.ndarray
    """(n,), c."""

    def commands(self, commands: np.ndarray) -> np.ndarray:
        """Commands (…, m), their lags (…, nd·m) or slow means -> those of the reference."""
        lags = commands.shape[-1] // len(self.command_gain)
        gain, offset = np.tile(self.command_gain, lags), np.tile(self.command_offset, lags)
        return gain * commands + offset

    def network_outputs(self, outputs: np.ndarray) -> np.ndarray:
        """Outputs (…, n) of the session or their lags (…, dd·n) -> those of the network."""
        lags = outputs.reshape(*outputs.shape[:-1], -1, len(self.output_offset))
        found = (lags - self.output_offset) @ np.linalg.inv(self.output_gain).T
        return found.reshape(outputs.shape)

    def outputs(self, outputs: np.ndarray) -> np.ndarray:
        """Outputs (…, n) of the network -> those of the session."""
        return outputs @ self.output_gain.T + self.output_offset

    def seen_by_reference(self, card: ModelCard, run: Recording) -> Recording:
        """A run of the session as the reference would have shown it: in its commands and outputs,
        in the order of the card."""
        commands = self.commands(card.normalised_command(run.command(card.command_names)))
        outputs = self.network_outputs(card.normalised_output(run.output(card.output_names)))
        return replace(
            run,
            commands=commands * np.array(card.command_scale) + np.array(card.command_offset),
            command_names=tuple(card.command_names),
            outputs=card.outputs(outputs),
            output_names=tuple(card.output_names),
        )


class SessionModel:
    """A model in the maps of a session: what the robot of that day does."""

    def __init__(self, model: Predictor, maps: SessionMaps):
        self.card, self._model, self._maps = model.card, model, maps

    def step(self, x: np.ndarray) -> np.ndarray:
        """x (…, inputs) of the session -> its y(k+1) (…, n), all normalised."""
        card, maps = self.card, self._maps
        ends = np.cumsum([card.command_columns, card.output_columns, len(card.signal_names)])
        commands, lags, signals, memory = np.split(x, ends, axis=-1)
        seen = [maps.commands(commands), maps.network_outputs(lags), signals, maps.commands(memory)]
        return self._maps.outputs(self._model.step(np.concatenate(seen, axis=-1)))


@dataclass(frozen=True)
class Alignment:
    """The maps of S sessions, normalised."""

    names: list[str]
    command_gain: np.ndarray
    """(S, m), 1 + a."""
    command_offset: np.ndarray
    """(S, m), b."""
    output_gain: np.ndarray
    """(S, n, n), 1 + A; entry [s, i, j] is what network output j adds to output i."""
    output_offset: np.ndarray
    """(S, n), c."""

    def network_lags(self, lags: np.ndarray, session: np.ndarray) -> np.ndarray:
        """Output lags (B, dd·n) of the sessions (B,) -> those of the network."""
        outputs = lags.reshape(len(session), -1, self.output_offset.shape[1])
        back = np.linalg.inv(self.output_gain)[session]
        found = np.einsum("bij,blj->bli", back, outputs - self.output_offset[session][:, None])
        return found.reshape(lags.shape)

    def of(self, session: str) -> SessionMaps:
        """The maps of one session."""
        s = self.names.index(session)
        return SessionMaps(
            self.command_gain[s], self.command_offset[s], self.output_gain[s], self.output_offset[s]
        )

    def judged(self, model: Predictor, run: Recording) -> tuple[SessionMaps, Recording]:
        """By what maps a run is judged, and what of it: by those of its session, all of it; where
        that has none the second half, by a map of the outputs that is fitted on the first half.
        Raises RecordingError as `split_tail`."""
        if run.session in self.names:
            return self.of(run.session), run
        first, rest = split_tail(run, 0.5)
        return fitted(model, first), rest

    def written(self, card: ModelCard) -> list[SessionMap]:
        """For the model card: offsets in their units."""
        gains = np.array(card.output_scale)[:, None] / np.array(card.output_scale)
        return [
            SessionMap(
                session=name,
                command_gain=self.command_gain[s].tolist(),
                command_offset=(self.command_offset[s] * card.command_scale).tolist(),
                output_gain=(self.output_gain[s] * gains).tolist(),
                output_offset=(self.output_offset[s] * card.output_scale).tolist(),
            )
            for s, name in enumerate(self.names)
        ]


def told(card: ModelCard) -> Alignment:
    """The maps that a card tells, normalised."""
    gains = np.array(card.output_scale)[:, None] / np.array(card.output_scale)
    every = card.sessions
    return Alignment(
        [one.session for one in every],
        np.array([one.command_gain for one in every]),
        np.array([one.command_offset for one in every]) / card.command_scale,
        np.array([one.output_gain for one in every]) / gains,
        np.array([one.output_offset for one in every]) / card.output_scale,
    )


@dataclass(frozen=True)
class Judged:
    """What a network is judged by: each run, or the part of it that counts, whoever predicts it,
    and the run as the reference would have shown it."""

    models: list[Predictor]
    runs: list[Recording]
    seen: list[Recording]

    def errors(self) -> np.ndarray:
        """(T, n) of the free runs of all, in the outputs' units."""
        pairs = zip(self.models, self.runs, strict=True)
        return np.vstack(
            [free_run(by, run) - run.output(by.card.output_names) for by, run in pairs]
        )


def judged(model: Predictor, alignment: Alignment | None, runs: Sequence[Recording]) -> Judged:
    """By the network alone where nothing is aligned."""
    if alignment is None:
        return Judged([model] * len(runs), list(runs), list(runs))
    parts = [alignment.judged(model, run) for run in runs]
    return Judged(
        [SessionModel(model, maps) for maps, _ in parts],
        [run for _, run in parts],
        [maps.seen_by_reference(model.card, run) for maps, run in parts],
    )


def fitted(model: Predictor, run: Recording) -> SessionMaps:
    """The map of the outputs alone that suits a run of another session best, by least squares on
    the model's free run, as a firmware learns it while it is told the outputs."""
    card = model.card
    outputs = card.normalised_output(run.output(card.output_names))
    free = card.normalised_output(free_run(model, run))
    n, m = outputs.shape[1], len(card.command_names)
    gain, offset = np.eye(n), np.zeros(n)
    for group in card.output_groups:
        features = np.column_stack([free[:, group], np.ones(len(free))])
        ridge = RIDGE * len(features) * np.eye(features.shape[1])
        left = features.T @ (outputs - free)[:, group]
        found = np.linalg.solve(features.T @ features + ridge, left)
        gain[np.ix_(group, group)] += found[:-1].T
        offset[group] = found[-1]
    return SessionMaps(np.ones(m), np.zeros(m), gain, offset)


class LearnedMaps:
    """The maps as TensorFlow's variables; those of the reference are none."""

    def __init__(self, tf, card: ModelCard, names: Sequence[str]):
        self._tf, self.names = tf, list(names)
        m, n = len(card.command_names), len(card.output_names)
        within = np.zeros((n, n))
        for group in card.output_groups:
            within[np.ix_(group, group)] = 1.0
        self._within = tf.constant(within, tf.float32)
        self._reference = [tf.zeros((1, *shape)) for shape in ((m,), (m,), (n, n), (n,))]
        self.variables = []
        if len(names) > 1:
            zeros = [tf.repeat(part, len(names) - 1, axis=0) for part in self._reference]
            self.variables = [tf.Variable(part) for part in zeros]

    def _all(self):
        """a (S, m), b (S, m), A (S, n, n) and c (S, n), the reference's before the others."""
        if not self.variables:
            return self._reference
        a, b, gain, c = self.variables
        others = (a, b, gain * self._within, c)
        parts = zip(self._reference, others, strict=True)
        return [self._tf.concat([first, rest], axis=0) for first, rest in parts]

    def commands(self, commands, session):
        """Commands (L, B, …·m) of sessions (B,), lags or slow means -> as the network sees them."""
        gain, offset, _, _ = self._all()
        times = commands.shape[-1] // gain.shape[-1]
        gain = self._tf.tile(self._tf.gather(gain, session), [1, times])
        offset = self._tf.tile(self._tf.gather(offset, session), [1, times])
        return commands * (1.0 + gain) + offset

    def outputs(self, outputs, session):
        """The network's outputs (L, B, n) -> those of the sessions."""
        _, _, gain, offset = self._all()
        gain, offset = self._tf.gather(gain, session), self._tf.gather(offset, session)
        return outputs + self._tf.einsum("bij,lbj->lbi", gain, outputs) + offset

    def penalty(self):
        """Scalar, in units of the loss."""
        return RIDGE * sum(self._tf.reduce_sum(part**2) for part in self._all())

    def values(self) -> Alignment:
        """As NumPy, float64."""
        a, b, gain, c = (part.numpy().astype(float) for part in self._all())
        return Alignment(self.names, 1.0 + a, b, np.eye(gain.shape[1]) + gain, c)
