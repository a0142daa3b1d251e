"""Bounds of small functions, against what the emulator counts where each goes its longest way."""

from __future__ import annotations

import random
from collections.abc import Iterator

import numpy as np
import pytest

from .conftest import HERE, INPUTS, Cases

# Function -> an input with which it goes its longest way, and by how much the bound may be above
# it.
LONGEST = {
    "fixed": ([1] * INPUTS, 0),
    "many": ([1] * INPUTS, 0),
    "triangle": ([1] * INPUTS, 0),
    "table": ([3, 5], 0),
    "early": ([1] * INPUTS, 0),
    "calls": ([1] * INPUTS, 0),
    "exclusive": ([-1], 0),
    "noted": ([9], 8),  # a loop that is tested at its end may turn once more than the note says
    "copies": ([1] * INPUTS, 0),
    "pointed": ([1], 0),
}
REFUSED = {
    "endless": "a loop whose turns are not known; say LOOP_BOUND",
    "again": "recursion: it calls again, in which it is; write it as a loop",
    "unknown": "a call of something that is no function of the image; say which",
    "waiting": "a loop whose turns are not known",
}


@pytest.fixture(scope="module", params=["-O2", "-Os"])
def cases(request, build_cases) -> Cases:
    names = [*LONGEST, "library", *REFUSED]
    return build_cases((HERE / "cases.c").read_text(), names, request.param)


def test_the_bound_is_what_the_longest_way_takes(cases):
    counted = cases.measured([(name, numbers) for name, (numbers, _) in LONGEST.items()])
    for (name, (_, above)), took in zip(LONGEST.items(), counted, strict=True):
        found = cases.bound(name)
        assert not found.problems, name
        assert took <= found.whole.instructions <= took + above, name
        assert found.whole.cycles > found.whole.instructions


def test_no_input_takes_longer(cases):
    rng = np.random.default_rng(5)
    calls = [(name, rng.integers(-9, 10, INPUTS).tolist()) for name in LONGEST for _ in range(30)]
    bounds = {name: cases.bound(name).whole.instructions for name in LONGEST}
    for (name, numbers), took in zip(calls, cases.measured(calls), strict=True):
        assert took <= bounds[name], (name, numbers)


def test_the_c_library_is_bounded_too(cases):
    numbers = [*range(-12000, 12000, 800), 0, 1, -1, 2**31 - 1, -(2**31)]
    counted = cases.measured([("library", [number]) for number in numbers])
    found = cases.bound("library")
    assert not found.problems
    assert max(counted) <= found.whole.instructions <= 1.5 * max(counted)


def test_what_cannot_be_bounded_is_refused_with_its_place(cases):
    for name, said in REFUSED.items():
        problem, *_ = cases.bound(name).problems
        assert problem.function == name and problem.place.startswith("cases.c:")
        assert said in str(problem) and f"0x{problem.address:08x}" in str(problem)


def test_loops_are_told_with_their_turns(cases):
    found = cases.bound("noted")
    (loop,) = found.loops
    assert loop.annotated == 9 and loop.function == "noted"


# ----------------------------------------------------------------------- programs by chance


def written(chance: random.Random, depth: int, indent: str) -> Iterator[str]:
    """Statements with loops of constant bounds, ways that depend on data, and ways out."""
    for _ in range(chance.randint(1, 3)):
        kind = chance.choice(["sum", "sum", "if", "for", "while", "switch", "store", "out"])
        value = f"(uint32_t)in[(s + {chance.randint(0, 15)}u) & 15u]"
        name = f"i{depth}_{chance.randint(0, 10**6)}"
        if kind == "sum" or depth == 0:
            yield f"{indent}s = s * {chance.randint(3, 99)}u + {value};"
        elif kind == "store":
            yield f"{indent}mine[s & 7u] = {value}; s += mine[{chance.randint(0, 7)}];"
        elif kind == "out":
            yield f"{indent}if ({value} == {chance.randint(0, 3)}u) return s;"
        elif kind == "if":
            yield f"{indent}if ({value} > {chance.randint(0, 6)}u) {{"
            yield from written(chance, depth - 1, indent + "    ")
            yield f"{indent}}} else {{"
            yield from written(chance, depth - 1, indent + "    ")
            yield f"{indent}}}"
        elif kind == "for":
            last = chance.randint(1, 7)
            yield f"{indent}for (uint32_t {name} = 0; {name} < {last}u; {name}++) {{"
            yield from written(chance, depth - 1, indent + "    ")
            left = chance.choice(["break", "continue"])
            yield f"{indent}    if ({value} == {name}) {left};"
            yield f"{indent}    s ^= {name};"
            yield f"{indent}}}"
        elif kind == "while":
            yield f"{indent}int {name} = {chance.randint(3, 20)};"
            yield f"{indent}while ({name} > 0) {{"
            yield from written(chance, depth - 1, indent + "    ")
            step = chance.randint(1, 4)
            yield f"{indent}    {name} -= {value} & 1u ? {step} : {chance.randint(1, 4)};"
            yield f"{indent}}}"
        else:
            yield f"{indent}switch ({value} & 7u) {{"
            for case in range(chance.randint(2, 8)):
                yield f"{indent}case {case}:"
                yield from written(chance, depth - 1, indent + "    ")
                yield f"{indent}    {chance.choice(['break;', '/* and on */;'])}"
            yield f"{indent}}}"


@pytest.mark.parametrize("level", ["-O2"])
def test_programs_made_by_chance_never_take_longer(level, build_cases):
    chance = random.Random(f"proof {level}")
    names = [f"chance_{number}" for number in range(10)]
    source = '#include "cases.h"\n'
    for name in names:
        body = "\n".join(written(chance, 3, "    "))
        source += f"uint32_t {name}(const int32_t *in)\n{{\n    uint32_t s = 1u, mine[8] = {{0}};\n"
        source += f"    (void)mine;\n{body}\n    return s;\n}}\n"
    cases = build_cases(source, names, level)
    rng = np.random.default_rng(7)
    calls = [
        (name, rng.integers(0, most, INPUTS).tolist())
        for name in names
        for most in (2, 4, 9, 2**31 - 1)
        for _ in range(10)
    ]
    longest: dict[str, int] = {}
    for (name, _), took in zip(calls, cases.measured(calls), strict=True):
        longest[name] = max(took, longest.get(name, 0))
    executor = cases.executor()
    refused = []
    for name in names:
        found = cases.bound(name, executor=executor)
        if found.problems:
            refused.append(name)
        else:
            assert longest[name] <= found.whole.instructions, name
    assert len(refused) <= len(names) // 3, refused  # registers that depend on one another
