"""Which designs are worth having: none other is as good in everything and better in something."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from soft_control.design.settings import Costs

RESOLUTION = (0.01, 100.0, 1024.0, 0.1)
"""Of error, instructions, flash and power: the front does not tell smaller differences. An error
moves by several hundredths of a millimetre with the seed of a training."""
WORTH = 3.0
"""A design that errs so many times as much as the best is worth nothing, however cheap."""

T = TypeVar("T")
Figures = tuple[float, ...]


def figures(error: float, costs: Costs) -> Figures:
    """What designs are compared by, in steps of RESOLUTION; the smaller, the better."""
    exact = (error, costs.instructions, costs.flash_bytes, costs.power_mw)
    return tuple(float(round(value / step)) for value, step in zip(exact, RESOLUTION, strict=True))


def dominates(one: Figures, other: Figures) -> bool:
    """Whether `one` is as good in everything and better in something."""
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))


def front(found: Sequence[tuple[T, Figures]]) -> list[T]:
    """Those that no other dominates, in the order given."""
    return [item for item, of_it in found if not any(dominates(other, of_it) for _, other in found)]


def worthy(found: Sequence[tuple[T, Figures]]) -> list[tuple[T, Figures]]:
    """Without those that err WORTH times as much as the best."""
    least = min((of_it[0] for _, of_it in found), default=0.0)
    return [(item, of_it) for item, of_it in found if of_it[0] <= WORTH * least]


def ranked(found: Sequence[tuple[T, Figures]], count: int) -> list[T]:
    """At most `count`: the front, the front of what is left, and so on. Where not all of a front
    fit, they are taken evenly along its instructions, the cheapest and the dearest among them."""
    left, chosen = list(found), []
    while left and len(chosen) < count:
        best = {id(item) for item in front(left)}
        rank = sorted((pair for pair in left if id(pair[0]) in best), key=lambda p: p[1][1])
        left = [pair for pair in left if id(pair[0]) not in best]
        room = count - len(chosen)
        if len(rank) > room:
            last = len(rank) - 1
            places = [round(i * last / (room - 1)) for i in range(room)] if room > 1 else [0]
            rank = [rank[i] for i in places]
        chosen += [item for item, _ in rank]
    return chosen
