"""Are the bounds of `softctl prove` kept in sil, by many samples that look for the worst?

    proof_counts.py build/tendon 10000000

The firmware is built for the host with a counter at the start of each function, those that are
inlined as well, and an adversary brings it samples. Of each function that the microcontroller's
image calls, and never has inlined, the most calls in a sample must not be more than the machine
code allows. Exit code 1: they are. Answers are not looked at, which is most of what a session
takes: ten million samples take some ten minutes.
"""

from __future__ import annotations

import contextlib
import ctypes
import sys
import tempfile
from pathlib import Path

import host_build
from elftools.elf.elffile import ELFFile

from soft_control.firmware_files import FirmwareBuild, read_build
from soft_control.link.messages import Message, Telemetry
from soft_control.link.session import M, McuSession
from soft_control.link.transport import NothingMore, SilTransport
from soft_control.proof.adversary import Adversary
from soft_control.proof.image import Image, read_image
from soft_control.proof.prove import SAMPLE, executor_of, run_sample

HERE = Path(__file__).parent
PROGRESS = 100_000


class Teller(McuSession):
    """Brings samples and does not listen, once it has heard the first answer: each later one is
    given as that one."""

    _heard: Telemetry | None = None
    deaf = False

    def _step(self, request: Message, answer: type[M]) -> M:
        if not self.deaf or not isinstance(self._heard, answer):
            found = super()._step(request, answer)
            self._heard = found if isinstance(found, Telemetry) else None
            return found
        self._send(request)
        with contextlib.suppress(NothingMore):
            self._transport.read(0.0)
        return self._heard


def bounds_of_calls(image: Image, names: set[str]) -> dict[str, int]:
    """Most calls of each of these functions in a sample without a gap before it."""
    executor = executor_of(image, gap=False)
    executor.counted = tuple(sorted(names & image.named.keys() - inlined(image.path) - {SAMPLE}))
    return dict(zip(executor.counted, run_sample(executor).whole.calls, strict=True))


def inlined(elf: Path) -> set[str]:
    """Functions that the compiler has put into others, wherever."""
    names = set()
    with elf.open("rb") as file:
        for unit in ELFFile(file).get_dwarf_info().iter_CUs():
            for entry in unit.iter_DIEs():
                if entry.tag == "DW_TAG_inlined_subroutine":
                    origin = entry.get_DIE_from_attribute("DW_AT_abstract_origin")
                    if "DW_AT_name" in origin.attributes:
                        names.add(origin.attributes["DW_AT_name"].value.decode())
    return names


def instrumented(build: FirmwareBuild, folder: Path) -> Path:
    """The firmware for the host with counters in it."""
    # Arithmetic of a line is inlined on any board, and would take nine tenths of the time.
    counted = "-finstrument-functions -finstrument-functions-exclude-file-list=solver/number.h"
    return host_build.library(build, folder, HERE / "call_counts.c", counted)


def functions_of(library: Path) -> dict[str, int]:
    """Name -> place in the library."""
    with library.open("rb") as file:
        table = ELFFile(file).get_section_by_name(".symtab")
        symbols = [s for s in table.iter_symbols() if s["st_info"]["type"] == "STT_FUNC"]
    return {s.name: s["st_value"] for s in symbols if s["st_value"]}


def worst_calls(build: FirmwareBuild, samples: int) -> dict[str, int]:
    """Most calls of each function of the firmware in one of the samples."""
    with tempfile.TemporaryDirectory() as name:
        library = instrumented(build, Path(name))
        places = functions_of(library)
        transport = SilTransport(library)
        counts = transport._library
        first = ctypes.cast(counts.sil_size, ctypes.c_void_p).value
        start = first - places["sil_size"]
        counts.counts_within(ctypes.c_void_p(start + places[SAMPLE]))
        counts.counts_runs.restype = ctypes.c_uint64
        with Teller(transport, model_hash=build.model_hash) as session:
            for number, _ in enumerate(Adversary(session, build).steps(samples), 1):
                session.deaf = True  # it has found out how far outputs go
                if number % PROGRESS == 0:
                    print(f"{number:,} samples", flush=True)
        made = counts.counts_runs()
        if made < samples:
            sys.exit(f"{samples:,} samples were told, but the firmware made only {made:,}")
        return {
            function: counts.counts_most(ctypes.c_void_p(start + place))
            for function, place in places.items()
        }


def main() -> None:
    build, samples = read_build(sys.argv[1]), int(sys.argv[2])
    seen = {name: most for name, most in worst_calls(build, samples).items() if most}
    bounds = bounds_of_calls(read_image(build.elf), set(seen))
    for name, bound in sorted(bounds.items(), key=lambda item: -item[1]):
        wrong = "  MORE THAN THE BOUND" * (seen[name] > bound)
        print(f"{name:32} at most {bound:6}, seen {seen[name]:6}{wrong}")
    exceeded = [name for name, bound in bounds.items() if seen[name] > bound]
    print(f"{samples:,} samples, {len(bounds)} functions: {len(exceeded)} bounds exceeded")
    sys.exit(1 if exceeded else 0)


if __name__ == "__main__":
    main()
