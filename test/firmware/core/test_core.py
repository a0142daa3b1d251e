"""The tests' C programs once more on an emulated Cortex-M4F: the same findings as on the host.

Compiled as the firmware is for a board, by the compiler of the boards.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

HERE = Path(__file__).parent
TESTS = HERE.parent
SOURCES = TESTS.parents[1] / "firmware" / "src"
BOARD = ["arm-none-eabi-gcc", "-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=hard"]
BOARD += ["-mfpu=fpv4-sp-d16"]
CORE = str(HERE / "core.c")
LINKED = ["--specs=rdimon.specs", "-nostartfiles", f"-T{HERE / 'core.ld'}", "-Wl,--gc-sections"]
LINKED += ["-Wl,--no-warn-rwx-segments"]
FLAGS = ["-std=c99", "-O2", "-ffp-contract=off", "-fno-math-errno", "-ffunction-sections"]
MACHINE = ["qemu-system-arm", "-M", "mps2-an386", "-display", "none", "-monitor", "none"]
MACHINE += ["-serial", "none", "-semihosting-config", "enable=on,target=native"]
PATIENCE_S = 120
pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, ("arm-none-eabi-gcc", "qemu-system-arm"))),
    reason="arm-none-eabi-gcc or qemu-system-arm is not installed",
)


def on_host(folder: Path, sources: Sequence[Path], flags: Sequence[str], words, data) -> bytes:
    program = folder / "program"
    command = ["gcc", *FLAGS, *flags, *map(str, sources), "-o", str(program), "-lm"]
    subprocess.run(command, check=True)
    return subprocess.run([program, *words], input=data, stdout=subprocess.PIPE, check=True).stdout


def on_core(folder: Path, sources: Sequence[Path], flags: Sequence[str], words, data) -> bytes:
    elf = folder / "program.elf"
    objects = folder / "objects"
    objects.mkdir()
    made = [str(objects / f"{number}.o") for number in range(len(sources))]
    for source, name in zip(sources, made, strict=True):
        command = [*BOARD, "-Dmain=program_main", *FLAGS, *flags, "-c", str(source), "-o", name]
        subprocess.run(command, check=True)
    subprocess.run([*BOARD, "-O2", *LINKED, CORE, *made, "-lm", "-o", str(elf)], check=True)
    (folder / "in").write_bytes(data)
    (folder / "words").write_text("".join(f"{word}\n" for word in words))
    subprocess.run([*MACHINE, "-kernel", str(elf)], cwd=folder, timeout=PATIENCE_S)
    assert (folder / "code").read_text() == "0"
    return (folder / "out").read_bytes()


@pytest.fixture(scope="module")
def decoders():
    spec = importlib.util.spec_from_file_location("decoders", TESTS / "decoders" / "decoders.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", sorted(p.stem for p in (TESTS / "decoders/corpus").glob("*.txt")))
def test_decoders_find_the_same(decoders, name, tmp_path):
    """In their whole corpus, byte by byte; that is what their Python twins find."""
    decoder = decoders.DECODERS[name]
    corpus = decoders.read_corpus(name)
    sources = [TESTS / "decoders/decoders.c", SOURCES / "wire/frame.c"]
    sources += [SOURCES / source for source in decoder.sources]
    flags = [f"-I{TESTS / 'decoders'}", f"-I{SOURCES}", *decoder.flags]
    data = decoders.packed(corpus)
    found = decoders.unpacked(on_core(tmp_path, sources, flags, [], data))
    assert found == [decoder.twin(one) for one in corpus]


@pytest.mark.parametrize("name", ["observer", "doubt"])
def test_hostile_steps_go_the_same_way(name, tmp_path):
    """The same bits: their programs count what moved, or was found."""
    sources = [TESTS / f"loop/{name}_fuzz.c", SOURCES / "solver/number.c"]
    sources += [SOURCES / "loop/signal_model.c"]
    sources += [SOURCES / f"loop/{'sensor_doubt' if name == 'doubt' else name}.c"]
    flags = ["-DROBOT=TENDON", f"-I{TESTS / 'lint'}", f"-I{SOURCES}", f"-I{SOURCES.parent}"]
    said = [run(tmp_path, sources, flags, ["3000"], b"") for run in (on_host, on_core)]
    assert said[0] == said[1] and int(said[0].split()[0]) > 0


SIZES = {"tendon": [], "newton": ["-DMPC_METHOD=1", "-DHORIZON=6"]}
SIZES["hasel"] = ["-DCOMMANDS=6", "-DINPUT_LAGS=2", "-DOUTPUT_LAGS=2", "-DINPUT_DELAY=0"]
SIZES["hasel"] += ["-DHORIZON=5", "-DCONTROL_HORIZON=2", "-DTAIL_CONTINUES=0"]


@pytest.mark.parametrize("size", SIZES)
def test_hostile_problems_keep_the_solvers_promises(size, tmp_path):
    """fuzz.c of `make fuzz`, whose exit code says so. The problems are others than on the host:
    powf() is the C library's."""
    sources = [TESTS / "fuzz/fuzz.c", TESTS / "network/fk.c", *(SOURCES / "solver").glob("*.c")]
    flags = [*SIZES[size], f"-I{TESTS / 'fuzz'}", f"-I{TESTS / 'network'}", f"-I{SOURCES}"]
    said = on_core(tmp_path, sources, flags, ["200"], b"")
    assert said.startswith(b"200 problems: ")


def test_a_map_of_the_day_keeps_its_promises(tmp_path):
    """adaptation.c of the tests checks itself at each sample."""
    sources = [TESTS / "loop/adaptation.c", SOURCES / "loop/adaptation.c"]
    sources += [SOURCES / "solver/number.c"]
    flags = ["-DROBOT=TENDON", f"-I{TESTS / 'lint'}", f"-I{SOURCES}", f"-I{SOURCES.parent}"]
    believed = on_core(tmp_path, sources, flags, ["3000", "7"], b"").split()[0]
    assert int(believed) > 300
