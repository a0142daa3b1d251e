from __future__ import annotations

import numpy as np
import pytest

from soft_control.benchmarks.step_response import figures, mean
from soft_control.experiment.closed_loop import Trace
from soft_control.rigs import describe

RATE_HZ = 1000.0


def trace(position: np.ndarray, reference: np.ndarray) -> Trace:
    still = np.zeros_like(position)
    return Trace(
        robot=describe("tendon"),
        t_s=np.arange(len(position)) / RATE_HZ,
        outputs=np.column_stack([still, position, still]),
        reference=np.column_stack([still, reference, still]),
        commands=np.full((len(position), 1), 2.0),
    )


def second_order(t_s: np.ndarray, w: float, zeta: float) -> np.ndarray:
    """Unit step response; Ogata, Modern Control Engineering, section 5.3."""
    t_s = np.maximum(t_s, 0.0)
    wd = w * np.sqrt(1 - zeta**2)
    sway = np.cos(wd * t_s) + zeta / np.sqrt(1 - zeta**2) * np.sin(wd * t_s)
    return 1 - np.exp(-zeta * w * t_s) * sway


@pytest.mark.parametrize("height", [0.02, -0.03])
def test_second_order_step(height: float):
    """Overshoot exp(-pi zeta / sqrt(1 - zeta²)), and rise time against a fine search."""
    zeta, w = 0.4, 20.0
    t_s = np.arange(2000) / RATE_HZ - 0.5
    reference = np.where(t_s >= 0, height, 0.0)
    found = figures(trace(height * second_order(t_s, w, zeta), reference), 1, lead_s=0.2)
    wanted = 100 * np.exp(-np.pi * zeta / np.sqrt(1 - zeta**2))
    assert found.overshoot_percent == pytest.approx(wanted, rel=1e-3)  # sampling at the peak
    fine_s = np.linspace(0, 0.5, 200001)
    response = second_order(fine_s, w, zeta)
    rise_s = fine_s[np.argmax(response > 0.9)] - fine_s[np.argmax(response > 0.1)]
    assert found.rise_s == pytest.approx(rise_s, abs=1e-5)  # a straight line within a sample
    assert found.effort == 2.0


def test_what_is_done_for_the_next_step_is_no_overshoot():
    reference = np.repeat([0.0, 1.0, 2.0], 1000)
    position = np.concatenate(
        [np.zeros(1000), np.ones(900), np.linspace(1, 2, 200), np.full(900, 2)]
    )
    early = figures(trace(position, reference), 1, lead_s=0.1)
    assert early.overshoot_percent == 0.0
    assert figures(trace(position, reference), 1, lead_s=0.0).overshoot_max_percent > 40.0


def test_a_step_that_is_never_reached_rises_to_its_end():
    reference = np.repeat([0.0, 1.0], 1000)
    found = figures(trace(0.5 * reference, reference), 1, lead_s=0.0)
    assert found.rise_s == pytest.approx(0.999, abs=1e-3)
    assert found.rmse_mm == pytest.approx(1e3 * 0.5 * np.sqrt(0.5))


def test_a_reference_without_step_is_refused():
    with pytest.raises(ValueError, match="no step"):
        figures(trace(np.zeros(10), np.ones(10)), 1, lead_s=0.0)


def test_mean_keeps_the_largest_overshoot():
    reference = np.repeat([0.0, 1.0], 1000)
    one = figures(trace(1.1 * reference, reference), 1, 0.0)
    two = figures(trace(1.3 * reference, reference), 1, 0.0)
    both = mean([one, two])
    assert both.overshoot_percent == pytest.approx(20.0)
    assert both.overshoot_max_percent == pytest.approx(30.0)
