"""Which machines the ROS graph can be reached from: this one, unless somebody asks for more."""

from __future__ import annotations

from collections.abc import MutableMapping

from soft_control import paths

DISCOVERY = "ROS_AUTOMATIC_DISCOVERY_RANGE"
"""LOCALHOST, SUBNET, OFF or SYSTEM_DEFAULT: where ROS looks for nodes."""
PROFILES = "FASTDDS_DEFAULT_PROFILES_FILE"


def keep_to_loopback(environment: MutableMapping[str, str]) -> None:
    """Nodes that start with this environment talk on the loopback, and listen there only.

    Who has set DISCOVERY to something else has asked for more and gets it; profiles of somebody's
    own stay. Before rclpy.init, which reads both.
    """
    if environment.setdefault(DISCOVERY, "LOCALHOST") == "LOCALHOST":
        environment.setdefault(PROFILES, str(paths.share() / "config" / "loopback.xml"))
