"""Columns in words, and words for elements."""

from __future__ import annotations

import numpy as np
import pytest

from nn4mc_codegen.graph.check import ModelError
from nn4mc_codegen.graph.columns import chosen_columns, in_words
from nn4mc_codegen.ops.activation import Activation
from nn4mc_codegen.ops.recurrent import SimpleRNN


@pytest.fixture
def graph(build):
    b = build()
    return b.graph(b.dense(b.input(4, name="u"), 2))


@pytest.mark.parametrize(
    ("elements", "words"),
    [([0, 1, 2, 3], "x[0..3]"), ([1], "x[1]"), ([0, 2, 3], "x[0], x[2..3]"), ([], "")],
)
def test_elements_in_words(graph, elements, words):
    assert in_words(graph, elements) == words


def test_inputs_and_states_are_not_one_range(build):
    b = build()
    arrays = np.ones((2, 3), np.float32), np.ones((3, 3), np.float32), np.ones(3, np.float32)
    graph = b.graph(b.apply(SimpleRNN(*arrays, Activation("tanh")), b.input(2)))
    assert in_words(graph, [1, 2, 3, 4]) == "x[1], state[0..2]"


@pytest.mark.parametrize(
    ("words", "columns"),
    [("u", (0, 1, 2, 3)), ("2", (0, 1)), ("3,1", (1, 3)), ("1,0+2", (1, (0, 2)))],
)
def test_words_choose_columns(graph, words, columns):
    assert chosen_columns(graph, words) == columns


@pytest.mark.parametrize("words", ["v", "0+0", [7], "9"])
def test_what_is_not_there_is_refused(graph, words):
    with pytest.raises(ModelError):
        chosen_columns(graph, words)
