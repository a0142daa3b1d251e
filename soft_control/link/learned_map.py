"""What the microcontroller has learned of the robot of today, row by row over the link.

With v = y - o, where the network predicts y and o is the middle of the outputs that it was trained
on, the robot's outputs are

    z = o + gain v + offset + sum of curve_ij v_i v_j

with i <= j the coordinates of the output's own point, so that the identity and zeros are a robot
as it was recorded.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from soft_control.link.messages import CURVES, Adaptation


@dataclass(frozen=True)
class LearnedMap:
    """Of n outputs, in the units of the wire."""

    gain: np.ndarray
    """(n, n)"""
    offset: np.ndarray
    """(n,)"""
    curve: np.ndarray
    """(n, 6) by the places of i and j in the point: 00, 01, 02, 11, 12, 22. 0 where there is no
    such coordinate, and of outputs that have a gain and an offset only."""
    gain_ignorance: np.ndarray
    """(n,) shares, 0 to 1, of what was not known at first: of each column of the gain."""
    offset_ignorance: np.ndarray
    """(n,) the same of each offset."""
    curve_ignorance: np.ndarray
    """(n,) the largest of those of an output's curves; 0 where it has none."""
    believed: int
    """Samples that have taught it."""
    doubted: int
    """Measurements that were not believed: they were not finite, or had jumped."""

    @classmethod
    def as_recorded(cls, outputs: int) -> LearnedMap:
        """Of a robot that nothing has been learned of."""
        zeros, ones = np.zeros(outputs), np.ones(outputs)
        return cls(
            np.eye(outputs),
            zeros,
            np.zeros((outputs, CURVES)),
            ones,
            ones,
            ones,
            believed=0,
            doubted=0,
        )

    @property
    def says_something(self) -> bool:
        """Whether it is another than that."""
        gain = self.gain - np.eye(len(self.offset))
        return any(map(np.any, (gain, self.offset, self.curve)))

    @classmethod
    def of_rows(cls, rows: list[Adaptation]) -> LearnedMap:
        """Of the answers for each row."""
        last = rows[-1]
        return cls(
            np.array([row.gain for row in rows]),
            np.array([row.offset for row in rows]),
            np.array([row.curve for row in rows]),
            np.array([row.gain_ignorance for row in rows]),
            np.array([row.offset_ignorance for row in rows]),
            np.array([row.curve_ignorance for row in rows]),
            last.believed,
            last.doubted,
        )
