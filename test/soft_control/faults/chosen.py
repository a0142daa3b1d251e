"""Faults of config/faults/ as parameters of tests."""

from __future__ import annotations

import pytest

from soft_control.faults.reading import fault_files, read_faults


def faults_of(*names: str) -> list[pytest.param]:
    """(fault, changes) of those stands, for pytest.mark.parametrize."""
    there = read_faults(fault_files())
    return [pytest.param(*pair, id=pair[0].name) for pair in there if pair[0].stand in names]
