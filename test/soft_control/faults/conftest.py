"""Faults of a module, tried several at once while its tests wait for their own."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator

import pytest

from soft_control.faults.fault import Fault
from soft_control.faults.outcome import Outcome
from soft_control.faults.stands import stands

JOBS = 2
"""Tried at once: those that start or end wait half of the time."""


@pytest.fixture(scope="module")
def outcome_of(request, tendon_model) -> Iterator[Callable[[Fault], Outcome]]:
    """outcome_of(fault), which every test of the module has as its parameters."""
    for tool in ("arm-none-eabi-gcc", "qemu-system-arm"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    of_tests = [
        item.callspec.params
        for item in request.session.items
        if item.path == request.path and hasattr(item, "callspec")
    ]
    chosen = [(one["fault"], one["changes"]) for one in of_tests if "fault" in one]
    with stands(tendon_model.model, "") as ready, ready.trying(chosen, JOBS) as waiting:
        yield lambda fault: waiting[fault.name]()
