"""Every fault of config/faults/ that is tried on the board's ELF under QEMU, or on the host's end
of its line. Times are the emulated microcontroller's: a busy machine makes none of them later."""

from __future__ import annotations

import pytest

from .chosen import faults_of


@pytest.mark.parametrize(("fault", "changes"), faults_of("pil", "session"))
def test_what_follows_is_what_its_line_says(outcome_of, fault, changes):
    assert outcome_of(fault).failures == []
