"""The monitor from its start to its end, in the foreground."""

from __future__ import annotations

import asyncio
import errno
import signal
from collections.abc import Callable

from soft_control.monitor.monitor import Monitor
from soft_control.monitor.server import HOST, serve
from soft_control.robots.description import RobotDescription

CHECK_S = 0.5


def attend(
    domain: int | None,
    namespace: str | None,
    description: RobotDescription | None,
    port: int,
    on_ready: Callable[[str], None],
) -> None:
    """Serves until SIGINT, SIGTERM or SIGHUP, and then returns. For the main thread.

    Raises RuntimeError where the port is taken, or ROS cannot be started or fails.
    """
    with Monitor(domain, namespace, description) as monitor:
        try:
            asyncio.run(_until_told(monitor, port, on_ready))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            raise RuntimeError(
                f"port {port} of {HOST} is taken: choose another one with --port, or 0 for any"
            ) from None


async def _until_told(monitor: Monitor, port: int, on_ready: Callable[[str], None]) -> None:
    loop, told = asyncio.get_running_loop(), asyncio.Event()
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(signum, told.set)
    serving = asyncio.create_task(serve(monitor, port, on_ready, told))
    try:
        while not serving.done():
            await asyncio.wait([serving], timeout=CHECK_S)
            monitor.check()
    finally:
        told.set()
        await serving
