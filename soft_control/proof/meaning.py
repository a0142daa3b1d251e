"""What each instruction of a Cortex-M4F does to what is known (Armv7-M Architecture Manual, A7).

`meaning` makes a function of a State from one instruction. Arithmetic on floats gives a value of
which nothing is known; floats that are moved, loaded and stored keep their bits, because the
compiler also puts integers there. An instruction that is not in a table here is refused, not
guessed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from nn4mc_codegen.trial.cycles import Instruction
from soft_control.proof.instructions import (
    FLOAT_ARITHMETIC,
    KNOWN,
    LOADS,
    LOGIC,
    NOTHING,
    PRODUCT_SUMS,
    STORES,
    SUMS,
    TESTS,
    UNARY,
    UNKNOWN_RESULT,
    WIDE_PRODUCTS,
    Binary,
)
from soft_control.proof.operands import (
    NAMES,
    SHIFTS,
    UnknownInstruction,
    address,
    immediate,
    reader,
    register,
    registers,
    split,
    with_name,
)
from soft_control.proof.state import PC, SP, Memory, State
from soft_control.proof.values import (
    ALL_FLAGS,
    ANY,
    CONDITIONS,
    WORD,
    Value,
    apply,
    flags_after_difference,
    flags_after_sum,
    flags_by_result,
    flags_of_each,
    flags_of_result,
    minus,
    plus,
)

Effect = Callable[[State], None]


def conditions_of(block: Mapping[int, Instruction]) -> dict[int, str]:
    """Address -> condition of those instructions that an IT before them makes conditional."""
    found: dict[int, str] = {}
    left: list[str] = []
    for at, instruction in block.items():
        if left:
            found[at] = left.pop(0)
        elif re.fullmatch(r"it[te]{0,3}", instruction.mnemonic):
            condition = instruction.operands
            (other,) = (
                name
                for name, mask in CONDITIONS.items()
                if mask == ALL_FLAGS ^ CONDITIONS[condition] and name not in ("hs", "lo")
            )
            each = {"t": condition, "e": other}
            left = [condition, *(each[letter] for letter in instruction.mnemonic[2:])]
    return found


def meaning(at: int, instruction: Instruction, condition: str | None, memory: Memory) -> Effect:
    """The effect of an instruction that does not branch. Raises UnknownInstruction."""
    name, _, kind = instruction.mnemonic.partition(".")
    if re.fullmatch(r"it[te]{0,3}", name):
        return _nothing
    if condition is not None:
        name = name.removesuffix(condition)
    words = split(instruction.operands)
    if name in KNOWN:
        effect = _effect(name, words, at, memory, sets_flags=False)
    elif name.endswith("s") and name[:-1] in KNOWN:
        effect = _effect(name[:-1], words, at, memory, sets_flags=True)
    else:
        raise UnknownInstruction(f"instruction {instruction.mnemonic} {instruction.operands}")
    return effect if condition is None else _conditional(effect, CONDITIONS[condition])


def _nothing(state: State) -> None:
    pass


def either_way(effects: list[Effect], holds: int, narrows: Callable[[State, int], None]) -> Effect:
    """Conditional instructions behind one another: where it is not known whether the condition of
    the first one holds, both ways are gone to the end, and only then become one.

    narrows: leaves of a state what goes with the flags of a mask.
    """

    def run(state: State) -> None:
        other = None
        if state.flags & holds and state.flags & ~holds:
            other = state.copy()
            state.flags &= holds
            other.flags &= ~holds
            narrows(state, holds)
            narrows(other, ALL_FLAGS ^ holds)
        for each in (state, other):
            for effect in effects if each is not None else ():
                effect(each)
        if other is not None:
            state.join(other)

    return run


def _conditional(effect: Effect, holds: int) -> Effect:
    def run(state: State) -> None:
        if not state.flags & holds:
            return
        if not state.flags & ~holds:
            effect(state)
            return
        before = state.copy()
        effect(state)
        state.join(before)

    return run


def _effect(name: str, words: list[str], at: int, memory: Memory, sets_flags: bool) -> Effect:
    after = at + 4
    if name in NOTHING or name == "vmsr":
        return _nothing
    if name == "vmrs" or name in ("vcmp", "vcmpe"):
        return _vmrs if words[0] == "APSR_nzcv" else _nothing
    if name in TESTS:
        return _test(name, register(words[0]), words[1:], after)
    if name in SUMS:
        return _sum(name, words, after, sets_flags)
    if name == "adr":
        return _set(register(words[0]), reader(words[1:], after))
    if name in UNARY:
        return _unary(name, words, after, sets_flags)
    if name == "movt":
        return _movt(register(words[0]), immediate(words[1]) or 0)
    if name in LOGIC:
        return _logic(name, words, after, sets_flags)
    if name in PRODUCT_SUMS:
        return _of_registers(PRODUCT_SUMS[name], [register(w) for w in words])
    if name in WIDE_PRODUCTS:
        return _wide_product(WIDE_PRODUCTS[name], [register(w) for w in words])
    if name == "ubfx":
        low, mask = immediate(words[2]) or 0, (1 << (immediate(words[3]) or 1)) - 1
        return _of_registers(lambda a: a >> low & mask, [register(w) for w in words[:2]])
    if name in UNKNOWN_RESULT:
        return _unknown([register(w) for w in words[: UNKNOWN_RESULT[name]]], sets_flags)
    if name in LOADS:
        return _load(name, words, after, memory)
    if name in STORES:
        return _store(name, words, at, memory)
    if name in ("vldr", "vstr"):
        return _float_memory(name, words, at, memory)
    if name in FLOAT_ARITHMETIC:
        return _unknown(registers(words[0]), False)
    if name == "vmov":
        return _vmov(words)
    return _several(name, words, at, memory)


def _vmrs(state: State) -> None:
    state.flags = ALL_FLAGS


def _set(to: int, read: Callable[[State], Value]) -> Effect:
    def run(state: State) -> None:
        state.registers[to] = read(state)

    return run


def _of_registers(function: Callable[..., int], words: list[int]) -> Effect:
    to, *by = words

    def run(state: State) -> None:
        state.registers[to] = apply(function, *(state.registers[index] for index in by))

    return run


def _wide_product(function: Binary, words: list[int]) -> Effect:
    low, high, first, second = words

    def run(state: State) -> None:
        a, b = state.registers[first], state.registers[second]
        state.registers[low] = apply(function, a, b)
        state.registers[high] = apply(lambda x, y: function(x, y) >> 32, a, b)

    return run


def _unknown(results: list[int], sets_flags: bool) -> Effect:
    def run(state: State) -> None:
        for index in results:
            state.registers[index] = ANY
        if sets_flags:
            state.flags = ALL_FLAGS

    return run


def _test(name: str, left: int, words: list[str], after: int) -> Effect:
    right = reader(words, after)
    if name == "cmp":

        def run(state: State) -> None:
            state.flags = flags_after_difference(state.registers[left], right(state))

    elif name == "cmn":

        def run(state: State) -> None:
            state.flags = flags_after_sum(state.registers[left], right(state))

    else:
        function = LOGIC["and" if name == "tst" else "eor"]

        def run(state: State) -> None:
            state.flags = flags_of_result(_both(function, state.registers[left], right(state)))

    return run


def _sum(name: str, words: list[str], after: int, sets_flags: bool) -> Effect:
    to = register(words[0])
    if name == "neg":
        words = [words[0], words[1], "#0"]
    elif len(words) == 2 or (len(words) == 3 and " " in words[2]):
        words = [words[0], *words]
    if name in ("adc", "sbc"):
        return _unknown([to], sets_flags)
    which = register(words[1])
    first, last = reader([words[1]], after), reader(words[2:], after)
    if which == PC:
        first = reader([f"#{after & ~3}"], after)
    if name in ("rsb", "neg"):
        first, last = last, first
    moves = plus if name in ("add", "addw") else minus
    flags = flags_after_sum if moves is plus else flags_after_difference

    def run(state: State) -> None:
        b = last(state)
        a = first(state)
        if type(a) is not int and type(b) is int:
            a = with_name(state, which)
        state.registers[to] = moves(a, b)
        if sets_flags:
            state.flags = flags(a, b)
            state.told = flags_by_result(a, b, moves is plus)

    return run


def _unary(name: str, words: list[str], after: int, sets_flags: bool) -> Effect:
    to, read, function = register(words[0]), reader(words[1:], after), UNARY[name]
    plain = name in ("mov", "movw")
    named = NAMES.get(words[1], PC) if plain and len(words) == 2 else PC

    def run(state: State) -> None:
        value = with_name(state, named) if named != PC else read(state)
        result = value if plain else apply(function, value)
        state.registers[to] = result
        if sets_flags:
            state.flags = flags_of_result(result)
            state.told = flags_of_each(result)

    return run


def _movt(to: int, high: int) -> Effect:
    def run(state: State) -> None:
        state.registers[to] = apply(lambda a: a & 0xFFFF | high << 16, state.registers[to])

    return run


def _both(function: Binary, a: Value, b: Value) -> Value:
    """A logical function; what a small mask leaves of something unknown is known to be small."""
    if type(a) is int and type(b) is int:
        return function(a, b) & WORD
    if function is LOGIC["and"] and a is ANY and type(b) is int and b.bit_count() <= 5:
        bits = [1 << i for i in range(32) if b >> i & 1]
        found = {0}
        for bit in bits:
            found |= {n | bit for n in found}
        return frozenset(found) if len(found) > 1 else 0
    return apply(function, a, b)


def _logic(name: str, words: list[str], after: int, sets_flags: bool) -> Effect:
    to = register(words[0])
    if len(words) == 2 or (len(words) == 3 and " " in words[2]):
        words = [words[0], *words]
    left, right, function = register(words[1]), reader(words[2:], after), LOGIC[name]
    by = immediate(words[2])

    def run(state: State) -> None:
        a = state.registers[left]
        result = _both(function, a, right(state))
        state.registers[to] = result
        if sets_flags:
            carry = None
            if by and name in SHIFTS and type(a) is int:
                carry = a >> (32 - by) & 1 if name == "lsl" else a >> (by - 1) & 1
            state.flags = flags_of_result(result, carry)
            state.told = flags_of_each(result)

    return run


def _extended(value: Value, size: int) -> Value:
    """A loaded byte or half with its sign."""
    half = 1 << (-8 * size - 1)
    return apply(lambda a: (a ^ half) - half, value)


def _load(name: str, words: list[str], after: int, memory: Memory) -> Effect:
    size = LOADS[name]
    if size == 8:
        first, second, place = register(words[0]), register(words[1]), address(words[2:], after)

        def run(state: State) -> None:
            where = place.take(state)
            high = memory.load(state, plus(where, 4), 4)
            state.registers[first] = memory.load(state, where, 4)
            state.registers[second] = high

        return run
    to, place = register(words[0]), address(words[1:], after)

    def run(state: State) -> None:
        value = memory.load(state, place.take(state), abs(size))
        state.registers[to] = value if size > 0 else _extended(value, size)

    return run


def _store(name: str, words: list[str], at: int, memory: Memory) -> Effect:
    size = STORES[name]
    if size == 8:
        first, second, place = register(words[0]), register(words[1]), address(words[2:], at + 4)

        def run(state: State) -> None:
            a, b = state.registers[first], state.registers[second]
            where = place.take(state)
            memory.store(state, where, 4, a, place.own, at)
            memory.store(state, plus(where, 4), 4, b, place.own, at)

        return run
    what, place = register(words[0]), address(words[1:], at + 4)
    mask = (1 << 8 * size) - 1

    def run(state: State) -> None:
        value = state.registers[what]
        if size < 4:
            value = apply(lambda a: a & mask, value)
        memory.store(state, place.take(state), size, value, place.own, at)

    return run


def _float_memory(name: str, words: list[str], at: int, memory: Memory) -> Effect:
    which, place = registers(words[0]), address(words[1:], at + 4)

    def run(state: State) -> None:
        where = place.take(state)
        for number, index in enumerate(which):
            here = plus(where, 4 * number)
            if name == "vldr":
                state.registers[index] = memory.load(state, here, 4)
            else:
                memory.store(state, here, 4, state.registers[index], place.own, at)

    return run


def _vmov(words: list[str]) -> Effect:
    names = [w for w in words if not w.startswith("#")]
    if len(names) < len(words) or any("[" in w for w in names):  # a constant, or half a double
        return _unknown(registers(names[0].partition("[")[0]), False)
    each = [registers(w) if w[0] == "d" else [register(w)] for w in names]
    flat = [index for group in each for index in group]
    if len(each) == 3:  # a double and a pair
        flat = each[0] + each[1] + each[2]
    half = len(flat) // 2
    to, by = flat[:half], flat[half:]

    def run(state: State) -> None:
        values = [state.registers[index] for index in by]
        for index, value in zip(to, values, strict=True):
            state.registers[index] = value

    return run


def _several(name: str, words: list[str], at: int, memory: Memory) -> Effect:
    """Loads and stores of several registers."""
    if name in ("push", "vpush"):
        name, words = "stmdb", ["sp!", words[0]]
    elif name in ("pop", "vpop"):
        name, words = "ldmia", ["sp!", words[0]]
    name = name.removeprefix("v")
    base, which = register(words[0].rstrip("!")), registers(words[1])
    back, own, size = words[0].endswith("!"), base == SP, 4 * len(registers(words[1]))
    down, loads = name.endswith("db"), name.startswith("ldm")

    def run(state: State) -> None:
        start = with_name(state, base)
        first = minus(start, size) if down else start
        values = [state.registers[index] for index in which]
        if back:
            state.registers[base] = first if down else plus(start, size)
        for number, index in enumerate(which):
            here = plus(first, 4 * number)
            if loads:
                state.registers[index] = memory.load(state, here, 4)
            else:
                memory.store(state, here, 4, values[number], own, at)

    return run
