"""The firmware's decoders by libFuzzer, and their Python twins on the corpus that it has found.

    decoders.py RUNS [NAME ...]

Each decoder gets RUNS inputs under AddressSanitizer and UBSan, beginning with the corpus in
corpus/, whose smallest part that reaches the same code takes its place. Then C and Python must find
the same in all inputs that reached anything new. Exit code 1: they do not, or a sanitizer or an
assertion has spoken.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from soft_control.link.framing import FrameDecoder
from soft_control.link.instruments import ACTUATORS, SENSORS
from soft_control.link.messages import MESSAGES, MessageError, Sizes, decode

HERE = Path(__file__).parent
SOURCES = HERE.parents[2] / "firmware" / "src"
CORPUS = HERE / "corpus"
INPUT_BYTES = 600
SANITIZERS = "-fsanitize=address,undefined"
SIZES = Sizes(2, 3, 4)
"""controller_config.h"""
FROM_HOST = range(0x80)
"""Types of messages that a host sends."""
OK, UNKNOWN_TYPE, BAD_LENGTH = 0, 1, 2
"""message_error_t"""
STATUS = struct.Struct("<BBxxffffII")
"""actuator_status_t"""

SERVOS = {
    "id": [1, 7],
    "counts_per_unit": [195.379, 195.379],
    "zero_count": [512.0, 512.0],
    "count_min": [172, 400],
    "count_max": [784, 700],
    "speed": [0, 300],
}
SUPPLY = {"steps_per_unit": 1000.0, "zero_steps": 500.0, "full_steps": 1000}


class Decoder(NamedTuple):
    """One of the firmware's, and its twin."""

    sources: Sequence[str]
    flags: Sequence[str]
    twin: Callable[[bytes], bytes]
    """What decoders.c finds in an input."""


def frames(data: bytes) -> bytes:
    decoder = FrameDecoder()
    contents = decoder.feed(data)
    found = [struct.pack("<H", len(c)) + c + bytes([verdict(c)]) for c in contents]
    return b"".join(found) + struct.pack("<I", decoder.bad_frames)


def verdict(content: bytes) -> int:
    """As message_decode gives it: of messages that a host sends."""
    if content[0] not in MESSAGES or content[0] not in FROM_HOST:
        return UNKNOWN_TYPE
    try:
        decode(content, SIZES)
    except MessageError:
        return BAD_LENGTH
    return OK


def sensor(kind: str, channels: int, **settings: Any) -> Callable[[bytes], bytes]:
    def twin(data: bytes) -> bytes:
        reader = SENSORS[kind](channels, 1.0, 0.0, **settings)
        found = [struct.pack(f"<{channels}i", *counts) for counts in reader.feed(data, 0.0)]
        return b"".join(found) + struct.pack("<II", reader.samples, reader.dropped)

    return twin


def actuators(kind: str, config: dict[str, Any]) -> Callable[[bytes], bytes]:
    def twin(data: bytes) -> bytes:
        master = ACTUATORS[kind].master(config, SIZES.commands)
        master.drive([0.0] * SIZES.commands)
        answers = sum(bool(master.feed(data[i : i + 1])) for i in range(len(data)))
        s = master.status
        known = (s.index, s.errors, s.position, s.load, s.voltage, s.temperature, s.answers, s.bad)
        return struct.pack("<I", answers) + STATUS.pack(*known)

    return twin


def initialiser(config: dict[str, Any]) -> str:
    """Of a C struct."""

    def value(of: Any) -> str:
        if isinstance(of, list):
            return "{" + ",".join(map(value, of)) + "}"
        return f"{of!r}f" if isinstance(of, float) else f"{of:d}"

    return "{" + ",".join(f".{name}={value(of)}" for name, of in config.items()) + "}"


def reads(kind: str, channels: int, config: dict[str, Any], **settings: Any) -> Decoder:
    flags = ["-DDECODES_SENSOR", f"-DSENSOR={kind}", f'-DSENSOR_HEADER="instruments/{kind}.h"']
    flags += [f"-DSENSOR_CHANNELS={channels}", f"-DSENSOR_CONFIG={initialiser(config)}"]
    flags += ["-DACTUATOR=analogue", '-DACTUATOR_HEADER="instruments/analogue.h"']
    flags += ["-DIN_FRAMES"] * (kind == "magnetic")
    return Decoder([f"instruments/{kind}.c"], flags, sensor(kind, channels, **settings))


def drives(kind: str, config: dict[str, Any]) -> Decoder:
    flags = [f"-DACTUATOR={kind}", f'-DACTUATOR_HEADER="instruments/{kind}.h"']
    flags += [f"-DACTUATOR_CONFIG={initialiser(config)}", "-DSENSOR=lightlace"]
    flags += ['-DSENSOR_HEADER="instruments/lightlace.h"']
    flags += ["-DIN_FRAMES"] * (kind == "hasel_driver")
    return Decoder([f"instruments/{kind}.c"], flags, actuators(kind, config))


DECODERS = {
    "frame": Decoder(["wire/message.c"], ["-DDECODES_FRAMES", "-DIN_FRAMES"], frames),
    "lightlace": reads(
        "lightlace", 3, {"is_signed": True, "torn_start": False}, signed=True, torn_start=False
    ),
    "magnetic": reads("magnetic", 3, {"median": 3, "start_samples": 2}, median=3, start_samples=2),
    "dynamixel": drives("dynamixel", SERVOS),
    "hasel_driver": drives("hasel_driver", SUPPLY),
}
"""An analogue driver answers nothing: it has no decoder."""


def program(name: str, folder: Path, compiler: Sequence[str]) -> Path:
    """decoders.c with the firmware's decoder of that name."""
    decoder, built = DECODERS[name], folder / name
    sources = ["wire/frame.c", *decoder.sources]
    command = [
        *(*compiler, "-std=c99", "-O1", "-g", "-ffp-contract=off"),
        *("-fno-sanitize-recover=all", "-Wall", "-Wextra", "-Werror"),
        *(f"-I{HERE}", f"-I{SOURCES}", *decoder.flags, str(HERE / "decoders.c")),
        *(*(str(SOURCES / source) for source in sources), "-lm", "-o", str(built)),
    ]
    subprocess.run(command, check=True)
    return built


def packed(inputs: Sequence[bytes]) -> bytes:
    """As decoders.c reads them."""
    return b"".join(struct.pack("<I", len(one)) + one for one in inputs)


def unpacked(said: bytes) -> list[bytes]:
    """What it has found in each."""
    found, at = [], 0
    while at < len(said):
        (size,) = struct.unpack_from("<I", said, at)
        found.append(said[at + 4 : at + 4 + size])
        at += 4 + size
    return found


def found_by(built: Path, inputs: Sequence[bytes]) -> list[bytes]:
    """What the program finds in each input."""
    said = subprocess.run([built], input=packed(inputs), stdout=subprocess.PIPE, check=True).stdout
    return unpacked(said)


def differing(name: str, built: Path, inputs: Sequence[bytes]) -> list[bytes]:
    """The inputs in which C and Python find other things."""
    found = found_by(built, inputs)
    assert len(found) == len(inputs)
    twin = DECODERS[name].twin
    return [one for one, ours in zip(inputs, found, strict=True) if twin(one) != ours]


def read_corpus(name: str) -> list[bytes]:
    """Of a decoder: a line of hex digits an input."""
    return [bytes.fromhex(line) for line in (CORPUS / f"{name}.txt").read_text().splitlines()]


def write_corpus(name: str, inputs: Iterable[bytes]) -> None:
    lines = [one.hex() for one in sorted(set(inputs), key=lambda one: (len(one), one))]
    (CORPUS / f"{name}.txt").write_text("".join(f"{line}\n" for line in lines))


def files_of(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(folder.iterdir())]


def fuzz(name: str, runs: int, folder: Path) -> int:
    """Lets libFuzzer look for `runs` inputs; returns how many new ones C and Python agree on."""
    fuzzer = program(name, folder, ("clang", "-DFUZZED", f"{SANITIZERS},fuzzer"))
    seeds, least = folder / f"{name}_inputs", folder / f"{name}_least"
    for made in (seeds, least):
        made.mkdir()
    for number, one in enumerate(read_corpus(name)):
        (seeds / f"seed_{number:04}").write_bytes(one)
    limits = [f"-max_len={INPUT_BYTES}", "-timeout=600", "-verbosity=0", "-print_final_stats=1"]
    run = [str(fuzzer), f"-runs={runs}", "-seed=1", *limits, str(seeds)]
    done = subprocess.run(run, cwd=folder, stderr=subprocess.PIPE, text=True)
    stats = [line for line in done.stderr.splitlines() if line.startswith("stat::")]
    told = {line.rpartition(":")[0]: line.rpartition(":")[2] for line in stats}
    if done.returncode:
        print(done.stderr, file=sys.stderr)
        sys.exit(f"{name}: libFuzzer ended with exit code {done.returncode}")
    merge = [str(fuzzer), "-merge=1", *limits, str(least), str(seeds)]
    subprocess.run(merge, cwd=folder, stderr=subprocess.DEVNULL, check=True)
    plain = program(name, folder, ("gcc", SANITIZERS))
    inputs = files_of(seeds)
    if different := differing(name, plain, inputs):
        sys.exit(f"{name}: C and Python find other things in {different[0].hex()}")
    write_corpus(name, files_of(least))
    tried = int(told["stat::number_of_executed_units"])
    print(
        f"{name}: {tried:,} inputs, {int(told['stat::average_exec_per_sec']):,} a second; "
        f"{len(inputs):,} reached something new, C and Python find the same in them; "
        f"{len(files_of(least))} kept",
        flush=True,
    )
    return len(inputs)


def main() -> None:
    runs, names = int(sys.argv[1]), sys.argv[2:] or list(DECODERS)
    if shutil.which("clang") is None:
        sys.exit("clang is not installed: on Debian, apt install clang libclang-rt-14-dev")
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            fuzz(name, runs, Path(folder))


if __name__ == "__main__":
    main()
