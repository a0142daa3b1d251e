"""The map of the day in float64, as firmware/src/loop/adaptation.h states it.

Where the firmware updates factors of the covariance, this keeps the information itself and inverts
it: the same estimate by other formulas.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

REACH = 0.6
RATE = 0.5
HALF_LIFE_S = 30.0
JUMP = 0.3
DOUBT_S = 0.25
FURTHEST = 10.0
LEAST_KNOWN = 1e-3


class Adaptation:
    """Learns gain (n, n) and offset (n,) of z = gain y + offset, normalised, a sample at a time."""

    def __init__(
        self, outputs: int, rate_hz: float, groups: Sequence[Sequence[int]] | None = None
    ) -> None:
        """groups: outputs that are a point, each in one of them; by default all are one."""
        self.groups = [list(of) for of in groups or [range(outputs)]]
        features = max(map(len, self.groups)) + 1
        self.trained = np.eye(outputs, outputs + 1)
        """(n, n + 1): gain and, in the last column, offset."""
        self.learned = self.trained.copy()
        self.taken = self.trained.copy()
        self.information = [np.zeros((len(of) + 1, len(of) + 1)) for of in self.groups]
        """What samples have told of each group, in units of the prior's: S of the header."""
        self.believed = self.doubted = self.since_believed = 0
        self._last: tuple[np.ndarray, np.ndarray] | None = None
        self._agreed = 0
        self._share = np.log(2.0) * features / (HALF_LIFE_S * rate_hz)
        self._noise = 0.02**2 * 0.5 * rate_hz / 0.3**2
        self._doubt_samples = int(DOUBT_S * rate_hz + 0.5)
        self._move = RATE / rate_hz

    def set(self, gain: np.ndarray, offset: np.ndarray) -> bool:
        """Begin with this map. False, and nothing changes, if it is not finite or beyond reach."""
        learned = np.column_stack([gain, offset]).astype(float)
        if not np.array_equal(learned, self._reachable(learned)):
            return False
        self.learned, self.taken = learned, learned.copy()
        for told in self.information:
            told[:] = 0.0
        self.believed = self.doubted = self.since_believed = 0
        self._last, self._agreed = None, 0
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
            self._last = y, z
        if sound:
            for of, told in zip(self.groups, self.information, strict=True):
                self._learn(of, told, y, z)
        self.rest()
        if sound:
            self.believed += 1
            self.since_believed = 0
        else:
            self.doubted += 1

    def rest(self) -> None:
        """A sample without measurement: what is taken goes on towards what was learned."""
        target = self._reachable(self.learned)
        self.taken += np.clip(target - self.taken, -self._move, self._move)
        self.since_believed += 1

    @property
    def ignorance(self) -> np.ndarray:
        """(2 n,) shares of the prior's variance that are left: the gain's columns, the offsets."""
        found = np.empty(2 * len(self.trained))
        for of, told in zip(self.groups, self.information, strict=True):
            shares = np.minimum(np.diag(covariance(told)), 1.0)
            found[of] = shares[:-1]
            found[[len(self.trained) + i for i in of]] = shares[-1]
        return found

    def _jumped(self, y: np.ndarray, z: np.ndarray) -> bool:
        if self._last is None:
            return True
        before, measured = self._last
        change = z - measured - self.taken[:, :-1] @ (y - before)
        return bool(np.any(np.abs(change) > JUMP))

    def _learn(self, of: list[int], told: np.ndarray, y: np.ndarray, z: np.ndarray) -> None:
        phi = np.append(y[of], 1.0)
        along = told @ phi
        known = phi @ along
        if known > LEAST_KNOWN * (phi @ phi):
            told -= self._share * np.outer(along, along) / known
        told += np.outer(phi, phi) / self._noise
        gain = covariance(told) @ phi / self._noise
        error = (z - self.learned @ np.append(y, 1.0))[of]
        columns = [*of, len(y)]
        self.learned[np.ix_(of, columns)] += np.outer(error, gain)
        self.learned = np.clip(self.learned, -FURTHEST, FURTHEST)

    def _reachable(self, rows: np.ndarray) -> np.ndarray:
        return np.clip(rows, self.trained - REACH, self.trained + REACH)


def covariance(told: np.ndarray) -> np.ndarray:
    """What is not known yet, in units of the prior's variance, from what has been told."""
    return np.linalg.inv(np.eye(len(told)) + told)
