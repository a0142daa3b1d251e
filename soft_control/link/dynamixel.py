"""Dynamixel AX-12A servos, Protocol 1.0: FF FF id length instruction|error parameters checksum.

The same as firmware/src/instruments/dynamixel.c; numbers of registers, instructions and bits are
those of Robotis' manual of the AX-12A.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from soft_control.link.actuator_status import ActuatorStatus

BROADCAST = 0xFE
PING, READ_DATA, WRITE_DATA, REG_WRITE, ACTION, RESET, SYNC_WRITE = 1, 2, 3, 4, 5, 6, 0x83
CW_ANGLE_LIMIT, STATUS_RETURN_LEVEL, TORQUE_ENABLE, GOAL_POSITION = 6, 16, 24, 30
PRESENT_POSITION, REGISTERED, LOCK, REGISTERS = 36, 44, 47, 50
PRESENT_BYTES = 8
VOLTAGE_ERROR, ANGLE_ERROR, HEAT_ERROR, RANGE_ERROR = 1, 2, 4, 8
CHECKSUM_ERROR, OVERLOAD_ERROR, INSTRUCTION_ERROR = 16, 32, 64
ANSWER_PARAMETERS_MAX = 32
PARAMETERS_MAX = 253


def packet(servo: int, instruction: int, parameters: bytes = b"") -> bytes:
    """A packet to a servo, or its answer if `instruction` has the error bits."""
    body = bytes((servo, len(parameters) + 2, instruction)) + parameters
    return b"\xff\xff" + body + bytes((~sum(body) & 0xFF,))


class Packet(NamedTuple):
    servo: int
    instruction: int
    """Error bits in an answer."""
    parameters: bytes
    right: bool
    """Its checksum is."""


class PacketReader:
    """Bytes in, packets out; resynchronises."""

    def __init__(self, parameters_max: int) -> None:
        self._parameters_max = parameters_max
        self._bytes = bytearray()

    def feed(self, data: bytes) -> list[Packet]:
        """The packets that data completes, those with a wrong checksum as well."""
        packets = []
        self._bytes += data
        while self._bytes:
            if not self._may_begin():
                self._resynchronise()
                continue
            if len(self._bytes) < 4 or len(self._bytes) < (size := self._bytes[3] + 4):
                break
            whole = bytes(self._bytes[:size])
            right = sum(whole[2:]) & 0xFF == 0xFF
            packets.append(Packet(whole[2], whole[4], whole[5:-1], right))
            if right:
                del self._bytes[:size]
            else:
                self._resynchronise()
        return packets

    def _may_begin(self) -> bool:
        """An id is never FF: of three the first is no part of a packet."""
        p = self._bytes
        return (
            p[0] == 0xFF
            and (len(p) < 2 or p[1] == 0xFF)
            and (len(p) < 3 or p[2] != 0xFF)
            and (len(p) < 4 or 2 <= p[3] <= self._parameters_max + 2)
        )

    def _resynchronise(self) -> None:
        """Drops the first bytes up to the next that may begin a packet."""
        p, start = self._bytes, 1
        while start < len(p) and p[start : start + 2] not in (b"\xff", b"\xff\xff"):
            start += 1
        del p[:start]


class Dynamixel:
    """The master's end."""

    def __init__(self, config: Mapping[str, Any], commands: int) -> None:
        """config: dynamixel_config_t, lists of (commands,)."""
        self.status = ActuatorStatus()
        self.unanswered = 0
        """Questions."""
        self._ids = list(config["id"])
        names = ("counts_per_unit", "zero_count", "count_min", "count_max")
        self._per_unit, self._zero, self._low, self._high = (
            np.asarray(config[name], dtype=np.float32) for name in names
        )
        self._speed = [int(speed) for speed in config["speed"]]
        self._commands = commands
        self._torque = self._waiting = False
        self._asked = 0
        self._reader = PacketReader(ANSWER_PARAMETERS_MAX)

    def drive(self, command: Sequence[float]) -> bytes:
        """The bytes of a sample that move to command (commands,), with torque where there is none
        yet."""
        arm = b"" if self._torque else self._set_torque(1)
        self._torque = True
        values = np.asarray(command, dtype=np.float32)
        with np.errstate(over="ignore", invalid="ignore"):
            rounded = np.floor(self._zero + values * self._per_unit + np.float32(0.5))
        # NaN is not above the limit, and becomes it.
        counts = np.where(rounded >= self._low, np.fmin(rounded, self._high), self._low)
        goals = bytes((GOAL_POSITION, 4))
        for servo, count, speed in zip(self._ids, counts, self._speed, strict=True):
            goals += struct.pack("<BHH", servo, int(count), speed)
        return arm + packet(BROADCAST, SYNC_WRITE, goals) + self._question()

    def disarm(self) -> bytes:
        """The bytes of a sample that let go."""
        self._torque = False
        return self._set_torque(0) + self._question()

    def _set_torque(self, enable: int) -> bytes:
        each = b"".join(bytes((servo, enable)) for servo in self._ids)
        return packet(BROADCAST, SYNC_WRITE, bytes((TORQUE_ENABLE, 1)) + each)

    def _question(self) -> bytes:
        self.unanswered += self._waiting
        self._asked = (self._asked + 1) % self._commands
        self._waiting = True
        return packet(self._ids[self._asked], READ_DATA, bytes((PRESENT_POSITION, PRESENT_BYTES)))

    def feed(self, data: bytes) -> bool:
        """Takes answers into `status`; True if one was complete."""
        answers = self.status.answers
        for answer in self._reader.feed(data):
            if not answer.right:
                self.status.bad += 1
            elif self._is_awaited(answer):
                self._waiting = False
                self._understand(answer)
        return self.status.answers > answers

    def _is_awaited(self, answer: Packet) -> bool:
        """A line of one wire brings back the question too, which is of neither length."""
        sizes = (0, PRESENT_BYTES)
        right = answer.servo == self._ids[self._asked] and len(answer.parameters) in sizes
        return self._waiting and right

    def _understand(self, answer: Packet) -> None:
        status, i, r = self.status, self._asked, answer.parameters
        status.index, status.errors = i, answer.instruction
        status.answers += 1
        if len(r) == PRESENT_BYTES:
            position = np.float32(r[0] | (r[1] & 0x03) << 8)
            load = np.float32(r[4] | (r[5] & 0x03) << 8) / np.float32(1023)
            status.position = float((position - self._zero[i]) / self._per_unit[i])
            status.load = float(-load if r[5] & 0x04 else load)
            status.voltage = float(np.float32(r[6]) * np.float32(0.1))
            status.temperature = float(r[7])


def _registers(servo: int) -> bytearray:
    """A servo's as it leaves the factory, at 1 Mbaud, in the middle, at 12 V and 25 degrees C."""
    registers = bytearray(REGISTERS)
    registers[0:19] = bytes(
        (12, 0, 24, servo, 1, 250, 0, 0, 0xFF, 3, 0, 70, 60, 140, 0xFF, 3, 2, 36, 36)
    )
    registers[26:36] = bytes((1, 1, 32, 32, 0, 2, 0, 0, 0xFF, 3))
    registers[36:44] = bytes((0, 2, 0, 0, 0, 0, 120, 25))
    registers[48] = 32
    return registers


RANGES = {
    3: (1, 253), 4: (1, 254), 5: (1, 254), 6: (2, 1023), 8: (2, 1023), 11: (1, 150),
    12: (1, 250), 13: (1, 250), 14: (2, 1023), 16: (1, 2), 17: (1, 127), 18: (1, 127),
    24: (1, 1), 25: (1, 1), 26: (1, 255), 27: (1, 255), 28: (1, 255), 29: (1, 255),
    30: (2, 1023), 32: (2, 1023), 34: (2, 1023), 44: (1, 1), 47: (1, 1), 48: (2, 1023),
}  # fmt: skip
"""Register that may be written -> its bytes, the largest value."""


class DynamixelDevice:
    """The servos' end: all of them on one line, with their registers."""

    def __init__(self, config: Mapping[str, Any], commands: int) -> None:
        """config: dynamixel_config_t."""
        self.ids = list(config["id"])
        self.registers = {servo: _registers(servo) for servo in self.ids}
        """Of each id; what a servo measures is written here from outside."""
        self.errors = dict.fromkeys(self.ids, 0)
        """Of each id: bits of what is wrong with the servo itself."""
        self.completed = 0
        """Samples: goals of all servos at once, or all of them let go."""
        self.bad = 0
        """Packets with a wrong checksum."""
        self._told = False
        self._zero = np.asarray(config["zero_count"], dtype=float)
        self._per_unit = np.asarray(config["counts_per_unit"], dtype=float)
        self._registered: dict[int, tuple[int, bytes]] = {}
        self._reader = PacketReader(PARAMETERS_MAX)

    @property
    def armed(self) -> bool:
        """Whether all servos hold their goals."""
        return all(registers[TORQUE_ENABLE] for registers in self.registers.values())

    @property
    def command(self) -> np.ndarray | None:
        """(commands,) asked for last; None: none yet."""
        if not self._told:
            return None
        at = slice(GOAL_POSITION, GOAL_POSITION + 2)
        goals = [int.from_bytes(self.registers[servo][at], "little") for servo in self.ids]
        return (np.asarray(goals) - self._zero) / self._per_unit

    def feed(self, data: bytes, now_s: float = 0.0) -> bytes:
        """Takes bytes of the master; returns what the servos answer."""
        answer = b""
        for request in self._reader.feed(data):
            if not request.right:
                self.bad += 1
                if request.servo in self.registers:
                    answer += self._status(request.servo, CHECKSUM_ERROR, level=2)
            elif request.servo == BROADCAST:
                self._take_broadcast(request)
            elif request.servo in self.registers:
                answer += self._take(request.servo, request.instruction, request.parameters)
        return answer

    def _status(self, servo: int, error: int, level: int, parameters: bytes = b"") -> bytes:
        """The answer, which servos give only from a status return level on."""
        if self.registers[servo][STATUS_RETURN_LEVEL] < level:
            return b""
        return packet(servo, self.errors[servo] | error, parameters)

    def _take(self, servo: int, instruction: int, parameters: bytes) -> bytes:
        registers = self.registers[servo]
        if instruction == PING:
            return self._status(servo, 0, level=0)
        if instruction == READ_DATA:
            if len(parameters) != 2 or sum(parameters) > REGISTERS or parameters[1] == 0:
                return self._status(servo, RANGE_ERROR, level=1)
            start, count = parameters
            return self._status(servo, 0, 1, bytes(registers[start : start + count]))
        if instruction in (WRITE_DATA, REG_WRITE):
            level = registers[STATUS_RETURN_LEVEL]
            error = self._wrong(servo, parameters)
            if not error and instruction == WRITE_DATA:
                self._write(servo, parameters[0], parameters[1:])
            elif not error:
                self._registered[servo] = parameters[0], parameters[1:]
                registers[REGISTERED] = 1
            return packet(servo, self.errors[servo] | error) if level == 2 else b""
        if instruction == ACTION:
            error = 0 if servo in self._registered else INSTRUCTION_ERROR
            self._act(servo)
            return self._status(servo, error, level=2)
        return self._status(servo, INSTRUCTION_ERROR, level=2)

    def _take_broadcast(self, request: Packet) -> None:
        """Nobody answers one."""
        if request.instruction == ACTION:
            for servo in self.ids:
                self._act(servo)
        elif request.instruction == SYNC_WRITE and len(request.parameters) > 2:
            self._sync_write(*request.parameters[:2], request.parameters[2:])
        elif request.instruction in (WRITE_DATA, REG_WRITE):
            for servo in self.ids:
                self._take(servo, request.instruction, request.parameters)

    def _sync_write(self, start: int, count: int, each: bytes) -> None:
        told = set()
        for at in range(0, len(each) - count, count + 1):
            servo, values = each[at], each[at + 1 : at + 1 + count]
            if servo in self.registers and not self._wrong(servo, bytes((start,)) + values):
                self._write(servo, start, values)
                told.add(servo)
        if told == set(self.ids):
            goals = start <= GOAL_POSITION and GOAL_POSITION + 2 <= start + count
            let_go = start <= TORQUE_ENABLE < start + count and not self.armed
            self._told |= goals
            self.completed += goals or let_go

    def _act(self, servo: int) -> None:
        if servo in self._registered:
            self._write(servo, *self._registered.pop(servo))
            self.registers[servo][REGISTERED] = 0

    def _write(self, servo: int, start: int, values: bytes) -> None:
        self.registers[servo][start : start + len(values)] = values

    def _wrong(self, servo: int, parameters: bytes) -> int:
        """Error bits of a write: a register that is read only, or a value out of its range."""
        if len(parameters) < 2:
            return INSTRUCTION_ERROR
        at, values = parameters[0], parameters[1:]
        while values:
            size, largest = RANGES.get(at, (0, 0))
            value = int.from_bytes(values[:size], "little")
            if size == 0 or len(values) < size or value > largest:
                return RANGE_ERROR
            if at == GOAL_POSITION and not self._reaches(servo, value):
                return ANGLE_ERROR
            at, values = at + size, values[size:]
        return 0

    def _reaches(self, servo: int, count: int) -> bool:
        """Within the angle limits; two zeros are wheel mode, which has none."""
        low, high = struct.unpack_from("<HH", self.registers[servo], CW_ANGLE_LIMIT)
        return low == high == 0 or low <= count <= high
