"""The firmware's C under AddressSanitizer and UBSan: bytes of all kinds, no fault allowed."""

from __future__ import annotations

import random
import shutil
import subprocess

import pytest

from soft_control.link.framing import encode_frame
from soft_control.link.messages import (
    Configure,
    Hello,
    Observe,
    Position,
    Reference,
    Reset,
    Sample,
    Sizes,
)
from soft_control.paths import share

SIZES = Sizes(2, 3, 4)
SOUND = (
    *((-1.7, -1.7), (1.4, 0.9), (0.05, 0.05), (60.0, 60.0), (0.0, 1.0), (0.0, 0.0)),
    *((1e6,) * 3, (1e6,) * 3, (-0.01,) * 3, (0.01,) * 3, (1e8,) * 3, 0.1),
)
HARNESS = """
#include "sil.h"
#include <stdio.h>
#include <stdlib.h>
int main(void)
{
    static uint8_t in[1 << 22], out[1 << 16];
    const size_t size = fread(in, 1, sizeof in, stdin);
    sil_t *sil = malloc(sil_size());
    size_t answered = 0;
    sil_start(sil, 0);
    for (size_t at = 0; at < size; at += 97) { /* pieces that cut frames anywhere */
        sil_write(sil, (uint32_t)at, in + at, size - at < 97 ? size - at : 97);
        answered += sil_read(sil, out, sizeof out);
    }
    free(sil);
    printf("%zu\\n", answered);
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

    def signals() -> tuple[int, ...]:
        return tuple(chance.randint(-32768, 32767) for _ in range(4))

    k, data = 0, b""
    for _ in range(1500):
        k = (k + chance.choice([1] * 20 + [0, 2, 50, 2**32 - 5])) % 2**32
        message = chance.choice(
            [Hello(), Reset(k, chance.choice([0, 50]), numbers(2), numbers(3))]
            + [Reference(k + 1, tuple(numbers(3) for _ in range(chance.randint(0, 20))))] * 2
            + [Sample(k, signals(), numbers(3))] * 12
            + [Observe(k, signals(), numbers(2))] * 4
            + [Position(k, numbers(3))] * 4
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


def test_no_memory_error_and_no_undefined_behaviour(firmware, tmp_path):
    sources = share() / "firmware"
    harness, program = tmp_path / "harness.c", tmp_path / "harness"
    harness.write_text(HARNESS)
    modules = [path for path in (sources / "src").rglob("*.c") if path.name != "main.c"]
    generated = [firmware.directory / "fk.c", firmware.directory / "controller_config.c"]
    sanitize = "-fsanitize=address,undefined"
    built = subprocess.run(
        [
            "gcc", "-std=c99", "-O1", "-g", sanitize, "-fno-sanitize-recover=all",
            *(f"-I{sources}/{folder}" for folder in ("", "src", "boards/host")),
            f"-I{firmware.directory}",
            *map(str, [harness, *modules, *generated, sources / "boards/host/sil.c"]),
            "-o", str(program), "-lm",
        ],
        capture_output=True, text=True,
    )  # fmt: skip
    if "cannot find" in built.stderr and shutil.which("gcc"):
        pytest.skip("gcc has no sanitizer libraries here")
    assert built.returncode == 0, built.stderr
    for seed in range(3):
        done = subprocess.run([program], input=stream(seed), capture_output=True)
        assert done.returncode == 0, done.stderr.decode()
        assert int(done.stdout) > 10_000  # most of it was answered
