"""From a motion tracker's frame to the robot's, and when a set of points counts."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from soft_control.link.tracker import Placement, Tracker, rotate

MS = 1_000_000


def test_a_placement_is_a_rotation_a_scale_and_a_translation():
    """Against scipy's rotations; both are float64, 1e-12 of a metre is rounding."""
    drawn = np.random.default_rng(7)
    for _ in range(50):
        quaternion, translation = drawn.normal(size=4), drawn.normal(size=3)
        seen = 1000 * drawn.normal(size=3)
        placed = Placement(tuple(translation), tuple(3 * quaternion), 0.001).place(seen)
        turned = Rotation.from_quat(quaternion).apply(seen * 0.001)
        np.testing.assert_allclose(placed, turned + translation, atol=1e-12)
        np.testing.assert_allclose(
            rotate(quaternion, seen), Rotation.from_quat(quaternion).apply(seen), atol=1e-9
        )
    with pytest.raises(ValueError, match="rotation = .*: wanted a quaternion"):
        Placement(rotation=(0.0, 0.0, 0.0, 0.0))


def test_points_count_together_once_an_instant_and_not_where_one_is_lost():
    tracker = Tracker(("tip", "base"), 50 * MS)
    here = np.zeros(3)
    tracker.see("tip", 10 * MS, here)
    assert tracker.complete() is None
    tracker.see("base", 12 * MS, here + 1)
    at_ns, positions = tracker.complete()
    assert at_ns == 10 * MS and positions["base"].tolist() == [1.0, 1.0, 1.0]
    tracker.see("tip", 20 * MS, here)
    assert tracker.complete()[0] == 12 * MS
    tracker.see("tip", 30 * MS, here)
    assert tracker.complete() is None  # the base has not come again
    tracker.see("tip", 90 * MS, here)
    assert tracker.complete() is None  # and is lost
    tracker.see("base", 90 * MS, here)
    assert tracker.complete()[0] == 90 * MS
    tracker.see("tip", 5 * MS, here)  # its clock was set back
    tracker.see("base", 5 * MS, here)
    assert tracker.complete()[0] == 5 * MS
    with pytest.raises(ValueError, match="tip is at .*nan.*: wanted finite"):
        tracker.see("tip", 6 * MS, np.array([0.0, np.nan, 0.0]))
