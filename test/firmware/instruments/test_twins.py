"""The firmware's instruments and their Python twins: the same bytes, samples and counters."""

from __future__ import annotations

import ctypes
import json
import random
import struct
import subprocess
from pathlib import Path

import pytest

from soft_control.link import magnetic
from soft_control.link.dynamixel import packet
from soft_control.link.framing import encode_frame
from soft_control.link.instruments import ACTUATORS, SENSORS
from soft_control.link.lace_line import format_line

HERE = Path(__file__).parent
SOURCES = HERE.parents[2] / "firmware" / "src"
STREAM = 100_000
VECTORS = json.loads((HERE / "vectors.json").read_text())
SENSOR = {
    "lightlace": ({"signed": True}, "{.is_signed = true}"),
    "magnetic": ({"median": 3, "start_samples": 5}, "{.median = 3, .start_samples = 5}"),
}
"""Settings of the twin, and the C struct."""
ACTUATOR = {
    "analogue": {"unused": 0},
    "dynamixel": {
        "id": [1, 7],
        "counts_per_unit": [195.379, 195.379],
        "zero_count": [512.0, 512.0],
        "count_min": [172, 400],
        "count_max": [784, 700],
        "speed": [0, 300],
    },
    "hasel_driver": {"steps_per_unit": 1000.0, "zero_steps": 500.0, "full_steps": 1000},
}


def initialiser(config: dict) -> str:
    def value(of):
        return "{" + ",".join(map(value, of)) + "}" if isinstance(of, list) else f"{of}"

    return "{" + ",".join(f".{name}={value(of)}" for name, of in config.items()) + "}"


class Status(ctypes.Structure):
    """actuator_status_t"""

    _fields_ = [
        *((name, ctypes.c_uint8) for name in ("index", "errors")),
        *((name, ctypes.c_float) for name in ("position", "load", "voltage", "temperature")),
        *((name, ctypes.c_uint32) for name in ("answers", "bad")),
    ]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A library for a sensor and actuators."""

    def build(
        sensor: str = "lightlace", actuators: str = "analogue", config: str = ""
    ) -> ctypes.CDLL:
        library = tmp_path_factory.mktemp("instruments") / "instruments.so"
        sources = ["wire/frame.c", f"instruments/{sensor}.c", f"instruments/{actuators}.c"]
        command = ["cc", "-std=c99", "-O1", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror"]
        # An index or a shift that is none ends the test.
        command += ["-fsanitize=undefined", "-fsanitize-undefined-trap-on-error"]
        command += [f"-I{SOURCES}", f"-I{HERE}", f"-DSENSOR={sensor}", f"-DACTUATOR={actuators}"]
        command += [f'-DSENSOR_HEADER="instruments/{sensor}.h"']
        command += [f'-DACTUATOR_HEADER="instruments/{actuators}.h"']
        command += [f"-DSENSOR_CONFIG={config or SENSOR[sensor][1]}"]
        command += [f"-DACTUATOR_CONFIG={initialiser(ACTUATOR[actuators])}"]
        command += [str(SOURCES / source) for source in sources] + [str(HERE / "harness.c")]
        subprocess.run([*command, "-lm", "-o", str(library)], check=True)
        return ctypes.CDLL(str(library))

    return build


def damaged(rng: random.Random, message: bytes) -> bytes:
    """A message as a bad line delivers it: mostly whole."""
    kind = rng.randrange(8)
    at = rng.randrange(len(message))
    if kind == 0:
        return message[:at]
    if kind == 1:
        return message[:at] + rng.randbytes(1) + message[at + 1 :]
    if kind == 2:
        marks = rng.choice((b"\xff", b"\0", b"\n", b"<", b">", b",", b"-", b" ", b"\x1c", b"9"))
        return message[:at] + marks * rng.choice((1, 2, 1100)) + message[at:]
    return message


def sensor_message(rng: random.Random, kind: str, k: int) -> bytes:
    if kind == "magnetic":
        return magnetic.encode([rng.randint(-32768, 32767) for _ in range(3)], k)
    size = rng.choice((99, 4095, 2_147_483_647, 2_147_483_650))
    counts = [rng.randint(-size, size) for _ in range(3)]
    return format_line(counts, rng.choice(("plain", "bracketed")))


@pytest.mark.parametrize("kind", SENSORS)
def test_a_sensor_gives_the_same_samples_from_a_damaged_stream(kind, built):
    rng, lib = random.Random(11), built(sensor=kind)
    stream = b""
    while len(stream) < STREAM:
        stream += damaged(rng, sensor_message(rng, kind, len(stream)))
    reader = SENSORS[kind](3, 1.0, 0.0, **SENSOR[kind][0])
    expected = reader.feed(stream, 0.0)
    counts = ((ctypes.c_int32 * 3) * (len(stream) // 6))()
    found = lib.read_sensor(stream, len(stream), counts)
    assert [list(counts[i]) for i in range(found)] == expected
    assert len(expected) > 100 and lib.sensor_dropped() == reader.dropped > 100


@pytest.mark.parametrize("kind", ACTUATORS)
def test_actuators_are_told_the_same_bytes_and_understand_them(kind, built):
    rng, lib = random.Random(12), built(actuators=kind)
    master, device = (end(ACTUATOR[kind], 2) for end in ACTUATORS[kind])
    out = ctypes.create_string_buffer(64)
    for k in range(500):
        command = [rng.uniform(-0.5, 0.5) for _ in range(2)]
        if k % 50 == 49:
            command[k // 50 % 2] = rng.choice((float("nan"), float("inf"), -1e30))
        disarm = k % 40 == 39
        told = master.disarm() if disarm else master.drive(command)
        size = lib.disarm(out) if disarm else lib.drive((ctypes.c_float * 2)(*command), out)
        assert out.raw[:size] == told
        master.feed(device.feed(told, 0.01 * k))
        assert device.armed is not disarm
        if not disarm and k % 50 != 49:
            assert device.command == pytest.approx(command, abs=0.003)
    assert device.bad == 0 and device.completed >= 480
    assert kind == "analogue" or master.status.answers == 500


@pytest.mark.parametrize("kind", ["dynamixel", "hasel_driver"])
def test_actuators_say_the_same_through_a_damaged_line(kind, built):
    rng, lib, known = random.Random(13), built(actuators=kind), Status()
    master = ACTUATORS[kind].master(ACTUATOR[kind], 2)
    out, sent = ctypes.create_string_buffer(64), 0
    while sent < STREAM:
        master.drive([0.0, 0.0])
        lib.drive((ctypes.c_float * 2)(), out)
        if kind == "dynamixel":
            answer = packet(rng.choice((1, 7)), rng.randrange(128), rng.randbytes(8))
        else:
            answer = encode_frame(struct.pack("<BB", 0x21, 1) + rng.randbytes(5))
        answer = damaged(rng, answer)
        sent += len(answer)
        master.feed(answer)
        lib.read_actuators(answer, len(answer), ctypes.byref(known))
        for name, _ in Status._fields_:
            assert getattr(known, name) == getattr(master.status, name), name
    assert master.status.answers > 100 and master.status.bad > 100


def test_a_frame_of_another_kind_is_no_sample(built):
    """Another type, shorter, longer, and empty; the whole one between them counts."""
    lib, counts = built("magnetic", config="{.median = 1}"), ((ctypes.c_int32 * 3) * 5)()
    right = b"\x10\x00" + struct.pack("<3h", 1, -2, 300)
    contents = (b"\x11" + right[1:], right[:-1], right, right + b"\0", b"\x10")
    stream = b"".join(map(encode_frame, contents))
    reader = SENSORS["magnetic"](3, 1.0, 0.0)
    assert reader.feed(stream, 0.0) == [[1, -2, 300]]
    assert lib.read_sensor(stream, len(stream), counts) == 1
    assert list(counts[0]) == [1, -2, 300]
    assert lib.sensor_dropped() == reader.dropped == 4


def test_a_sensor_without_signs_takes_no_minus(built):
    lib, counts = built(config="{.is_signed = false}"), ((ctypes.c_int32 * 3) * 3)()
    stream = b"1,-2,3\n-0,2,3\n1,2,3\n"
    reader = SENSORS["lightlace"](3, 1.0, 0.0, signed=False)
    assert reader.feed(stream, 0.0) == [[1, 2, 3]]
    assert lib.read_sensor(stream, len(stream), counts) == 1
    assert list(counts[0]) == [1, 2, 3] and lib.sensor_dropped() == reader.dropped == 2


def test_a_hasel_driver_disarms_after_50_ms_of_silence():
    master, device = (end(ACTUATOR["hasel_driver"], 2) for end in ACTUATORS["hasel_driver"])
    device.feed(master.drive([0.1, 0.2]), 1.0)
    device.feed(b"", 1.049)
    assert device.armed
    device.feed(b"", 1.051)
    assert not device.armed


# ---------------------------------------------------------------------------------- vectors.json


def test_lines_of_the_vectors_are_samples_or_none(built):
    lib, counts = built(), ((ctypes.c_int32 * 3) * 2)()
    for vector in VECTORS["lightlace"]:
        line, expected = vector["line"].encode("ascii"), vector["counts"]
        samples = [] if expected is None else [expected]
        assert SENSORS["lightlace"](3, 1.0, 0.0, signed=True).feed(line, 0.0) == samples, line
        lib.restart()
        found = lib.read_sensor(line, len(line), counts)
        assert [list(counts[i]) for i in range(found)] == samples, line


def test_frames_of_the_vectors_give_medians_less_the_offset(built):
    vector = VECTORS["magnetic"]
    lib, counts = built("magnetic"), ((ctypes.c_int32 * 3) * 9)()
    stream = bytes.fromhex(vector["stream"])
    reader = SENSORS["magnetic"](3, 1.0, 0.0, **SENSOR["magnetic"][0])
    assert reader.feed(stream, 0.0) == vector["samples"] and reader.lost == vector["lost"]
    found = lib.read_sensor(stream, len(stream), counts)
    assert [list(counts[i]) for i in range(found)] == vector["samples"]


@pytest.mark.parametrize("kind", ACTUATORS)
def test_answers_of_the_vectors_are_understood_as_they_say(kind, built):
    """Of a dynamixel the second servo, 7, was asked. Six digits stand in the vectors."""
    lib, known, out = built(actuators=kind), Status(), ctypes.create_string_buffer(64)
    for vector in VECTORS["answers"][kind]:
        data, expected = bytes.fromhex(vector["bytes"]), vector["status"]
        master = ACTUATORS[kind].master(ACTUATOR[kind], 2)
        master.drive([0.0, 0.0])
        lib.restart()
        lib.drive((ctypes.c_float * 2)(), out)
        assert master.feed(data) is (expected["answers"] > 0), vector["name"]
        lib.read_actuators(data, len(data), ctypes.byref(known))
        for status in (known, master.status):
            found = {name: getattr(status, name) for name in expected}
            assert found == pytest.approx(expected, rel=2e-6), vector["name"]


@pytest.mark.parametrize("kind", ACTUATORS)
def test_commands_of_the_vectors_are_their_bytes(kind, built):
    lib, out = built(actuators=kind), ctypes.create_string_buffer(64)
    master = ACTUATORS[kind].master(ACTUATOR[kind], 2)
    for vector in VECTORS["drive"][kind]:
        command, expected = vector["command"], bytes.fromhex(vector["bytes"])
        assert (master.disarm() if command is None else master.drive(command)) == expected
        if command is None:
            size = lib.disarm(out)
        else:
            size = lib.drive((ctypes.c_float * 2)(*command), out)
        assert out.raw[:size] == expected


def test_packets_are_those_of_the_servos_manual():
    for vector in VECTORS["dynamixel_manual"]["packets"]:
        parameters = bytes.fromhex(vector["parameters"])
        made = packet(vector["servo"], vector["instruction"], parameters)
        assert made.hex() == vector["packet"]
