"""Groups of rows that do the same become one kernel in a loop."""

from __future__ import annotations

import numpy as np
import pytest

from nn4mc_codegen.graph.lower import lower
from nn4mc_codegen.ops.activation import LINEAR
from nn4mc_codegen.ops.conv import Conv
from nn4mc_codegen.ops.windows import Windows
from nn4mc_codegen.printing.repeat import repetition
from nn4mc_codegen.printing.schedule import schedule


@pytest.mark.parametrize(
    ("image", "kernel", "rows", "turns"),
    [((5, 6), (3, 3), 4, (3,)), ((5, 3), (2, 3), None, None)],
    ids=["groups", "even"],
)
def test_windows_on_an_image(build, image, kernel, rows, turns):
    """3 lines of 4 windows are 3 turns of 4 rows; windows as wide as the image have even steps."""
    b, taps = build(), kernel[0] * kernel[1]
    windows = Windows(kernel, (1, 1), (1, 1), "valid")
    weights = np.ones((taps, 1, 2), np.float32), np.ones(2, np.float32)
    lowered = lower(b.graph(b.apply(Conv(*weights, windows, 1, LINEAR), b.input(*image, 1))))
    procedure = schedule(lowered.program, lowered.results)
    (whole,) = procedure.kernels
    found = repetition(whole, procedure.locator)
    if rows is None:
        assert found is None
        return
    assert found.turns == turns and len(found.kernel.head.x) == rows
    # Moved on by its steps, the first group reads and makes what each group reads and makes.
    (x,) = (a for a in procedure.program.inputs.values() if a.size)
    y = whole.stored[0].result
    for turn in range(turns[0]):
        moved = found.kernel.head.x + turn * found.steps[x.first][0]
        np.testing.assert_array_equal(moved, whole.head.x[turn * rows : (turn + 1) * rows])
        assert turn * found.steps[y.first][0] == turn * rows * 2
