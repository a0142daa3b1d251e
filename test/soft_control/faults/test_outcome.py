"""A fault fails where anything is not as expected; the page says all of it."""

from __future__ import annotations

import pytest

from soft_control.faults.fault import Fault
from soft_control.faults.outcome import Loss, Outcome
from soft_control.faults.report import in_a_line, page


def outcome(expect: dict, **seen) -> Outcome:
    fault = Fault(name="some", what="drop", where="sensor_in", every=7, expect=expect)
    made = Outcome(fault, **{"state": "running", "cause": "none", **seen})
    made.judge()
    return made


STOPPED = {"state": "stopped", "cause": "host_lost", "tolerated_ms": 100}
SAFE = {"state": "stopped", "cause": "host_lost", "safe_ms": 119.0}


@pytest.mark.parametrize(
    ("expect", "seen", "failure"),
    [
        ({}, {}, None),
        (STOPPED, SAFE, None),
        (STOPPED, SAFE | {"safe_ms": 121.0}, "21.0 ms after the 100 ms that are tolerated"),
        (STOPPED, SAFE | {"safe_ms": None}, "never went to the safe output"),
        (STOPPED, SAFE | {"cause": "asked"}, "is stopped: asked, not stopped: host_lost"),
        ({}, {"safe_ms": 3.0}, "went to the safe output"),
        ({}, {"losses": [Loss("samples", 5, 4)]}, "lost uncounted: 4 of 5 samples"),
        ({}, {"losses": [Loss("samples", 5, 5)]}, None),
        ({"lost": "none"}, {"losses": [Loss("samples", 5, 5)]}, "lost 5"),
        ({"lost": "some"}, {"losses": [Loss("samples", 0, 0)]}, "no fault at all"),
        ({"says": "gone"}, {"said": "all is well"}, "in which is no 'gone'"),
    ],
)
def test_what_is_not_as_expected_is_said(expect, seen, failure):
    judged = outcome(expect, **seen)
    assert judged.passed == (failure is None)
    assert failure is None or failure in judged.failures[0]


def test_what_is_late_alone_may_be_measured_again():
    late = SAFE | {"safe_ms": 121.0}
    assert outcome(STOPPED, **late).late_alone
    assert not outcome(STOPPED, **SAFE).late_alone
    assert not outcome(STOPPED, **late | {"cause": "asked"}).late_alone
    assert not outcome(STOPPED | {"says": "boot"}, **late, by_the_wall=True).late_alone


def test_the_page_has_a_line_for_each_fault_and_escapes_what_is_in_it():
    good = outcome({"tolerated_ms": 100}, safe_ms=108.0, losses=[Loss("samples", 2, 3)])
    bad = outcome({"says": "a | b"}, said="x")
    text = page([good, bad])
    lines = [line for line in text.splitlines() if line.startswith("| some |")]
    assert len(lines) == 2 and "| 108.0 | 2 samples |" in lines[0]
    assert r"a \| b" in lines[1] and "**said 'x'" in lines[1]
    assert "the longest was 8.0" in text
    said = in_a_line([good, bad], 3.0)
    assert said.startswith("2 faults, 1 not as expected; safe output at most 8.0 ms")
    assert "2 samples, reports and frames lost, none uncounted; 3 s" in said
