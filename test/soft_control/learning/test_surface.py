from __future__ import annotations

import numpy as np
import pytest

from soft_control.learning.surface import fit_surface, surface_degree, surface_terms

SURFACE = (2e-3, -3e-3, 1.5e-4, 1e-3, -2e-4, 4e-4)
"""m, of 1, z, z², y, yz, y² with y and z in cm."""


def test_surface_fit_recovers_a_surface():
    y, z = np.random.default_rng(1).uniform(-0.02, 0.02, (2, 200))
    c, u, v = SURFACE, 100 * y, 100 * z
    x = c[0] + c[1] * v + c[2] * v**2 + c[3] * u + c[4] * u * v + c[5] * u**2
    position = np.column_stack([x, y, z])
    # Noise-free: what remains is the rounding of float64 over terms up to 16 cm⁴.
    np.testing.assert_allclose(fit_surface(position, degree=2), SURFACE, atol=1e-14)


@pytest.mark.parametrize("degree", range(6))
def test_as_many_terms_as_the_degree_says(degree):
    terms = surface_terms(np.ones(2), np.ones(2), degree).shape[1]
    assert surface_degree(terms) == degree


@pytest.mark.parametrize("coefficients", [0, 2, 4, 14])
def test_no_polynomial_has_so_many_coefficients(coefficients):
    with pytest.raises(ValueError, match=f"no polynomial in y and z has {coefficients}"):
        surface_degree(coefficients)
