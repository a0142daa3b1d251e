"""The firmware's C as a program of its own, also under sanitizers: bytes of all kinds, no fault,
and always an answer in time."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from soft_control.link.codes import ErrorCode
from soft_control.link.framing import CONTENT_MAX, FrameDecoder, encode_frame
from soft_control.link.messages import (
    MESSAGES,
    Adapt,
    Arm,
    AskAdaptation,
    Boot,
    Configure,
    Drive,
    Error,
    Heartbeat,
    Hello,
    Keep,
    Measurement,
    Observe,
    Reference,
    Sample,
    Sizes,
    Stop,
    Switch,
    Telemetry,
    Trajectory,
    TrajectoryEnd,
    decode,
)
from soft_control.paths import share

SIZES = Sizes(2, 3, 4)
SOUND = (
    *((-1.7, -1.7), (1.4, 0.9), (0.05, 0.05), (60.0, 60.0), (0.0, 1.0), (0.0, 0.0)),
    *((1e6,) * 3, (1e6,) * 3, (-0.01,) * 3, (0.01,) * 3, (1e8,) * 3, 0.1),
)
HARNESS = """
#include "boards/host/sil.h"
#include <stdio.h>
#include <stdlib.h>
int main(void)
{
    static uint8_t in[1 << 26], out[1 << 16];
    const size_t size = fread(in, 1, sizeof in, stdin);
    sil_t *sil = malloc(sil_size());
    static uint8_t pages[1024];
    sil_start_with(sil, 0, pages, sizeof pages / 2, UINT64_MAX);
    for (size_t at = 0; at < size; at += 97) { /* pieces that cut frames anywhere */
        sil_write(sil, 0, (uint32_t)at * 1000u, in + at, size - at < 97 ? size - at : 97);
        fwrite(out, 1, sil_read(sil, 0, out, sizeof out), stdout);
    }
    free(sil);
    return 0;
}
"""


def stream(seed: int) -> bytes:
    """Good runs, wild numbers, and every kind of damage."""
    chance = random.Random(seed)
    wild = [0.0, 1.0, -1e-30, 1e30, -3.4e38, float("inf"), float("nan")]

    def number() -> float:
        return chance.choice(wild) if chance.random() < 0.2 else chance.uniform(-1, 1)

    def numbers(count: int) -> tuple[float, ...]:
        return tuple(number() for _ in range(count))

    def points() -> tuple[tuple[float, ...], ...]:
        return tuple(numbers(3) for _ in range(chance.randint(0, 20)))

    def arm() -> Arm:
        modes = [chance.randint(0, 1) if chance.random() < 0.2 else 0 for _ in range(4)]
        times = [chance.choice([0, 50]) for _ in range(3)]
        return Arm(
            k,
            0,
            *modes,
            chance.randint(0, 2),
            chance.choice([0, 9]),
            *times,
            numbers(2),
            numbers(3),
        )

    k, data = 0, b""
    for _ in range(1500):
        k = (k + chance.choice([1] * 20 + [0, 2, 50, 2**32 - 5])) % 2**32
        message = chance.choice(
            [Hello(), arm(), arm(), Stop(), Heartbeat(k, k)]
            + [Reference((k + 1) % 2**32, points())] * 2
            + [Sample(k, k, numbers(4), numbers(3))] * 12
            + [Observe(k, numbers(4), numbers(2))] * 4
            + [Measurement(k, k, numbers(3))] * 4
            + [Drive(k, k, numbers(2))] * 2
            + [Adapt(chance.randint(0, 3), numbers(3), number(), numbers(6))]
            + [AskAdaptation(chance.randint(0, 3))]
            + [Keep(chance.randint(0, 3))]
            + [Switch(chance.choice([0, k, k + 3]) % 2**32, chance.randint(0, 3))] * 2
            + [Trajectory(chance.choice([0, 0, 20, 1190, 65535]), points())] * 2
            + [TrajectoryEnd(chance.choice([0, 3, 2000]), k % 2, k, numbers(3))]
            + [Configure(*(numbers(size) for size in (2,) * 6 + (3,) * 5), chance.random())]
            + [Configure(*SOUND)]
        )  # fmt: skip
        content = bytearray(message.encode(SIZES))
        if chance.random() < 0.1:
            content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        frame = bytearray(encode_frame(bytes(content[: chance.randint(1, 250)])))
        if chance.random() < 0.1:
            frame[chance.randrange(len(frame))] = chance.randrange(256)
        if chance.random() < 0.05:
            frame += chance.randbytes(chance.randrange(600))
        data += frame
    return data


SANITIZERS = {
    "plain": ("gcc",),
    "gcc": ("gcc", "-fsanitize=address,undefined,bounds-strict", "-fno-sanitize-recover=all"),
    # Only clang sees an index into a row of an array that is beyond the row.
    "clang": ("clang", "-fsanitize=address,undefined,array-bounds", "-fno-sanitize-recover=all"),
}


@pytest.fixture(scope="module", params=SANITIZERS)
def program(request, firmware, tmp_path_factory) -> Path:
    """The firmware with a main that reads bytes of a host and writes its own."""
    compiler, *sanitize = SANITIZERS[request.param]
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    sources = share() / "firmware"
    folder = tmp_path_factory.mktemp("program")
    harness, program = folder / "harness.c", folder / "harness"
    harness.write_text(HARNESS)
    modules = [path for path in (sources / "src").rglob("*.c") if path.name != "main.c"]
    generated = [firmware.directory / "fk.c", firmware.directory / "controller_config.c"]
    built = subprocess.run(
        [
            compiler, "-std=c99", "-O1", "-g", "-ffp-contract=off", *sanitize,
            *(f"-I{sources}/{folder}" for folder in ("", "src")),
            f"-I{firmware.directory}",
            *map(str, [harness, *modules, *generated, sources / "boards/host/sil.c"]),
            "-o", str(program), "-lm",
        ],
        capture_output=True, text=True,
    )  # fmt: skip
    if sanitize and ("cannot find" in built.stderr or "libclang_rt" in built.stderr):
        pytest.skip(f"{compiler} has no sanitizer libraries here")
    assert built.returncode == 0, built.stderr
    return program


def answers(program: Path, data: bytes) -> list[bytes]:
    """The contents of all frames that the firmware writes; a firmware that hangs fails."""
    done = subprocess.run([program], input=data, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr.decode()
    return FrameDecoder().feed(done.stdout)


def test_no_memory_error_and_no_undefined_behaviour(program):
    for seed in range(3):
        assert len(answers(program, stream(seed))) > 500  # most of it was answered


TABLE = json.loads((Path(__file__).parent / "vectors.json").read_text())["table"]
ARM = encode_frame(Arm(0, *[0] * 10, (0.0, 0.0), (0.0, 0.0, 0.0)).encode(SIZES))


def frames_of(type_: int) -> Iterator[bytes]:
    """Contents of every length, all zeros; but what has points says how many."""
    at = {Reference.TYPE: 5, Trajectory.TYPE: 3}.get(type_)
    for size in range(1, CONTENT_MAX + 1):
        content = bytearray([type_]).ljust(size, b"\0")
        if at is not None and size > at:
            content[at] = (size - at - 1) // 12
        yield bytes(content)


@pytest.mark.parametrize("running", [False, True], ids=["idle", "running"])
def test_every_type_and_length_has_its_answer(program, running):
    """Types 0 to 255, lengths 1 to 250, before and after ARM: the answer of the table or an
    ERROR, within bounded time, and a TELEMETRY for nothing but SAMPLE and OBSERVE.

    A TELEMETRY moves k on and ARM begins a run: so each type has an ARM before it, or, before
    any ARM, the one frame that is one is left out."""
    table = {row["type"]: row for row in TABLE if row["from"] == "host"}
    data, wanted = [], [(Boot.TYPE,)]
    for type_ in range(256):
        row = table.get(type_)
        if running:
            data.append(ARM)
            wanted.append((MESSAGES[Arm.TYPE].answered_by().TYPE,))
        stepped = False
        for content in frames_of(type_):
            fits = row is not None and len(content) in row["lengths"]
            if fits and type_ == Arm.TYPE and not running:
                continue
            data.append(encode_frame(content))
            if row is None:
                wanted.append((Error.TYPE, ErrorCode.UNKNOWN_TYPE, type_))
            elif not fits:
                wanted.append((Error.TYPE, ErrorCode.BAD_LENGTH, type_))
            elif row["when"] == ("resting" if running else "running"):
                wanted.append((Error.TYPE, ErrorCode.WRONG_STATE, type_))
            elif type_ in (Drive.TYPE, Switch.TYPE):  # only with wiring microcontroller
                wanted.append((Error.TYPE, ErrorCode.WRONG_STATE, type_))
            elif row["order"] == "in order" and stepped:
                wanted.append((Error.TYPE, ErrorCode.OUT_OF_ORDER, type_))
            elif row["answer"]:
                wanted.append((MESSAGES[type_].answered_by().TYPE,))
                stepped = True
    found = answers(program, b"".join(data))
    assert len(found) == len(wanted)
    for content, expected in zip(found, wanted, strict=True):
        assert tuple(content[: len(expected)]) == expected
        decode(content, SIZES)
    steps = sum(content[0] == Telemetry.TYPE for content in found)
    assert steps == (2 if running else 0)  # one SAMPLE, one OBSERVE
