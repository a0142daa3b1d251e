"""A web page on the loopback that shows a running graph and switches it: `softctl monitor`.

    graph (ROS thread) -> robots -> history (ring of rows) -> wire -> server (asyncio) -> page
    page -> server -> graph -> rcl_interfaces/SetParameters

What turns messages into frames (quantities, tracking, history, robots, wire, guard) knows no ROS
and no HTTP. The wire is described in `wire`.
"""
