"""The words that choose columns of derivatives, and what they choose."""

from __future__ import annotations

from collections.abc import Sequence

from nn4mc_codegen.graph.check import ModelError
from nn4mc_codegen.graph.ir import Graph
from nn4mc_codegen.graph.options import Columns

Column = int | tuple[int, ...]
"""An element of [x, state], or several that move as one: their column is the sum of theirs."""


def chosen_columns(graph: Graph, words: Columns, option: str = "jacobian") -> tuple[Column, ...]:
    """What `words` choose: single elements, ascending, then sums in the order given.

    Raises `ModelError`.
    """
    if words is None:
        return ()
    known = _known(graph)
    if isinstance(words, str):
        words = [word.strip() for word in words.split(",")]
        if len(words) == 1 and words[0].isdigit():
            words = int(words[0])
        else:
            words = [word if word in known else _numbers(word) for word in words]
    if isinstance(words, int):
        if not 1 <= words <= graph.input_size:
            raise ModelError(f"{option} {words}: the flat input has {graph.input_size} elements")
        return tuple(range(words))
    found: set[int] = set()
    sums: list[tuple[int, ...]] = []
    for word in words:
        if isinstance(word, int):
            found.add(_checked(graph, word, option))
        elif isinstance(word, tuple | list):
            sums.append(_sum(graph, word, option))
        elif word in known:
            found.update(known[word])
        else:
            names = [t.name for t in graph.inputs]
            states = [name for name in known if name.startswith("state")]
            more = f", the states {', '.join(states)}" if states else ""
            raise ModelError(
                f"{option}: no input '{word}'; the inputs are {', '.join(names)}{more}"
            )
    return (*sorted(found), *sums)


def elements_of(columns: Sequence[Column]) -> tuple[int, ...]:
    """All elements that have a part in the columns, ascending."""
    parts = (c if isinstance(c, tuple) else (c,) for c in columns)
    return tuple(sorted({element for part in parts for element in part}))


def singles_of(columns: Sequence[Column]) -> tuple[int, ...]:
    return tuple(c for c in columns if isinstance(c, int))


def sums_of(columns: Sequence[Column]) -> tuple[tuple[int, ...], ...]:
    return tuple(c for c in columns if isinstance(c, tuple))


def in_words(graph: Graph, elements: Sequence[int]) -> str:
    """Ascending elements of [x, state] as ranges, for people: x[0..3], x[7], state[0..9]."""
    found: list[range] = []
    for number in elements:
        if found and found[-1].stop == number != graph.input_size:
            found[-1] = range(found[-1].start, number + 1)
        else:
            found.append(range(number, number + 1))
    words = []
    for r in found:
        name, first = ("x", 0) if r.start < graph.input_size else ("state", graph.input_size)
        begin, end = r.start - first, r.stop - 1 - first
        words.append(f"{name}[{begin}..{end}]" if end > begin else f"{name}[{begin}]")
    return ", ".join(words)


def _numbers(word: str) -> str | int | tuple[int, ...]:
    """The element "3", or the sum "0+6+12"; any other word as it is."""
    parts = [part.strip() for part in word.split("+")]
    if not all(part.isdecimal() for part in parts):
        return word
    return int(parts[0]) if len(parts) == 1 else tuple(map(int, parts))


def _checked(graph: Graph, number: object, option: str) -> int:
    if not isinstance(number, int) or not 0 <= number < graph.input_size + graph.state_size:
        raise ModelError(f"{option}: the flat input has no element {number}")
    return number


def _sum(graph: Graph, numbers: Sequence, option: str) -> tuple[int, ...]:
    text = "+".join(map(str, numbers))
    if option != "jacobian":
        raise ModelError(f"{option}: {text} is a sum; only the Jacobian has columns of sums")
    if not numbers:
        raise ModelError(f"{option}: a sum of no elements; name those that move as one")
    found = sorted({_checked(graph, number, option) for number in numbers})
    if len(found) < len(numbers):
        raise ModelError(f"{option}: the sum {text} has an element twice")
    return tuple(found)


def _known(graph: Graph) -> dict[str, range]:
    """Elements of [x, state] by the words for them; an input's own name has precedence."""
    known = {"all": range(graph.input_size)}
    if graph.states:
        known["state"] = range(graph.input_size, graph.input_size + graph.state_size)
    for state in graph.states:
        first = graph.input_size + state.offset
        known[f"state:{state.name}"] = range(first, first + state.size)
    offset = 0
    for tensor in graph.inputs:
        known[tensor.name] = range(offset, offset + tensor.size)
        offset += tensor.size
    return known
