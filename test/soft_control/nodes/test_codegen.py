"""The node that makes firmware: what it answers at once, what it says meanwhile, how it ends."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed: soft_control[ros]")

import rclpy  # noqa: E402
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from std_srvs.srv import Trigger  # noqa: E402

from soft_control.experiment.bringup import NodeSpec  # noqa: E402
from soft_control.experiment.ros_messages import LAST_SAID  # noqa: E402
from soft_control.experiment.runner import ros_domain, start  # noqa: E402
from soft_control.firmware_files import read_build  # noqa: E402
from soft_control.nodes.codegen import Codegen  # noqa: E402

from ..supply.boards import START, BootLoader, image_bytes, write_elf  # noqa: E402

PATIENCE_S = 120.0


@pytest.fixture
def codegen(make_node, tendon_model, there) -> Callable[..., Codegen]:
    def make(**parameters) -> Codegen:
        usual = {"model": str(tendon_model.model), "firmware": str(there), "board": "host"}
        return make_node(Codegen, **usual | {"verify": [""]} | parameters)

    return make


def called(service: Callable) -> tuple[bool, str]:
    answer = service(Trigger.Request(), Trigger.Response())
    return answer.success, answer.message


def values_of(message: DiagnosticArray) -> dict[str, str]:
    return {pair.key: pair.value for pair in message.status[0].values}


def spin(node: Codegen, until: Callable[[], bool]) -> None:
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    deadline = time.monotonic() + PATIENCE_S
    try:
        while not until():
            assert time.monotonic() < deadline
            executor.spin_once(timeout_sec=0.05)
    finally:
        executor.shutdown()


def idle(node: Codegen) -> Callable[[], bool]:
    return lambda: not node.busy()


def test_a_build_is_started_at_once_and_reports_size_and_error(codegen, published, there):
    node = codegen(verify=["sil"])
    said = published(node.feedback)
    assert called(node.on_build) == (
        True, f"started: {node.parameters.model} becomes {there}",
    )  # fmt: skip
    again, why = called(node.on_build)
    assert not again and why.startswith(f"a build of {node.parameters.model} is under way (")
    assert called(node.on_apply) == (False, why)
    spin(node, idle(node))
    states = [values_of(message)["state"] for message in said]
    assert states == ["running"] * (len(said) - 1) + ["done"] and len(said) > 4
    stages = list(dict.fromkeys(values_of(m)["stage"] for m in said[:-1]))
    assert stages == ["starting", "reading", "building", "verifying", "publishing"]
    percents = [float(values_of(message)["percent"]) for message in said]
    assert percents == sorted(percents) and percents[-1] == 100
    end = values_of(said[-1])
    assert end["build_id"] == read_build(there).build_id and end["changed"] == "False"
    assert end["verified"] == "sil" and 0 < float(end["difference"]) < 1e-4
    assert 0 < float(end["tip_rmse_mm"]) < float(end["tip_worst_mm"])
    assert {"flash_bytes", "ram_bytes", "c_error", "model_hash"} <= end.keys()
    assert all(m.header.stamp.sec for m in said)
    assert {m.status[0].level for m in said} == {DiagnosticStatus.OK}


def test_who_comes_late_hears_what_was_said_last(codegen):
    node = codegen()
    called(node.on_build)
    spin(node, idle(node))
    heard: list[DiagnosticArray] = []
    late = rclpy.create_node("late")
    try:
        late.create_subscription(DiagnosticArray, "/codegen/feedback", heard.append, LAST_SAID)
        executor = SingleThreadedExecutor()
        executor.add_node(late)
        deadline = time.monotonic() + PATIENCE_S
        while not heard and time.monotonic() < deadline:
            executor.spin_once(timeout_sec=0.05)
        executor.shutdown()
    finally:
        late.destroy_node()
    (last,) = heard
    assert values_of(last)["state"] == "done" and last.status[0].name == "codegen"


def test_another_model_is_set_between_builds_and_a_bad_one_leaves_the_firmware(
    codegen, published, there, tmp_path
):
    node = codegen()
    said = published(node.feedback)
    before = {path.name: path.read_bytes() for path in there.iterdir()}
    (answer,) = node.set_parameters([Parameter("model", value=str(tmp_path / "nothing"))])
    assert answer.successful
    assert called(node.on_build)[0]
    spin(node, idle(node))
    (status,) = said[-1].status
    assert status.level == DiagnosticStatus.ERROR
    assert status.message.endswith("no fk.json: not a model directory of softctl train")
    assert values_of(said[-1])["state"] == "failed"
    assert {path.name: path.read_bytes() for path in there.iterdir()} == before
    (answer,) = node.set_parameters([Parameter("verify", value=["board"])])
    assert not answer.successful and "verify" in answer.reason


def test_a_build_is_cancelled(codegen, published, there):
    node = codegen()
    said = published(node.feedback)
    assert called(node.on_cancel) == (False, "nothing runs: none to cancel")
    called(node.on_build)
    done, why = called(node.on_cancel)
    assert done and why.startswith("cancelling: a build of ")
    spin(node, idle(node))
    assert said[-1].status[0].message.startswith("cancelled while ")
    assert read_build(there).library.is_file()


def test_a_board_is_flashed_and_a_mistake_is_said(codegen, published, there):
    build = read_build(there)
    image = image_bytes(model_hash=build.model_hash, build_id=build.build_id)
    write_elf(there / "firmware.elf", image)
    board = BootLoader()
    node = codegen(apply="flash", flash_by="serial", flash_port=board.port)
    said = published(node.feedback)
    started, words = called(node.on_apply)
    assert started and words.startswith("started: flashing ")
    assert called(node.on_build) == (False, "a board is being flashed")
    spin(node, idle(node))
    (status,) = said[-1].status
    runs = f"stm32f405 runs build {build.build_id} of model {build.model_hash}"
    assert status.message == f"flashed: {runs}"
    assert board.memory.read(START, len(image)) == image
    write_elf(there / "firmware.elf", image[:-1] + b"?")
    called(node.on_apply)
    spin(node, idle(node))
    (status,) = said[-1].status
    assert status.message.startswith("flashing failed with exit code 2: error: ")
    assert status.message.endswith("its image is damaged: build it again")
    assert status.level == DiagnosticStatus.ERROR


@pytest.mark.parametrize(
    "name, value",
    [("flash_by", "rm -rf /"), ("flash_port", "spy:///dev/null?file=/tmp/x"), ("flash_port", "-x"),
     ("flash_port", "/dev/../etc/passwd"), ("flash_port", "/dev/a\n"), ("flash_probe", "a b")],
)  # fmt: skip
def test_no_parameter_names_a_program_or_an_option(codegen, name, value):
    (answer,) = codegen().set_parameters([Parameter(name, value=value)])
    assert not answer.successful and name in answer.reason


@pytest.mark.parametrize(
    ("parameters", "why"),
    [
        ({}, "the parameter apply is none: set it to restart or flash"),
        ({"apply": "flash"}, "firmware.elf is missing: build for a board"),
        ({"apply": "restart", "mcu": "/left/mcu"}, "nobody offers /left/mcu/restart: no node"),
        ({"apply": "restart", "firmware": "nowhere"}, "no firmware.json in nowhere"),
    ],
    ids=str,
)
def test_what_cannot_be_applied_is_refused_with_what_to_do(codegen, there, parameters, why):
    (there / "firmware.elf").unlink(missing_ok=True)
    node = codegen(**parameters)
    started, words = called(node.on_apply)
    assert not started and why in words and "\n" not in words


def test_what_was_built_is_applied_where_that_is_asked_for(codegen, published):
    """Another node plays the one that restarts."""
    node = codegen(apply="restart")
    said = published(node.feedback)
    mcu = rclpy.create_node("mcu")
    answers = [(False, "the firmware before goes on: no"), (True, "it runs")]

    def restart(request, answer):
        answer.success, answer.message = answers.pop(0)
        return answer

    mcu.create_service(Trigger, "~/restart", restart)
    executor = SingleThreadedExecutor()
    executor.add_node(mcu)
    try:
        for state in ("failed", "done"):
            called(node.on_build)
            deadline = time.monotonic() + PATIENCE_S

            def ended(deadline=deadline) -> bool:
                executor.spin_once(timeout_sec=0.0)
                assert time.monotonic() < deadline
                return not node.busy()

            spin(node, ended)
            assert values_of(said[-1])["state"] == state
    finally:
        executor.shutdown()
        mcu.destroy_node()
    assert said[-1].status[0].message == "it runs"


def test_alone_it_says_what_is_missing(tmp_path):
    for folder in ("log", "parameters"):
        (tmp_path / folder).mkdir()
    with ros_domain():
        assert start(NodeSpec("codegen", {}), tmp_path).wait(PATIENCE_S) == 1
    assert (tmp_path / "log" / "codegen.log").read_text() == (
        "error: codegen: parameters model, firmware are missing: `softctl parameters codegen "
        "--robot ROBOT` writes a file with all\n"
    )


@pytest.mark.parametrize("good", [True, False])
def test_once_it_builds_and_ends_with_one_line_last(tendon_model, there, tmp_path, good):
    model = tendon_model.model if good else tmp_path
    command = [sys.executable, "-m", "soft_control.nodes.codegen", "--ros-args"]
    given = {"model": model, "firmware": there, "board": "host", "once": "true", "verify": "['']"}
    for name, value in given.items():
        command += ["-p", f"{name}:={value}"]
    with ros_domain():
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=PATIENCE_S, env=dict(os.environ)
        )
    assert done.returncode == (0 if good else 1)
    if good:
        (line,) = done.stdout.splitlines()
        assert line == f"firmware {read_build(there).build_id}; in {there}, as before"
    else:
        *_, line = done.stderr.splitlines()
        assert line == (
            f"error: codegen: {model}: no fk.json: not a model directory of softctl train"
        )


def test_the_node_imports_neither_compiler_nor_h5py():
    heavy = (
        "nn4mc_codegen",
        "h5py",
        "tensorflow",
        "scipy",
        "jinja2",
        "soft_control.firmware_build",
    )
    script = (
        "import sys; import soft_control.nodes.codegen; "
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr
