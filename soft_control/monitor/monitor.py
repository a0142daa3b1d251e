"""The monitor: one domain at a time, the one asked for or that of a run that is under way."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from soft_control.monitor.graph import Graph
from soft_control.monitor.robots import RobotView
from soft_control.robots.description import RobotDescription
from soft_control.run_domains import running

FOLLOW_S = 0.5


class Monitor:
    """Context manager; what a `wire.Viewer` looks at.

    Without a domain it follows the runs of this machine: where the present domain has no robot and
    `softctl run` is at work in others, it goes to the newest number of these.
    """

    def __init__(
        self,
        domain: int | None,
        namespace: str | None = None,
        description: RobotDescription | None = None,
        start_domain: int = 0,
        runs: Callable[[], list[int]] = running,
    ) -> None:
        self._follows = domain is None
        self._domain = start_domain if domain is None else domain
        self._options = (namespace, description)
        self._running = runs
        self._runs: list[int] = []
        self._lock = threading.RLock()
        self._closing = threading.Event()
        self._graph: Graph | None = None
        self._count = 0

    def __enter__(self) -> Monitor:
        self._go(self._domain)
        self._thread = threading.Thread(target=self._follow, name="monitor", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._thread.join()
        if self._graph:
            self._graph.close()

    def robots(self) -> dict[str, RobotView]:
        return self._graph.robots

    def graph(self, now_s: float) -> dict[str, Any]:
        graph = self._graph
        robots = [
            {"namespace": name, "live": view.is_live(now_s)}
            for name, view in sorted(graph.robots.items())
        ]
        return {
            "domain": graph.domain,
            "runs": self._runs,
            "follows": self._follows,
            "robots": robots,
        }

    def parameters(self, namespace: str) -> tuple[int, list[dict[str, Any]]]:
        version, nodes = self._graph.parameters(namespace)
        return self._count * 1_000_000 + version, nodes

    def set(
        self, node: str, parameter: str, value: Any, answer: Callable[[bool, str], None]
    ) -> None:
        """Sets a parameter of a node of the domain that is watched."""
        self._graph.set(node, parameter, value, answer)

    def choose(self, domain: int | None) -> None:
        """Goes to a domain and stays there; None: follows the runs from now on. Takes a moment.
        Raises RuntimeError where ROS has no such domain."""
        self._follows = domain is None
        if domain is not None:
            self._go(domain)

    def check(self) -> None:
        """Raises what has ended the thread of the graph."""
        if self._graph and self._graph.failure:
            raise self._graph.failure

    def _go(self, domain: int) -> None:
        with self._lock:
            if self._graph and self._graph.domain == domain:
                return
            fresh = Graph(domain, *self._options)
            before, self._graph = self._graph, fresh
            self._count += 1
            if before:
                before.close()

    def _follow(self) -> None:
        while not self._closing.wait(FOLLOW_S):
            self._runs = self._running()
            graph = self._graph
            if self._follows and self._runs and graph.domain not in self._runs:
                if not graph.is_live(time.monotonic()):
                    self._go(self._runs[-1])
