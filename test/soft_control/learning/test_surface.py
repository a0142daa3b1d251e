from __future__ import annotations

import numpy as np
import pytest

from soft_control.learning.surface import Surface, fit_surface, terms


def test_a_surface_is_recovered_and_led_by_what_moves_most():
    """Two commands move y and z, x follows: 1, z, z², y, yz, y² with y and z in cm."""
    c = (2e-3, -3e-3, 1.5e-4, 1e-3, -2e-4, 4e-4)
    y, z = np.random.default_rng(1).uniform(-0.02, 0.02, (2, 200))
    u, v = 100 * y, 100 * z
    x = c[0] + c[1] * v + c[2] * v**2 + c[3] * u + c[4] * u * v + c[5] * u**2
    surface = fit_surface(np.column_stack([x, y, z]), ("x", "y", "z"), commands=2)
    assert surface.leading == ("y", "z") and list(surface.following) == ["x"]
    # Noise-free: what remains is the rounding of float64.
    found = surface.follow(np.column_stack([y, z]))["x"]
    np.testing.assert_allclose(found, x, atol=1e-12)


def test_one_command_leads_all_outputs():
    a = np.linspace(-1.0, 1.0, 50)
    outputs = np.column_stack([a**3, 2.0 * a, np.full(50, 0.7)])
    surface = fit_surface(outputs, ("cube", "line", "still"), commands=1)
    assert surface.leading == ("line",)
    followed = surface.follow(np.array([[1.0]]))
    assert followed["cube"] == pytest.approx([0.125]) and followed["still"] == pytest.approx([0.7])


def test_where_every_output_is_free_there_is_no_surface():
    outputs = np.random.default_rng(0).normal(size=(50, 3))
    assert fit_surface(outputs, ("x", "y", "z"), commands=3) is None
    outputs[:, 0] = 0.0  # it never moves, and needs no command
    assert fit_surface(outputs, ("x", "y", "z"), commands=2) is None


def test_terms_are_all_products_up_to_the_degree():
    a, b = 2.0, 3.0
    found = terms(np.array([[a, b]]), 2)
    np.testing.assert_array_equal(found, [[1.0, b, b**2, a, a * b, a**2]])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"degree": 2}, "following.x: 3 coefficients, but a polynomial of degree 2 in y, z has 6"),
        ({"factors": (1.0,)}, "factors: 1, but 2 outputs lead"),
        ({"following": {"y": (0.0,) * 3}}, "y leads and follows"),
        ({"following": {"x": (0.0, 0.0, np.nan)}}, "finite"),
    ],
)
def test_a_surface_that_cannot_be_is_refused(changes, said: str):
    whole = dict(leading=("y", "z"), factors=(1.0, 1.0), degree=1, following={"x": (0.0,) * 3})
    Surface(**whole)
    with pytest.raises(ValueError, match=said):
        Surface(**whole | changes)
