"""Where faults are tried: the table of stands."""

from __future__ import annotations

from soft_control.faults import sil_stand
from soft_control.faults.fault import Fault

CHECKS = {"sil": sil_stand.check}


def check(fault: Fault) -> None:
    """Raises ValueError where its stand knows no such fault."""
    CHECKS[fault.stand](fault)
