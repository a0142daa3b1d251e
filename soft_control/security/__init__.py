"""Who may say what in the ROS graph: the permissions of each node, and its keys."""
