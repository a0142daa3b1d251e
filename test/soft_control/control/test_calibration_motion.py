"""The motion of a calibration, and what follows it."""

from __future__ import annotations

import numpy as np
import pytest

from soft_control.control.calibration_motion import BLEND_S, after_calibration
from soft_control.control.references import Reference
from soft_control.control.sampled_reference import ROWS_MAX

RATE_HZ = 100.0


def shape(name: str, size: float = 0.02) -> Reference:
    return Reference(("y", "z"), name, (size, size), (0.0, 0.01), (0, 1), 2.0)


def test_each_motion_has_its_part_and_then_comes_what_was_asked_for():
    first, second, then = shape("figure_eight"), shape("swirl"), shape("fixed", 0.03)
    samples = 1500
    whole = after_calibration(then, [first, second], 10.0, RATE_HZ, samples)
    t_s = np.arange(samples) / RATE_HZ
    values = whole.values(t_s)
    assert whole.outputs == then.outputs
    early, middle, late = t_s <= 5.0 - BLEND_S, (t_s >= 5.0) & (t_s <= 9.0), t_s >= 10.0
    np.testing.assert_allclose(values[early], first.values(t_s[early]))
    np.testing.assert_allclose(values[middle], second.values(t_s[middle] - 5.0))
    np.testing.assert_allclose(values[late], then.values(t_s[late] - 10.0))
    # A blend is no jump: to the 0.09 m/s of the shapes come some 0.07 m within a second.
    assert np.abs(np.diff(values, axis=0)).max() < 0.2 / RATE_HZ


def test_a_short_calibration_fades_within_its_parts():
    whole = after_calibration(shape("fixed"), [shape("swirl")], 0.5, RATE_HZ, 200)
    t_s = np.arange(200) / RATE_HZ
    np.testing.assert_allclose(
        whole.values(t_s[50:]), shape("fixed").values(t_s[50:] - 0.5), atol=1e-12
    )
    np.testing.assert_allclose(whole.values(t_s[:1]), shape("swirl").values(t_s[:1]))


def test_one_that_nobody_can_be_told_is_refused():
    with pytest.raises(ValueError, match=f"100,001 samples: at most {ROWS_MAX:,} can be told"):
        after_calibration(shape("fixed"), [shape("swirl")], 10.0, RATE_HZ, 100_001)
