"""What onnxruntime needs to run an ONNX model that our own reader has accepted."""

from __future__ import annotations

from dataclasses import dataclass

Extents = tuple[int | str, ...]


@dataclass(frozen=True)
class OnnxSource:
    """Only the nodes that were read and their constants, those of other files among them: no
    function, no metadata, no operator or branch that the reader has not looked at."""

    content: bytes
    inputs: tuple[tuple[str, Extents], ...]
    """names and extents in the file's order; an axis of time is the word `time`, an open batch 1"""
    outputs: tuple[tuple[int, ...], ...]
    """shapes of one time step"""

    @property
    def is_sequence(self) -> bool:
        return any("time" in extents for _, extents in self.inputs)
