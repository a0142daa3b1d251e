"""Which runs are under way."""

from __future__ import annotations

import os

from soft_control.experiment.runner import ros_domain
from soft_control.run_domains import domain_of, running


def test_the_domain_of_a_run_is_found_and_goes_with_it():
    with ros_domain() as domain:
        assert domain in running() and domain_of(os.getpid()) == domain
        with ros_domain() as other:
            assert {domain, other} <= set(running())
    assert domain_of(2**30) is None


def test_only_locks_of_runs_count(tmp_path):
    sockets = tmp_path / "unix"
    sockets.write_text(
        "Num RefCount Protocol Flags Type St Inode Path\n"
        "0000: 00000002 00000000 00000000 0002 01 1 @soft_control/ros_domain/12\n"
        "0000: 00000002 00000000 00000000 0002 01 2 @soft_control/ros_domain/3\n"
        "0000: 00000002 00000000 00000000 0002 01 3 @soft_control/ros_domain/\n"
        "0000: 00000002 00000000 00000000 0002 01 4 /tmp/soft_control/ros_domain/9\n"
    )
    assert running(sockets) == [3, 12]
    assert running(tmp_path / "none") == []
