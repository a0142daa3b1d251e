"""What is known of a robot's quantities: units, limits, points, out of whatever says it.

The best source is the robot's description. A graph that is not ours may have none: then parameters
say names and limits, and names say what is a coordinate of what.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from soft_control.robots.description import Quantity, RobotDescription

COORDINATE = re.compile(r"(?:(?P<point>.+?)[_/.])?(?P<axis>[xyz])(?P<number>\d*)", re.IGNORECASE)
"""x, tip_x, tip/x, x1: a coordinate, and of which point."""
ONE_POINT = "position"
"""What the point of outputs called x, y and z is called where nothing says it."""


@dataclass(frozen=True)
class Shown:
    """How a quantity is shown: value on paper = factor · value in messages."""

    unit: str = ""
    """On paper; empty: none, or none that is known."""
    factor: float = 1.0
    minimum: float | None = None
    maximum: float | None = None
    """On paper; None: none that is known."""


@dataclass(frozen=True)
class Group:
    """Outputs whose errors make one distance: the coordinates of a point, or one output."""

    name: str
    unit: str
    outputs: tuple[str, ...]
    axes: tuple[str, ...] = ()
    """Of a point, the axis of each of its outputs; empty: it is no point."""


@dataclass
class Quantities:
    """Grows while a graph is watched; `changed` says whether it did since it was last asked."""

    description: RobotDescription | None = None
    points: set[str] = field(default_factory=set)
    """That have a topic of their own, in m."""
    limits: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Of commands by name, as parameters say them."""

    def describe(self, description: RobotDescription) -> None:
        """Takes a description; from then on it is what counts."""
        self.description = description

    def learn(self, parameters: Mapping[str, Any]) -> bool:
        """Takes limits of commands from a node's parameters; whether there were new ones."""
        names = parameters.get("command_names")
        low, high = parameters.get("command_min"), parameters.get("command_max")
        if not names or not low or not high or not len(names) == len(low) == len(high):
            return False
        found = {
            str(name): (float(a), float(b))
            for name, a, b in zip(names, low, high, strict=True)
            if math.isfinite(a) and math.isfinite(b)
        }
        new = any(self.limits.get(name) != limits for name, limits in found.items())
        self.limits |= found
        return new

    def shown(self, kind: str, name: str) -> Shown:
        """How the quantity `name` is shown; `kind` is outputs, commands or signals."""
        quantity = self._described(kind, name)
        if quantity is not None:
            unit = "" if quantity.shown_in == "1" else quantity.shown_in
            low, high = (getattr(quantity, key, None) for key in ("min", "max"))
            if kind != "commands":
                low = high = None
            return Shown(unit, quantity.factor, *_scaled(quantity.factor, low, high))
        if kind == "outputs" and self.points and COORDINATE.fullmatch(name):
            return Shown("mm", 1e3)
        low, high = self.limits.get(name, (None, None)) if kind == "commands" else (None, None)
        return Shown("", 1.0, low, high)

    def _described(self, kind: str, name: str) -> Quantity | None:
        known: Iterable[Quantity] = getattr(self.description, kind, ())
        return next((quantity for quantity in known if quantity.name == name), None)

    def groups(self, outputs: Sequence[str]) -> list[Group]:
        """The points among `outputs`, and those that are no coordinate, in their order."""
        members: dict[str, list[tuple[str, str]]] = {}
        for name in outputs:
            point, axis = self._place(name)
            # A point and an output may share a name: the key keeps them apart.
            members.setdefault(f"point {point}" if axis else f"output {name}", []).append(
                (name, axis)
            )
        return [
            Group(
                name=key.partition(" ")[2],
                unit=self.shown("outputs", found[0][0]).unit,
                outputs=tuple(name for name, _ in found),
                axes=tuple(axis for _, axis in found if axis),
            )
            for key, found in members.items()
        ]

    def _place(self, name: str) -> tuple[str, str]:
        """Point and axis of an output; no axis: it is no coordinate."""
        output = self._described("outputs", name)
        if output is not None:
            return output.point, (output.axis or "") if output.point else ""
        found = COORDINATE.fullmatch(name)
        if not found:
            return "", ""
        alone = next(iter(self.points)) if len(self.points) == 1 else ONE_POINT
        return found["point"] or found["number"] or alone, found["axis"].lower()


def _scaled(factor: float, *values: float | None) -> list[float | None]:
    return [None if value is None else factor * value for value in values]
