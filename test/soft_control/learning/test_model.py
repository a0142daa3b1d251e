"""How errors of several outputs count beside each other."""

from __future__ import annotations

import numpy as np
import pytest

from soft_control.learning.card import ModelCard
from soft_control.learning.model import error_weights, overall
from soft_control.robots.description import Command, Output, RobotDescription

SCALES = [0.003, 0.003, 0.04, 2.0]
"""Of two coordinates of a body that hardly moves, of one of the tip, m, and of a force, N."""


@pytest.fixture
def card() -> ModelCard:
    def coordinate(name: str, point: str, axis: str) -> Output:
        return Output(name=name, unit="m", display_unit="mm", point=point, axis=axis)

    outputs = (
        coordinate("x1", "body", "x"), coordinate("y1", "body", "y"),
        coordinate("x2", "tip", "x"), Output(name="push", unit="N"),
    )  # fmt: skip
    bend = Command(name="bend", unit="rad", min=-1.0, max=1.0)
    robot = RobotDescription(name="arm", commands=(bend,), outputs=outputs, rate_hz=50.0)
    return ModelCard.model_construct(
        robot=robot, output_scale=SCALES, output_names=list(robot.output_names)
    )


def test_errors_of_one_unit_count_alike(card):
    """A millimetre costs the same wherever it is, and a force is weighed by its own scale."""
    per_mm = error_weights(card) / np.array(SCALES)
    assert per_mm[:3] == pytest.approx([per_mm[0]] * 3)
    assert error_weights(card)[3] == 1.0
    one_mm = np.zeros((1, 4))
    one_mm[0, 0] = 1e-3
    assert overall(card, one_mm) == pytest.approx(overall(card, one_mm[:, [1, 2, 0, 3]]))


def test_a_robot_of_one_point_is_weighed_by_its_scale_alone(card):
    """Exactly: its networks are the same bits as without weights."""
    alone = card.model_copy(
        update={"output_scale": [0.0123, 0.0123, 0.0123, 2.0], "output_names": ["x1", "y1", "x2"]}
    )
    assert error_weights(alone).tolist() == [1.0] * 4
