"""WiredSil: a firmware in this process whose instruments are at the ends of two terminals; and that
a port has one host."""

from __future__ import annotations

import os
import select
import time
import tty
from pathlib import Path

import numpy as np
import pytest

from soft_control.control.references import Reference
from soft_control.experiment.rig_device import RigDevice
from soft_control.experiment.trajectory import ToldReference, tabulate
from soft_control.firmware_files import read_build
from soft_control.firmware_instruments import actuator_config
from soft_control.learning.calibration import Calibration
from soft_control.link.codes import Cause, Clock, State, Wiring
from soft_control.link.instruments import ACTUATORS
from soft_control.link.messages import Hello
from soft_control.link.opening import open_session
from soft_control.link.session import LinkError
from soft_control.link.transport import HilTransport, TransportError, WiredSil
from soft_control.rigs import make_rig

RATE_HZ, SAMPLES = 120.0, 150
PATIENCE_S = 20.0
SHAPE = Reference(
    ("x", "y", "z"), "figure_eight", (0.0, 0.0125, 0.025), (0.0,) * 3, (0, 1, 2), angular_rate=3.0
)


class Terminal:
    """A pseudo-terminal, and what is at its other end."""

    def __init__(self) -> None:
        self.controller, port = os.openpty()
        tty.setraw(port)
        self.path = Path(os.ttyname(port))
        self._open = [self.controller, port]

    def read(self, timeout_s: float) -> bytes:
        ready = select.select([self.controller], [], [], timeout_s)[0]
        return os.read(self.controller, 4096) if ready else b""

    def write(self, data: bytes) -> None:
        assert os.write(self.controller, data) == len(data)

    def close(self) -> None:
        while self._open:
            os.close(self._open.pop())


@pytest.fixture
def terminals():
    made = Terminal(), Terminal()
    yield made
    for terminal in made:
        terminal.close()


@pytest.fixture
def wired(tendon, terminals):
    """A session in wiring mcu."""
    sensor, actuators = terminals
    build = read_build(tendon.firmware)
    with open_session("sil", build, instruments=(sensor.path, actuators.path)) as session:
        yield session


def follow(session, robot) -> ToldReference:
    table = tabulate(SHAPE, RATE_HZ, SAMPLES + session.info.horizon + 1, 1200)
    return ToldReference(session, table, RATE_HZ, robot.output_rest)


def commands_at_host(tendon) -> list[tuple[float, ...]]:
    """Of a run in wiring host: what the actuators are told is still bytes."""
    rig = make_rig("tendon", seed=4)
    robot, card = rig.description, tendon.card
    device = RigDevice(rig)
    master = ACTUATORS["dynamixel"].master(actuator_config(robot), len(robot.commands))
    calibrate = Calibration(robot.full_scale_counts).apply
    columns = [robot.signal_names.index(name) for name in card.signal_names]
    found = []
    with open_session("sil", read_build(tendon.firmware)) as session:
        reference = follow(session, robot)
        session.arm(robot.command_neutral, robot.output_rest)
        for k in range(SAMPLES):
            signals = calibrate(device.sample()[0].signals)[columns]
            told = session.sample(k, signals, reference.at(k + session.info.horizon))
            found.append(told.command)
            device.drive(master.drive(told.command))
            device.step(1 / RATE_HZ)
    return found


def test_a_run_over_two_terminals_has_the_commands_of_one_at_the_host(tendon, terminals, wired):
    sensor, actuators = terminals
    device = RigDevice(make_rig("tendon", seed=4))
    robot = tendon.card.robot
    follow(wired, robot)
    wired.arm(robot.command_neutral, robot.output_rest, wiring=Wiring.MCU)
    found = []
    for k in range(SAMPLES):
        sensor.write(device.sample()[1])
        told = wired.telemetry(PATIENCE_S)
        assert (told.k, told.state, told.flags) == (k, State.RUNNING, 0)
        found.append(told.command)
        while device.completed == k:
            data = actuators.read(PATIENCE_S)
            assert data
            actuators.write(device.drive(data))
        device.step(1 / RATE_HZ)
    assert found == commands_at_host(tendon)
    assert np.ptp(found, axis=0).min() > 0.05
    assert wired.telemetry(0.0) is None
    counted = wired.hello()
    assert (counted.sensor_samples, counted.sensor_dropped, counted.missed_samples) == (150, 0, 0)


def test_time_passes_for_it_while_somebody_reads(tendon, wired):
    """Nothing comes from the sensor: it is stopped, and says so."""
    robot = tendon.card.robot
    wired.arm(
        robot.command_neutral,
        robot.output_rest,
        clock=Clock.TIMER,
        wiring=Wiring.MCU,
        sensor_timeout_ms=30,
    )
    deadline = time.monotonic() + PATIENCE_S
    while (told := wired.telemetry(0.1)) is None or told.state != State.STOPPED:
        assert time.monotonic() < deadline
    assert told.cause == Cause.SENSOR_SILENT


def test_an_instrument_that_is_gone_takes_nobody_with_it(tendon, terminals, wired):
    robot = tendon.card.robot
    wired.arm(robot.command_neutral, robot.output_rest, wiring=Wiring.MCU)
    for terminal in terminals:
        terminal.close()
    assert wired.telemetry(0.05) is None
    assert wired.request(Hello()).state == State.ARMED


def test_both_ends_must_be_terminals(tendon, terminals, tmp_path):
    build, (sensor, actuators) = read_build(tendon.firmware), terminals
    (tmp_path / "file").write_text("")
    before = len(os.listdir("/proc/self/fd"))
    for other, said in (("none", "No such file"), ("file", "is no terminal")):
        for ports in ((sensor.path, tmp_path / other), (tmp_path / other, actuators.path)):
            with pytest.raises(TransportError, match=f"{other}.* {said}"):
                WiredSil(build.library, *ports)
            with pytest.raises(LinkError, match=f"sil: .*{other}.* {said}"):
                open_session("sil", build, instruments=ports)
    wired = WiredSil(build.library, sensor.path, actuators.path)
    wired.close()
    wired.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_port_has_one_host():
    """Of two each would take half of the answers; the second is told so, and the first goes on."""
    controller, port = os.openpty()
    tty.setraw(port)
    first = HilTransport(os.ttyname(port))
    with pytest.raises(TransportError, match="is in use by another host: end it first"):
        HilTransport(os.ttyname(port))
    os.write(controller, b"answer")
    assert first.read(5.0) == b"answer"
    first.close()
    HilTransport(os.ttyname(port)).close()
    os.close(controller)
    os.close(port)
