"""Even shares of what is read by one instruction."""

from __future__ import annotations

import pytest

from nn4mc_codegen.printing.registers import READ_AT_ONCE_MAX, share


@pytest.mark.parametrize(
    ("width", "free", "expected"),
    [(20, 12, 10), (12, 12, 12), (13, 12, 7), (40, 30, 14), (5, 0, 0), (5, -3, 0)],
)
def test_share(width, free, expected):
    assert share(width, free) == expected


def test_shares_fit_and_are_as_few_as_can_be():
    for width in range(1, 70):
        for free in range(1, 40):
            found = share(width, free)
            most = min(free, READ_AT_ONCE_MAX)
            assert 0 < found <= most
            assert -(-width // found) == -(-width // most)
