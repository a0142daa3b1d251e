from __future__ import annotations

import numpy as np
import pytest

from soft_control import robots
from soft_control.learning.errors import described, distances, rmse
from soft_control.robots.description import Output


def test_a_point_errs_by_its_distance_and_another_output_by_its_size_each_in_its_unit():
    robot = robots.load("tendon")
    angle = Output(name="twist", unit="rad", display_unit="deg")
    robot = robot.model_copy(update={"outputs": (angle, *robot.outputs)})
    error = np.array([[np.pi / 2, 3e-3, 4e-3, 0.0], [-np.pi / 2, 0.0, 0.0, -5e-3]])
    twist, tip = distances(robot, error)
    np.testing.assert_allclose(twist, [90.0, 90.0])
    np.testing.assert_allclose(tip, [5.0, 5.0])
    assert rmse(robot, error) == pytest.approx([90.0, 5.0])
    assert described(robot, rmse(robot, error), 1) == "twist 90.0 deg, tip 5.0 mm"
