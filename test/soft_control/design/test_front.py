from __future__ import annotations

import pytest

from soft_control.design.front import dominates, figures, front, ranked, worthy
from soft_control.design.settings import Budget, Costs

FOUND = [
    ("cheap", (3.0, 1.0)),
    ("middle", (2.0, 2.0)),
    ("good", (1.0, 4.0)),
    ("worse than middle", (2.0, 3.0)),
    ("worse than all", (4.0, 5.0)),
]


def costs(**changes) -> Costs:
    fields = dict(
        flash_bytes=25_000, ram_bytes=20_000, instructions=14_000, instructions_max=15_000,
        power_mw=10.9,
    )  # fmt: skip
    return Costs(**fields | changes)


def test_one_dominates_another_only_by_being_better():
    assert dominates((1.0, 1.0), (1.0, 2.0))
    assert not dominates((1.0, 1.0), (1.0, 1.0))
    assert not dominates((1.0, 3.0), (2.0, 2.0))


def test_the_front_is_what_nothing_dominates():
    assert front(FOUND) == ["cheap", "middle", "good"]


def test_equal_ones_are_both_on_it():
    assert front([("a", (1.0, 1.0)), ("b", (1.0, 1.0))]) == ["a", "b"]


def test_what_errs_three_times_as_much_as_the_best_is_worth_nothing():
    assert [item for item, _ in worthy(FOUND)] == [
        "cheap", "middle", "good", "worse than middle",
    ]  # fmt: skip


def test_front_after_front_until_there_are_enough():
    assert ranked(FOUND, 4) == ["cheap", "middle", "good", "worse than middle"]
    assert ranked(FOUND, 9) == [item for item, _ in FOUND]
    assert ranked([], 3) == []


def test_of_a_front_that_is_too_long_the_ends_stay():
    assert ranked(FOUND, 2) == ["cheap", "good"]
    assert ranked(FOUND, 1) == ["cheap"]


def test_differences_that_nobody_can_trust_are_none():
    assert figures(1.004, costs()) == figures(0.997, costs(flash_bytes=24_900, instructions=14_040))
    assert figures(1.004, costs()) != figures(1.02, costs())


@pytest.mark.parametrize(
    ("limit", "said"),
    [
        ({"flash_bytes": 24_000}, "flash 25,000 B, not 24,000"),
        ({"ram_bytes": 19_999}, "RAM 20,000 B, not 19,999"),
        ({"instructions": 14_500}, "longest step 15,000 instructions, not 14,500"),
        ({"power_mw": 10.0}, "11 mW, not 10 mW"),
    ],
)
def test_a_budget_says_which_limit_is_exceeded(limit, said):
    budget = Budget(**limit)
    (name,) = limit
    assert budget.beyond(costs()) == said
    assert budget.excess(costs())[name] > 0
    assert Budget(**{name: 2 * limit[name]}).beyond(costs()) == ""


def test_a_part_that_is_too_slow_is_beyond_every_budget():
    late = costs(too_slow="STM32F405: longest step takes 80 % of the period")
    assert Budget().beyond(late) == "STM32F405: longest step takes 80 % of the period"
    assert max(Budget().excess(late).values()) > 0
    assert Budget().beyond(costs()) == "" and max(Budget().excess(costs()).values()) <= 0


def test_a_budget_in_words():
    assert Budget().line() == "no limit"
    budget = Budget(flash_bytes=32768, instructions=25000, power_mw=15)
    assert budget.line() == "flash 32,768 B, 25,000 instructions a step, 15 mW"
