"""The server, asked by real clients."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from soft_control.monitor import server
from soft_control.monitor.robots import RobotView
from soft_control.monitor.wire import Viewer

START = 1_000_000_000


class Monitor:
    """Stands in for monitor.Monitor: one robot with many signals, and one parameter."""

    def __init__(self) -> None:
        self.view = RobotView("/")
        self.names = [f"s{i}" for i in range(200)]
        self.k = 0
        self.set_to: list[tuple[str, str, Any]] = []
        self.domains: list[int | None] = []

    def move(self, rows: int) -> None:
        for _ in range(rows):
            stamp = START + self.k * 40_000_000
            self.view.sample("signals", stamp, self.names, [[float(self.k)] * 200], 1.0 * self.k)
            self.k += 1

    def robots(self) -> dict[str, RobotView]:
        return {"/": self.view}

    def graph(self, now_s: float) -> dict[str, Any]:
        robots = [{"namespace": "/", "live": True}]
        return {"domain": 3, "runs": [], "follows": False, "robots": robots}

    def parameters(self, namespace: str) -> tuple[int, list[dict[str, Any]]]:
        return 0, []

    def set(self, node: str, parameter: str, value: Any, answer: Callable) -> None:
        self.set_to.append((node, parameter, value))
        answer(value != "pid", "" if value != "pid" else "no model")

    def choose(self, domain: int | None) -> None:
        if domain == 99:
            raise RuntimeError("cannot join ROS domain 99")
        self.domains.append(domain)


@asynccontextmanager
async def serving(monitor: Monitor) -> AsyncIterator[str]:
    """The address of a server that serves while the block lasts."""
    ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    until = asyncio.Event()
    task = asyncio.create_task(server.serve(monitor, 0, ready.set_result, until))
    try:
        await asyncio.wait([ready, task], return_when=asyncio.FIRST_COMPLETED)
        yield (await ready).rstrip("/")
    finally:
        until.set()
        await task


def with_server(ask: Callable[[str, Monitor, aiohttp.ClientSession], Awaitable[Any]]) -> Any:
    """What `ask` finds out."""

    async def main() -> Any:
        monitor = Monitor()
        async with serving(monitor) as url, aiohttp.ClientSession() as session:
            return await asyncio.wait_for(ask(url, monitor, session), 60)

    return asyncio.run(main())


async def next_of(ws: aiohttp.ClientWebSocketResponse, kind: str) -> dict[str, Any]:
    """The next JSON message of a type."""
    while True:
        message = await ws.receive()
        assert message.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY), message
        if message.type == aiohttp.WSMsgType.TEXT:
            content = json.loads(message.data)
            if content["type"] == kind:
                return content


async def read_to_the_end(ws: aiohttp.ClientWebSocketResponse) -> int:
    """The code with which the other end closes."""
    while not ws.closed:
        await ws.receive()
    return ws.close_code


async def raw(url: str, request: str) -> tuple[int, str]:
    """Status and all of the answer to bytes that no library would send."""
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request.encode())
    await writer.drain()
    answer = (await reader.read()).decode(errors="replace")
    writer.close()
    return int(answer.split()[1]), answer


def test_it_listens_on_the_loopback_alone():
    async def ask(url, monitor, session):
        return url

    assert with_server(ask).startswith("http://127.0.0.1:")


def test_every_file_of_the_page_is_served_with_a_policy_that_loads_nothing_else():
    async def ask(url, monitor, session):
        found = {}
        for path in server.static_files():
            async with session.get(url + path) as answer:
                found[path] = (answer.status, answer.content_type, answer.headers)
                assert await answer.read() == server.static_files()[path][0]
        return found

    found = with_server(ask)
    assert found["/"][1] == "text/html" and found["/main.js"][1] == "text/javascript"
    for status, _, headers in found.values():
        assert status == 200
        assert headers["Content-Security-Policy"].startswith("default-src 'self';")
        assert headers["X-Content-Type-Options"] == "nosniff"


def test_the_page_names_no_other_place():
    """But for XML's namespace, which nobody fetches, and the server itself."""
    for path, (content, _) in server.static_files().items():
        text = content.decode()
        for own in ("http://www.w3.org/2000/svg", "ws://${location.host}/ws"):
            text = text.replace(own, "")
        assert not re.search(r"(https?|wss?|ftp|file):|@import|url\(|[\"'(=]//", text), path


@pytest.mark.parametrize(
    "path",
    [
        "/../server.py", "/..%2fserver.py", "/%2e%2e/%2e%2e/etc/passwd", "//etc/passwd", "/static/",
        "/.", "/index.html/..", "/..\\server.py", "/main.js%00", "/ws/", "/frames.py",
    ],
)  # fmt: skip
def test_no_path_leads_out_of_the_page(path):
    async def ask(url, monitor, session):
        host = url.removeprefix("http://")
        return await raw(url, f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")

    status, answer = with_server(ask)
    assert status in (400, 403, 404), answer
    assert "root:" not in answer and "import" not in answer


@pytest.mark.parametrize("path", ["/", "/ws", "/nothing"])
def test_a_host_of_another_name_is_refused(path):
    async def ask(url, monitor, session):
        async with session.get(url + path, headers={"Host": "evil.example"}) as answer:
            return answer.status

    assert with_server(ask) == 403


@pytest.mark.parametrize("origin", [None, "http://evil.example", "null", "http://127.0.0.1:1"])
def test_a_socket_of_another_page_is_refused(origin):
    async def ask(url, monitor, session):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await session.ws_connect(url + "/ws", origin=origin)
        return refused.value.status

    assert with_server(ask) == 403


def test_only_reading_is_understood():
    async def ask(url, monitor, session):
        async with session.post(url + "/", data=b"x") as answer:
            return answer.status

    assert with_server(ask) == 405


def test_a_parameter_is_set_and_a_refusal_says_why():
    async def ask(url, monitor, session):
        async with session.ws_connect(url + "/ws", origin=url) as ws:
            asked = {"type": "set", "node": "/mcu", "parameter": "controller"}
            await ws.send_json(asked | {"id": 1, "value": "hold"})
            await ws.send_json(asked | {"id": 2, "value": "pid"})
            return monitor, [await next_of(ws, "result"), await next_of(ws, "result")]

    monitor, results = with_server(ask)
    assert results == [
        {"type": "result", "id": 1, "ok": True, "reason": ""},
        {"type": "result", "id": 2, "ok": False, "reason": "no model"},
    ]
    assert monitor.set_to == [("/mcu", "controller", "hold"), ("/mcu", "controller", "pid")]


def test_a_page_may_go_to_another_domain_and_hears_why_it_cannot():
    async def ask(url, monitor, session):
        async with session.ws_connect(url + "/ws", origin=url) as ws:
            await ws.send_json({"type": "domain", "domain": 99})
            said = (await next_of(ws, "result"))["reason"]
            await ws.send_json({"type": "domain", "domain": 5})
            while not monitor.domains:
                await asyncio.sleep(0.01)
            await ws.send_str("nonsense")
            return said, (await next_of(ws, "result"))["reason"], monitor.domains

    said, nonsense, domains = with_server(ask)
    assert said == "cannot join ROS domain 99" and nonsense == "not JSON" and domains == [5]


def test_a_message_that_is_too_long_ends_its_connection_alone():
    async def ask(url, monitor, session):
        async with session.ws_connect(url + "/ws", origin=url) as other:
            async with session.ws_connect(url + "/ws", origin=url) as ws:
                await ws.send_str("x" * (server.MESSAGE_MAX + 1))
                code = await read_to_the_end(ws)
            await next_of(other, "told")
            return code

    assert with_server(ask) == aiohttp.WSCloseCode.MESSAGE_TOO_BIG


def test_so_many_pages_and_no_more():
    async def ask(url, monitor, session):
        sockets = [
            await session.ws_connect(url + "/ws", origin=url) for _ in range(server.VIEWERS_MAX)
        ]
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await session.ws_connect(url + "/ws", origin=url)
        await sockets.pop().close()
        while True:  # the server hears of it in a moment
            try:
                sockets.append(await session.ws_connect(url + "/ws", origin=url))
                return refused.value.status
            except aiohttp.WSServerHandshakeError:
                await asyncio.sleep(0.01)

    assert with_server(ask) == 503


def test_a_page_that_does_not_read_gets_fewer_frames_and_nothing_is_kept_for_it(monkeypatch):
    """Another one, which reads, gets 100 MB meanwhile; for the sleeper there is no more than what
    the system's own buffers of a socket hold."""
    made: dict[int, int] = {}
    frames = Viewer.frames

    def counted(self: Viewer, now_s: float) -> list[str | bytes]:
        found = frames(self, now_s)
        made[id(self)] = made.get(id(self), 0) + sum(map(len, found))
        return found

    monkeypatch.setattr(Viewer, "frames", counted)
    monkeypatch.setattr(server, "FRAME_S", 0.001)

    async def ask(url, monitor, session):
        monitor.move(2_000)
        host, port = url.removeprefix("http://").split(":")
        sleeper = socket.create_connection((host, int(port)))
        sleeper.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        sleeper.sendall(
            f"GET /ws HTTP/1.1\r\nHost: {host}:{port}\r\nOrigin: {url}\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n"
            "Sec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        while len(made) < 1:
            await asyncio.sleep(0.01)
        got = 0
        async with session.ws_connect(url + "/ws", origin=url, max_msg_size=0) as ws:
            while got < 100_000_000:
                monitor.view.history.generation += 1  # everything is sent anew
                message = await ws.receive()
                got += len(message.data)
        sleeper.close()

    with_server(ask)
    slow, fast = sorted(made.values())
    assert fast >= 100_000_000 and slow < 30_000_000, made


def test_it_ends_while_pages_look_on():
    async def main() -> int:
        async with aiohttp.ClientSession() as session:
            async with serving(Monitor()) as url:
                ws = await session.ws_connect(url + "/ws", origin=url)
                await next_of(ws, "graph")
                reading = asyncio.create_task(read_to_the_end(ws))
            return await reading

    assert asyncio.run(asyncio.wait_for(main(), 30)) == aiohttp.WSCloseCode.GOING_AWAY


def test_a_taken_port_is_said():
    async def ask(url, monitor, session):
        port = int(url.rpartition(":")[2])
        with pytest.raises(OSError):
            await server.serve(monitor, port, lambda url: None, asyncio.Event())

    with_server(ask)
