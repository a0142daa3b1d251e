"""The node mcu goes on with another firmware while its robot moves, in both wirings, in sil."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed: soft_control[ros]")

from std_srvs.srv import Trigger  # noqa: E402

from soft_control.control.mpc_settings import MpcSettings  # noqa: E402
from soft_control.experiment.node_parameters import mpc_settings  # noqa: E402
from soft_control.experiment.regeneration import publish  # noqa: E402
from soft_control.experiment.ros_messages import joint_state, to_ns  # noqa: E402
from soft_control.firmware_build import build  # noqa: E402
from soft_control.firmware_files import read_build  # noqa: E402
from soft_control.nodes.mcu import Mcu  # noqa: E402
from soft_control.robots.instruments import Sensor  # noqa: E402
from soft_control.topics import FIRST_NS, SIGNALS  # noqa: E402

from .test_in_material import (  # noqa: E402
    MOVE_MAX,
    SERVO_STEP,
    TABLE,
    World,
    stamps,
    wait_for,
    write_reference,
)


@pytest.fixture(scope="module")
def gentle(tendon, tmp_path_factory) -> Path:
    """Another firmware of the same model."""
    out = tmp_path_factory.mktemp("gentle") / "firmware"
    settings = mpc_settings("tendon")
    weights = [10.0 * weight for weight in settings.move_weight]
    changed = settings.model_copy(update={"move_weight": weights})
    build(tendon.model, MpcSettings(**changed.model_dump()), out, ("host",))
    return out


@pytest.fixture
def folder(tendon, tmp_path) -> Path:
    """Of the node's firmware."""
    return Path(shutil.copytree(tendon.firmware, tmp_path / "firmware"))


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    yield world
    world.close()


@pytest.fixture
def bridge(make_node, tendon, tmp_path, folder):
    """bridge(parameter=value, …): the node, told its reference before the run."""
    robot = tendon.card.robot
    write_reference(tmp_path / "trajectory.csv", TABLE)

    def make(**parameters):
        usual = {
            "target": "sil",
            "firmware": str(folder),
            "trajectory": str(tmp_path / "trajectory.csv"),
            "command_names": list(robot.command_names),
            "command_neutral": robot.command_neutral.tolist(),
            "signal_names": tendon.card.signal_names,
            "output_names": list(robot.output_names),
            "frame": robot.frame,
            "peers": ["mcu", "nobody"],
        }
        return make_node(Mcu, **usual | parameters)

    return make


def restarted(node: Mcu) -> tuple[bool, str]:
    answer = node.restart.on_restart(Trigger.Request(), Trigger.Response())
    return answer.success, answer.message


def exchange(folder: Path, new: Path, tmp_path: Path) -> str:
    """The folder holds another firmware, as after a build. Returns its build_id."""
    staging = Path(shutil.copytree(new, tmp_path / "staging"))
    publish(staging, folder)
    shutil.rmtree(staging)
    return read_build(folder).build_id


def moves(commands: list) -> np.ndarray:
    return np.abs(np.diff([list(m.position) for m in commands], axis=0)).max(axis=1)


def feel(node: Mcu, tendon, first: int, count: int) -> None:
    names = tendon.card.signal_names
    for k in range(first, first + count):
        now_ns = FIRST_NS + k * node.period_ns
        sample = joint_state(now_ns, names, [0.5 + 0.01 * (k % 5)] * len(names))
        node.at_host.join.put(SIGNALS, sample)


def test_in_wiring_host_it_goes_on_at_the_next_sample(
    bridge, published, folder, gentle, tendon, tmp_path
):
    node = bridge()
    commands, told = published(node.command), published(node.restart.told)
    node.restart.on_everyone_matched()
    before = node.session.info.build_id
    feel(node, tendon, 0, 60)
    after = exchange(folder, gentle, tmp_path)
    assert after != before
    assert restarted(node) == (True, f"{after} of {folder} from sample 60 on")
    feel(node, tendon, 60, 60)
    assert stamps(commands) == [FIRST_NS + k * node.period_ns for k in range(120)]
    assert moves(commands).max() <= MOVE_MAX + 1e-6
    assert node.session.info.build_id == after
    at = [(m.frame_id, to_ns(m.stamp)) for m in told]
    assert at == [(before, FIRST_NS), (after, FIRST_NS + 60 * node.period_ns)]


@pytest.mark.parametrize("fits", [True, False])
def test_in_wiring_mcu_the_robot_waits_and_no_sample_is_lost(
    bridge, world, published, folder, gentle, tmp_path, fits, monkeypatch
):
    """Lockstep, at full speed: the old firmware is asked to wait at some sample, and the new one
    takes that; where it does not start on the ports, the old one does again."""
    ports = {"sensor_port": str(world.sensor.link), "actuator_port": str(world.actuators.link)}
    node = bridge(wiring="mcu", **ports)
    commands, told = published(node.command), published(node.restart.told)
    before = node.session.info.build_id

    def again() -> None:
        world.sensor.write(b"\n" + ",".join(map(str, world.counts[-1])).encode() + b"\n")

    node.session.on_begun = again
    after = exchange(folder, gentle, tmp_path)
    if not fits:
        real = node.session._open

        def fails_on_the_ports(firmware, wired):
            if wired and firmware.build_id == after:
                firmware = firmware.model_copy(update={"build_id": "another"})
            return real(firmware, wired)

        monkeypatch.setattr(node.session, "_open", fails_on_the_ports)
    rig = threading.Thread(target=world.run, args=(300,))
    rig.start()
    wait_for(lambda: len(world.told) > 40)
    success, words = restarted(node)
    rig.join()
    wait_for(lambda: len(commands) == 300)
    assert stamps(commands) == [FIRST_NS + k * node.period_ns for k in range(300)]
    np.testing.assert_allclose(world.told, [m.position for m in commands], atol=SERVO_STEP)
    assert moves(commands).max() <= MOVE_MAX + 1e-6
    assert success == fits
    if fits:
        (message,) = told
        k = int(words.split()[-2])
        assert words == f"{after} of {folder} from sample {k} on" and 40 < k < 300
        assert (message.frame_id, to_ns(message.stamp)) == (
            after, FIRST_NS + k * node.period_ns,
        )  # fmt: skip
    else:
        assert words.startswith("the firmware before goes on: ") and not told
    assert node.session.info.build_id == (after if fits else before)


def test_a_firmware_that_does_not_fit_is_refused_with_the_reason(bridge, folder, tendon):
    node = bridge()
    feel(node, tendon, 0, 3)
    record = (folder / "firmware.json").read_text()
    for other, why in (
        (record.replace('"servo_0"', '"valve"'), "it has the commands valve, servo_1; the run has"),
        (record.replace('"lace_00"', '"lace_99"'), "it has the signals lace_99"),
        ("{}", "no firmware.json in"),
        (
            record.replace(read_build(folder).model_hash, "0" * 16),
            f"beside it of {'0' * 16}: build",
        ),
    ):
        assert other != record
        (folder / "firmware.json").write_text(other)
        success, words = restarted(node)
        assert not success and words.startswith("the firmware before goes on: ") and why in words
    feel(node, tendon, 3, 3)  # it does


def test_a_sensor_that_is_zeroed_at_the_start_or_a_board_is_no_case_for_a_restart(bridge, folder):
    node = bridge()
    real = read_build(folder)
    sensor = Sensor(kind="magnetic", start_samples=8)
    instruments = real.robot.instruments.model_copy(update={"sensor": sensor})
    zeroed = real.robot.model_copy(update={"instruments": instruments})
    node.owns_instruments = True
    with pytest.raises(ValueError, match="takes what it first reads for zero"):
        node.restart.restart(real.model_copy(update={"robot": zeroed}))
    node.parameters = node.parameters.model_copy(update={"target": "hil"})
    with pytest.raises(ValueError, match="a board is flashed, not restarted"):
        node.restart.restart(real)
