"""The microcontroller's clock as the host sees it: offset and drift, from what TELEMETRY brings.

A message says when its sample was taken, by the microcontroller's clock, and comes later by what
the line and the host took, never earlier. So the true difference of both clocks is a line below all
that were seen. It is the edge of their lower convex hull in the middle of the time (Moon, Skelly,
Towsley, "Estimation and removal of clock skew from network delay measurements", 1999); a host that
was stopped, and is late with many messages, does not lift it. The delay that even the fastest
message has stays in the offset.
"""

from __future__ import annotations

from collections import deque

WRAP = 1 << 32
WINDOW_US = 1_000_000
"""Of which the fastest message counts."""
WINDOWS = 30
"""That the line goes through: a temperature that drifts is followed within half a minute."""


class McuClock:
    """Times of one run; begins anew with each start of the microcontroller."""

    def __init__(self) -> None:
        self._mcu_us: int | None = None
        self._window: int | None = None
        self._fastest: deque[tuple[int, int]] = deque(maxlen=WINDOWS)
        """(time of the microcontroller, us; host's clock less it, ns), the fastest of a window."""

    def host_ns(self, mcu_us: int, now_ns: int) -> int:
        """Time of a sample by the host's clock, ns: `mcu_us` (32 bits, wraps after 71 minutes) is
        that of the microcontroller, `now_ns` when its message came. Samples come in order."""
        time_us = self._unwrapped(mcu_us)
        difference_ns = now_ns - 1000 * time_us
        if self._window != time_us // WINDOW_US:
            self._window = time_us // WINDOW_US
            self._fastest.append((time_us, difference_ns))
        else:
            fastest_us, fastest_ns = self._fastest[-1]
            if difference_ns < fastest_ns + self._line()[0] * (time_us - fastest_us):
                self._fastest[-1] = time_us, difference_ns
        # No sample was taken after its message came.
        return min(1000 * time_us + self._offset_ns(time_us), now_ns)

    @property
    def drift(self) -> float:
        """By how much the host's clock is faster, 1e-6 for a microsecond a second; 0 at first."""
        return self._line()[0] * 1e-3

    def _unwrapped(self, mcu_us: int) -> int:
        """Counted on from the first one; it wraps, and a late message may be a little older."""
        if self._mcu_us is None:
            self._mcu_us = mcu_us
        step = (mcu_us - self._mcu_us + WRAP // 2) % WRAP - WRAP // 2
        self._mcu_us += step
        return self._mcu_us

    def _offset_ns(self, time_us: int) -> int:
        slope, at_us, offset_ns = self._line()
        # As whole numbers: a float64 of ns since 1970 would be off by up to 128.
        return offset_ns + round(slope * (time_us - at_us))

    def _line(self) -> tuple[float, int, float]:
        """ns a us, through a point (us, ns); level until there are three whole windows."""
        points = list(self._fastest)
        last_us, last_ns = points[-1] if points else (0, 0)
        if len(points) < 4:
            return 0.0, last_us, min([last_ns, *(ns for _, ns in points)])
        hull = _lower_hull(points)
        middle_us = sum(us for us, _ in points) / len(points)
        right = next(i for i, (us, _) in enumerate(hull) if us >= middle_us)
        (left_us, left_ns), (right_us, right_ns) = hull[right - 1], hull[right]
        return (right_ns - left_ns) / (right_us - left_us), left_us, left_ns


def _lower_hull(points: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Corners of the convex hull from below, points in the order of time (Andrew, 1979)."""
    hull: list[tuple[int, int]] = []
    for x, y in points:
        while len(hull) > 1:
            (x0, y0), (x1, y1) = hull[-2:]
            if (x1 - x0) * (y - y0) > (y1 - y0) * (x - x0):
                break
            hull.pop()
        hull.append((x, y))
    return hull
