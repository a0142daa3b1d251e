"""Rescaling as one multiply-accumulate: from 32-bit sums to int8 by two instructions.

TensorFlow Lite multiplies a sum s by a factor and rounds, once or twice, to whole steps of the
result. What comes out rises with s by 255 steps at most, at sums that can be listed here. On a core
with DSP instructions a kernel has X = 256·s, and

    y = clip((c + (X·m >> 32)) >> k)        smmla, ssat

has the same steps wherever m and c put every one of them between the same two sums: a line, whose
values have k fractional bits. Where sums are rounded once one c serves all rows; where they are
rounded twice each has its own. Then the steps of negative sums lie elsewhere than a line has them,
unless the layer clips those (relu): its line is bent at zero, where c is less by d for s < 0. Where
nothing of that fits, the kernel multiplies and rounds as written.

Example: a factor of 1/300 and a zero point of 0, k = 14, m = 2^38 / 300 = 916259690, c = 2^13.
The steps to 1 and 2 lie at s = 150 and 450: (c + (X·m >> 32)) >> 14 of 149 is 0, of 150 and 449 it
is 1, of 450 it is 2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from nn4mc_codegen.int8.fixed_point import rescale, rescale_once
from nn4mc_codegen.int8.operators import Dense, Linear
from nn4mc_codegen.int8.quantize import HIGH, LOW

LINE, LINES, BENT, PLAIN = KINDS = "line", "lines", "bent", "plain"
"""Forms of a layer: one c, one of each row, lines with a bend, and what TensorFlow Lite does."""
# Fractional bits that are tried. More tell steps of smaller factors apart, and m must fit 31 bits.
BITS = range(19, 3, -1)
# How far a multiplier may be from the factor, to put a step between two sums that it just misses.
NUDGES = [0, *(sign * n for n in range(1, 9) for sign in (1, -1))]
INT32 = 1 << 31
NO_BOUND = 1 << 60


@dataclass(frozen=True, eq=False)
class Form:
    """How a layer's sums become int8; `numbers` (rows, 2 to 4) are what its C reads a row: where
    the sum starts, and m; then c, then d; of a plain one start, multiplier and shift."""

    kind: str
    numbers: np.ndarray
    c: int = 0
    """of a single line"""


def forms_of(layers: Sequence[Linear], extra: Sequence[np.ndarray]) -> tuple[int, list[Form]]:
    """Fractional bits, the same for all layers, and each layer's form. `extra` (rows,) is what the
    kernel's X has beyond 256·s."""
    steps = [_Steps.of(layer, e) for layer, e in zip(layers, extra, strict=True)]
    largest = max([s.factor.max() for s in steps if s.fits], default=1.0)
    # m = factor·2^(k + 24) is below 2^31 for the largest factor too.
    first = min(max(int(np.floor(7 - np.log2(max(largest, 2.0**-40)))), BITS[-1]), BITS[0])
    best, most = (first, []), -1.0
    for bits in [first, *(b for b in BITS if b != first)]:
        forms = [s.form(bits) for s in steps]
        worth = sum(
            layer.macs * (len(KINDS) - KINDS.index(form.kind))
            for layer, form in zip(layers, forms, strict=True)
        )
        if worth > most:
            best, most = (bits, forms), worth
        if all(f.kind != PLAIN or not s.fits for f, s in zip(forms, steps, strict=True)):
            break
    return best


@dataclass(frozen=True, eq=False)
class _Steps:
    """At which sums of a layer its results rise."""

    layer: Linear
    extra: np.ndarray
    values: np.ndarray
    """that results rise to, (values, 1): between the layer's limits"""
    sums: np.ndarray
    """(values, rows): the least sum whose result is as large, or one more than any sum"""
    least: np.ndarray
    most: np.ndarray
    """sums that inputs can make (rows,)"""
    factor: np.ndarray
    """(rows,)"""
    reach: np.ndarray
    """what no sum on the way to 256·s passes (rows,)"""
    fits: bool
    """whether that fits 32 bits in all rows"""

    @classmethod
    def of(cls, layer: Linear, extra: np.ndarray) -> _Steps:
        w, r = layer.weights.astype(np.int64), layer.rescaling
        rows = len(w)
        least = layer.bias + np.where(w > 0, LOW * w, HIGH * w).sum(axis=1)
        most = layer.bias + np.where(w > 0, HIGH * w, LOW * w).sum(axis=1)
        factor = np.broadcast_to(r.multiplier * 2.0 ** (r.shift - 31), rows)
        values = np.arange(max(r.low, LOW) + 1, min(r.high, HIGH) + 1)[:, None]
        # A kernel's product of two weights passes theirs by 129 times the weights at most.
        ends = np.abs([least, most, least - layer.bias, most - layer.bias, layer.bias])
        reach = 256 * ends.max(axis=0) + 129 * np.abs(w).sum(axis=1)
        fits = bool(np.all(reach < INT32))
        rounded = rescale_once if isinstance(layer, Dense) else rescale

        def unclipped(s: np.ndarray) -> np.ndarray:
            return rounded(s, r.multiplier, r.shift) + r.zero

        sums = _first(unclipped, values, least, most) if fits else np.empty((0, rows))
        return cls(layer, extra, values, sums, least, most, factor, reach, fits)

    def form(self, bits: int) -> Form:
        if self.fits:
            start = 256 * self.layer.bias - self.extra
            whole = [(self.least, self.most)]
            if isinstance(self.layer, Dense):
                c = (2 * self.layer.rescaling.zero + 1) << (bits - 1)
                m, _, found = self._fitted(bits, whole, c)
                if np.all(found):
                    return Form(LINE, np.stack([start, m], axis=1), c)
            m, c, found = self._fitted(bits, whole)
            if np.all(found):
                return Form(LINES, np.stack([start, m, c[0]], axis=1))
            above = np.maximum(self.least, 0), np.maximum(self.most, -1)
            below = np.minimum(self.least, 0), np.minimum(self.most, -1)
            m, c, found = self._fitted(bits, [above, below])
            if np.all(found):
                return Form(BENT, np.stack([start, m, c[0], c[0] - c[1]], axis=1))
        r, rows = self.layer.rescaling, len(self.least)
        multiplier, shift = (np.broadcast_to(v, rows) for v in (r.multiplier, r.shift))
        more = self.layer.left - 1 if isinstance(self.layer, Dense) else 0
        # A shift by 31 bits leaves nothing but the sign; C does not define a longer one.
        shifts = np.minimum(more - 1 - shift, 31)
        return Form(PLAIN, np.stack([self.layer.bias, multiplier, shifts], axis=1))

    def _trials(self, bits: int) -> Iterator[np.ndarray]:
        """Multipliers (rows,), the likeliest first."""
        exact = np.round(self.factor * 2.0 ** (bits + 24)).astype(np.int64)
        for nudge in NUDGES:
            yield exact + nudge
        # Of rows with hardly any step, a line that is steeper than theirs.
        yield np.full(len(exact), 1 << (bits + 9))

    def _fitted(
        self, bits: int, parts: Sequence[tuple[np.ndarray, np.ndarray]], given: int | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """m (rows,), c (parts, rows) and in which rows they put all steps where they belong; parts
        are the least and the greatest sums (rows,) on either side of a bend. c may be given."""
        shape = len(parts), len(self.least)
        m, c, found = (
            np.zeros(shape[1], np.int64),
            np.zeros(shape, np.int64),
            np.zeros(shape[1], bool),
        )
        for trial in self._trials(bits):
            some = np.flatnonzero(~found & (trial >= 0) & (trial < INT32))
            good = np.ones(len(some), bool)
            for part, (least, most) in enumerate(parts):
                ends = least[some], most[some]
                levels, at = self.values << bits, self.sums[:, some]
                c[part, some], fits = _constant(trial[some], at, levels, *ends, given)
                good &= fits
            m[some], found[some] = trial[some], good
            # It is not the multiplier if most rows are without.
            if np.all(found) or 2 * np.count_nonzero(found) < len(found):
                break
        return m, c, found


def _constant(m, at, levels, least, most, given) -> tuple[np.ndarray, np.ndarray]:
    """c (rows,) of lines of slopes m that reach the levels (levels, 1) at the sums (levels, rows)
    of least … most and not before, and whether there is any, or the given one does."""

    def along(s: np.ndarray) -> np.ndarray:
        return (256 * s * m) >> 32

    low = np.where(at <= most, levels - along(np.maximum(at, least)), -NO_BOUND).max(axis=0)
    high = np.where(at > least, levels - along(np.minimum(at - 1, most)) - 1, NO_BOUND).min(axis=0)
    ends = np.where(low == -NO_BOUND, high, low), np.where(high == NO_BOUND, low, high)
    c = (ends[0] + ends[1]) >> 1 if given is None else np.full(len(m), given)
    fits = (low <= c) & (c <= high)
    fits &= (np.abs([c, c + along(least), c + along(most)]) < INT32).all(axis=0)
    return np.where(least <= most, c, 0), fits | (least > most)


def _first(
    rises: Callable[[np.ndarray], np.ndarray],
    values: np.ndarray,
    least: np.ndarray,
    most: np.ndarray,
) -> np.ndarray:
    """The least of the sums least … most for which `rises` makes a value or more, by bisection;
    most + 1 where none does."""
    shape = len(values), len(least)
    low, high = np.broadcast_to(least, shape).copy(), np.broadcast_to(most + 1, shape).copy()
    while np.any(low < high):
        middle = (low + high) >> 1
        reached = rises(middle) >= values
        high = np.where(reached, middle, high)
        low = np.where(reached | (low >= high), low, middle + 1)
        low = np.minimum(low, high)
    return low
