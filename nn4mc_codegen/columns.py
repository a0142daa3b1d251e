"""The words that choose columns of derivatives, and what they choose."""

from __future__ import annotations

from nn4mc_codegen.check import ModelError
from nn4mc_codegen.ir import Graph
from nn4mc_codegen.options import Columns


def chosen_elements(graph: Graph, words: Columns, option: str = "jacobian") -> tuple[int, ...]:
    """Elements of [x, state] that `words` choose, ascending; raises `ModelError`."""
    if words is None:
        return ()
    if isinstance(words, str):
        words = [word.strip() for word in words.split(",")]
        if len(words) == 1 and words[0].isdigit():
            words = int(words[0])
    if isinstance(words, int):
        if not 1 <= words <= graph.input_size:
            raise ModelError(f"{option} {words}: the flat input has {graph.input_size} elements")
        return tuple(range(words))
    known = _known(graph)
    found: set[int] = set()
    for word in words:
        if isinstance(word, int):
            if not 0 <= word < graph.input_size + graph.state_size:
                raise ModelError(f"{option}: the flat input has no element {word}")
            found.add(word)
        elif word in known:
            found.update(known[word])
        else:
            names = [t.name for t in graph.inputs]
            states = [name for name in known if name.startswith("state")]
            more = f", the states {', '.join(states)}" if states else ""
            raise ModelError(
                f"{option}: no input '{word}'; the inputs are {', '.join(names)}{more}"
            )
    return tuple(sorted(found))


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
