"""Constant arrays of int8 C: each table once, in flash or in RAM, as text."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_BYTES = {"int8_t": 1, "int16_t": 2, "int32_t": 4}


@dataclass(frozen=True)
class Constant:
    """One array and its declaration: `storage` type name[size]`place` = …"""

    type: str
    name: str
    values: np.ndarray
    narrow: np.ndarray | None
    """what a core with DSP instructions reads in place of `values`, if that differs"""
    storage: str
    place: str

    @property
    def text(self) -> str:
        return self._declared(self.values)

    @property
    def narrow_text(self) -> str:
        return self._declared(self.narrow)

    def _declared(self, values: np.ndarray) -> str:
        numbers = [_integer(v) for v in values.ravel().tolist()]
        lines, line = [], ""
        for number in numbers:
            if len(line) + len(number) > 108:
                lines.append(line.rstrip())
                line = ""
            line += number + ", "
        lines.append(line.rstrip(", "))
        body = "\n    ".join(lines)
        array = f"{self.type} {self.name}[{values.size}]{self.place}"
        return f"{self.storage} {array} = {{\n    {body}}};"


def _integer(value: int) -> str:
    """A literal. In C, -2147483648 is the negative of 2147483648, which does not fit an int."""
    return str(value) if value != -(1 << 31) else "(-2147483647 - 1)"


class Constants:
    """The constant arrays of one C file, in the order in which they were asked for."""

    def __init__(self, prefix: str, weights_in_ram: bool):
        self.prefix = prefix
        self.weights_in_ram = weights_in_ram
        self.arrays: list[Constant] = []
        self._names: dict[bytes, str] = {}

    @property
    def bytes(self) -> int:
        return sum(_BYTES[c.type] * c.values.size for c in self.arrays)

    def add(
        self, kind: str, name: str, values: np.ndarray, narrow: np.ndarray | None = None
    ) -> str:
        """C name of an array of this type; equal arrays are printed once, under the first name.

        Names that end with _w are weights.
        """
        key = kind.encode() + values.tobytes() + (b"" if narrow is None else narrow.tobytes())
        if key not in self._names:
            self._names[key] = f"{self.prefix}_{name}"
            in_ram = self.weights_in_ram and name.endswith("_w")
            storage, macro = "static" if in_ram else "static const", self.prefix.upper()
            place = f" {macro}_ALIGNED" * (kind == "int16_t") + f" {macro}_WEIGHTS" * in_ram
            self.arrays.append(Constant(kind, self._names[key], values, narrow, storage, place))
        return self._names[key]
