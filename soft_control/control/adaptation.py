"""The map of the day in float64, as firmware/src/loop/adaptation.h states it.

Where the firmware updates factors of the covariance, this keeps the information itself and inverts
it: the same estimate by other formulas.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from soft_control.learning.card import ModelCard

REACH = 0.6
RATE = 0.5
HALF_LIFE_S = 60.0
JUMP = 0.3
DOUBT_S = 0.25
FURTHEST = 10.0
LEAST_KNOWN = 1e-3
CURVE_SCALE = 0.33
TURNS = 4
ERROR = 0.02
"""Of a free run, normalised, where nobody has measured it."""
ERROR_MIN, ERROR_MAX = 0.005, 0.3
"""Below it the sensor's noise and the day count for more, and float32 ends; beyond it the network
says nothing that a map could stand on."""


class DayConfig(NamedTuple):
    """What a firmware is built with, a value for each of `card.output_groups`."""

    curves: int
    """Products of coordinates in the largest of them that curves; 0: none does."""
    features: list[int]
    curved: list[bool]
    errors: list[float]
    """RMS of a coordinate in free runs, normalised."""


def day_config(card: ModelCard) -> DayConfig:
    """Curved are points that have no fewer coordinates than the robot has commands."""
    sizes = [len(of) for of in card.output_groups]
    curved = [
        card.robot.outputs[group.columns[0]].point is not None
        and len(card.command_names) <= len(group.columns)
        for group in card.robot.groups
    ]
    largest = max(sizes) if any(curved) else 0
    return DayConfig(
        curves=products(largest),
        features=[n + 1 + products(n) * bends for n, bends in zip(sizes, curved, strict=True)],
        curved=curved,
        errors=_errors(card),
    )


def _errors(card: ModelCard) -> list[float]:
    measured = {errors.group: errors.free_run for errors in card.metrics}
    found = []
    for group, of in zip(card.robot.groups, card.output_groups, strict=True):
        shown = measured.get(group.name, math.nan)
        error = shown / group.factor / math.sqrt(len(of)) / card.output_scale[of[0]]
        found.append(float(np.clip(error, ERROR_MIN, ERROR_MAX)) if shown == shown else ERROR)
    return found


def products(coordinates: int) -> int:
    """Of two of so many, each with itself too."""
    return coordinates * (coordinates + 1) // 2


class Adaptation:
    """Learns, a sample at a time, what is added to y to be z, normalised."""

    def __init__(
        self,
        outputs: int,
        rate_hz: float,
        groups: Sequence[Sequence[int]] | None = None,
        curved: Sequence[bool] | None = None,
        errors: Sequence[float] | None = None,
    ) -> None:
        """groups: outputs that are a point, each in one of them; by default all are one. Of each
        whether it curves, by default not, and what a free run errs by."""
        self.groups = [list(of) for of in groups or [range(outputs)]]
        self.curved = list(curved or [False] * len(self.groups))
        sizes = [len(self.features(g, np.zeros(outputs))) for g in range(len(self.groups))]
        self.learned = [np.zeros((len(of), n)) for of, n in zip(self.groups, sizes, strict=True)]
        """Of each group the rows of its outputs: over its outputs, 1, and products."""
        self.taken = [rows.copy() for rows in self.learned]
        self.information = [np.zeros((n, n)) for n in sizes]
        """What samples have told of each group, in units of the prior's: S of the header."""
        self.believed = self.doubted = self.since_believed = 0
        self._left: np.ndarray | None = None
        self._agreed = 0
        self._lesson: tuple[np.ndarray, np.ndarray] | None = None
        self._turn = self._unmoved = 0
        errors = errors or [ERROR] * len(sizes)
        self._shares = [np.log(2.0) * n * TURNS / (HALF_LIFE_S * rate_hz) for n in sizes]
        self._noises = [e**2 * 0.5 * rate_hz / 0.3**2 / TURNS for e in errors]
        self._doubt_samples = int(DOUBT_S * rate_hz + 0.5)
        self._move = RATE / rate_hz

    @classmethod
    def of(cls, card: ModelCard) -> Adaptation:
        """As a firmware of this network has it."""
        day = day_config(card)
        outputs = len(card.output_names)
        return cls(outputs, card.rate_hz, card.output_groups, day.curved, day.errors)

    def features(self, group: int, y: np.ndarray) -> np.ndarray:
        """phi (f,) of a group."""
        own = np.asarray(y, dtype=float)[self.groups[group]]
        pairs = itertools.combinations_with_replacement(own, 2) if self.curved[group] else ()
        return np.array([*own, 1.0, *(CURVE_SCALE * a * b for a, b in pairs)])

    def set(self, rows: Sequence[np.ndarray]) -> bool:
        """Begin with these rows of each group. False, and nothing changes, if an element is not
        finite or too large."""
        if not all(np.all(np.abs(one) <= FURTHEST) for one in rows):
            return False
        self.learned = [np.array(one, dtype=float) for one in rows]
        self.taken = [one.copy() for one in self.learned]
        for told in self.information:
            told[:] = 0.0
        self.believed = self.doubted = self.since_believed = 0
        self._left, self._lesson = None, None
        self._agreed = self._turn = self._unmoved = 0
        return True

    def update(self, y: np.ndarray, z: np.ndarray) -> None:
        """A sample: what the network says and what is measured, (n,) each."""
        y, z = np.asarray(y, dtype=float), np.asarray(z, dtype=float)
        sound = bool(np.all(np.abs(np.concatenate([y, z])) <= FURTHEST))
        if sound:
            if self._jumped(y, z):
                self._agreed = 0
            sound = self._agreed == self._doubt_samples
            self._agreed += not sound
        if sound and self._lesson is None:
            self._lesson = y, z
        self.rest()
        if sound:
            self.believed += 1
            self.since_believed = 0
        else:
            self.doubted += 1

    def rest(self) -> None:
        """A sample without measurement: what is begun is ended, and what is taken goes on towards
        what was learned."""
        self._unmoved += 1
        if self._lesson is not None:
            self._turn += 1
            if self._turn == TURNS:
                for group in range(len(self.groups)):
                    self._learn(group, *self._lesson)
                self._lesson, self._turn = None, 0
        if self._lesson is None:
            for learned, taken in zip(self.learned, self.taken, strict=True):
                _approach(taken, learned, self._move * self._unmoved)
            self._unmoved = 0
        self.since_believed += 1

    def output(self, y: np.ndarray) -> np.ndarray:
        """(n,) z, by the map that is taken."""
        y = np.asarray(y, dtype=float)
        z = y.copy()
        for group, (of, rows) in enumerate(zip(self.groups, self.taken, strict=True)):
            most = REACH * (1.0 + np.abs(y[of]).sum())
            z[of] += np.clip(rows @ self.features(group, y), -most, most)
        return z

    @property
    def ignorance(self) -> list[np.ndarray]:
        """(f,) of each group: shares of the prior's variance that are left, by feature."""
        return [np.minimum(np.diag(covariance(told)), 1.0) for told in self.information]

    def _jumped(self, y: np.ndarray, z: np.ndarray) -> bool:
        before, self._left = self._left, z - self.output(y)
        return before is None or bool(np.any(np.abs(self._left - before) > JUMP))

    def _learn(self, group: int, y: np.ndarray, z: np.ndarray) -> None:
        of, told, phi = self.groups[group], self.information[group], self.features(group, y)
        along = told @ phi
        known = phi @ along
        if known > LEAST_KNOWN * (phi @ phi):
            told -= self._shares[group] * np.outer(along, along) / known
        told += np.outer(phi, phi) / self._noises[group]
        gain = covariance(told) @ phi / self._noises[group]
        rows = self.learned[group]
        rows += np.outer((z - y)[of] - rows @ phi, gain)
        np.clip(rows, -FURTHEST, FURTHEST, out=rows)


def _approach(rows: np.ndarray, towards: np.ndarray, most: float) -> None:
    """Each row on a straight line, none of its elements by more than this."""
    away = towards - rows
    furthest = np.abs(away).max(axis=1, keepdims=True)
    rows += np.minimum(1.0, most / np.maximum(furthest, 1e-30)) * away


def covariance(told: np.ndarray) -> np.ndarray:
    """What is not known yet, in units of the prior's variance, from what has been told."""
    return np.linalg.inv(np.eye(len(told)) + told)
