"""Every fault of config/faults/ that ends a whole run, or would if it could."""

from __future__ import annotations

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed: pip install soft_control[ros]")

from soft_control.faults.graph_stand import shared_run  # noqa: E402

from .chosen import faults_of  # noqa: E402

ENDING = [one for one in faults_of("graph") if shared_run(one.values[0]) is None]


@pytest.mark.parametrize(("fault", "changes"), ENDING)
def test_a_run_ends_as_its_line_says(outcome_of, fault, changes):
    assert outcome_of(fault).failures == []
