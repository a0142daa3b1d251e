"""The HTTP server of the monitor: static files of the package and one WebSocket, on the loopback.

Files are read when it starts and found by name in a table, so that no path leads anywhere else.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from aiohttp import WSMsgType, web

from soft_control.monitor import guard
from soft_control.monitor.wire import FRAME_S, MESSAGE_MAX, Viewer, asked, text

STATIC = Path(__file__).resolve().parent / "static"
TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
HOST = "127.0.0.1"
VIEWERS_MAX = 16
PING_S = 15.0
SEND_S = 20.0
"""A page that takes no frame for so long is let go; it comes back when it is awake."""
UNDER_WAY_MAX = 8
"""Parameters that one page may set at a time."""

MONITOR: web.AppKey[Any] = web.AppKey("monitor", object)
VIEWERS: web.AppKey[set] = web.AppKey("viewers", set)


@web.middleware
async def guarded(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Refuses strangers, and gives every answer the headers of `guard`."""
    host, origin = request.headers.get("Host"), request.headers.get("Origin")
    refused = guard.refusal(host, origin, is_socket=request.path == "/ws")
    if refused:
        return web.Response(status=403, text=f"{refused}\n", headers=guard.HEADERS)
    try:
        answer = await handler(request)
    except web.HTTPException as error:
        error.headers.update(guard.HEADERS)
        raise
    if not answer.prepared:
        answer.headers.update(guard.HEADERS)
    return answer


def static_files(folder: Path = STATIC) -> dict[str, tuple[bytes, str]]:
    """Path in a URL -> content and type of each file of the page."""
    files = {
        f"/{path.name}": (path.read_bytes(), TYPES[path.suffix])
        for path in folder.iterdir()
        if path.suffix in TYPES
    }
    return files | {"/": files["/index.html"]}


def application(monitor: Any) -> web.Application:
    """The server's application; `monitor` is a wire.Watched that can `set` and `choose` too."""
    app = web.Application(middlewares=[guarded], client_max_size=MESSAGE_MAX)
    app[MONITOR], app[VIEWERS] = monitor, set()
    for path, (content, kind) in static_files().items():
        app.router.add_get(path, _serve(content, kind))
    app.router.add_get("/ws", socket)
    app.on_shutdown.append(_close_sockets)
    return app


def _serve(content: bytes, kind: str) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def serve(request: web.Request) -> web.Response:
        return web.Response(body=content, content_type=kind, charset="utf-8")

    return serve


async def _close_sockets(app: web.Application) -> None:
    for ws in list(app[VIEWERS]):
        await ws.close(code=1001, message=b"the monitor ends")


async def socket(request: web.Request) -> web.StreamResponse:
    """One page: frames go out as fast as it takes them, and what it asks for comes in."""
    viewers = request.app[VIEWERS]
    if len(viewers) >= VIEWERS_MAX:
        return web.Response(status=503, text=f"{VIEWERS_MAX} pages look on already\n")
    ws = web.WebSocketResponse(heartbeat=PING_S, max_msg_size=MESSAGE_MAX, compress=False)
    await ws.prepare(request)
    viewers.add(ws)
    viewer = Viewer(request.app[MONITOR])
    telling = asyncio.create_task(_tell(ws, viewer))
    answers: set[asyncio.Task] = set()
    try:
        async for message in ws:
            if message.type != WSMsgType.TEXT or len(answers) >= UNDER_WAY_MAX:
                continue
            task = asyncio.create_task(_answer(request.app[MONITOR], ws, viewer, message.data))
            answers.add(task)
            task.add_done_callback(answers.discard)
    finally:
        viewers.discard(ws)
        for task in (telling, *answers):
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await telling
    return ws


async def _tell(ws: web.WebSocketResponse, viewer: Viewer) -> None:
    """Sends frames. `send` waits while the page reads nothing, and nothing is kept for it."""
    with contextlib.suppress(ConnectionError, asyncio.TimeoutError):
        while not ws.closed:
            for frame in viewer.frames(time.monotonic()):
                send = ws.send_str if isinstance(frame, str) else ws.send_bytes
                await asyncio.wait_for(send(frame), SEND_S)
            await asyncio.sleep(FRAME_S)
    await ws.close()


async def _answer(monitor: Any, ws: web.WebSocketResponse, viewer: Viewer, message: str) -> None:
    """Does what a page asks for; what it asks for wrongly is told as a result too."""
    loop = asyncio.get_running_loop()
    try:
        wish = asked(message)
        if wish["type"] == "watch":
            viewer.namespace = wish["robot"]
            return
        if wish["type"] == "domain":
            await loop.run_in_executor(None, monitor.choose, wish["domain"])
            return
    except (ValueError, RuntimeError) as error:
        with contextlib.suppress(ConnectionError):
            await ws.send_str(text("result", {"id": -1, "ok": False, "reason": str(error)}))
        return
    done: asyncio.Future[tuple[bool, str]] = loop.create_future()

    def answered(ok: bool, reason: str) -> None:
        def tell() -> None:
            if not done.done():
                done.set_result((ok, reason))

        loop.call_soon_threadsafe(tell)

    monitor.set(wish["node"], wish["parameter"], wish["value"], answered)
    ok, reason = await done
    with contextlib.suppress(ConnectionError):
        await ws.send_str(text("result", {"id": wish["id"], "ok": ok, "reason": reason}))


async def serve(
    monitor: Any, port: int, on_ready: Callable[[str], None], until: asyncio.Event
) -> None:
    """Serves on the loopback until told to end; `on_ready` gets the address, once there is one.
    Port 0: any that is free. Raises OSError where the port cannot be had."""
    runner = web.AppRunner(application(monitor), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, HOST, port)
        await site.start()
        on_ready(f"http://{HOST}:{runner.addresses[0][1]}/")
        await until.wait()
    finally:
        await runner.cleanup()
