"""References as tables, and what the firmware makes of these tables."""

from __future__ import annotations

import numpy as np
import pytest

from soft_control.control.references import SHAPES, Reference
from soft_control.control.sampled_reference import (
    ROWS_MAX,
    SampledReference,
    read_reference,
    write_reference,
)
from soft_control.experiment.trajectory import (
    BENT_MAX,
    REACHED_S,
    WAY,
    ToldReference,
    tabulate,
    trajectory,
)
from soft_control.firmware_files import read_build
from soft_control.learning.surface import Surface
from soft_control.link.opening import open_session

RATE_HZ = 120.0
ROOM = 1200
XYZ = ("x", "y", "z")
REST = np.zeros(3)
SAMPLES = 2400 + 13
"""Of 20 s, and a horizon."""


def shape(name: str, **changes) -> Reference:
    """As large as the tendon rig's, on a surface as it has one."""
    bowl = Surface(
        leading=("y", "z"), factors=(40.0, 40.0), degree=1, following={"x": (0, 0.004, 0)}
    )
    values = dict(
        outputs=XYZ,
        shape=name,
        amplitude=(0.0, 0.0125, 0.025),
        centre=(0.0, 0.0, 0.0),
        component=(0, 1, 2),
        angular_rate=0.8,
        surface=bowl,
    )
    return Reference(**values | changes)


def sampled(*rows: float, seconds: float) -> SampledReference:
    """Through these places of z, at equal distances in time; y goes half as far."""
    t_s = tuple(np.linspace(0.0, seconds, len(rows)).tolist())
    return SampledReference(XYZ, t_s, tuple((0.0, 0.5 * z, z) for z in rows))


SAMPLED = {
    "a lap": sampled(0.0, 0.02, -0.01, 0.0, seconds=3.3),
    "a lap with corners between points": sampled(
        0, 0.02, -0.01, 0.01, 0, 0.02, 0.01, 0, seconds=50
    ),
    "there and away": sampled(0.0, 0.01, 0.01, -0.02, 0.02, seconds=7.0),
    "longer than the run": sampled(0.0, 0.02, 0.0, 0.01, seconds=60.0),
    "denser than samples": sampled(*(0.01 * np.sin(0.01 * np.arange(4000))), seconds=5.0),
}
CURVES = {name: shape(name) for name in SHAPES} | SAMPLED


@pytest.mark.parametrize("name", CURVES)
def test_a_table_is_the_reference_at_every_sample(name):
    curve, at_s = CURVES[name], np.arange(SAMPLES) / RATE_HZ
    table = tabulate(curve, RATE_HZ, SAMPLES, ROOM)
    wanted = curve.values(at_s)
    missed = np.abs(table.values(at_s) - wanted).max(axis=0)
    # Sums and products of rows are rounded in another order.
    assert (missed <= BENT_MAX * np.ptp(wanted, axis=0) + 1e-15).all()
    is_lap = len(table.rows) <= ROOM + 1
    assert table.periodic if is_lap else len(table.rows) == SAMPLES


def test_smooth_shapes_are_laps_and_steps_are_not():
    laps = {
        name: len(tabulate(shape(name), RATE_HZ, SAMPLES, ROOM).rows) <= ROOM + 1 for name in SHAPES
    }
    smooth = dict.fromkeys(("figure_eight", "pringle", "diagonal", "fixed"), True)
    assert laps | smooth | {"step": False, "multi_level": False} == laps


def test_a_lap_goes_on_for_ever_and_what_is_none_does_not():
    tabulate(shape("pringle"), RATE_HZ, 10 * ROWS_MAX, ROOM)
    for curve in (shape("step"), shape("pringle", angular_rate=0.0), SAMPLED["there and away"]):
        assert len(tabulate(curve, RATE_HZ, ROWS_MAX, ROOM).rows) == ROWS_MAX
        with pytest.raises(ValueError, match="of 100,001 samples that is no lap of 1,200 points"):
            tabulate(curve, RATE_HZ, ROWS_MAX + 1, ROOM)


@pytest.mark.parametrize("name", ["figure_eight", "step"])
def test_a_table_is_the_same_once_it_has_been_in_a_file(name, tmp_path):
    table = tabulate(shape(name), RATE_HZ, SAMPLES, ROOM)
    write_reference(tmp_path / "trajectory.csv", table)
    again = read_reference(tmp_path / "trajectory.csv", XYZ)
    assert again == table


def test_a_reference_that_begins_at_rest_is_followed_at_once():
    whole = trajectory(tabulate(shape("figure_eight"), RATE_HZ, SAMPLES, ROOM), RATE_HZ, REST)
    points = whole.points
    assert whole.periodic and len(points) == 400
    # A lap of 2 pi / 0.8 s; z = 0.025 sin(0.8 t) is fastest at its middle, y at twice that rate.
    assert whole.step == round(WAY * 0.8 / (2 * np.pi * RATE_HZ))
    np.testing.assert_allclose(
        whole.blend[1:], [0.0125 * 1.6 / RATE_HZ, 0.025 * 0.8 / RATE_HZ], rtol=2e-3
    )


# ------------------------------------------------------------------------------------ the firmware


@pytest.fixture
def told(tendon):
    """told(curve, samples): the reference of each sample (samples, n) as TELEMETRY has it, and the
    blend (n,); `away`: samples during which nothing more is sent."""

    def run(curve, samples, away=range(0), rest=REST):
        card = tendon.card
        with open_session("sil", read_build(tendon.firmware)) as session:
            assert session.info.trajectory_points == ROOM
            table = tabulate(curve, RATE_HZ, samples, ROOM)
            reference = ToldReference(session, table, RATE_HZ, rest)
            command, signals = card.robot.command_neutral, [0.5] * len(card.signal_names)
            session.arm(command, rest)
            reference.send_ahead(0)
            found = []
            for k in range(samples):
                found.append(session.observe(k, signals, command).reference)
                if k not in away:
                    reference.send_ahead(k)
        return np.array(found), trajectory(table, RATE_HZ, rest)

    return run


def tolerance(whole, samples: int) -> np.ndarray:
    """(samples, 1) m. Numbers of some 25 mm go through float32 and are normalised there: four of
    its steps. The step on the way is rounded to 2^-32, which adds up, so that a move of the table
    is entered too early or too late by that share of itself."""
    pieces = len(whole.points) - (not whole.periodic)
    move = np.abs(np.diff(whole.points, axis=0)).max()
    early = np.arange(samples) * 0.5 * pieces / WAY * move
    return (4 * 0.03 * 2.0**-24 + 2.0**-24 * move + early)[:, None]


UPLOADED = {
    "a lap of a shape": (shape("figure_eight"), 2400),
    "a shape on its way": (shape("swirl"), 1200),
    "steps": (shape("multi_level"), 1200),
    "a lap of samples": (SAMPLED["a lap"], 1000),
    "samples once": (SAMPLED["there and away"], 1200),
}


@pytest.mark.parametrize("name", UPLOADED)
def test_the_firmware_follows_what_was_uploaded(told, name):
    curve, samples = UPLOADED[name]
    found, whole = told(curve, samples)
    assert len(whole.points) <= ROOM
    table = tabulate(curve, RATE_HZ, samples, ROOM)
    wanted = table.values(np.arange(samples) / RATE_HZ)
    away = np.abs(found - wanted)
    assert (away <= tolerance(whole, samples)).all(), away.max()
    assert np.ptp(found[:, 2]) > 0.01


@pytest.mark.parametrize("name", ["steps", "samples"])
def test_the_firmware_follows_what_is_sent_while_it_goes(told, name):
    """Longer than there is room for; the host may be away for nearly as long as that."""
    curve = shape("multi_level") if name == "steps" else SAMPLED["longer than the run"]
    samples = 3000
    found, whole = told(curve, samples, away=range(500, 1600))
    assert len(whole.points) > ROOM
    wanted = curve.values(np.arange(samples) / RATE_HZ)
    np.testing.assert_allclose(found, wanted, atol=4 * 0.03 * 2.0**-24)


AWAY = {
    "at its far end": shape("pringle"),
    "running away": sampled(0.01, 0.03, 0.01001, seconds=4.0),
    "in another place": shape("fixed"),
    "and not smooth": sampled(0.012, 0.02, 0.0, 0.01, -0.02, seconds=9.0),
}


@pytest.mark.parametrize("name", AWAY)
def test_a_reference_that_begins_elsewhere_is_met_in_time_at_bounded_speed(told, name):
    curve, samples = AWAY[name], 400
    found, whole = told(curve, samples)
    wanted = tabulate(curve, RATE_HZ, samples, ROOM).values(np.arange(samples) / RATE_HZ)
    moves = np.abs(np.diff(found, axis=0, prepend=[REST]))
    assert (moves <= whole.blend + 1e-8).all()
    met = round(REACHED_S * RATE_HZ)
    assert np.abs(wanted[0]).max() >= 0.01 and np.abs(found[0] - wanted[0]).max() > 0.009
    away = np.abs(found - wanted)
    assert (away[met:] <= tolerance(whole, samples)[met:]).all()
    # It comes nearer all the time.
    assert (np.diff(away[: met + 1], axis=0) <= 1e-8).all()
