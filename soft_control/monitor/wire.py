"""The wire between server and page: WebSocket, JSON texts and one kind of binary frame.

Server to page, JSON objects with a `type`:

    graph       {domain, runs, follows, robots: [{namespace, live}], watched}
                whenever it changes; runs are domains in which `softctl run` is at work, follows
                says that the monitor goes where a run is, watched is the robot of this page
    layout      {generation, robot, frame, start_s, row_s, rows_max, left_out, columns, points}
                start_s: the stamp at which time is 0; another one: a run has begun anew
                columns: [{stream, name, unit, min?, max?}], those of the rows that come then
                points: [{name, unit, axes, outputs}]
    told        {controller, statuses, statistics}, at most five times a second
                statuses: [{topic, name, level, message, values: [[key, value]], age_s}]
                statistics: [{source, values: [[name, value, unit]], age_s}]
    horizon     {outputs: {name: [value, ...]}}, what they shall be from now on, where that is known
    parameters  {nodes: [{node, parameters: [{name, type, value, description, constraints, choices,
                minimum, maximum, labels}]}]}, those that can be set while the node runs
    result      {id, ok, reason}, the answer to `set`

Rows are binary, little-endian: a header of four uint32 and then rows x (1 + columns) float32,

    generation | number of the first row | rows | columns || time, value, value, ... || time, ...

time in rows of row_s seconds since the start, values NaN where nothing came. A layout of another
generation says that all rows before it are void.

Page to server, JSON:

    watch       {robot}                           show that namespace
    domain      {domain}                          watch that ROS domain; null: follow the runs
    set         {id, node, parameter, value}      set a parameter of a node

There are no queues: a viewer has a cursor into the ring of rows, and a slow one finds older rows
gone when it comes for the next.
"""

from __future__ import annotations

import json
from typing import Any, Protocol

import numpy as np

from soft_control.monitor.robots import RobotView

FRAME_S = 0.04
"""Between frames to a page that takes them at once."""
TOLD_EVERY_S = 0.2
HORIZON_EVERY_S = 0.08
ROWS_A_FRAME = 2_000
"""Of a page that has just come and gets ten minutes."""
MESSAGE_MAX = 16_384
"""Bytes of a message from a page; a parameter is no longer."""


class Watched(Protocol):
    """What a viewer looks at."""

    def robots(self) -> dict[str, RobotView]: ...

    def graph(self, now_s: float) -> dict[str, Any]:
        """domain, runs, follows, robots."""

    def parameters(self, namespace: str) -> tuple[int, list[dict[str, Any]]]:
        """A number that changes with them, and the nodes of a robot as `wire` says them."""


def rows_frame(view: RobotView, begin: int, end: int) -> bytes:
    """Rows begin <= i < end of a robot, all of them kept."""
    numbers, values = view.history.rows(begin, end)
    header = [view.history.generation, begin, end - begin, values.shape[1]]
    body = np.hstack([numbers[:, None].astype("<f4"), values.astype("<f4")])
    return np.array(header, dtype="<u4").tobytes() + body.tobytes()


def text(kind: str, content: dict[str, Any]) -> str:
    """A JSON frame; what is no number there is null."""
    return json.dumps({"type": kind, **content}, allow_nan=False, separators=(",", ":"))


class Viewer:
    """One page: what it looks at, and how far it has been told."""

    def __init__(self, watched: Watched) -> None:
        self._watched = watched
        self.namespace: str | None = None
        """Of the robot it asked for; None: the first one."""
        self._view: RobotView | None = None
        self._generation = -1
        self._cursor = 0
        self._graph = ""
        self._told: tuple[int, float] = (-1, -1.0)
        self._parameters = -1
        self._horizon_s = -1.0

    def frames(self, now_s: float) -> list[str | bytes]:
        """What is to be sent now: nothing, where there is nothing new."""
        found: list[str | bytes] = []
        robots = self._watched.robots()
        watched = self.namespace if self.namespace in robots else next(iter(robots), None)
        graph = text("graph", self._watched.graph(now_s) | {"watched": watched})
        if graph != self._graph:
            self._graph = graph
            found.append(graph)
        view = robots.get(watched) if watched is not None else None
        if view is not self._view:
            self._view, self._generation, self._parameters = view, -1, -1
            self._told = (-1, -1.0)
        if view is not None:
            found += self._of_robot(view, now_s)
        return found

    def _of_robot(self, view: RobotView, now_s: float) -> list[str | bytes]:
        found: list[str | bytes] = []
        with view.lock:
            history = view.history
            if self._generation != history.generation:
                self._generation, self._cursor = history.generation, 0
                found.append(text("layout", view.layout() | {"generation": history.generation}))
            begin = max(self._cursor, history.first)
            self._cursor = min(history.end, begin + ROWS_A_FRAME)
            if self._cursor > begin:
                found.append(rows_frame(view, begin, self._cursor))
            version, told_s = self._told
            if now_s - told_s >= TOLD_EVERY_S and (version != view.version or now_s - told_s > 1):
                self._told = (view.version, now_s)
                found.append(text("told", view.told(now_s)))
            if now_s - self._horizon_s >= HORIZON_EVERY_S and (horizon := view.horizon()):
                self._horizon_s = now_s
                found.append(text("horizon", {"outputs": horizon}))
        number, nodes = self._watched.parameters(view.namespace)
        if number != self._parameters:
            self._parameters = number
            found.append(text("parameters", {"nodes": nodes}))
        return found


def asked(message: str) -> dict[str, Any]:
    """What a page asks for, checked. Raises ValueError in one line for anything else."""
    try:
        content = json.loads(message)
    except (ValueError, RecursionError):
        raise ValueError("not JSON") from None
    kind = content.get("type") if isinstance(content, dict) else None
    if kind == "watch" and isinstance(content.get("robot"), str):
        return {"type": kind, "robot": content["robot"]}
    if kind == "domain":
        domain = content.get("domain")
        if domain is None or (type(domain) is int and 0 <= domain <= 232):
            return {"type": kind, "domain": domain}
    if kind == "set" and type(content.get("id")) is int:
        texts = {key: content.get(key) for key in ("node", "parameter")}
        if all(isinstance(value, str) for value in texts.values()) and "value" in content:
            return {"type": kind, "id": content["id"], **texts, "value": content["value"]}
    raise ValueError(f"no message of this wire: {message[:80]!r}")
