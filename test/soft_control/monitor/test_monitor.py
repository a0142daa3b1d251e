"""The monitor at a real graph: robots, parameters, what comes later and what goes."""

from __future__ import annotations

import time
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed: soft_control[ros]")

from rclpy.parameter import Parameter  # noqa: E402

from soft_control import robots  # noqa: E402
from soft_control.monitor.live_parameters import LiveParameters  # noqa: E402
from soft_control.monitor.monitor import Monitor  # noqa: E402


def columns(monitor: Monitor, namespace: str = "/") -> set[str]:
    view = monitor.robots().get(namespace)
    return {column.key for column in view.history.columns} if view else set()


def parameters(monitor: Monitor, namespace: str = "/") -> dict[str, dict[str, Any]]:
    """Those that can be set, by name, of all nodes of a robot."""
    _, nodes = monitor.parameters(namespace)
    return {parameter["name"]: parameter for node in nodes for parameter in node["parameters"]}


def set_and_wait(monitor: Monitor, wait_until: Any, *what: Any) -> tuple[bool, str]:
    answers: list[tuple[bool, str]] = []
    monitor.set(*what, lambda ok, reason: answers.append((ok, reason)))
    wait_until(lambda: answers)
    return answers[0]


def is_live(monitor: Monitor, namespace: str = "/") -> bool:
    told = monitor.graph(time.monotonic())["robots"]
    return {"namespace": namespace, "live": True} in told


EVERYTHING = {
    "outputs/tip_x", "outputs/tip_y", "reference/tip_x", "reference/tip_y", "error/tip",
    "commands/left", "commands/right", "solver/cost", "solver/iterations",
}  # fmt: skip


def test_a_robot_is_found_with_all_it_says(domain, small_robot, wait_until):
    with Monitor(domain) as monitor:
        assert monitor.graph(0.0)["robots"] == []
        small_robot()  # the graph starts later than the monitor
        wait_until(lambda: EVERYTHING <= columns(monitor))
        view = monitor.robots()["/"]
        wait_until(lambda: view.history.end > 20)
        with view.lock:
            _, values = view.history.rows(view.history.end - 5, view.history.end)
            places = {column.key: i for i, column in enumerate(view.history.columns)}
        assert (values[:, places["error/tip"]] == 4.0).all()
        assert (values[:, places["commands/left"]] == 1.0).all()
        wait_until(lambda: view.told(0.0)["statistics"])
        told = view.told(0.0)
        assert told["statistics"][0]["values"] == [["rate_hz", 25.0, "Hz"]]
        assert told["statistics"][0]["source"] == "/mcu" and told["controller"] == "mpc"
        wait_until(lambda: parameters(monitor))
        limits = {c["name"]: (c.get("min"), c.get("max")) for c in view.layout()["columns"]}
        assert limits["right"] == (-1.0, 1.0) and limits["tip_x"] == (None, None)
        monitor.check()


def test_what_can_be_set_is_found_set_and_refused_with_the_nodes_reason(
    domain, small_robot, wait_until
):
    robot = small_robot()
    with Monitor(domain) as monitor:
        found = wait_until(lambda: parameters(monitor))
        assert found.keys() == {"controller", "output_weight", "share"}
        assert found["controller"]["choices"] == ["mpc", "pid", "open_loop", "hold"]
        assert found["output_weight"]["labels"] == ["tip_x", "tip_y"]
        assert found["share"]["minimum"] == 0.0
        assert set_and_wait(monitor, wait_until, "/mcu", "output_weight", [3, 4.5]) == (True, "")
        name, value = robot.said[-1]
        assert name == "output_weight" and list(value) == [3.0, 4.5]
        wait_until(lambda: parameters(monitor)["output_weight"]["value"] == [3.0, 4.5])
        ok, reason = set_and_wait(monitor, wait_until, "/mcu", "controller", "pid")
        assert (ok, reason) == (False, "pid has no position to see")
        assert set_and_wait(monitor, wait_until, "/mcu", "controller", "hold")[0]
        wait_until(lambda: monitor.robots()["/"].told(0.0)["controller"] == "hold")
        ok, reason = set_and_wait(monitor, wait_until, "/mcu", "command_min", [0.0, 0.0])
        assert not ok and reason
        assert robot.node.get_parameter("command_min").value[0] == -2.0
        for node, name, value in (
            ("/mcu", "nothing", 1.0), ("/nobody", "share", 1.0), ("/mcu", "share", "a lot"),
        ):  # fmt: skip
            assert not set_and_wait(monitor, wait_until, node, name, value)[0]


def test_what_others_set_is_seen(domain, small_robot, wait_until):
    robot = small_robot()
    with Monitor(domain) as monitor:
        wait_until(lambda: parameters(monitor))
        robot.node.set_parameters([Parameter("share", value=0.25)])
        wait_until(lambda: parameters(monitor)["share"]["value"] == 0.25)


def test_a_node_that_does_not_answer_is_called_silent(domain, small_robot, wait_until):
    robot = small_robot()
    with Monitor(domain) as monitor:
        wait_until(lambda: parameters(monitor))
        robot.executor.shutdown()  # still there, but nobody is at home
        robot.thread.join()
        ok, reason = set_and_wait(monitor, wait_until, "/mcu", "share", 0.1)
        assert not ok and "did not answer within 3 s" in reason
        wait_until(lambda: not is_live(monitor))


def test_a_robot_that_ends_and_comes_again_is_followed(domain, small_robot, wait_until):
    first = small_robot()
    with Monitor(domain) as monitor:
        view = wait_until(lambda: monitor.robots().get("/"))
        wait_until(lambda: view.history.end > 30 and parameters(monitor))
        set_and_wait(monitor, wait_until, "/mcu", "share", 0.9)
        first.close()
        wait_until(lambda: not is_live(monitor))
        before = view.history.generation
        small_robot()
        wait_until(lambda: is_live(monitor) and view.history.generation > before)
        wait_until(lambda: EVERYTHING <= columns(monitor))
        assert monitor.robots()["/"] is view
        wait_until(lambda: parameters(monitor).get("share", {}).get("value") == 0.5)


def test_a_node_that_comes_again_between_two_looks_is_asked_anew(
    domain, small_robot, wait_until, monkeypatch
):
    """Its name was never missed, and what it declared at its start was said before anyone heard."""
    monkeypatch.setattr(LiveParameters, "on_event", lambda self, event: None)
    first = small_robot()
    with Monitor(domain) as monitor:
        wait_until(lambda: parameters(monitor))
        assert set_and_wait(monitor, wait_until, "/mcu", "share", 0.9)[0]
        wait_until(lambda: parameters(monitor)["share"]["value"] == 0.9)
        small_robot()
        wait_until(lambda: monitor._graph._node.count_publishers("/command") == 2)
        first.close()
        wait_until(lambda: parameters(monitor).get("share", {}).get("value") == 0.5)


def test_each_namespace_is_a_robot_with_its_own_parameters(domain, small_robot, wait_until):
    small_robot("left")
    small_robot("right/arm")
    with Monitor(domain) as monitor:
        both = ("/left", "/right/arm")
        for namespace in both:
            wait_until(lambda name=namespace: EVERYTHING <= columns(monitor, name))
            wait_until(lambda name=namespace: parameters(monitor, name))
        assert sorted(monitor.robots()) == list(both)
        assert [node["node"] for node in monitor.parameters("/left")[1]] == ["/left/mcu"]
        assert set_and_wait(monitor, wait_until, "/right/arm/mcu", "share", 0.1)[0]
        wait_until(lambda: parameters(monitor, "/right/arm")["share"]["value"] == 0.1)
        assert parameters(monitor, "/left")["share"]["value"] == 0.5


@pytest.mark.parametrize("namespace", ["left", "/left", "/left/"])
def test_one_namespace_may_be_asked_for(domain, small_robot, wait_until, namespace):
    small_robot("right")
    small_robot("left")
    with Monitor(domain, namespace) as monitor:
        wait_until(lambda: is_live(monitor, "/left"))
        wait_until(lambda: EVERYTHING <= columns(monitor, "/left"))
        assert list(monitor.robots()) == ["/left"]


def test_a_description_that_is_given_says_the_units(domain, small_robot, wait_until):
    arm = robots.described(
        {
            "name": "arm",
            "rate_hz": 25.0,
            "commands": [
                {"name": name, "unit": "rad", "display_unit": "deg", "min": -1, "max": 1}
                for name in ("left", "right")
            ],
            "outputs": [
                {"name": f"tip_{a}", "unit": "m", "display_unit": "mm", "point": "tip", "axis": a}
                for a in "xy"
            ],
        },
        "here",
    )
    small_robot()
    with Monitor(domain, description=arm) as monitor:
        wait_until(lambda: EVERYTHING <= columns(monitor))
        told = monitor.robots()["/"].layout()
        units = {(c["stream"], c["name"]): c["unit"] for c in told["columns"]}
        assert told["robot"] == "arm" and units["outputs", "tip_x"] == "mm"
        assert units["error", "tip"] == "mm" and units["commands", "left"] == "deg"


def test_without_a_domain_it_goes_where_a_run_is(domain, small_robot, wait_until):
    """The runs are said by the test: others may be under way on this machine."""
    runs: list[int] = []
    small_robot()
    with Monitor(None, start_domain=101, runs=lambda: list(runs)) as monitor:
        assert monitor.graph(0.0)["domain"] == 101
        runs.append(domain)
        wait_until(lambda: monitor.graph(0.0)["domain"] == domain)
        wait_until(lambda: is_live(monitor))
        told = monitor.graph(0.0)
        assert told["follows"] and told["runs"] == [domain]
        runs.append(102)
        wait_until(lambda: monitor.graph(0.0)["runs"] == [domain, 102])
        assert monitor.graph(0.0)["domain"] == domain  # a robot that moves is not left
        monitor.choose(101)
        told = monitor.graph(0.0)
        assert (told["domain"], told["follows"], told["robots"]) == (101, False, [])
