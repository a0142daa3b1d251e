"""Constant arrays of int8 C: each table once, in flash or in RAM, as text."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nn4mc_codegen.int8.quantize import Rescaling

_BYTES = {"int8_t": 1, "int16_t": 2, "int32_t": 4}


@dataclass(frozen=True)
class Constant:
    """One array and its declaration: `storage` type name[size]`place` = …"""

    type: str
    name: str
    items: list[str]
    bytes: int
    storage: str
    place: str

    @property
    def text(self) -> str:
        lines, line = [], ""
        for item in self.items:
            if len(line) + len(item) > 108:
                lines.append(line.rstrip())
                line = ""
            line += item + ", "
        lines.append(line.rstrip(", "))
        body = "\n    ".join(lines)
        array = f"{self.type} {self.name}[{len(self.items)}]{self.place}"
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
        self._names: dict[tuple, str] = {}

    @property
    def bytes(self) -> int:
        return sum(c.bytes for c in self.arrays)

    def add(self, kind: str, name: str, values: np.ndarray) -> str:
        """C name of an array of this type; equal arrays are printed once, under the first name.

        Names that begin with w are weights.
        """
        in_ram = self.weights_in_ram and name.startswith("w")
        storage, macro = "static" if in_ram else "static const", self.prefix.upper()
        place = f" {macro}_ALIGNED" * (kind == "int16_t") + f" {macro}_WEIGHTS" * in_ram
        items = [_integer(v) for v in values.ravel().tolist()]
        size = _BYTES[kind] * len(items)
        return self._add(Constant(kind, f"{self.prefix}_{name}", items, size, storage, place))

    def _add(self, constant: Constant) -> str:
        key = constant.type, *constant.items
        if key not in self._names:
            self._names[key] = constant.name
            self.arrays.append(constant)
        return self._names[key]


def wrapped(values: np.ndarray) -> np.ndarray:
    """Values as int32, modulo 2^32 as the C computes."""
    return ((values + (1 << 31)) & ((1 << 32) - 1)) - (1 << 31)


def limits_of(rescaling: Rescaling) -> list[str]:
    """Twice the zero point and 1 for rounding; the lowest and the highest result."""
    return [str(1 + 2 * rescaling.zero), str(rescaling.low), str(rescaling.high)]


def factor_of(rescaling: Rescaling) -> tuple[int, int]:
    """Multiplier and bits to shift to the right of a single factor."""
    return int(rescaling.multiplier[0]), -1 - int(rescaling.shift[0])
