"""Damaged streams for the instruments' drivers, under sanitizers, and for their twins.

    fuzz.py BYTES [SEED]

Each kind of instrument gets BYTES of its device's messages, whole and damaged, in the sizes and
settings of PAIRS. The exit code is 1 at the first difference between C and Python, and where a
sanitizer or an assertion speaks.
"""

from __future__ import annotations

import random
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from soft_control.link import magnetic
from soft_control.link.dynamixel import BROADCAST, packet
from soft_control.link.framing import encode_frame
from soft_control.link.instruments import ACTUATORS, SENSORS
from soft_control.link.lace_line import format_line

HERE = Path(__file__).parent
SOURCES = HERE.parents[2] / "firmware" / "src"
SANITIZERS = "-fsanitize=address,undefined,bounds-strict,float-cast-overflow"
STATUS = struct.Struct("<BBxxffffII")
"""actuator_status_t"""
MARKS = (b"\xff", b"\0", b"\n", b"\r", b"<", b">", b",", b"-", b" ", b"\x1c", b"9", b"\xfe")


class Pair(NamedTuple):
    """A sensor and actuators that one firmware has."""

    sensor: str
    channels: int
    sensor_config: dict[str, Any]
    """As the C struct."""
    twin: dict[str, Any]
    """The same, as the twin's settings."""
    actuators: str
    commands: int


def lace(channels: int, signed: bool, torn_start: bool) -> tuple[Any, ...]:
    config = {"is_signed": signed, "torn_start": torn_start}
    return "lightlace", channels, config, {"signed": signed, "torn_start": torn_start}


def magnets(channels: int, median: int, start_samples: int) -> tuple[Any, ...]:
    config = {"median": median, "start_samples": start_samples}
    return "magnetic", channels, config, config


PAIRS = (
    Pair(*lace(3, True, False), "dynamixel", 2),
    Pair(*lace(11, False, True), "hasel_driver", 6),
    Pair(*lace(0, False, False), "analogue", 1),
    Pair(*magnets(18, 5, 64), "dynamixel", 6),
    Pair(*magnets(3, 1, 0), "hasel_driver", 1),
    Pair(*magnets(6, 3, 5), "analogue", 6),
    Pair(*lace(1, True, True), "dynamixel", 1),
)


def actuator_config(kind: str, commands: int) -> dict[str, Any]:
    if kind == "dynamixel":
        return {
            "id": [1 + 7 * i for i in range(commands)],
            "counts_per_unit": [195.379 - 30 * i for i in range(commands)],
            "zero_count": [512.0] * commands,
            "count_min": [171 - i for i in range(commands)],
            "count_max": [784 + i for i in range(commands)],
            "speed": [100 * i for i in range(commands)],
        }
    if kind == "hasel_driver":
        return {"steps_per_unit": 1234.5, "zero_steps": 617.25, "full_steps": 1234}
    return {"unused": 0}


def initialiser(config: dict[str, Any]) -> str:
    def value(of: Any) -> str:
        if isinstance(of, list):
            return "{" + ",".join(map(value, of)) + "}"
        return f"{of!r}f" if isinstance(of, float) else f"{of:d}"

    return "{" + ",".join(f".{name}={value(of)}" for name, of in config.items()) + "}"


def program(pair: Pair, folder: Path) -> Path:
    """fuzz.c for the pair."""
    built = folder / f"{pair.sensor}{pair.channels}_{pair.actuators}{pair.commands}"
    sources = ["wire/frame.c", f"instruments/{pair.sensor}.c", f"instruments/{pair.actuators}.c"]
    command = [
        *("gcc", "-std=c99", "-O1", "-g", "-ffp-contract=off", SANITIZERS),
        *("-fno-sanitize-recover=all", "-Wall", "-Wextra", "-Werror", f"-I{SOURCES}", f"-I{HERE}"),
        *(f"-DCOMMANDS={pair.commands}", f"-DSENSOR_CHANNELS={pair.channels}"),
        *(f"-DSENSOR={pair.sensor}", f"-DACTUATOR={pair.actuators}"),
        f'-DSENSOR_HEADER="instruments/{pair.sensor}.h"',
        f'-DACTUATOR_HEADER="instruments/{pair.actuators}.h"',
        f"-DSENSOR_CONFIG={initialiser(pair.sensor_config)}",
        f"-DACTUATOR_CONFIG={initialiser(actuator_config(pair.actuators, pair.commands))}",
        *map(str, [HERE / "fuzz.c", *(SOURCES / source for source in sources)]),
        *("-lm", "-o", str(built)),
    ]
    subprocess.run(command, check=True)
    return built


def findings(built: Path, what: str, data: bytes) -> bytes:
    """What the program says to the bytes; a sanitizer's words go to the terminal."""
    done = subprocess.run([built, what], input=data, stdout=subprocess.PIPE)
    assert done.returncode == 0, f"{built.name} {what}: exit code {done.returncode}"
    return done.stdout


# ------------------------------------------------------------------------------------ streams


def damaged(rng: random.Random, message: bytes) -> bytes:
    """A message as a bad line delivers it: mostly whole."""
    kind, at = rng.randrange(12), rng.randrange(len(message) + 1)
    before, behind = message[:at], message[at:]
    if kind == 0:
        return before
    if kind == 1:
        return behind
    if kind == 2:
        return before + rng.randbytes(1) + behind[1:]
    if kind == 3 and behind:
        return before + bytes((behind[0] ^ 1 << rng.randrange(8),)) + behind[1:]
    if kind == 4:
        count = 1200 if rng.randrange(50) == 0 else rng.randint(1, 4)
        return before + rng.choice(MARKS) * count + behind
    if kind == 5 and rng.randrange(4) == 0:
        return before + rng.randbytes(rng.randrange(60)) + behind
    return message


def sensor_message(rng: random.Random, pair: Pair, k: int) -> bytes:
    odd = rng.randrange(20) == 0
    channels = pair.channels + (rng.choice((-1, 1)) if odd and pair.channels else 0)
    if pair.sensor == "magnetic":
        if rng.randrange(40) == 0:
            return encode_frame(rng.randbytes(rng.randint(1, 300)))
        size = rng.choice((2, 1711, 32767))
        counts = [rng.randint(-size - 1, size) for _ in range(channels)]
        return magnetic.encode(counts, k + rng.choice((0,) * 19 + (100,)))
    size = rng.choice((9, 99, 4095, 4095, 2_147_483_647))
    low = -size if rng.randrange(2) and pair.twin["signed"] else 0
    counts = [rng.randint(low, size) for _ in range(channels)]
    if odd and counts:
        counts[-1] = rng.choice((2_147_483_647, 2_147_483_648, -2_147_483_648, 9_999_999_999))
    line = format_line(counts, rng.choice(("plain", "bracketed")))
    if rng.randrange(8) == 0:
        blank = bytes((rng.choice(b"  \t\v\f\r"),))
        line = line.replace(b",", blank + b"," + blank)
    return line


def answer(rng: random.Random, pair: Pair, told: bytes) -> bytes:
    """What actuators say to a sample's bytes, or would if they were others."""
    odd = rng.randrange(12) == 0
    if pair.actuators == "dynamixel":
        ids = actuator_config("dynamixel", pair.commands)["id"]
        if odd:
            some = packet(rng.choice([*ids, BROADCAST, 99]), rng.randrange(256), rng.randbytes(8))
            short = packet(rng.choice(ids), 0, rng.randbytes(rng.randrange(40)))
            marks = packet(rng.choice(ids), 0xFF, b"\xff" * rng.randrange(34))
            return rng.choice((told, some, short, marks))  # a line of one wire hears itself
        servo = told[-6] if rng.randrange(3) else rng.choice(ids)
        values = bytes(rng.choice((0, 255, rng.randrange(256))) for _ in range(8))
        return packet(servo, rng.choice((0, 0, rng.randrange(128))), values)
    size = rng.randint(1, 20) if odd else 7
    kind = rng.randrange(256) if rng.randrange(20) == 0 else 0x21
    return encode_frame((bytes((kind,)) + rng.randbytes(size))[:size])


def commands(rng: random.Random, count: int) -> list[float]:
    wild = (float("nan"), float("inf"), -float("inf"), 3.4e38, -3.4e38, 1e-40, -0.0)
    return [rng.choice(wild) if rng.randrange(9) == 0 else rng.uniform(-2, 2) for _ in range(count)]


def pieces(rng: random.Random, data: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        size = rng.choice((1, 7, 64, 4096))
        yield data[at : at + size]
        at += size


# --------------------------------------------------------------------------------- comparison


def fuzz_sensor(rng: random.Random, pair: Pair, built: Path, size: int) -> int:
    """Returns how many bytes gave the same samples."""
    messages, total = [], 0
    while total < size:
        messages.append(damaged(rng, sensor_message(rng, pair, len(messages))))
        total += len(messages[-1])
    data = b"".join(messages)
    reader = SENSORS[pair.sensor](pair.channels, 1.0, 0.0, **pair.twin)
    expected = b"".join(
        struct.pack(f"<{pair.channels}i", *counts)
        for piece in pieces(rng, data)
        for counts in reader.feed(piece, 0.0)
    )
    expected += struct.pack("<II", reader.samples, reader.dropped)
    assert findings(built, "sensor", data) == expected, f"{built.name}: other samples"
    # Otherwise the stream would say little.
    read = reader.samples + pair.twin.get("start_samples", 0)
    assert read > len(messages) // 4 and reader.dropped > len(messages) // 200, built.name
    return total


def fuzz_actuators(rng: random.Random, pair: Pair, built: Path, size: int) -> int:
    """Returns how many bytes of answers were understood in the same way.

    The device hears a damaged line as well.
    """
    config = actuator_config(pair.actuators, pair.commands)
    master, device = (end(config, pair.commands) for end in ACTUATORS[pair.actuators])
    inputs, outputs, total, k = [], [], 0, 0
    while total < size:
        k += 1
        if rng.randrange(30) == 0:
            inputs.append(b"l")
            told = master.disarm()
        else:
            command = commands(rng, pair.commands)
            inputs.append(b"d" + struct.pack(f"<{pair.commands}f", *command))
            told = master.drive(command)
        outputs.append(struct.pack("<I", len(told)) + told)
        device.feed(damaged(rng, told), 0.01 * k)
        said = damaged(rng, answer(rng, pair, told))
        inputs.append(b"a" + struct.pack("<I", len(said)) + said)
        master.feed(said)
        s = master.status
        known = (s.index, s.errors, s.position, s.load, s.voltage, s.temperature, s.answers, s.bad)
        outputs.append(STATUS.pack(*known))
        total += len(said)
    found = findings(built, "actuators", b"".join(inputs))
    assert found == b"".join(outputs), f"{built.name}: other bytes or answers"
    assert pair.actuators == "analogue" or (s.answers > k // 8 and s.bad > k // 50), (
        f"{built.name}: {s}"
    )
    # The device is none the worse for what it heard, once a packet that may have begun is over.
    device.feed(b"\0" * 300, 0.01 * k)
    device.feed(master.disarm() + master.drive([0.0] * pair.commands), 0.01 * k)
    assert device.armed and device.bad > 0
    return total


def main(size: int, seed: int = 1) -> None:
    rng = random.Random(seed)
    fuzzed: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as folder:
        for pair in PAIRS:
            built = program(pair, Path(folder))
            for kind, fuzz in ((pair.sensor, fuzz_sensor), (pair.actuators, fuzz_actuators)):
                same = sum(kind in (other.sensor, other.actuators) for other in PAIRS)
                fuzzed[kind] = fuzzed.get(kind, 0) + fuzz(rng, pair, built, -(-size // same))
    print(", ".join(f"{kind} {count}" for kind, count in fuzzed.items()), "bytes: the same")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
