"""Every fault of config/faults/ from which a whole run goes on as if nothing had been."""

from __future__ import annotations

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed: pip install soft_control[ros]")

from soft_control.faults.graph_stand import shared_run  # noqa: E402

from .chosen import faults_of  # noqa: E402

PASSING = [one for one in faults_of("graph") if shared_run(one.values[0]) is not None]


@pytest.mark.parametrize(("fault", "changes"), PASSING)
def test_a_run_is_the_same_to_the_last_bit(outcome_of, fault, changes):
    assert outcome_of(fault).failures == []
