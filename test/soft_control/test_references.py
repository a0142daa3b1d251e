from __future__ import annotations

import math

import numpy as np
import pytest

from soft_control.references import SHAPES, Reference, fit_surface

SURFACE = (0.002, 0.1, -0.3, 4.0, -2.0, 1.5)


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
    y, z = curve[:, 1], curve[:, 2]
    c = SURFACE
    np.testing.assert_allclose(
        curve[:, 0], c[0] + c[1] * y + c[2] * z + c[3] * y * y + c[4] * y * z + c[5] * z * z
    )
    lap_s = 2 * math.pi / 0.8
    np.testing.assert_allclose(reference.position(0.3), reference.position(0.3 + lap_s), atol=1e-12)


def test_surface_fit_recovers_a_surface():
    rng = np.random.default_rng(1)
    y, z = rng.uniform(-0.02, 0.02, (2, 200))
    x = Reference("fixed", 0, 0, 1, surface=SURFACE)  # its surface, at other places
    position = np.array([
        Reference("fixed", 0, 0, 1, yi, zi, SURFACE).position(0.0)[0]
        for yi, zi in zip(y, z, strict=True)
    ])
    # Noise-free: what remains is the rounding of float64 over terms of 1e-4.
    np.testing.assert_allclose(fit_surface(position), x.surface, rtol=1e-8)


def test_an_unknown_shape_names_the_known_ones():
    with pytest.raises(ValueError, match="figure_eight, pringle"):
        Reference("spiral", 0.01, 0.01, 1.0)
