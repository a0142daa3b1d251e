"""The ROS domains in which `softctl run` is at work on this machine (Linux, proc(5))."""

from __future__ import annotations

import re
from pathlib import Path

SOCKETS = Path("/proc/net/unix")
LOCK = re.compile(r"@soft_control/ros_domain/(\d+)$", re.MULTILINE)
"""What `experiment.runner.ros_domain` holds while a run goes: an abstract socket."""


def running(sockets: Path = SOCKETS) -> list[int]:
    """Domains of the runs that are under way, in order; none where the system does not say."""
    try:
        listed = sockets.read_text(errors="replace")
    except OSError:
        return []
    return sorted({int(domain) for domain in LOCK.findall(listed)})
