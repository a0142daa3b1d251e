"""ROS 2 nodes, one file each: they wire, the other rooms think."""
