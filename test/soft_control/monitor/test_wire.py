"""What goes over the wire, and to whom."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from soft_control import robots
from soft_control.monitor.history import ROW_NS
from soft_control.monitor.robots import RobotView
from soft_control.monitor.wire import ROWS_A_FRAME, Viewer, asked

START = 1_000_000_000


class Watched:
    """One robot or more, that the test moves."""

    def __init__(self, *namespaces: str) -> None:
        self.views = {name: RobotView(name, robots.load("tendon")) for name in namespaces}
        self.nodes: tuple[int, list[dict[str, Any]]] = (0, [])

    def robots(self) -> dict[str, RobotView]:
        return self.views

    def graph(self, now_s: float) -> dict[str, Any]:
        names = [{"namespace": name, "live": True} for name in self.views]
        return {"domain": 7, "runs": [], "follows": False, "robots": names}

    def parameters(self, namespace: str) -> tuple[int, list[dict[str, Any]]]:
        return self.nodes

    def move(self, begin: int, end: int, namespace: str = "/") -> None:
        for k in range(begin, end):
            values = [[0.001 * k, 0.0, 0.0]]
            view = self.views[namespace]
            view.sample("outputs", START + k * ROW_NS, ["x", "y", "z"], values, 1.0 * k)


def read(frames: list[str | bytes]) -> tuple[dict[str, dict[str, Any]], list[tuple]]:
    """JSON frames by type, and of the binary ones header and values (rows, 1 + columns)."""
    texts, rows = {}, []
    for frame in frames:
        if isinstance(frame, str):
            message = json.loads(frame)
            texts[message["type"]] = message
        else:
            header = np.frombuffer(frame[:16], dtype="<u4").tolist()
            values = np.frombuffer(frame[16:], dtype="<f4").reshape(header[2], 1 + header[3])
            rows.append((header, values))
    return texts, rows


def test_a_page_that_comes_is_told_everything_and_then_only_what_is_new():
    watched = Watched("/")
    watched.move(0, 10)
    viewer = Viewer(watched)
    texts, ((header, values),) = read(viewer.frames(0.0))
    assert texts.keys() == {"graph", "layout", "told", "parameters"}
    assert texts["graph"]["watched"] == "/"
    names = [column["name"] for column in texts["layout"]["columns"]]
    assert names == ["x", "y", "z"] and texts["layout"]["generation"] == header[0]
    assert header[1:] == [0, 8, 3]
    np.testing.assert_allclose(values[:, 0], range(8))
    np.testing.assert_allclose(values[:, 1], range(8), rtol=1e-6)
    assert viewer.frames(0.04) == []
    watched.move(10, 13)
    texts, ((header, values),) = read(viewer.frames(0.08))
    assert texts == {} and header[1:3] == [8, 3] and values[:, 0].tolist() == [8, 9, 10]


def test_a_column_more_brings_layout_and_all_rows_again():
    watched = Watched("/")
    watched.move(0, 10)
    viewer = Viewer(watched)
    viewer.frames(0.0)
    watched.views["/"].sample("signals", START + 9 * ROW_NS, ["lace_00"], [[0.5]], 0.0)
    texts, ((header, values),) = read(viewer.frames(0.04))
    assert texts["layout"]["generation"] == header[0]
    assert header[1:] == [0, 8, 4] and np.isnan(values[:, 4]).all()


def test_ten_minutes_come_in_pieces_and_a_slow_page_loses_the_oldest():
    watched = Watched("/")
    watched.views["/"].history.rows_max = 5_000
    watched.move(0, 4_002)
    viewer = Viewer(watched)
    sizes = []
    for tick in range(3):
        _, rows = read(viewer.frames(0.04 * tick))
        sizes += [header[2] for header, _ in rows]
    assert sizes == [ROWS_A_FRAME, ROWS_A_FRAME]
    # The page does not read for 400 s; what it gets then is the ring, from its oldest row on.
    watched.move(4_002, 14_002)
    _, ((header, values),) = read(viewer.frames(400.0))
    first = watched.views["/"].history.first
    assert first == 9_000 and header[1:3] == [first, ROWS_A_FRAME]
    assert values[0, 0] == first


def test_frames_of_a_page_do_not_grow_in_an_hour():
    """130,000 frames, one a tick: each is as long as the first, and nothing is kept for a page."""
    watched = Watched("/")
    watched.move(0, 10)
    viewer = Viewer(watched)
    viewer.frames(0.0)
    sizes = set()
    for tick in range(130_000):
        watched.move(10 + tick, 11 + tick)
        frames = viewer.frames(0.04 * (tick + 1))
        sizes |= {len(frame) for frame in frames if isinstance(frame, bytes)}
    assert sizes == {16 + 4 * 4}
    kept = [value for value in vars(viewer).values() if isinstance(value, (list, dict, set))]
    assert kept == []


def test_a_page_chooses_its_robot_and_one_that_is_gone_is_not_chosen():
    watched = Watched("/left", "/right")
    watched.move(0, 5, "/right")
    viewer = Viewer(watched)
    texts, rows = read(viewer.frames(0.0))
    assert texts["graph"]["watched"] == "/left" and rows == []
    viewer.namespace = "/right"
    texts, rows = read(viewer.frames(0.04))
    assert texts["graph"]["watched"] == "/right" and len(rows) == 1
    viewer.namespace = "/nobody"
    assert read(viewer.frames(0.08))[0]["graph"]["watched"] == "/left"


def test_without_a_robot_there_is_the_graph_alone():
    viewer = Viewer(Watched())
    texts, rows = read(viewer.frames(0.0))
    assert texts.keys() == {"graph"} and texts["graph"]["watched"] is None and rows == []


def test_parameters_come_when_they_change():
    watched = Watched("/")
    viewer = Viewer(watched)
    viewer.frames(0.0)
    watched.nodes = (1, [{"node": "/mcu", "parameters": []}])
    assert read(viewer.frames(0.04))[0]["parameters"]["nodes"] == watched.nodes[1]
    assert viewer.frames(0.08) == []


@pytest.mark.parametrize(
    "message",
    [
        '{"type": "watch", "robot": "/left"}',
        '{"type": "domain", "domain": 232}',
        '{"type": "domain", "domain": null}',
        '{"type": "set", "id": 1, "node": "/mcu", "parameter": "controller", "value": "pid"}',
    ],
)
def test_what_a_page_may_ask_for(message):
    assert asked(message) == json.loads(message)


@pytest.mark.parametrize(
    "message",
    [
        "", "[]", "{}", "[" * 5000, '{"type": "watch"}', '{"type": "watch", "robot": 1}',
        '{"type": "domain", "domain": 233}', '{"type": "domain", "domain": true}',
        '{"type": "domain", "domain": "1"}', '{"type": "set", "id": 1, "node": "/a"}',
        '{"type": "set", "id": "1", "node": "/a", "parameter": "b", "value": 1}',
        '{"type": "set", "id": 1, "node": "/a", "parameter": "b"}', '{"type": "shutdown"}',
    ],
)  # fmt: skip
def test_anything_else_is_refused_in_one_line(message):
    with pytest.raises(ValueError) as refused:
        asked(message)
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 200
