"""What a motion tracker says of bodies becomes positions of a robot's points, in its frame."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Placement:
    """Where the tracker stands: position in the robot's frame = R(rotation) · scale · position +
    translation."""

    translation: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """m, in the robot's frame."""
    rotation: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 1.0)
    """Quaternion x, y, z, w, of any length but 0."""
    scale: float = 1.0
    """m in a unit of the tracker: 0.001 where it says mm."""

    def __post_init__(self) -> None:
        """Raises ValueError for a rotation that is none."""
        if not np.linalg.norm(self.rotation) > 0.0:
            raise ValueError(f"rotation = {list(self.rotation)}: wanted a quaternion x, y, z, w")

    def place(self, position: np.ndarray) -> np.ndarray:
        """(3,) in the robot's frame, m, of a position (3,) as the tracker says it."""
        return rotate(self.rotation, self.scale * position) + np.array(self.translation)


def rotate(quaternion: tuple[float, ...] | np.ndarray, vector: np.ndarray) -> np.ndarray:
    """A vector (3,) turned by a quaternion x, y, z, w of any length: v + 2 q × (q × v + w v)."""
    x, y, z, w = np.asarray(quaternion, dtype=float) / np.linalg.norm(quaternion)
    axis = np.array([x, y, z])
    return vector + 2.0 * np.cross(axis, np.cross(axis, vector) + w * vector)


@dataclass
class Tracker:
    """The newest position of each point; complete when all are of about the same instant."""

    points: tuple[str, ...]
    timeout_ns: int
    """A position that is so much older than the newest of the others is lost."""
    _seen: dict[str, tuple[int, np.ndarray]] = field(default_factory=dict)
    _told_ns: int | None = None

    def see(self, point: str, at_ns: int, position: np.ndarray) -> None:
        """A position (3,) of a point at an instant. Raises ValueError where it is not finite."""
        if not np.all(np.isfinite(position)):
            raise ValueError(f"{point} is at {position.tolist()}: wanted finite numbers")
        self._seen[point] = at_ns, position

    def complete(self) -> tuple[int, dict[str, np.ndarray]] | None:
        """The instant of the oldest and the positions by point, once for each instant, where all
        are fresh. A tracker's clock that is set back begins anew."""
        if len(self._seen) < len(self.points):
            return None
        stamps = [at_ns for at_ns, _ in self._seen.values()]
        oldest, newest = min(stamps), max(stamps)
        if newest - oldest > self.timeout_ns:
            return None
        if self._told_ns is not None and 0 <= self._told_ns - oldest <= self.timeout_ns:
            return None  # one of the points has not come again
        self._told_ns = oldest
        return oldest, {point: position for point, (_, position) in self._seen.items()}
