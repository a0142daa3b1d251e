"""What all nodes share: parameters and what is said of bad ones, start, end, signals."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from importlib import import_module
from pathlib import Path

import pytest
import yaml

pytest.importorskip("rclpy", reason="ROS 2 is not installed: soft_control[ros]")

from pydantic import Field, model_validator  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402

from soft_control import nodes, robots  # noqa: E402
from soft_control.experiment.bringup import NodeSpec  # noqa: E402
from soft_control.experiment.runner import ros_domain, start  # noqa: E402
from soft_control.nodes._given import parameters_of  # noqa: E402
from soft_control.nodes._mcu import McuParameters  # noqa: E402
from soft_control.nodes._node import (  # noqa: E402
    LIVE,
    NodeParameters,
    RigNode,
    checked,
    descriptor,
    is_live,
)
from soft_control.nodes._own_file import OF_A_RUN, own_file  # noqa: E402
from soft_control.nodes.excitation import ExcitationParameters  # noqa: E402
from soft_control.nodes.lightlace import LightLaceParameters  # noqa: E402
from soft_control.nodes.logger import LoggerParameters  # noqa: E402
from soft_control.nodes.pid import PidParameters  # noqa: E402
from soft_control.nodes.reference import ReferenceParameters  # noqa: E402
from soft_control.nodes.rig import RigParameters, RigSimulation  # noqa: E402
from soft_control.processes import interrupt_held  # noqa: E402

NAN = float("nan")
RIG = {"sensor_port": "s", "actuator_port": "a"}
TWO = {"command_names": ["a", "b"]}
GAINS = dict.fromkeys(("kp", "ki", "kd", "command_neutral", "command_min", "command_max"), [1, 2])
XYZ = {"output_names": ["x", "y", "z"]}
PID = TWO | XYZ | GAINS
MCU = TWO | XYZ | {"firmware": "build", "command_neutral": [0.0, 0.0]}
PORTS = {"wiring": "mcu", "sensor_port": "s", "actuator_port": "a"}
EXCITATION = TWO | dict.fromkeys(("command_min", "command_max", "move_max"), [0.1, 0.2])


def ports(folder: Path) -> dict[str, str]:
    """Of a rig, in a folder."""
    return {name: str(folder / name) for name in RIG}


@pytest.mark.parametrize(
    ("model", "given", "said"),
    [
        (RigParameters, RIG | {"rate_hz": NAN}, "parameter rate_hz = nan: "),
        (RigParameters, RIG | {"rate_hz": 0}, "rate_hz = 0.*greater than 0"),
        (RigParameters, RIG | {"rate_hz": "fast"}, "rate_hz = 'fast'.*number"),
        (RigParameters, RIG | {"clock": "wall"}, "clock = 'wall'.*'lockstep'"),
        (RigParameters, RIG | {"seed": -1}, "seed = -1"),
        (RigParameters, RIG | {"load_offset": [0, NAN, 0]}, r"load_offset\[1\] = nan"),
        (RigParameters, RIG | {"duration_s": 0.004}, "duration_s = 0.004 holds no"),
        (RigParameters, RIG | {"duration_s": float("inf")}, "duration_s = inf"),
        (RigParameters, {}, "parameters sensor_port, actuator_port are missing"),
        (LightLaceParameters, {"port": "p", "signal_names": ["s"]}, r"full_scale_counts = \[\]: w"),
        (
            LightLaceParameters,
            {"port": "p", "full_scale_counts": [1, 2], "signal_names": ["s"]},
            r"full_scale_counts = \[1.0, 2.0\]: wanted 1 values, one for each of signal s",
        ),
        (
            PidParameters,
            PID | {"decoupling": [1] * 5},
            "decoupling = .*wanted 6 values",
        ),
        (
            PidParameters,
            PID | {"decoupling": [1] * 6, "kp": [1]},
            "kp = .*wanted 2 values",
        ),
        (McuParameters, MCU | {"target": "board"}, "target = 'board'.*'sil', 'pil' or 'hil'"),
        (McuParameters, MCU | {"output_names": [""]}, r"output_names = \[\]"),
        (McuParameters, MCU | {"command_neutral": [0]}, "command_neutral = .*wanted 2"),
        (McuParameters, MCU | {"command_names": [""]}, r"command_names = \[\]"),
        (McuParameters, MCU | {"command_names": [True, False]}, r"command_names\[0\] = True"),
        (McuParameters, MCU | {"host_timeout_ms": 70_000}, "host_timeout_ms = 70000.*65535"),
        (
            McuParameters,
            MCU | {"wiring": "mcu"},
            "sensor_port, actuator_port: wiring mcu needs both",
        ),
        (McuParameters, MCU | PORTS, "trajectory: in wiring mcu the MPC is told its reference"),
        (McuParameters, MCU | {"output_rest": [0.0]}, "output_rest = .*wanted 3 values"),
        (ReferenceParameters, XYZ | {"trigger": "/command"}, "trigger = '/command'.*/outputs"),
        (ReferenceParameters, XYZ | {"preview": -1}, "preview = -1"),
        (ExcitationParameters, EXCITATION | {"move_max": [0.1]}, "move_max = .*wanted 2 values"),
        (LoggerParameters, {"topics": ["x"]}, "run_dir is missing"),
    ],
)
def test_a_malformed_parameter_is_told_with_name_value_and_what_is_wanted(model, given, said):
    with pytest.raises(ValueError, match=said) as caught:
        checked(model, given)
    assert "\n" not in str(caught.value)


def test_whole_numbers_do_for_numbers_and_empty_names_for_none(make_node, tmp_path):
    node = make_node(RigSimulation, rate_hz=50, peers=["rig"], **ports(tmp_path))
    assert node.parameters.rate_hz == 50.0 and node.parameters.samples == 1000
    given = checked(McuParameters, MCU | {"signal_names": [""]})
    assert given.signal_names == []


def test_ros_tells_what_each_parameter_means_and_may_be(make_node, tmp_path):
    """As `ros2 param describe` prints it; `ros2 param set` is refused with the reason, where it
    would be accepted and do nothing."""
    node = make_node(RigSimulation, rate_hz=50, peers=["rig"], **ports(tmp_path))
    for name, field in RigParameters.model_fields.items():
        told = node.describe_parameter(name)
        assert told.description == field.description
        assert told.read_only != is_live(field)
    seed, rate, clock = map(node.describe_parameter, ("seed", "rate_hz", "clock"))
    assert (seed.integer_range[0].from_value, seed.integer_range[0].to_value) == (0, 2**63 - 1)
    assert rate.floating_point_range[0].from_value == 0.0
    assert rate.additional_constraints == "above 0"
    assert clock.additional_constraints == "one of lockstep, realtime"
    (answer,) = node.set_parameters([Parameter("rate_hz", value=100.0)])
    assert not answer.successful and "read-only" in answer.reason
    assert node.get_parameter("rate_hz").value == 50


class GainParameters(NodeParameters):
    """Of a node whose gain can be changed while it runs."""

    gain: float = Field(1.0, gt=0, description="Of each.", json_schema_extra=LIVE)
    limits: list[float] = Field([0.0, 1.0], description="Two.", json_schema_extra=LIVE)
    rate_hz: float = Field(1.0, description="Read once.")

    @model_validator(mode="after")
    def in_order(self) -> GainParameters:
        if self.limits[0] >= self.limits[1]:
            raise ValueError(f"limits = {self.limits}: wanted a range")
        return self


class Gain(RigNode):
    NAME = "gain"
    Parameters = GainParameters
    busy = False

    def on_parameters(self, new: GainParameters) -> None:
        if self.busy:
            raise RuntimeError("the robot is moving: stop it first")


def test_live_parameters_change_all_or_none_and_are_refused_with_the_reason(make_node):
    """`nothing accepted does nothing`: what is accepted is what the node reads from then on."""
    node = make_node(Gain)

    def ask(**values):
        return node.set_parameters_atomically([Parameter(n, value=v) for n, v in values.items()])

    assert not node.describe_parameter("gain").read_only
    assert node.describe_parameter("rate_hz").read_only
    assert ask(gain=2, limits=[1, 3]).successful
    assert (node.parameters.gain, node.parameters.limits) == (2.0, [1.0, 3.0])
    for values, said in [
        ({"gain": 0.0}, "gain = 0.0: Input should be greater than 0"),
        ({"gain": 5.0, "limits": [3.0, 1.0]}, r"limits = \[3.0, 1.0\]: wanted a range"),
        ({"gain": "much"}, "gain = 'much': .*number"),
        ({"gain": 5.0, "rate_hz": 2.0}, "read-only"),
    ]:
        answer = ask(**values)
        assert not answer.successful and re.search(said, answer.reason)
        assert node.parameters.gain == 2.0 and node.get_parameter("gain").value == 2
    node.busy = True
    assert ask(gain=3.0).reason == "the robot is moving: stop it first"
    assert node.parameters.gain == 2.0


NODES = sorted(path.stem for path in Path(nodes.__file__).parent.glob("[a-z]*.py"))


@pytest.mark.parametrize("module", NODES)
def test_every_parameter_of_every_node_is_described(module):
    found = vars(import_module(f"soft_control.nodes.{module}")).values()
    models = [o for o in found if isinstance(o, type) and issubclass(o, NodeParameters)]
    assert models
    for model in models:
        for name, field in model.model_fields.items():
            assert descriptor(field).description, f"{module}: {name}"


def test_what_is_cut_is_said_in_samples():
    """As the same run is cut at the same place on any machine."""
    given = MCU | PORTS | {"controller": "pid", "rate_hz": 120.0}
    assert checked(McuParameters, given).cut == range(0)
    cut = checked(McuParameters, given | {"cut_from_s": 8.0, "cut_for_s": 4.0}).cut
    assert cut == range(960, 1440)
    assert checked(McuParameters, MCU | {"target": "hil"} | {"wiring": "mcu", "controller": "pid"})


def test_a_node_that_cannot_start_says_why_in_one_line(tmp_path):
    (tmp_path / "log").mkdir()
    (tmp_path / "parameters").mkdir()
    node = NodeSpec("rig", {**ports(tmp_path), "load_offset": [1.0, 2.0]})
    with ros_domain():
        assert start(node, tmp_path).wait(60) == 1
    said = (tmp_path / "log" / "rig.log").read_text()
    assert said.startswith(
        "error: rig: load_offset of the rig tendon needs 3 values, one for each of x, y, z"
    )
    assert said.count("\n") == 1


@pytest.mark.parametrize("module", NODES)
def test_a_node_alone_says_what_is_missing_and_starts_with_a_file_of_its_own(module, tmp_path):
    """`ros2 run` without parameters names all that it lacks and how to get them; the file that
    `softctl parameters` writes has the rest, each parameter with what it means."""
    model = parameters_of(module)
    required = [name for name, field in model.model_fields.items() if field.is_required()]
    with (
        pytest.raises(ValueError, match=f"parameters? {', '.join(required)} (is|are) missing")
        if (required)
        else nullcontext()
    ):
        checked(model, {})
    robot = "hasel" if module in ("magnetic", "hasel_driver") else "tendon"
    text, wanted = own_file(module, robots.load(robot), {})
    assert set(wanted) <= {
        *("port", "firmware", "model", "run_dir", "sensor_port", "actuator_port"),
        *("range_low", "range_high", "decoupling", "kp", "ki", "kd", "robot", "move_max", "rest"),
    }, wanted
    told = yaml.safe_load(text)[module]["ros__parameters"]
    assert set(told) == set(model.model_fields) & set(told)
    for name, field in model.model_fields.items():
        if name not in OF_A_RUN:
            assert f"{name}:" in text and field.description.split()[0] in text
    if not wanted:
        assert checked(model, told)


IMPORTING = """
import os, signal
os.kill(os.getpid(), signal.SIGINT)  # as if it came from outside in the middle of the imports
print("still importing", flush=True)
from soft_control.nodes.rig import main
main()
"""


def test_a_signal_that_comes_during_the_imports_waits_for_its_handler(tmp_path):
    """Without interrupt_held Python raises KeyboardInterrupt wherever it happens to be."""
    file = tmp_path / "rig.yaml"
    file.write_text(yaml.safe_dump({"rig": {"ros__parameters": ports(tmp_path)}}))
    command = [sys.executable, "-c", IMPORTING]
    with ros_domain(), interrupt_held():
        process = subprocess.Popen(
            [*command, "--ros-args", "--params-file", str(file)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
    said, _ = process.communicate(timeout=60)
    assert (process.returncode, said) == (0, "still importing\n")


def test_a_signal_whose_exception_python_swallows_still_ends_the_node(tmp_path):
    """An exception that a handler raises within a finaliser is lost: "Exception ignored in"."""
    script = tmp_path / "swallowing.py"
    script.write_text(
        "import os, signal\n"
        "from soft_control.nodes._node import RigNode, main\n"
        "class Swallowing(RigNode):\n"
        "    NAME = 'swallowing'\n"
        "    def on_everyone_matched(self):\n"
        "        class Finalised:\n"
        "            def __del__(self):\n"
        "                os.kill(os.getpid(), signal.SIGINT)\n"
        "        Finalised()\n"
        "        print('matched', flush=True)\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.present()\n"
        "main(Swallowing)\n"
    )
    with ros_domain():
        done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "matched" in done.stdout
    assert "Exception ignored in" in done.stderr


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [
        ("ValueError('no such thing')", 1, "error: raising: no such thing\n"),
        ("SystemExit", 0, ""),
    ],
)
def test_what_a_callback_raises_is_all_that_is_said(tmp_path, raised, code, said):
    """rclpy's executor of events calls it fatal, and says where it was raised: also of the end."""
    script = tmp_path / "raising.py"
    script.write_text(
        "from soft_control.nodes._node import RigNode, main\n"
        "class Raising(RigNode):\n"
        "    NAME = 'raising'\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.create_timer(0.1, self.check)\n"
        "    def check(self):\n"
        f"        raise {raised}\n"
        "main(Raising)\n"
    )
    with ros_domain():
        done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (code, "", said)


def test_a_signal_at_once_ends_a_node(tmp_path: Path):
    (tmp_path / "log").mkdir()
    (tmp_path / "parameters").mkdir()
    with ros_domain():
        process = start(NodeSpec("rig", ports(tmp_path)), tmp_path)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    assert (tmp_path / "log" / "rig.log").read_text() == ""


SPEAKING = """
from std_msgs.msg import String
from soft_control.nodes import _node
class Speaking(_node.RigNode):
    NAME = "speaking"
    def __init__(self):
        super().__init__()
        said = self.publish_on(String, "/said")
        self.create_timer(0.01, lambda: said.publish(String(data="word")))
_node.HEARD_S = 600.0
_node.main(Speaking)
"""
LISTENING = """
import rclpy
from rclpy.qos import QoSProfile
from std_msgs.msg import String
rclpy.init()
node = rclpy.create_node("listening")
hear = lambda word: print(word.data, flush=True)
heard = node.create_subscription(String, "/said", hear, QoSProfile(depth=1000))
rclpy.spin(node)
"""


@pytest.mark.parametrize("how", ["it is heard", "it is told to hurry"])
def test_a_node_that_ends_waits_until_what_it_said_has_come(how):
    """A bag lacked 400 commands: one was lost on its way, its node had ended before it was missed,
    and a reliable listener takes nothing that comes after what it misses."""
    begin = {"stdout": subprocess.PIPE, "text": True}
    with ros_domain():
        listening = subprocess.Popen([sys.executable, "-c", LISTENING], **begin)
        speaking = subprocess.Popen([sys.executable, "-c", SPEAKING], **begin)
    try:
        assert listening.stdout.readline() == "word\n"
        listening.send_signal(signal.SIGSTOP)
        time.sleep(0.2)  # something is said meanwhile
        speaking.send_signal(signal.SIGINT)
        with pytest.raises(subprocess.TimeoutExpired):
            speaking.wait(1.0)
        if how == "it is heard":
            listening.send_signal(signal.SIGCONT)
        else:
            speaking.send_signal(signal.SIGTERM)
        assert speaking.wait(60) == 0
    finally:
        for process in (listening, speaking):
            process.kill()
            process.communicate()
