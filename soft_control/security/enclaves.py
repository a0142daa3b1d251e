"""Which enclave a node's process is in: words for its command line."""

from __future__ import annotations

import os

KEYSTORE = "ROS_SECURITY_KEYSTORE"


def enclave_words(node: str, namespace: str = "") -> list[str]:
    """Behind --ros-args: the enclave that `softctl secure` has made for this node; none where there
    is no keystore in the environment."""
    return ["--enclave", f"{namespace}/{node}"] if os.environ.get(KEYSTORE) else []


def init_words(node: str, namespace: str = "") -> list[str] | None:
    """The same for rclpy.init in this process; None: it reads the command line."""
    words = enclave_words(node, namespace)
    return ["--ros-args", *words] if words else None
