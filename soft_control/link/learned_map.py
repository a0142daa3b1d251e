"""What the microcontroller has learned of the robot of today, row by row over the link.

Its outputs are z = o + gain (y - o) + offset where the network predicts y, o the middle of the
outputs that it was trained on: the identity and zeros are a robot as it was recorded.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from soft_control.link.messages import Adaptation


@dataclass(frozen=True)
class LearnedMap:
    """Of n outputs, in the units of the wire."""

    gain: np.ndarray
    """(n, n)"""
    offset: np.ndarray
    """(n,)"""
    gain_ignorance: np.ndarray
    """(n,) shares, 0 to 1, of what was not known at first: of each column of the gain."""
    offset_ignorance: np.ndarray
    """(n,) the same of each offset."""
    believed: int
    """Samples that have taught it."""
    doubted: int
    """Measurements that were not believed: they were not finite, or had jumped."""

    @classmethod
    def as_recorded(cls, outputs: int) -> LearnedMap:
        """Of a robot that nothing has been learned of."""
        return cls(np.eye(outputs), np.zeros(outputs), np.ones(outputs), np.ones(outputs), 0, 0)

    @property
    def says_something(self) -> bool:
        """Whether it is another than that."""
        recorded = LearnedMap.as_recorded(len(self.offset))
        return bool(np.any(self.gain != recorded.gain) or np.any(self.offset))

    @classmethod
    def of_rows(cls, rows: list[Adaptation]) -> LearnedMap:
        """Of the answers for each row."""
        last = rows[-1]
        return cls(
            np.array([row.gain for row in rows]),
            np.array([row.offset for row in rows]),
            np.array([row.gain_ignorance for row in rows]),
            np.array([row.offset_ignorance for row in rows]),
            last.believed,
            last.doubted,
        )
