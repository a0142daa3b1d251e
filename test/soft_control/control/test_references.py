from __future__ import annotations

import math

import numpy as np
import pytest

from soft_control.control.references import SHAPES, Reference
from soft_control.learning.surface import Surface

SURFACE = Surface(
    leading=("y", "z"),
    factors=(100.0, 100.0),
    degree=2,
    following={"x": (2e-3, -3e-3, 1.5e-4, 1e-3, -2e-4, 4e-4)},
)
"""m, of 1, z, z², y, yz, y² with y and z in cm."""


def reference(shape: str, **changes) -> Reference:
    values = dict(
        outputs=("x", "y", "z"),
        shape=shape,
        amplitude=(0.0, 0.0125, 0.025),
        centre=(0.0, 0.001, -0.002),
        component=(0, 1, 2),
        angular_rate=0.8,
        surface=SURFACE,
    )
    return Reference(**values | changes)


def on_surface(y_cm, z_cm):
    c = SURFACE.following["x"]
    return c[0] + c[1] * z_cm + c[2] * z_cm**2 + c[3] * y_cm + c[4] * y_cm * z_cm + c[5] * y_cm**2


def test_figure_eight_is_the_papers():
    """z = 25 sin(k/150), y = 25 sin(k/150) cos(k/150) mm at 120 samples a second."""
    k = np.arange(3000)
    wanted = reference("figure_eight", centre=(0.0,) * 3).values(k / 120.0)
    phase = k / 150.0
    np.testing.assert_allclose(wanted[:, 2], 0.025 * np.sin(phase), atol=1e-12)
    np.testing.assert_allclose(wanted[:, 1], 0.025 * np.sin(phase) * np.cos(phase), atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_what_follows_lies_on_the_surface_and_the_curve_is_closed(shape):
    wanted = reference(shape)
    curve = wanted.curve(500)
    np.testing.assert_allclose(curve[:, 0], on_surface(100 * curve[:, 1], 100 * curve[:, 2]))
    lap_s = 2 * math.pi / 0.8
    np.testing.assert_allclose(wanted.values(0.3), wanted.values(0.3 + lap_s), atol=1e-12)


def test_any_number_of_outputs_takes_the_components_that_it_names():
    """Four angles on a swirl of three components: the fourth takes the first one again."""
    wanted = reference(
        "swirl",
        outputs=("a", "b", "c", "d"),
        amplitude=(1.0, 1.0, 2.0, 3.0),
        centre=(0.0, 0.0, 0.0, 1.0),
        component=(0, 1, 2, 3),
        surface=None,
    )
    a, b, c, d = wanted.values(np.linspace(0, 5, 50)).T
    np.testing.assert_allclose(np.hypot(a, b), c / 2, atol=1e-12)
    np.testing.assert_allclose(d, 1.0 + 3.0 * a)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"amplitude": (1.0,)}, "amplitude of the reference has 1 values for 3 outputs"),
        ({"centre": (0.0, math.nan, 0.0)}, "centre of the reference is not finite"),
        ({"angular_rate": math.inf}, "angular_rate of the reference is not finite"),
        ({"outputs": ("a", "y", "z")}, "the surface has outputs that the robot has not: x"),
        ({"shape": "spiral"}, "figure_eight, pringle"),
    ],
)
def test_a_reference_that_cannot_be_is_refused(changes, said: str):
    with pytest.raises(ValueError, match=said):
        reference(**{"shape": "fixed"} | changes)
