"""What a run is made of, and that everything which must fit is checked before anything is there."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml
from pydantic import ValidationError, create_model

from soft_control import paths, robots
from soft_control.control.controllers import CONTROLLERS
from soft_control.control.sampled_reference import read_reference
from soft_control.experiment import checks, run_folder, setup
from soft_control.experiment.bringup import prepare
from soft_control.experiment.checks import curve_of
from soft_control.experiment.node_parameters import (
    model_settings,
    mpc_settings,
    node_parameters,
    sees_position,
)
from soft_control.experiment.record import RECORD_FILE, read_record
from soft_control.experiment.settings import Experiment
from soft_control.experiment.setup import check, robot_of
from soft_control.firmware_build import build
from soft_control.firmware_files import BUILD_FILE, BuildError
from soft_control.learning.card import RestSignals
from soft_control.learning.model import (
    CARD_FILE,
    NETWORK_FILE,
    IncrementNetwork,
    Model,
    ModelCard,
    file_hash,
    load_card,
)
from soft_control.learning.recording import Recording
from soft_control.learning.rest import read_rest
from soft_control.learning.settings import TrainingSettings
from soft_control.learning.surface import Surface
from soft_control.learning.training import train
from soft_control.rigs import RIGS, describe
from soft_control.robots.description import Signal, tip
from soft_control.topics import SIGNALS

SURFACE = {"leading": ["y", "z"], "factors": [1, 1], "degree": 0, "following": {"x": [0.001]}}


def write_model(folder: Path, rig: str = "tendon", **changes: Any) -> ModelCard:
    """A model directory; nobody looks into its network before a run starts."""
    robot = describe(rig)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / NETWORK_FILE).write_bytes(rig.encode())
    m, n, p = len(robot.commands), len(robot.outputs), len(robot.signals)
    card = ModelCard(
        **dict(
            robot=robot,
            rate_hz=120.0,
            input_lags=3,
            output_lags=3,
            input_delay=5,
            output_names=list(robot.output_names),
            command_names=list(robot.command_names),
            command_offset=[0.0] * m,
            command_scale=[1.0] * m,
            output_offset=[0.0] * n,
            output_scale=[1.0] * n,
            signal_names=list(robot.signal_names),
            signal_offset=[0.0] * p,
            signal_scale=[1.0] * p,
            surface=SURFACE if m == 2 else None,
            metrics=[],
            evaluated_on=[],
            recordings=[],
            model_hash=file_hash(folder / NETWORK_FILE),
        )
        | changes
    )
    (folder / CARD_FILE).write_text(card.model_dump_json())
    return card


@pytest.fixture
def experiment(tmp_path: Path) -> Callable[..., Experiment]:
    """An experiment whose model and firmware are there and fit; changed by its arguments."""
    card = write_model(tmp_path / "model")
    firmware = tmp_path / "firmware"
    firmware.mkdir()
    made = {"model_hash": card.model_hash, "build_id": "b", "horizon": 12, "compilers": {}}
    (firmware / BUILD_FILE).write_text(json.dumps(made))
    for name in ("libfirmware.so", "firmware.elf"):
        (firmware / name).touch()

    def make(**changes: Any) -> Experiment:
        given = dict(
            target="sil", model=tmp_path / "model", firmware=firmware, out=tmp_path / "run"
        )
        return Experiment(**given | changes)

    return make


def graph(experiment: Experiment) -> dict[str, dict[str, Any]]:
    return {node.name: node.parameters for node in prepare(experiment)}


def test_an_mpc_run_has_its_nodes_record_and_parameters(experiment):
    asked = experiment(load="0,0,-2@10")
    nodes = graph(asked)
    assert list(nodes) == ["rig", "lightlace", "mcu", "dynamixel", "logger"]
    assert all(parameters["peers"] == list(nodes) for parameters in nodes.values())
    assert nodes["rig"]["load_offset"] == [0.0, 0.0, -2e-3] and nodes["rig"]["load_after_s"] == 10.0
    robot = describe("tendon")
    assert nodes["lightlace"]["full_scale_counts"] == list(robot.full_scale_counts)
    assert nodes["lightlace"]["signal_names"] == list(robot.signal_names)
    ports = [nodes["rig"]["sensor_port"], nodes["rig"]["actuator_port"]]
    assert [nodes["lightlace"]["port"], nodes["dynamixel"]["port"]] == ports
    assert nodes["dynamixel"]["id"] == [1, 2]
    assert nodes["dynamixel"]["speed_max"] == pytest.approx(np.radians([354.0, 354.0]))
    assert nodes["mcu"]["output_rest"] == [0.0, 0.0, 0.0]
    assert nodes["mcu"]["wiring"] == "host" and nodes["mcu"]["sensor_port"] == ""
    assert nodes["mcu"]["command_neutral"] == pytest.approx(robot.command_neutral)
    assert nodes["mcu"]["output_names"] == ["x", "y", "z"]
    table = read_reference(Path(nodes["mcu"]["trajectory"]), ["x", "y", "z"])
    assert (
        table.periodic and len(table.t_s) == 401
    )  # enough for a figure-eight; there is room for 1,200
    assert nodes["logger"]["points"] == ["/points/tip"]
    record = read_record(asked.out)
    assert (record.robot, record.title, record.target) == (robot, "MPC", "sil")
    assert (record.sees_position, record.has_preview) == (False, True)
    assert record.curve.amplitude == (0.0, 0.0125, 0.025) and record.build.build_id == "b"


def test_a_pid_run_needs_no_firmware_and_acts_on_the_position(experiment):
    asked = experiment(controller="pid", firmware=Path("none"))
    nodes = graph(asked)
    assert list(nodes) == ["rig", "lightlace", "reference", "pid", "dynamixel", "logger"]
    assert nodes["reference"]["following"] == ["x"] and nodes["reference"]["coefficients"] == [1e-3]
    assert nodes["reference"]["trigger"] == "/outputs" and nodes["reference"]["preview"] == 0
    assert "firmware" not in nodes["pid"] and len(nodes["pid"]["command_min"]) == 2
    record = read_record(asked.out)
    assert (record.target, record.sees_position, record.has_preview) == (None, True, False)
    assert record.build is None and record.model_hash


def test_a_recording_needs_neither_model_nor_reference(experiment):
    asked = experiment(controller="excitation", model=Path("none"), rig="hasel", seed=7)
    nodes = graph(asked)
    instruments = describe("hasel").instruments
    sensor, actuators = instruments.sensor.kind, instruments.actuators.kind
    assert list(nodes) == ["rig", sensor, "excitation", actuators, "logger"]
    assert nodes["excitation"]["seed"] == 7
    assert read_record(asked.out).curve is None


def test_in_wiring_mcu_the_firmware_has_the_instruments(experiment):
    asked = experiment(wiring="mcu", cut="4@8", host_lost="stop")
    nodes = graph(asked)
    assert list(nodes) == ["rig", "mcu", "logger"]
    ports = [nodes["rig"][name] for name in ("sensor_port", "actuator_port")]
    assert [nodes["mcu"][name] for name in ("sensor_port", "actuator_port")] == ports
    assert nodes["mcu"]["controller"] == "mpc" and nodes["mcu"]["host_lost"] == "stop"
    assert (nodes["mcu"]["cut_from_s"], nodes["mcu"]["cut_for_s"]) == (8.0, 4.0)
    record = read_record(asked.out)
    assert (record.wiring, record.cut, record.host_lost) == ("mcu", "4@8", "stop")


def test_in_wiring_mcu_a_pid_passes_the_gate_of_the_firmware(experiment):
    nodes = graph(experiment(wiring="mcu", controller="pid"))
    assert list(nodes) == ["rig", "mcu", "reference", "pid", "logger"]
    assert nodes["mcu"]["controller"] == "pid" and nodes["mcu"]["trajectory"] == ""


def test_controllers_that_wait_are_told_so_and_have_a_reference(experiment):
    """In wiring mcu they act on what is measured, for the signals come with the command; the
    firmware has its reference before the run, and no other one would be followed."""
    nodes = graph(experiment(wiring="mcu", standby="pid, open_loop"))
    assert list(nodes) == ["rig", "mcu", "reference", "pid", "excitation", "logger"]
    assert nodes["mcu"]["controller"] == "mpc" and nodes["mcu"]["trajectory"]
    assert nodes["pid"]["standby"] and nodes["excitation"]["standby"]
    assert nodes["excitation"]["trigger"] == nodes["reference"]["trigger"] == "/outputs"
    assert nodes["reference"]["preview"] == 0 and not nodes["reference"]["may_change"]


def test_in_wiring_host_the_reference_of_all_is_the_nodes(experiment):
    asked = experiment(standby="pid")
    nodes = graph(asked)
    assert [name for name in nodes if name in CONTROLLED] == ["mcu", "reference", "pid"]
    assert nodes["mcu"]["trajectory"] == "" and nodes["reference"]["may_change"]
    assert nodes["reference"]["preview"] == 12 and nodes["pid"]["standby"]
    assert read_record(asked.out).standby == "pid"
    pid_first = graph(experiment(controller="pid", standby="mpc"))
    assert pid_first["mcu"]["controller"] == "pid" and pid_first["pid"]["standby"]
    alone = graph(experiment(controller="pid"))
    assert "mcu" not in alone and not alone["pid"]["standby"]


@pytest.fixture
def rests(monkeypatch) -> None:
    """The network of the model is there, too, and its card says the signals at rest."""

    def loaded(folder: Path) -> Model:
        card = load_card(folder)
        signals = [[0.0] * 15 for _ in card.signal_names]
        rest = RestSignals(degree=4, coefficients=signals, residual=[0.0] * len(signals))
        inputs = card.command_columns + card.output_columns + len(signals)
        network = IncrementNetwork([(np.zeros((inputs, 3)), np.zeros(3))], card.command_columns)
        return Model(card.model_copy(update={"rest_signals": rest}), network)

    monkeypatch.setattr(setup, "load_model", loaded)


def test_who_looks_ahead_is_told_the_reference_and_the_network_at_rest(experiment, rests):
    asked = experiment(controller="static_inverse")
    nodes = graph(asked)
    assert list(nodes) == ["rig", "lightlace", "reference", "static_inverse", "dynamixel", "logger"]
    assert nodes["reference"]["preview"] == nodes["static_inverse"]["preview"] == 30
    assert nodes["reference"]["trigger"] == SIGNALS  # nobody needs the measured outputs
    found = read_rest(nodes["static_inverse"]["rest"])
    assert len(found.command_offset) == 2 and len(found.output_offset) == 3
    both = graph(experiment(controller="static_inverse", standby="mpc,pid_feedforward"))
    assert both["reference"]["preview"] == 30  # and not the 12 of the firmware
    assert both["reference"]["trigger"] == "/outputs"
    assert {"decoupling", "kp", "ki", "kd", "lead_s"} <= both["pid_feedforward"].keys()


def test_in_wiring_mcu_the_reference_speaks_for_what_is_measured(experiment, rests):
    """For signals come with the command that answers them."""
    nodes = graph(experiment(wiring="mcu", standby="static_inverse"))
    assert nodes["reference"]["trigger"] == "/outputs" and nodes["static_inverse"]["standby"]
    assert nodes["reference"]["preview"] == 30


def test_a_lead_beyond_what_is_told_is_refused(experiment, rests, tmp_path):
    file = tmp_path / "own.yaml"
    file.write_text("static_inverse:\n  ros__parameters:\n    lead_s: 0.3\n")
    asked = experiment(controller="static_inverse", params_file=str(file))
    with pytest.raises(ValueError, match="looks 0.3 s ahead, but preview .* is 30 samples, 0.25 s"):
        prepare(asked, lambda name: create_model("Any", lead_s=(float, 0.0)))
    assert not asked.out.exists()


def test_a_model_of_an_earlier_training_is_refused(experiment, rests, monkeypatch):
    """Its card does not say the signals at rest."""
    zeros = IncrementNetwork([(np.zeros((26, 3)), np.zeros(3))], 6)
    monkeypatch.setattr(setup, "load_model", lambda folder: Model(load_card(folder), zeros))
    with pytest.raises(ValueError, match="what its signals are where the robot rests: train it"):
        prepare(experiment(controller="pid_feedforward"))


@pytest.mark.parametrize(("standby", "said"), [("crane", "unknown controller 'crane'")])
def test_who_cannot_wait_is_refused(experiment, standby, said):
    with pytest.raises(ValueError, match=said):
        experiment(standby=standby)


CONTROLLED = ("mcu", "reference", "pid", "excitation")


def test_whether_the_mpc_sees_the_position_is_said_by_the_parameters(monkeypatch):
    assert not sees_position("mpc", "tendon") and sees_position("mpc", "mass_spring_damper")
    assert sees_position("pid", "tendon") and not sees_position("excitation", "tendon")


def test_every_parameter_that_a_controller_takes_is_offered(experiment, rests):
    """And is one that its node declares, or nobody would read it."""
    pytest.importorskip("rclpy", reason="ROS 2 is not installed")
    from importlib import import_module

    from soft_control.nodes._node import RigNode

    for name, entry in CONTROLLERS.items():
        module = import_module(f"soft_control.nodes.{entry.node}")
        classes = [c for c in vars(module).values() if isinstance(c, type)]
        (node,) = [c for c in classes if issubclass(c, RigNode) and c.__module__ == module.__name__]
        setup = check(experiment(controller=name))
        assert set(entry.takes) <= set(node.Parameters.model_fields), name
        assert set(setup.parameters[entry.node]) - {"mpc"} <= set(node.Parameters.model_fields)


# ------------------------------------------------------------------------------ checked beforehand

MISTAKES = [
    (dict(rig="tendon", duration_s=0.004), "0.004 s holds no sample at 120 Hz"),
    (dict(load="0,0,nan@0.5"), "not x,y,z@t with finite numbers"),
    (dict(load="0,0,inf@0.5"), "not x,y,z@t"),
    (dict(load="0,0,1@-1"), "not x,y,z@t"),
    (dict(load="0,0,1@nan"), "not x,y,z@t"),
    (dict(load="0,0,1@20"), "comes on at 20 s, but the run ends at 20 s"),
    (dict(target="hil"), "name its serial port with --port"),
    (dict(target="hil", port="/dev/none"), "--port /dev/none: No such file"),
    (dict(target="hil", port="/dev/null"), "--port /dev/null is no serial port"),
    (dict(target="hil", port="/etc/passwd"), "--port /etc/passwd is no serial port"),
    (dict(port="/dev/ttyACM0"), "is for the target hil, not for sil"),
    (dict(rig="hasel"), "of the robot 'tendon', not of hasel"),
    (dict(rig="hasel", controller="pid"), "of the robot 'tendon', not of hasel"),
    (dict(model=Path("none")), "not a model directory"),
    (dict(firmware=Path("none")), "build the firmware first"),
    (dict(wiring="mcu", controller="pid", firmware=Path("none")), "build the firmware first"),
    (dict(wiring="mcu", controller="excitation"), "acts on the signals"),
    (dict(wiring="mcu", target="hil"), "--wiring mcu on hil"),
    (dict(wiring="mcu", controller="pid", cut="4@8"), "a cut would be its end"),
    (dict(cut="4@8"), "a cut needs --wiring mcu"),
    (dict(wiring="mcu", cut="4"), "cut '4' is not how long @ from when"),
    (dict(wiring="mcu", cut="nan@8"), "cut 'nan@8' is not how long"),
    (dict(wiring="mcu", cut="0@8"), "cut '0@8' is not how long"),
    (dict(wiring="mcu", cut="12@8"), "cut until 20 s, but the run ends at 20 s"),
    (dict(rate_hz=100.0), "predicts at 120 Hz; it cannot control at 100 Hz"),
]


@pytest.mark.parametrize(("changes", "said"), MISTAKES)
def test_a_mistake_is_named_before_anything_is_written(experiment, changes: dict, said: str):
    asked = experiment(**changes)
    with pytest.raises((ValueError, RuntimeError)) as refused:
        prepare(asked)
    assert said in str(refused.value) and "\n" not in str(refused.value)
    assert not asked.out.exists()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("reference", "figure_8"),
        ("rig", "tentacle"),
        ("controller", "lqr"),
        ("target", "moon"),
        ("clock", "sundial"),
        ("rate_hz", float("inf")),
        ("rate_hz", float("nan")),
        ("rate_hz", -1.0),
        ("rate_hz", 0),
        ("rig", "nowhere"),
        ("duration_s", float("nan")),
        ("duration_s", float("inf")),
        ("duration_s", 0.0),
        ("seed", -1),
        ("seed", 2**63),
    ],
)
def test_a_value_that_nothing_has_is_refused_by_its_name(field: str, value: object):
    with pytest.raises(ValidationError) as refused:
        Experiment(**{field: value})
    (error,) = refused.value.errors()
    assert error["loc"] == (field,)


@pytest.mark.parametrize("given", [{}, {"rate_hz": None}, {"rate_hz": ""}])
def test_a_run_goes_at_the_rate_of_its_robot(experiment, given: dict):
    """In a launch file an argument that nobody gives is an empty text."""
    cart = {"rig": "mass_spring_damper", "controller": "excitation"}
    asked = experiment(**cart, **given)
    assert graph(asked)["rig"]["rate_hz"] == read_record(asked.out).rate_hz == 50.0
    assert check(experiment(**given)).rate_hz == 120.0
    assert check(experiment(**cart, rate_hz="25", out=asked.out / "other")).rate_hz == 25.0


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (dict(command_names=["a", "b"]), "has the commands a, b; tendon has servo_0, servo_1"),
        (dict(command_names=["servo_1", "servo_0"]), "has the commands servo_1, servo_0"),
        (
            dict(signal_names=["lace_99"], signal_offset=[0.0], signal_scale=[1.0]),
            "needs signals that tendon has not: lace_99",
        ),
    ],
)
def test_a_model_of_other_commands_or_signals_is_refused(experiment, tmp_path, changes, said):
    """Of a robot that has the same name."""
    robot = describe("tendon")
    names = changes.get("command_names", robot.command_names)
    commands = tuple(
        command.model_copy(update={"name": name})
        for command, name in zip(robot.commands, names, strict=True)
    )
    signals = tuple(Signal(name=name) for name in changes.get("signal_names", robot.signal_names))
    robot = robot.model_copy(update={"commands": commands, "signals": signals, "recording": None})
    write_model(tmp_path / "model", robot=robot, **changes)
    with pytest.raises(ValueError, match=said):
        check(experiment())


def test_a_model_of_other_outputs_is_refused(experiment, tmp_path):
    robot = describe("mass_spring_damper")
    robot = robot.model_copy(update={"outputs": tip(axes="xy")})
    write_model(
        tmp_path / "model",
        "mass_spring_damper",
        rate_hz=50.0,
        robot=robot,
        output_names=["x", "y"],
        output_offset=[0.0, 0.0],
        output_scale=[1.0, 1.0],
    )
    with pytest.raises(ValueError, match="has the outputs x, y; mass_spring_damper has x"):
        check(experiment(rig="mass_spring_damper", controller="pid", rate_hz=50.0))


def test_a_load_on_outputs_that_are_none_is_refused(experiment):
    asked = experiment(rig="mass_spring_damper", controller="excitation", load="1,0,-2@1")
    with pytest.raises(ValueError, match="load '1,0,-2@1' is not x@t with .* in mm and s"):
        check(asked)


def test_firmware_of_another_model_or_without_its_file_is_refused(experiment, tmp_path):
    (tmp_path / "firmware" / "libfirmware.so").unlink()
    with pytest.raises(ValueError, match=r"libfirmware\.so is missing: run `softctl build` again"):
        check(experiment())
    made = json.loads((tmp_path / "firmware" / BUILD_FILE).read_text())
    (tmp_path / "firmware" / BUILD_FILE).write_text(json.dumps(made | {"model_hash": "f" * 16}))
    with pytest.raises(ValueError, match="was built from another model"):
        check(experiment())


@pytest.mark.parametrize(
    "text", ["", "[", "[1]", "null", '"x"', "{}", '{"model_hash": 1}', '{"a\\n": 1}', "[" * 10**5]
)
def test_a_hostile_build_is_one_line(experiment, tmp_path, text: str):
    (tmp_path / "firmware" / BUILD_FILE).write_text(text)
    with pytest.raises(BuildError, match="build the firmware") as refused:
        check(experiment())
    assert "\n" not in str(refused.value)


def test_a_terminal_counts_as_a_serial_port():
    controller, port = os.openpty()
    try:
        checks.check_port(os.ttyname(port))
    finally:
        os.close(controller)
        os.close(port)


# ------------------------------------------------------------------------------ the run's folder


def test_a_run_never_overwrites_another(experiment):
    asked = experiment()
    prepare(asked)
    (asked.out / "bag").mkdir()
    (asked.out / "bag" / "bag.mcap").write_bytes(b"samples")  # no metadata: perhaps worth keeping
    with pytest.raises(ValueError, match="is not empty: a run never overwrites another"):
        prepare(asked)


def test_what_a_run_left_that_never_started_is_replaced(experiment):
    """A node failed before the first sample: parameters, a log, a bag without a message."""
    asked = experiment(seed=1)
    prepare(asked)
    for name in ("log", "parameters", "bag"):
        (asked.out / name).mkdir()
    (asked.out / "log" / "mcu.log").write_text("error: mcu: no answer")
    metadata = {"rosbag2_bagfile_information": {"message_count": 0}}
    (asked.out / "bag" / "metadata.yaml").write_text(yaml.safe_dump(metadata))
    (asked.out / "bag" / "bag.mcap").touch()
    prepare(experiment(seed=2))
    assert {path.name for path in asked.out.iterdir()} == {RECORD_FILE, run_folder.TRAJECTORY_FILE}
    assert read_record(asked.out).seed == 2


@pytest.mark.parametrize(
    "name",
    [
        "a b",
        "$(touch pwned)",
        "a'b\"c",
        "x: [y",
        "# z",
        "{{ 7 }}",
        "%s",
        "a\nb",
        "-o",
        "&x *y",
        "ä",
    ],
)
def test_any_name_of_a_folder_works(experiment, tmp_path, name: str):
    """And stays one name where YAML carries it to the nodes."""
    asked = experiment(out=tmp_path / "runs" / name)
    for node in prepare(asked):
        again = yaml.safe_load(yaml.safe_dump(node.parameters))
        assert again == node.parameters
        if node.name == "logger":
            assert again["run_dir"] == str(tmp_path / "runs" / name)
    assert [path.name for path in (tmp_path / "runs").iterdir()] == [name]
    assert read_record(asked.out).out == str(asked.out)
    assert not Path("pwned").exists()


@pytest.mark.parametrize("extra", ["summary.json", "notes.txt"])
def test_a_folder_with_anything_else_is_left_alone(experiment, extra: str):
    asked = experiment()
    prepare(asked)
    (asked.out / extra).write_text("mine")
    with pytest.raises(ValueError, match="is not empty"):
        prepare(asked)
    assert (asked.out / extra).read_text() == "mine"


def test_a_folder_that_cannot_be_one_is_refused(experiment, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="file is no folder"):
        prepare(experiment(out=tmp_path / "file"))
    with pytest.raises(ValueError, match="cannot be made: .*file is no folder that you may write"):
        prepare(experiment(out=tmp_path / "file" / "run"))


# ------------------------------------------------------------------------------- hostile parameters


@pytest.fixture
def share(tmp_path: Path, monkeypatch) -> Path:
    """A copy of the project's config/ to be spoilt."""
    shutil.copytree(paths.share() / "config", tmp_path / "share" / "config")
    monkeypatch.setattr(paths, "share", lambda: tmp_path / "share")
    return tmp_path / "share" / "config"


@pytest.mark.parametrize(
    "file", ["mcu", "reference", "logger", "tendon", "robots/tendon", "tuned/tendon_mcu"]
)
@pytest.mark.parametrize(
    "text",
    ["[", "- 1", "x", "mcu: 1", "{mcu: {ros__parameters: 3}, nodes: {mcu: 3}}", "nodes: 3", "\0"],
)
def test_a_hostile_parameter_file_is_one_line(experiment, share, file: str, text: str):
    """Or is harmless, where the file says nothing of the node that is asked for."""
    (share / f"{file}.yaml").write_text(text)
    try:
        prepare(experiment())
    except (ValueError, RuntimeError) as refused:
        assert "\n" not in str(refused)
        assert Path(file).name in str(refused) or "node" in str(refused)


@pytest.mark.parametrize("value", ["[1, a]", "[[1, 2]]", "null", "2020-01-01", "{a: [true, 1]}"])
def test_a_parameter_that_ros_cannot_hold_is_named(experiment, share, value: str):
    (share / "logger.yaml").write_text(f"logger:\n  ros__parameters:\n    topics: {value}\n")
    with pytest.raises(ValueError, match=r"parameter logger\.topics"):
        check(experiment())


@pytest.mark.parametrize("value", ["[1.0]", "x", "[.nan, 1.0]", "null", "[true, true]"])
def test_gains_of_another_shape_are_refused_with_a_way_out(experiment, share, value: str):
    text = f"pid:\n  ros__parameters:\n    kp: {value}\n"
    (share / "tuned" / "tendon_pid.yaml").write_text(text)
    with pytest.raises(ValueError, match="kp") as refused:
        check(experiment(controller="pid"))
    if value != "null":
        assert "softctl tune --controller pid" in str(refused.value)


@pytest.mark.parametrize("value", ["x", ".inf", "null", "[1.0]", "true"])
def test_a_reference_with_a_wrong_amplitude_is_refused(experiment, share, value: str):
    file = share / "robots" / "tendon.yaml"
    text = file.read_text()
    assert "amplitude: 0.025}" in text
    file.write_text(text.replace("amplitude: 0.025}", f"amplitude: {value}}}"))
    where = "nodes.reference.outputs in.* .*robots/tendon.yaml"
    wrong = "how far z goes" if value == "null" else "amplitude of z .* must be a finite number"
    said = f"{wrong}.*{where}"
    with pytest.raises(ValueError, match=said):
        check(experiment())


@pytest.mark.parametrize(
    ("outputs", "said"),
    [
        ("{y: 1.0}", "y of the node reference: must be"),
        ("[1.0]", "outputs of the node reference: must be"),
        ("{bend: {amplitude: 1.0}}", "has bend, but the outputs of tendon are x, y, z"),
        ("{y: {amplitudo: 1.0}}", "y of the node reference has amplitudo"),
        ("{y: {amplitude: 1.0}}", "how far z goes in a shape: write z: .amplitude: "),
        ("{y: {amplitude: 1.0, component: -1}}", "component of y .* a whole number from 0"),
        ("{y: {amplitude: 1.0, component: 0.5}}", "component of y .* a whole number from 0"),
    ],
)
def test_a_reference_of_other_outputs_is_refused(outputs: str, said: str):
    given = yaml.safe_load(outputs)
    with pytest.raises(ValueError, match=said):
        curve_of("fixed", {"outputs": given, "angular_rate": 1.0}, SURFACED, describe("tendon"))


def test_a_reference_is_about_where_the_robot_rests():
    given = {"outputs": {name: {"amplitude": 1.0} for name in "xyz"}, "angular_rate": 1.0}
    robot = describe("tendon")
    raised = robot.model_copy(
        update={"outputs": tuple(o.model_copy(update={"rest": -0.3}) for o in robot.outputs)}
    )
    assert curve_of("pringle", given, None, raised).centre == (-0.3, -0.3, -0.3)
    # What follows the surface is on it already.
    assert curve_of("pringle", given, SURFACED, raised).centre == (0.0, -0.3, -0.3)
    given["outputs"]["y"]["centre"] = 0.1
    assert curve_of("pringle", given, None, raised).centre == (-0.3, 0.1, -0.3)


SURFACED = Surface.model_validate(SURFACE)


def test_a_reference_from_a_file_goes_to_its_node_and_into_the_record(experiment, tmp_path):
    file = tmp_path / "bends.csv"
    file.write_text("t_s,y,z\n0,0,0\n1,0.01,0.02\n2,0,0\n")
    asked = experiment(reference=str(file), controller="pid")
    nodes = graph(asked)
    assert nodes["reference"]["file"] == str(asked.out.absolute() / "reference.csv")
    assert "shape" not in nodes["reference"]
    curve = read_record(asked.out).curve
    assert curve.rows == ((0.001, 0.0, 0.0), (0.001, 0.01, 0.02), (0.001, 0.0, 0.0))
    pytest.importorskip("rclpy", reason="ROS 2 is not installed: soft_control[ros]")
    from soft_control.nodes.reference import ReferenceParameters

    node = ReferenceParameters.model_validate(nodes["reference"])
    np.testing.assert_array_equal(node.reference().values(0.5), curve.values(0.5))
    file.write_text("t_s,y\n0,0\n1,0\n")
    with pytest.raises(ValueError, match="bends.csv: no column x, z: wanted t_s and x, y, z"):
        check(experiment(reference=str(file), out=tmp_path / "other"))


def test_a_recorded_run_is_a_reference(experiment, tmp_path):
    """By the columns and units of the robot's description; the same file without its commands and
    with the outputs' own names is a table of a reference."""
    file = tmp_path / "monday.csv"
    file.write_text(
        "t_ms,u0_deg,u1_deg,x_m,y_m,z_m\n500,0,0,1,2,3\n510,1,1,1.5,2,3\n520,2,2,2,2,3\n"
    )
    asked = experiment(reference=str(file), controller="pid")
    told = graph(asked)["reference"]
    curve = read_record(asked.out).curve
    assert curve.outputs == ("x", "y", "z")
    assert curve.t_s == pytest.approx((0.0, 0.01, 0.02))
    assert curve.rows == ((1.0, 2.0, 3.0), (1.5, 2.0, 3.0), (2.0, 2.0, 3.0))
    assert read_reference(Path(told["file"]), curve.outputs) == curve
    file.write_text("t_s,x,y,z\n0,0,0,0\n1,4,5,6\n")
    assert check(experiment(reference=str(file), out=tmp_path / "o")).curve.rows[1] == (4, 5, 6)
    file.write_text("t_ms,u0_deg,x_m,y_m,z_m\n500,0,1,2,3\n510,1,1,2,3\n")
    with pytest.raises(ValueError, match="monday.csv: missing column u1_deg"):
        check(experiment(reference=str(file), out=tmp_path / "o"))


# ---------------------------------------------------------------------------- settings of the MPC


@pytest.mark.parametrize("rig", sorted(RIGS))
def test_settings_have_limits_and_units_of_the_description(rig: str):
    settings, robot = mpc_settings(rig), describe(rig)
    assert settings.command_min == robot.command_min.tolist()
    assert len(settings.move_weight) == len(robot.commands)
    assert len(settings.output_weight) == len(robot.outputs)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("mpc: {command_max: [0]}", "command_max .* but the robot says"),
        ("mpc: {command_min: [0, 0]}", "command_min .* but the robot says"),
        ("mpc: {horizon: 0}", "horizon = 0: "),
        ("mpc: {speed: 1}", "speed = 1: "),
        ("mpc: 3", "must be `name: value` lines"),
    ],
)
def test_settings_that_cannot_be_are_named(share, text: str, said: str):
    (share / "tuned" / "tendon_mcu.yaml").write_text(f"mcu:\n  ros__parameters:\n    {text}\n")
    with pytest.raises(ValueError, match=f"the MPC of tendon .*{said}") as refused:
        mpc_settings("tendon")
    assert "\n" not in str(refused.value)


@pytest.fixture
def crane(share) -> None:
    """A robot without a simulation: three commands, and what the MPC weighs them with."""
    (share / "robots").mkdir(exist_ok=True)
    robot = {
        "rate_hz": 50.0,
        "commands": [{"name": f"rope_{i}", "unit": "N", "min": 0.0, "max": 40.0} for i in range(3)],
        "outputs": [{"name": a, "unit": "m", "axis": a, "point": "hook"} for a in "xyz"],
    }
    mpc = {"output_weight": [1.0] * 3, "move_weight": [0.1] * 3, "move_max": [5.0] * 3}
    robot["nodes"] = {"mcu": {"mpc": mpc}}
    (share / "robots" / "crane.yaml").write_text(yaml.safe_dump(robot))


def test_a_robot_without_a_simulation_has_settings_from_its_description(crane):
    settings = mpc_settings("crane")
    assert settings.command_max == [40.0] * 3
    assert settings.move_weight == [0.1] * 3 and settings.output_weight == [1.0] * 3


def test_moves_are_limited_by_the_speeds_of_the_robot_where_no_setting_says_it(crane, share):
    file = share / "robots" / "crane.yaml"
    robot = yaml.safe_load(file.read_text())
    del robot["nodes"]["mcu"]["mpc"]["move_max"]
    file.write_text(yaml.safe_dump(robot))
    with pytest.raises(ValueError, match="the MPC of crane .*crane.yaml.*move_max"):
        mpc_settings("crane")
    for i, command in enumerate(robot["commands"]):
        command["speed_max"] = 100.0 + i
    file.write_text(yaml.safe_dump(robot))
    assert mpc_settings("crane").move_max == pytest.approx([2.0, 2.02, 2.04])  # at 50 Hz
    assert mpc_settings("crane", rate_hz=100.0).move_max == pytest.approx([1.0, 1.01, 1.02])


def test_parameters_of_a_node_that_no_run_has_are_refused(crane, share):
    file = share / "robots" / "crane.yaml"
    file.write_text(file.read_text().replace("mcu:", "mcv:"))
    with pytest.raises(ValueError, match="crane.yaml: nodes.mcv: no node of rig, .*mcu"):
        node_parameters("mcu", "crane")


def test_a_later_description_goes_over_that_of_the_model(monkeypatch, tmp_path):
    robot = describe("mass_spring_damper")
    card = SimpleNamespace(robot=robot, rate_hz=50.0)
    monkeypatch.setattr(f"{model_settings.__module__}.load_card", lambda folder: card)
    assert model_settings(tmp_path).horizon == 8
    mpc = robot.nodes["mcu"]["mpc"] | {"horizon": 5, "control_horizon": 2}
    later = robot.model_copy(update={"nodes": {"mcu": {"mpc": mpc}}})
    assert model_settings(tmp_path, later).horizon == 5
    other = later.model_copy(update={"signals": later.signals[:1]})
    said = "the description of mass_spring_damper has the signals strain .1., the model in .* has"
    with pytest.raises(ValueError, match=said):
        model_settings(tmp_path, other)


def test_a_later_description_of_the_rigs_robot(experiment, tmp_path):
    """Other sizes of the reference and another place of rest; the sensors are the rig's."""
    values = yaml.safe_load(paths.robot("tendon").read_text())
    values["outputs"][1]["rest"] = "3 mm"
    values["signals"][0]["full_scale_counts"] = 1.0
    values["nodes"]["reference"]["outputs"]["z"]["amplitude"] = 0.01
    file = tmp_path / "later.yaml"
    file.write_text(yaml.safe_dump(values))
    setup = check(experiment(robot=str(file)))
    assert setup.curve.amplitude == (0.0, 0.0125, 0.01)
    assert setup.curve.centre[1] == setup.robot.output_rest[1] == 0.003
    assert setup.robot.full_scale_counts == describe("tendon").full_scale_counts
    real = robot_of(Experiment(rig="tendon", robot=str(file), sim=False))
    assert real.full_scale_counts[0] == 1.0  # what a robot that is there sends, the file says
    assert robot_of(Experiment(robot="hasel", sim=False)) == describe("hasel")  # and needs no rig
    with pytest.raises(ValueError, match="has the commands .*, the rig tendon has servo_0"):
        check(experiment(robot="hasel"))


def test_a_robot_without_a_simulation_is_trained_and_built(crane, tmp_path):
    """A recording and its description are all that it takes; commands stand in its order."""
    pytest.importorskip("tensorflow", reason="training needs soft_control[train]")
    rng = np.random.default_rng(0)
    pulls = np.cumsum(rng.normal(0.0, 1.0, (300, 3)), axis=0) % 40.0
    recording = Recording(
        source="crane",
        t_s=np.arange(300) / 50.0,
        commands=pulls,
        outputs=1e-3 * pulls @ rng.normal(0.0, 1.0, (3, 3)),
        signals=np.zeros((300, 0)),
        reference=None,
        command_names=("rope_0", "rope_1", "rope_2"),
        output_names=("x", "y", "z"),
        signal_names=(),
        robot=describe("crane"),
    )
    settings = TrainingSettings(
        rate_hz=50.0,
        hidden=(4,),
        updates=1,
        warm_start_updates=1,
        rollout_samples=2,
        input_delay=1,
        signals=False,
    )
    card = train([recording], [], settings, tmp_path / "model")
    assert card.rig == "crane"
    built = build(
        tmp_path / "model", model_settings(tmp_path / "model"), tmp_path / "fw", ("host",)
    )
    assert built.model_hash == card.model_hash and built.library.is_file()

    swapped = card.model_copy(update={"command_names": ["rope_1", "rope_0", "rope_2"]})
    (tmp_path / "model" / CARD_FILE).write_text(swapped.model_dump_json())
    with pytest.raises(
        ValueError, match="command_names = .*: the robot has rope_0, rope_1, rope_2"
    ):
        model_settings(tmp_path / "model")


def test_names_of_robots_name_no_other_files(tmp_path, monkeypatch):
    """A path is a path, whatever is there."""
    (tmp_path / "secret").write_text("root:x:0:0\n")
    monkeypatch.chdir(tmp_path)
    for name in ("../secret", "./secret", "secret", "nodes/../secret"):
        with pytest.raises(ValueError) as refused:
            node_parameters("mcu", name)
        assert "root" not in str(refused.value) and "\n" not in str(refused.value)


def test_whole_numbers_beside_others_are_numbers():
    robot = robots.load("tendon")
    nodes = {"mcu": {"mpc": {"output_weight": [1, 0.5, 2], "move_weight": [1, 2]}}}
    mpc = node_parameters("mcu", robot.model_copy(update={"nodes": nodes}))["mpc"]
    assert [type(weight) for weight in mpc["output_weight"]] == [float] * 3
    assert mpc["move_weight"] == [1, 2] and type(mpc["move_weight"][0]) is int
