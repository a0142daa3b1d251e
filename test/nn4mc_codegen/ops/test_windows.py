"""Convolutions and poolings: edges, equal maxima, groups of windows that share their code."""

from __future__ import annotations

import numpy as np
import pytest

from nn4mc_codegen.graph.options import Options
from nn4mc_codegen.ops.activation import LINEAR, Activation
from nn4mc_codegen.ops.conv import Conv
from nn4mc_codegen.ops.depthwise import DepthwiseConv
from nn4mc_codegen.ops.pool import AveragePool, MaxPool
from nn4mc_codegen.ops.windows import OUTSIDE, Windows
from nn4mc_codegen.printing.emit import emit

# float32 sums of some ten products of order 1.
TOLERANCE = 2e-6


def windows(size, strides=None, padding="valid", dilation=None) -> Windows:
    ones = (1,) * len(size)
    return Windows(size, strides or ones, dilation or ones, padding)


@pytest.mark.parametrize(
    ("made", "places"),
    [
        (windows((2,)), [[0, 1], [1, 2], [2, 3]]),
        (windows((2,), (3,)), [[0, 1]]),
        (windows((2,), (2,), "same"), [[0, 1], [2, 3]]),
        (windows((3,), (2,), "same"), [[0, 1, 2], [2, 3, OUTSIDE]]),
        (windows((2,), None, "same"), [[0, 1], [1, 2], [2, 3], [3, OUTSIDE]]),
        (windows((2,), (3,), "causal"), [[OUTSIDE, 0], [2, 3]]),
        (windows((2,), None, "valid", (3,)), [[0, 3]]),
    ],
)
def test_places_on_four_positions(made, places):
    assert made.places((4,)).tolist() == places


def test_places_of_an_image_are_counted_row_by_row():
    assert windows((2, 2), (1, 2)).places((3, 4)).tolist() == [
        [0, 1, 4, 5],
        [2, 3, 6, 7],
        [4, 5, 8, 9],
        [6, 7, 10, 11],
    ]


def test_window_larger_than_what_is_there():
    with pytest.raises(ValueError, match="windows of 5 along an axis of 4"):
        windows((3,), None, "valid", (2,)).extents((4,))


def test_first_of_equal_maxima_has_the_derivative(build, compile_graphs):
    """Also among so many that the maximum is found pair by pair."""
    b, c = build(), build()
    few = b.graph(b.apply(MaxPool(windows((3,), (3,))), b.input(6, 1)))
    many = c.graph(c.apply(MaxPool(None), c.input(31, 1)))
    x_few = np.array([2, 1, 2, 0, 3, 3], np.float32)
    x_many = np.zeros(31, np.float32)
    x_many[[13, 14, 22, 30]] = 5.0
    cases = [(few, x_few, (0, 4)), (many, x_many, (13,))]
    all_of = [(graph, range(graph.input_size)) for graph, _, _ in cases]
    for (graph, x, first), code in zip(cases, compile_graphs(all_of), strict=True):
        y, jacobian = code.jacobian(x)
        expected = np.eye(x.size)[list(first)]
        np.testing.assert_array_equal(graph.jacobian(x), expected)
        np.testing.assert_array_equal(jacobian, expected)
        np.testing.assert_array_equal(y, x[list(first)])


def test_padding_is_never_the_maximum_and_does_not_count(build, compile_graphs):
    """Of windows with nothing but negative elements inside."""
    b, c = build(), build()
    same = windows((3,), None, "same")
    largest = b.graph(b.apply(MaxPool(same), b.input(4, 1)))
    average = c.graph(c.apply(AveragePool(same), c.input(4, 1)))
    x = np.array([-4.0, -3.0, -2.0, -1.0], np.float32)
    first, second = compile_graphs([(largest, ()), (average, ())])
    np.testing.assert_array_equal(first.step(x), [-3, -2, -1, -1])
    np.testing.assert_allclose(second.step(x), [-3.5, -3, -2, -1.5], atol=TOLERANCE)


def image(b, extent: int):
    """Two convolutions and poolings over extent × extent."""
    random = np.random.default_rng(0)

    def arrays(*shape):
        kernel = random.normal(0.0, 0.3, shape).astype(np.float32)
        return kernel, random.normal(0.0, 0.3, shape[-1]).astype(np.float32)

    same = windows((3, 3), None, "same")
    h = b.apply(Conv(*arrays(9, 2, 6), same, 1, Activation("tanh")), b.input(extent, extent, 2))
    h = b.apply(MaxPool(windows((2, 2), (2, 2))), h)
    h = b.apply(DepthwiseConv(*arrays(9, 1, 6), same, 6, LINEAR), h)
    h = b.apply(Conv(*arrays(4, 3, 4), windows((2, 2)), 2, Activation("relu")), h)
    return b.graph(b.apply(AveragePool(None, False), h))


@pytest.mark.parametrize("optimize", ["speed", "balanced", "size"])
def test_rows_of_an_image_share_their_code(build, origin, optimize):
    """The code of a larger image is larger in its numbers, not in its lines.

    The sizes are such that both have the same remainders of blocks.
    """
    lines = []
    for extent in (10, 18):
        text = emit(image(build(), extent), Options(optimize=optimize), origin).texts["fk.c"]
        lines.append(len(text.splitlines()))
    assert lines[1] < 1.1 * lines[0]


def test_image(build, compile_graphs):
    graph = image(build(), 8)
    chosen = (0, 1, 37, 64, 100, 127)
    x = np.random.default_rng(1).normal(size=graph.input_size).astype(np.float32)
    for optimize in ("speed", "balanced", "size"):
        wanted = {"jacobian": chosen, "optimize": optimize}
        (code,) = compile_graphs([(graph, wanted)])
        y, jacobian = code.jacobian(x)
        np.testing.assert_allclose(y, graph.evaluate(x), rtol=0, atol=TOLERANCE)
        expected = graph.jacobian(x)[:, chosen]
        np.testing.assert_allclose(jacobian, expected, rtol=0, atol=TOLERANCE)
