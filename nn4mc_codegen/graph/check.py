"""What is refused, and how it is said: one line that names the layer, the reason and a way out."""

from __future__ import annotations

import numpy as np

from nn4mc_codegen.graph.ir import Graph

# Most elements of a tensor: 4 million floats are 16 MiB, where the target has 1 MiB of flash. The
# limit is chosen to keep absurd shapes in a file from exhausting the host's memory.
MAX_ELEMENTS = 1 << 22


def printable(text: str) -> str:
    """Text with names from a file made safe: no line breaks, no commands to the terminal."""
    return "".join(c if c.isprintable() else "?" for c in text)


class ModelError(ValueError):
    """A model that cannot be compiled; the message is one line for the user, whatever names of a
    file or of the command line it quotes."""

    def __init__(self, message: str):
        super().__init__(printable(message))


def refuse(layer: str, reason: str, advice: str) -> ModelError:
    """The error for one layer, to be raised."""
    return ModelError(f"layer '{layer}': {reason}; {advice}")


def check_graph(graph: Graph) -> None:
    """Raise `ModelError` where a graph cannot become C."""
    if not graph.nodes:
        raise ModelError("the model has no layer that computes; nothing to compile")
    for tensor in (*graph.inputs, *(node.output for node in graph.nodes)):
        if not 0 < tensor.size <= MAX_ELEMENTS:
            raise refuse(
                tensor.name,
                f"its shape {tensor.shape} has {tensor.size} elements",
                f"1 to {MAX_ELEMENTS} fit a microcontroller",
            )
    for node in graph.nodes:
        for letter, values in node.op.constants.items():
            bad = int(np.count_nonzero(~np.isfinite(values)))
            if bad:
                raise refuse(
                    node.name,
                    f"{bad} of {values.size} weights {letter} are NaN or infinite",
                    "train it again with a smaller learning rate or clipped gradients",
                )
