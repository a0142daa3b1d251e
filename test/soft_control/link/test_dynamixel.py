"""The Dynamixel servos' line against Robotis' own packet handler and their manual's examples."""

from __future__ import annotations

import os
import select
import threading
import tty
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from soft_control.link.dynamixel import (
    ANGLE_ERROR,
    BROADCAST,
    CHECKSUM_ERROR,
    GOAL_POSITION,
    HEAT_ERROR,
    INSTRUCTION_ERROR,
    OVERLOAD_ERROR,
    PRESENT_POSITION,
    RANGE_ERROR,
    STATUS_RETURN_LEVEL,
    TORQUE_ENABLE,
    Dynamixel,
    DynamixelDevice,
    packet,
)

sdk = pytest.importorskip("dynamixel_sdk", reason="Robotis' package is in the extra `test`")

IDS = (1, 7)
CONFIG = {
    "id": list(IDS),
    "counts_per_unit": [195.379, 195.379],
    "zero_count": [512.0, 512.0],
    "count_min": [172, 171],
    "count_max": [784, 716],
    "speed": [531, 300],
}
MOVING_SPEED, REGISTERED, MODEL_AX_12A = 32, 44, 12


class Line:
    """A port of the SDK that keeps what is written, and on which nobody answers."""

    is_using = False

    def __init__(self) -> None:
        self.written = b""

    def clearPort(self) -> None:  # noqa: N802  the SDK's name
        """There is nothing to clear."""

    def writePort(self, data: list[int]) -> int:  # noqa: N802
        self.written += bytes(data)
        return len(data)

    def setPacketTimeout(self, length: int) -> None:  # noqa: N802
        """Nobody waits."""


# ------------------------------------------------------------------ the SDK's master, our servos


@pytest.fixture
def bus() -> Iterator[SimpleNamespace]:
    """The SDK's master on a pseudo-terminal, at whose other end our servos are."""
    device = DynamixelDevice(CONFIG, len(IDS))
    ours, theirs = os.openpty()
    tty.setraw(ours)
    tty.setraw(theirs)
    asleep, wake = os.pipe()

    def serve() -> None:
        while True:
            ready, _, _ = select.select([ours, asleep], [], [])
            if asleep in ready:
                return
            os.write(ours, device.feed(os.read(ours, 4096)))

    servant = threading.Thread(target=serve)
    servant.start()
    port = sdk.PortHandler(os.ttyname(theirs))
    # The SDK gives an answer 34 ms; on a busy machine the thread may get its turn later.
    port.setPacketTimeout = lambda length: port.setPacketTimeoutMillis(5_000.0)
    assert port.openPort()
    yield SimpleNamespace(device=device, port=port, master=sdk.PacketHandler(1.0))
    os.write(wake, b"\0")
    servant.join()
    port.closePort()
    for end in (ours, theirs, asleep, wake):
        os.close(end)


def test_the_sdk_pings_and_reads_the_servos(bus):
    for servo in IDS:
        model, result, error = bus.master.ping(bus.port, servo)
        assert (model, result, error) == (MODEL_AX_12A, sdk.COMM_SUCCESS, 0)
        position, result, error = bus.master.read2ByteTxRx(bus.port, servo, PRESENT_POSITION)
        assert (position, result, error) == (512, sdk.COMM_SUCCESS, 0)


def test_what_the_sdk_writes_stands_in_the_registers(bus):
    write, register = bus.master.write2ByteTxRx, bus.device.registers[7]
    assert write(bus.port, 7, GOAL_POSITION, 700) == (sdk.COMM_SUCCESS, 0)
    assert register[GOAL_POSITION : GOAL_POSITION + 2] == (700).to_bytes(2, "little")
    assert bus.master.read2ByteTxRx(bus.port, 7, GOAL_POSITION)[0] == 700
    assert bus.device.registers[1][GOAL_POSITION : GOAL_POSITION + 2] == (512).to_bytes(2, "little")


def test_goals_that_the_sdk_writes_to_all_at_once_are_a_sample(bus):
    torque = sdk.GroupSyncWrite(bus.port, bus.master, TORQUE_ENABLE, 1)
    goals = sdk.GroupSyncWrite(bus.port, bus.master, GOAL_POSITION, 4)
    for servo, goal in zip(IDS, (400, 600), strict=True):
        assert torque.addParam(servo, [1])
        assert goals.addParam(servo, [*goal.to_bytes(2, "little"), 44, 1])
    assert torque.txPacket() == goals.txPacket() == sdk.COMM_SUCCESS
    # Nobody answers it; what is read behind it says that it has arrived.
    assert bus.master.read2ByteTxRx(bus.port, 7, MOVING_SPEED)[0] == 300
    assert bus.device.armed and bus.device.completed == 1
    expected = [(400 - 512) / 195.379, (600 - 512) / 195.379]
    assert bus.device.command == pytest.approx(expected, rel=1e-12)


def test_a_write_that_the_sdk_registers_acts_when_it_says_so(bus):
    request = [0, 0, 1, 5, sdk.INST_REG_WRITE, GOAL_POSITION, 0xF4, 0x01, 0]
    _, result, error = bus.master.txRxPacket(bus.port, request)
    assert (result, error) == (sdk.COMM_SUCCESS, 0)
    assert bus.master.read1ByteTxRx(bus.port, 1, REGISTERED)[0] == 1
    assert bus.master.read2ByteTxRx(bus.port, 1, GOAL_POSITION)[0] == 512
    assert bus.master.action(bus.port, BROADCAST) == sdk.COMM_SUCCESS
    assert bus.master.read2ByteTxRx(bus.port, 1, GOAL_POSITION)[0] == 500
    assert bus.master.read1ByteTxRx(bus.port, 1, REGISTERED)[0] == 0


def test_the_sdk_is_told_what_was_wrong(bus):
    master, port = bus.master, bus.port
    assert master.write2ByteTxRx(port, 1, GOAL_POSITION, 1024)[1] == RANGE_ERROR
    assert master.write2ByteTxRx(port, 1, PRESENT_POSITION, 5)[1] == RANGE_ERROR  # read only
    for instruction in (sdk.INST_ACTION, 0x55):  # nothing is registered; there is none such
        answer = master.txRxPacket(port, [0, 0, 1, 2, instruction, 0])
        assert answer[1:] == (sdk.COMM_SUCCESS, INSTRUCTION_ERROR)
    assert master.write2ByteTxRx(port, 1, 8, 600) == (sdk.COMM_SUCCESS, 0)  # CCW angle limit
    assert master.write2ByteTxRx(port, 1, GOAL_POSITION, 601)[1] == ANGLE_ERROR
    assert master.write2ByteTxRx(port, 1, GOAL_POSITION, 600)[1] == 0
    bus.device.errors[1] = OVERLOAD_ERROR
    said = master.getRxPacketError(master.ping(port, 1)[2])
    assert said == "[RxPacketError] Overload error!"
    bus.device.errors[1] = 0
    damaged = bytearray(packet(1, sdk.INST_PING))
    damaged[-1] ^= 1
    port.ser.write(damaged)
    port.setPacketTimeout(6)
    answer, result = master.rxPacket(port)
    assert result == sdk.COMM_SUCCESS and answer[4] == CHECKSUM_ERROR
    assert "Checksum error" in master.getRxPacketError(answer[4])


def test_a_status_return_level_of_0_leaves_pings_answered_alone(bus):
    bus.master.write1ByteTxOnly(bus.port, 1, STATUS_RETURN_LEVEL, 0)
    bus.master.read1ByteTx(bus.port, 1, TORQUE_ENABLE)  # would be answered first
    bus.port.is_using = False
    answer, result, _ = bus.master.txRxPacket(bus.port, [0, 0, 1, 2, sdk.INST_PING, 0])
    assert result == sdk.COMM_SUCCESS and len(answer) == 6


# --------------------------------------------------------------- our master, the SDK's bytes


def test_our_bytes_are_those_that_the_sdk_writes():
    line, handler, master = Line(), sdk.PacketHandler(1.0), Dynamixel(CONFIG, len(IDS))

    def write(start: int, values: dict[int, list[int]]) -> None:
        group = sdk.GroupSyncWrite(line, handler, start, len(values[IDS[0]]))
        for servo, data in values.items():
            group.addParam(servo, data)
        assert group.txPacket() == sdk.COMM_SUCCESS
        line.is_using = False

    def ask(servo: int) -> None:
        assert handler.readTx(line, servo, PRESENT_POSITION, 8) == sdk.COMM_SUCCESS
        line.is_using = False

    def goal(count: int, speed: int) -> list[int]:
        return [count & 0xFF, count >> 8, speed & 0xFF, speed >> 8]

    write(TORQUE_ENABLE, {1: [1], 7: [1]})
    write(GOAL_POSITION, {1: goal(512, 531), 7: goal(512 + 195, 300)})
    ask(7)
    write(GOAL_POSITION, {1: goal(172, 531), 7: goal(716, 300)})  # the limits
    ask(1)
    write(TORQUE_ENABLE, {1: [0], 7: [0]})
    ask(7)
    assert master.drive([0.0, 1.0]) + master.drive([-9.0, 9.0]) + master.disarm() == line.written


def test_our_master_reads_servos_as_the_sdk_does(bus):
    """Both ask for the same eight bytes; one of them is taken apart by the SDK's own reading."""
    registers = bus.device.registers[7]
    registers[36:44] = bytes((0x20, 0x02, 0, 0, 0x64, 0x04, 111, 41))
    master = Dynamixel(CONFIG, len(IDS))
    assert master.feed(bus.device.feed(master.drive([0.0, 0.0])))
    data, result, _ = bus.master.readTxRx(bus.port, 7, PRESENT_POSITION, 8)
    assert result == sdk.COMM_SUCCESS
    status, position = master.status, sdk.DXL_MAKEWORD(*data[:2])
    assert status.position == pytest.approx((position - 512) / 195.379, rel=1e-6)
    assert status.load == pytest.approx(-100 / 1023, rel=1e-6)  # bit 10: clockwise
    assert status.voltage == pytest.approx(data[6] / 10, rel=1e-6) and status.temperature == data[7]


# ------------------------------------------------------------------------ Robotis' manual

MANUAL = {
    "ping": ("ffff010201fb", "ffff010200fc"),
    "read": ("ffff0104022b01cc", "ffff01030020db"),
    "register": ("ffff0105041ef401e2", "ffff010200fc"),
    "act, all": ("fffffe0205fa", ""),
    "goals of all": ("fffffe0e831e040010005001012002600367", ""),
}
"""The examples of its page on Protocol 1.0: what is sent, and what comes back. Its servo is at 32
degrees C."""


@pytest.mark.parametrize("example", MANUAL)
def test_the_servos_answer_as_in_the_manual(example):
    device = DynamixelDevice({**CONFIG, "id": [0, 1]}, 2)
    device.registers[1][43] = 32
    sent, comes_back = map(bytes.fromhex, MANUAL[example])
    assert device.feed(sent) == comes_back and device.bad == 0
    if example == "goals of all":
        assert device.registers[0][30:34] == bytes.fromhex("10005001")
        assert device.registers[1][30:34] == bytes.fromhex("20026003")


def test_the_master_understands_the_errors_of_the_manual():
    master = Dynamixel({**CONFIG, "id": [7, 1]}, 2)
    master.drive([0.0, 0.0])
    assert master.feed(bytes.fromhex("ffff010224d8"))
    assert master.status.errors == OVERLOAD_ERROR | HEAT_ERROR and master.status.index == 1


# ---------------------------------------------------------------------------- what lines do


def test_its_own_question_come_back_is_no_answer():
    """A line of one wire, whose receiver hears the transmitter."""
    master, device = Dynamixel(CONFIG, len(IDS)), DynamixelDevice(CONFIG, len(IDS))
    told = master.drive([0.1, 0.2])
    assert not master.feed(told)
    assert master.feed(device.feed(told)) and master.status.errors == 0
    assert master.status.bad == 0 and master.status.answers == 1


def test_a_question_without_an_answer_is_counted_and_holds_nothing_up():
    master = Dynamixel(CONFIG, len(IDS))
    questions = [master.drive([0.0, 0.0])[-8:] for _ in range(5)]
    assert [question[2] for question in questions] == [7, 1, 7, 1, 7]
    assert master.unanswered == 4


def test_servos_that_are_let_go_complete_a_sample_and_keep_their_last_command():
    master, device = Dynamixel(CONFIG, len(IDS)), DynamixelDevice(CONFIG, len(IDS))
    device.feed(master.disarm())
    assert device.completed == 1 and device.command is None and not device.armed
    device.feed(master.drive([0.5, 0.5]))
    device.feed(master.disarm())
    assert device.completed == 3 and device.command[0] == pytest.approx(0.5, abs=0.003)
