"""Loops in process: the firmware does what the same loop in float64 does, and both comparisons."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("casadi", reason="pip install soft_control[test]")

from soft_control.bringup import mpc_settings  # noqa: E402
from soft_control.closed_loop import Firmware, run  # noqa: E402
from soft_control.evaluation import NETWORK_FILE, load_model  # noqa: E402
from soft_control.host_solver import HostSolver, SolverLoop, sizes_of  # noqa: E402
from soft_control.link.messages import SIGNAL_LSB, signal_counts  # noqa: E402
from soft_control.loop_benchmark import (  # noqa: E402
    VARIANTS,
    against_ipopt,
    total_cost,
    worth_of_parts,
)
from soft_control.pages import write_page  # noqa: E402
from soft_control.rigs import make_rig  # noqa: E402

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc builds the firmware")


def circle(t_s: np.ndarray) -> np.ndarray:
    return 5e-3 * np.column_stack([0 * t_s, np.sin(t_s), np.cos(t_s) - 1])


class OnTheWire:
    """A controller that is given signals as frames carry them."""

    def __init__(self, controller) -> None:
        self.controller, self.preview = controller, controller.preview

    def step(self, seen, signals: np.ndarray, ahead: np.ndarray) -> np.ndarray:
        return self.controller.step(seen, np.array(signal_counts(signals)) * SIGNAL_LSB, ahead)


def test_the_firmware_is_the_loop_around_its_solver(tendon, tmp_path: Path):
    """The same solver once in the firmware, once in a loop of float64, both fed the signals that
    the wire carries. 1e-3 rad is what float32 leaves of the first samples, which a delay or a
    reference off by one would change by 0.05; later a line search that decides otherwise parts
    them by some more."""
    model, settings = load_model(tendon.model), mpc_settings("tendon")
    solver = HostSolver(
        tendon.model / NETWORK_FILE,
        sizes_of(model.card, settings),
        tmp_path,
        iterations=settings.iterations,
    )
    loop = SolverLoop(model, settings, solver)
    firmware = Firmware(tendon.firmware, model.card)

    def follow(controller) -> np.ndarray:
        return run(make_rig("tendon", seed=5), "tendon", controller, circle, 120.0, 0.5).commands

    first = follow(firmware)
    other = follow(OnTheWire(loop.controller(settings)))
    np.testing.assert_allclose(first[:6], other[:6], atol=1e-3)
    np.testing.assert_allclose(first, other, atol=0.03)
    np.testing.assert_array_equal(follow(firmware.restart()), first)
    still = settings.model_copy(update={"move_weight": [1e6, 1e6]})
    assert np.ptp(follow(firmware.restart(still)), axis=0).max() < 0.1 * np.ptp(first, axis=0).max()
    firmware.close()


def test_the_firmware_costs_little_more_than_ipopt(tendon_model, tmp_path: Path):
    """Three seconds of the tendon rig with a network that was trained for seconds, which takes more
    iterations than the firmware makes: 50 %. With a proper one the project's limit is 5 %, which
    `softctl benchmark closed-loop` holds."""
    found = against_ipopt(tendon_model.model, tmp_path, "figure_eight", 3.0, 0)
    assert found.samples == 360 and found.rig == "tendon"
    assert abs(found.excess) < 0.5
    assert found.ipopt_unconverged < 0.1 * found.samples


def test_the_offset_estimate_pays_under_a_load(tendon_model, tmp_path: Path):
    seen = []
    found = worth_of_parts(
        tendon_model.model,
        tmp_path,
        "figure_eight",
        12.0,
        0,
        (0.0, 0.5, -2.0),
        lambda what, done, total: seen.append(what),
    )
    assert set(seen) == set(VARIANTS.values()) == set(found.after_mm)
    both, delay, offset, neither = VARIANTS.values()
    # Once the load is on; before it, this network's own errors are larger than any offset.
    assert found.after_mm[both] < found.after_mm[delay]
    assert found.after_mm[offset] < found.after_mm[neither]
    page = write_page(tmp_path, "closed_loop", seed=0, against=[], worth=[found]).read_text()
    assert f"| {both} | {found.before_mm[both]:.2f} | {found.after_mm[both]:.2f} |" in page


def test_total_cost_counts_errors_and_moves(tendon_model):
    from soft_control.closed_loop import Trace

    card, settings = tendon_model.card, mpc_settings("tendon")
    still = np.zeros((3, 3))
    off = still.copy()
    off[1, 2] = 2e-3
    commands = np.radians([[0.0, 0.0], [3.0, 0.0], [3.0, 0.0]])
    trace = Trace(np.arange(3) / 120, off, still, commands)
    # 1/mm² times 2 mm squared, and 0.02/deg² times 3 deg squared
    assert total_cost(card, settings, trace) == pytest.approx(4.0 + 0.02 * 9.0)
