from __future__ import annotations

import math

import numpy as np
import pytest

from soft_control.control.references import SHAPES, Reference

SURFACE = (2e-3, -3e-3, 1.5e-4, 1e-3, -2e-4, 4e-4)
"""m, of 1, z, z², y, yz, y² with y and z in cm."""


def on_surface(y_cm, z_cm):
    c = SURFACE
    return c[0] + c[1] * z_cm + c[2] * z_cm**2 + c[3] * y_cm + c[4] * y_cm * z_cm + c[5] * y_cm**2


def test_figure_eight_is_the_papers():
    """z = 25 sin(k/150), y = 25 sin(k/150) cos(k/150) mm at 120 samples a second."""
    reference = Reference("figure_eight", 0.0125, 0.025, 0.8)
    k = np.arange(3000)
    wanted = reference.position(k / 120.0)
    phase = k / 150.0
    np.testing.assert_allclose(wanted[:, 2], 0.025 * np.sin(phase), atol=1e-12)
    np.testing.assert_allclose(wanted[:, 1], 0.025 * np.sin(phase) * np.cos(phase), atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_x_lies_on_the_surface_and_the_curve_is_closed(shape):
    reference = Reference(shape, 0.01, 0.02, 0.8, 0.001, -0.002, SURFACE)
    curve = reference.curve(500)
    np.testing.assert_allclose(curve[:, 0], on_surface(100 * curve[:, 1], 100 * curve[:, 2]))
    lap_s = 2 * math.pi / 0.8
    np.testing.assert_allclose(reference.position(0.3), reference.position(0.3 + lap_s), atol=1e-12)


def test_a_surface_has_coefficients_of_a_whole_degree():
    with pytest.raises(ValueError, match="5 coefficients"):
        Reference("fixed", 0.0, 0.0, 1.0, surface=(0.0,) * 5)


def test_an_unknown_shape_names_the_known_ones():
    with pytest.raises(ValueError, match="figure_eight, pringle"):
        Reference("spiral", 0.01, 0.01, 1.0)
