"""What a 32-bit register may hold: one number, one of some numbers, or anything.

A value is an int, a frozenset of at most MOST ints, ANY, or one of these that has got a name
(Named), so that what it is the same as, or a constant away from, is known: a pointer into an array
that is somewhere, and the array's end. Every function here returns a value that holds all results
that the numbers it was given can have. The flags N, Z, C and V are a set as well, of the sixteen
ways in which they can stand: bit i of a mask says whether the flags may be i = 8N+4Z+2C+V.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

ANY = None
MOST = 64
"""Numbers that are told apart. A set that would be larger is ANY."""
WORD = 0xFFFFFFFF
ALL_FLAGS = 0xFFFF


_names = itertools.count()


@dataclass(frozen=True, slots=True)
class Named:
    """A number that is not known, by a name of its own, plus an offset."""

    name: int
    offset: int
    base: frozenset[int] | None
    """What it may be, without the offset."""

    def moved(self, by: int) -> Named:
        return Named(self.name, (self.offset + by) & WORD, self.base)


Value = int | frozenset[int] | Named | None


def named(value: frozenset[int] | None) -> Named:
    """A new name for what some register holds now."""
    return Named(next(_names), 0, value)


def values_of(numbers: set[int] | frozenset[int]) -> Value:
    """The smallest value that holds these numbers, of which there is at least one."""
    if len(numbers) == 1:
        return next(iter(numbers))
    return frozenset(numbers) if len(numbers) <= MOST else ANY


def numbers_of(value: Value) -> frozenset[int] | None:
    """The numbers of a value, None if it can be any."""
    if type(value) is int:
        return frozenset((value,))
    if type(value) is Named:
        if value.base is None:
            return None
        return frozenset((n + value.offset) & WORD for n in value.base)
    return value


def join(a: Value, b: Value) -> Value:
    """One or the other."""
    if a == b:
        return a
    mine, theirs = numbers_of(a), numbers_of(b)
    return ANY if mine is None or theirs is None else values_of(mine | theirs)


def plus(a: Value, b: Value) -> Value:
    """a + b"""
    if type(a) is int and type(b) is int:
        return (a + b) & WORD
    if type(a) is Named and type(b) is int:
        return a.moved(b)
    if type(b) is Named and type(a) is int:
        return b.moved(a)
    return apply(int.__add__, a, b)


def minus(a: Value, b: Value) -> Value:
    """a - b"""
    if type(b) is int:
        return plus(a, -b & WORD)
    if type(a) is Named and type(b) is Named and a.name == b.name:
        return (a.offset - b.offset) & WORD
    return apply(int.__sub__, a, b)


def apply(function: Callable[..., int], *operands: Value) -> Value:
    """A function of numbers, of values."""
    combinations: list[tuple[int, ...]] = [()]
    for operand in operands:
        numbers = numbers_of(operand)
        if numbers is None or len(combinations) * len(numbers) > 16 * MOST:
            return ANY
        combinations = [(*c, n) for c in combinations for n in numbers]
    return values_of({function(*c) & WORD for c in combinations})


def signed(number: int) -> int:
    """A word as a number with a sign."""
    return number - (1 << 32) if number & 0x80000000 else number


# ---------------------------------------------------------------------------------------- flags


def _where(test: Callable[[int, int, int, int], bool]) -> int:
    """The mask of those flags for which a condition holds."""
    each = (((i >> 3) & 1, (i >> 2) & 1, (i >> 1) & 1, i & 1) for i in range(16))
    return sum(1 << i for i, flags in enumerate(each) if test(*flags))


CONDITIONS = {
    "eq": _where(lambda n, z, c, v: z == 1),
    "cs": _where(lambda n, z, c, v: c == 1),
    "mi": _where(lambda n, z, c, v: n == 1),
    "vs": _where(lambda n, z, c, v: v == 1),
    "hi": _where(lambda n, z, c, v: c == 1 and z == 0),
    "ge": _where(lambda n, z, c, v: n == v),
    "gt": _where(lambda n, z, c, v: n == v and z == 0),
}
for _name, _other in zip(list(CONDITIONS), ("ne", "cc", "pl", "vc", "ls", "lt", "le"), strict=True):
    CONDITIONS[_other] = ALL_FLAGS ^ CONDITIONS[_name]
CONDITIONS |= {"hs": CONDITIONS["cs"], "lo": CONDITIONS["cc"]}
"""Condition of an instruction -> the flags for which it holds."""


def flags_of_sum(a: int, b: int, carry: int) -> int:
    """The flags (0 .. 15) after a + b + carry; a - b is a + ~b + 1."""
    total = a + b + carry
    result = total & WORD
    overflow = ((a ^ result) & (b ^ result)) >> 31
    return result >> 31 << 3 | (result == 0) << 2 | total >> 32 << 1 | overflow


def flags_after_sum(a: Value, b: Value) -> int:
    """The mask of `flags_of_sum` of a + b."""
    return _flags(a, b, lambda x, y: flags_of_sum(x, y, 0))


def flags_after_difference(a: Value, b: Value) -> int:
    """The mask of `flags_of_sum` of a - b."""
    if type(a) is Named and type(b) is Named and a.name == b.name:
        if a.base is None:  # the result is known, what was carried is not
            return flags_of_result((a.offset - b.offset) & WORD)
        mask = 0
        for n in a.base:
            x, y = (n + a.offset) & WORD, (n + b.offset) & WORD
            mask |= 1 << flags_of_sum(x, y ^ WORD, 1)
        return mask
    return _flags(a, b, lambda x, y: flags_of_sum(x, y ^ WORD, 1))


def flags_by_result(a: Value, b: Value, adds: bool) -> dict[int, int] | None:
    """Each number that a + b (or a - b) can be -> the mask of the flags that go with it."""
    left, right = numbers_of(a), numbers_of(b)
    if left is None or right is None or len(left) * len(right) == 1:
        return None
    found: dict[int, int] = {}
    for x in left:
        for y in right:
            flags = flags_of_sum(x, y, 0) if adds else flags_of_sum(x, y ^ WORD, 1)
            result = (x + y if adds else x - y) & WORD
            found[result] = found.get(result, 0) | 1 << flags
    return found


def _flags(a: Value, b: Value, of: Callable[[int, int], int]) -> int:
    if type(a) is int and type(b) is int:
        return 1 << of(a, b)
    left, right = numbers_of(a), numbers_of(b)
    if left is None or right is None:
        return ALL_FLAGS
    mask = 0
    for x in left:
        for y in right:
            mask |= 1 << of(x, y)
    return mask


def flags_of_each(result: Value) -> dict[int, int] | None:
    """Each number of a result of several -> the mask of `flags_of_result`."""
    numbers = numbers_of(result)
    if numbers is None or len(numbers) == 1:
        return None
    return {n: flags_of_result(n) for n in numbers}


def flags_of_result(result: Value, carry: int | None = None) -> int:
    """After a logical instruction: N and Z by the result, C as given or either, V either."""
    carries = (0, 1) if carry is None else (carry,)
    numbers = numbers_of(result)
    pairs = {(n >> 31, n == 0) for n in numbers} if numbers else {(0, 0), (0, 1), (1, 0)}
    mask = 0
    for negative, zero in pairs:
        for c in carries:
            mask |= 3 << (negative << 3 | zero << 2 | c << 1)
    return mask
