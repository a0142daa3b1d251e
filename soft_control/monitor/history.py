"""What has been seen of a robot: a ring of rows, each of 40 ms of the robot's own time.

    stamp of a message -> its row: floor((stamp - start) / 40 ms)

    rows   ... | closed | closed | open | open |    a row is closed when the stamps are two rows on
                                                    and 0.1 s has passed here, in which a run in
                                                    lockstep may be a second on: so a topic that
                                                    comes late still finds its row
Of the samples within a row the last one stays; of errors and of costs, the largest. So a run in
lockstep, faster than real time, makes more rows a second and no other curve. Memory is bounded: a
new column or an older row costs nothing but what it replaces.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

ROW_NS = 40_000_000
ROWS_MAX = 15_000
"""Ten minutes, which is the longest window of the page."""
COLUMNS_MAX = 256
OPEN_ROWS = 2
OPEN_S = 0.1
OPEN_MAX = 1_000
"""Rows that are open at most, however fast a run is."""
BACK_NS = 500_000_000
"""A stamp so much older than the newest: a run has begun anew."""
AHEAD_NS = 60_000_000_000
"""And so much newer: as well, or the clock was set."""


@dataclass(frozen=True)
class Column:
    """One curve."""

    stream: str
    name: str
    largest: bool = False
    """Of the samples in a row the largest one stays, not the last."""

    @property
    def key(self) -> str:
        return f"{self.stream}/{self.name}"


class History:
    """`generation` counts up whenever columns or start change: who has copied rows begins anew."""

    def __init__(self, rows_max: int = ROWS_MAX) -> None:
        self.rows_max = rows_max
        self.columns: list[Column] = []
        self.generation = 0
        self.left_out = 0
        """Columns beyond COLUMNS_MAX."""
        self._places: dict[str, int] = {}
        self._values = np.zeros((rows_max, 0), dtype=np.float32)
        self._numbers = np.zeros(rows_max, dtype=np.int64)
        self._count = 0
        self._open: dict[int, tuple[np.ndarray, float]] = {}
        """Row and the time here at which it was opened, by number."""
        self._start_ns: int | None = None
        self._newest_ns = 0

    @property
    def start_s(self) -> float | None:
        """The stamp at which time is 0; None: nothing has come."""
        return None if self._start_ns is None else self._start_ns / 1e9

    @property
    def end(self) -> int:
        """How many rows there have been; row i is kept while i >= `first`."""
        return self._count

    @property
    def first(self) -> int:
        return max(0, self._count - self.rows_max)

    def follows(self, stamp_ns: int) -> bool:
        """Whether the stamp goes on from what is here; otherwise a run has begun anew."""
        if self._start_ns is None:
            return False
        return self._newest_ns - BACK_NS <= stamp_ns <= self._newest_ns + AHEAD_NS

    def restart(self, stamp_ns: int) -> None:
        """Forgets all rows, and the columns with them; time is 0 at the stamp."""
        self.generation += 1
        self.columns, self._places, self.left_out = [], {}, 0
        self._values = np.zeros((self.rows_max, 0), dtype=np.float32)
        self._open, self._count = {}, 0
        self._start_ns = self._newest_ns = stamp_ns

    def require(self, columns: Iterable[Column]) -> None:
        """Makes the columns that are missing; what is here of earlier rows stays."""
        new = [column for column in columns if column.key not in self._places]
        room = COLUMNS_MAX - len(self.columns)
        self.left_out += max(0, len(new) - room)
        for column in new[:room]:
            self._places[column.key] = len(self.columns)
            self.columns.append(column)
        if more := min(len(new), room):
            empty = np.full((self.rows_max, more), np.nan, dtype=np.float32)
            self._values = np.hstack([self._values, empty])
            self._open = {
                number: (np.append(row, np.full(more, np.nan)), opened_s)
                for number, (row, opened_s) in self._open.items()
            }
            self.generation += 1

    def put(self, stamp_ns: int, stream: str, values: Mapping[str, float], now_s: float) -> None:
        """Takes a sample of `stream` at the time `now_s` here; columns that nobody required are
        left out, and so is what comes too late for its row."""
        if self._start_ns is None or stamp_ns < self._start_ns:
            return
        self._newest_ns = max(self._newest_ns, stamp_ns)
        number = (stamp_ns - self._start_ns) // ROW_NS
        if self._count and number <= self._last_number:
            return
        if number not in self._open:
            self._open[number] = np.full(len(self.columns), np.nan), now_s
        row, _ = self._open[number]
        for name, value in values.items():
            at = self._places.get(f"{stream}/{name}")
            if at is not None:
                row[at] = np.fmax(row[at], value) if self.columns[at].largest else value
        newest = (self._newest_ns - self._start_ns) // ROW_NS
        self._close(newest - OPEN_ROWS, now_s - OPEN_S)

    def flush(self) -> None:
        """Closes all rows, because nothing comes any more."""
        if self._open:
            self._close(max(self._open), math.inf)

    @property
    def _last_number(self) -> int:
        return int(self._numbers[(self._count - 1) % self.rows_max])

    def _close(self, up_to: int, opened_until_s: float) -> None:
        for number in sorted(n for n in self._open if n <= up_to):
            row, opened_s = self._open[number]
            if opened_s > opened_until_s and len(self._open) <= OPEN_MAX:
                return
            del self._open[number]
            at = self._count % self.rows_max
            self._values[at] = row
            self._numbers[at] = number
            self._count += 1

    def rows(self, begin: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows begin <= i < end, all of them kept: their numbers (rows,), in ROW_NS since the
        start, and their values (rows, columns), NaN where nothing came."""
        places = np.arange(begin, end) % self.rows_max
        return self._numbers[places], self._values[places]
