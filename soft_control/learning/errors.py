"""Errors of outputs by group, in the unit on paper: of a point the distance, else the size."""

from __future__ import annotations

import numpy as np

from soft_control.robots.description import RobotDescription


def distances(robot: RobotDescription, error: np.ndarray) -> list[np.ndarray]:
    """For each group of the robot's outputs the distance (T,), in the group's unit on paper, of
    errors (T, n) in the outputs' units."""
    return [
        group.factor * np.linalg.norm(error[:, list(group.columns)], axis=1)
        for group in robot.groups
    ]


def rmse(robot: RobotDescription, error: np.ndarray) -> list[float]:
    """Root mean square of each group's distance, in its unit on paper."""
    return [float(np.sqrt(np.mean(distance**2))) for distance in distances(robot, error)]


def described(robot: RobotDescription, values: list[float], digits: int = 3) -> str:
    """One value a group as text: `tip 1.234 mm`."""
    return ", ".join(
        f"{group.name} {value:.{digits}f}{'' if group.unit == '1' else ' ' + group.unit}"
        for group, value in zip(robot.groups, values, strict=True)
    )
