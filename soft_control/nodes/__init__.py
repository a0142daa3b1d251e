"""ROS 2 nodes, one file each: they wire, the other rooms think."""

import os

# What a node multiplies is small: threads for it take a fifth of a node's start, and help nothing.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# All nodes of a run start at once, and a robot waits for the last: pydantic need not look through
# all that is installed for plugins.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
