"""What is drawn of a run."""

from __future__ import annotations

import numpy as np
import pytest

from soft_control import robots
from soft_control.control.references import Reference
from soft_control.control.sampled_reference import SampledReference
from soft_control.experiment.scene import Scene, Trail, line_width_m
from soft_control.experiment.trajectory import tabulate

RATE_HZ = 120.0
CURVE = Reference(
    outputs=("x", "y", "z"),
    shape="figure_eight",
    amplitude=(0.0, 0.0125, 0.025),
    centre=(0.0, 0.0, 0.0),
    component=(0, 0, 1),
    angular_rate=0.8,
)


def at_ns(t_s: float) -> int:
    return 1_000_000_000 + round(1e9 * t_s)


def test_a_trail_is_as_long_and_as_dense_as_asked():
    trail = Trail(1.0)
    for k in range(1200):
        trail.add(at_ns(k / RATE_HZ), np.array([k / RATE_HZ]))
    rows = trail.rows()[:, 0]
    assert rows[-1] == pytest.approx(1199 / RATE_HZ, abs=1 / 60)
    assert rows[-1] - rows[0] <= 1.0
    assert np.diff(rows) == pytest.approx(1 / 60, abs=1e-6)


def test_another_run_begins_another_trail():
    trail = Trail(10.0)
    trail.add(at_ns(5.0), np.zeros(1))
    trail.add(at_ns(0.0), np.ones(1))
    assert trail.rows().tolist() == [[1.0]]


def test_positions_are_in_metres_whatever_the_unit_of_the_outputs():
    trunk = robots.load("trunk")
    in_mm = trunk.model_copy(
        update={
            "outputs": tuple(o.model_copy(update={"unit": "mm"}) for o in trunk.outputs),
        }
    )
    rows = np.arange(9.0)
    for robot, per_m in ((trunk, 1.0), (in_mm, 1000.0)):
        scene = Scene(robot)
        scene.on_outputs(at_ns(0), per_m * rows)
        points = scene.points()
        assert [p.name for p in points] == ["body_1", "body_2", "body_3"]
        assert points[1].tip == pytest.approx([3.0, 4.0, 5.0])


def test_a_controller_that_is_told_ahead_sees_what_it_is_told():
    scene = Scene(robots.load("tendon"))
    ahead = CURVE.values(np.arange(15) / RATE_HZ)
    scene.on_reference(at_ns(0), ahead)
    (tip,) = scene.points()
    assert tip.horizon == pytest.approx(ahead)
    assert tip.wanted == pytest.approx(ahead[0])
    assert tip.tip is None and tip.predicted is None
    assert tip.trail.shape == (0, 3)


@pytest.mark.parametrize("started_s", [0.0, 11.3])
def test_one_that_knows_its_reference_sees_where_it_goes_on(started_s):
    """On the crossing of a figure-eight too, where two branches are equally near; and whether or
    not this scene saw the run begin."""
    table = tabulate(CURVE, RATE_HZ, 2400, 1200)
    scene = Scene(robots.load("tendon"), curve=table, horizon=14, rate_hz=RATE_HZ)
    checked = 0
    for k in range(1000):
        t_s = started_s + k / RATE_HZ
        scene.on_reference(at_ns(t_s), table.values(t_s))
        if k > 10 and k % 7 == 0:
            (tip,) = scene.points()
            expected = table.values(t_s + np.arange(15) / RATE_HZ)
            # 400 times for 7.9 s are 19.6 ms apart, half of which is missed at 40 mm/s at most.
            assert np.abs(tip.horizon - expected).max() < 4e-4
            checked += 1
    assert checked > 100
    assert len(tip.reference) == 501


def test_a_curve_that_ends_is_not_closed():
    table = SampledReference(("x", "y", "z"), (0.0, 1.0), ((0.0, 0.0, 0.0), (0.01, 0.0, 0.0)))
    (tip,) = Scene(robots.load("tendon"), curve=table).points()
    assert tip.reference[0].tolist() == [0.0, 0.0, 0.0]
    assert tip.reference[-1].tolist() == [0.01, 0.0, 0.0]


def test_without_the_whole_curve_what_was_seen_of_it_is_drawn():
    scene = Scene(robots.load("tendon"), trail_s=2.0)
    for k in range(480):
        scene.on_reference(at_ns(k / RATE_HZ), CURVE.values(k / RATE_HZ))
    (tip,) = scene.points()
    assert len(tip.reference) == pytest.approx(120, abs=2)
    assert tip.reference[-1] == pytest.approx(CURVE.values(479 / RATE_HZ)[0], abs=1e-3)


def test_what_is_not_finite_is_not_drawn():
    scene = Scene(robots.load("tendon"))
    scene.on_outputs(at_ns(0), np.array([0.0, np.nan, 0.0]))
    assert scene.points()[0].tip is None


def test_lines_are_as_thick_as_the_picture_is_large():
    scene = Scene(robots.load("tendon"), curve=tabulate(CURVE, RATE_HZ, 2400, 1200))
    assert line_width_m(scene.points()) == pytest.approx(0.01 * 0.05, rel=0.01)
    assert line_width_m([]) == 2e-4
