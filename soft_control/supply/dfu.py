"""A board whose USB boot loader listens (BOOT0 high): dfu-util does the wire.

It erases what it writes and no other sector; what was written is read back before the board leaves
its boot loader.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from soft_control.plain_text import one_line
from soft_control.supply.flash import Flash, FlashError, verify
from soft_control.supply.image import Image

PROGRAM = "dfu-util"
DEVICE = "0483:df11"
"""ST's boot loader."""
PATIENCE_S = 120.0
LAYOUT = re.compile(r'name="@Internal Flash */0x([0-9A-Fa-f]+)/([^"]*)"(?:, serial="([^"]*)")?')
SECTORS = re.compile(r"(\d+)\*(\d+) ?([KM]?)[a-g]")


def write_by_dfu(
    image: Image,
    flash: Flash,
    serial: str | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> None:
    """As `flash.write_image`. serial: of the board, where several are there. Raises FlashError."""
    flash.touched(image)
    _check_device(flash, image, serial)
    size = len(image.content)
    with tempfile.TemporaryDirectory(prefix="flash-") as folder:
        sent, read = Path(folder) / "image.bin", Path(folder) / "read.bin"
        sent.write_bytes(image.content)
        tell(f"erasing and writing {size} bytes")
        _run(["-a", "0", "-s", f"0x{image.start:08x}", "-D", str(sent)], serial)
        tell("reading back")
        _run(["-a", "0", "-s", f"0x{image.start:08x}:{size}", "-U", str(read)], serial)
        verify(read.read_bytes() if read.is_file() else b"", image)
        # It leaves behind a download or an upload only: one of four bytes.
        left = Path(folder) / "left.bin"
        try:
            _run(["-a", "0", "-s", f"0x{image.start:08x}:4:leave", "-U", str(left)], serial)
        except FlashError:
            tell("it is written; the board does not start by itself: reset it")


def layouts(listing: str) -> list[tuple[str, int, tuple[int, ...]]]:
    """Serial number, first address and sectors of each board that `dfu-util -l` lists, once."""
    found = {}
    for start, text, serial in LAYOUT.findall(listing):
        units = {"": 1, "K": 1 << 10, "M": 1 << 20}
        sizes = [
            size
            for count, number, unit in SECTORS.findall(text)
            for size in [int(number) * units[unit]] * int(count)
        ]
        found[serial] = (serial, int(start, 16), tuple(sizes))
    return list(found.values())


def _check_device(flash: Flash, image: Image, serial: str | None) -> None:
    """DFU tells no chip, but how its flash is cut."""
    boards = [one for one in layouts(_run(["-l"], serial)) if serial in (None, one[0])]
    if len(boards) != 1:
        names = ", ".join(one_line(one[0]) for one in boards) or "none"
        raise FlashError(
            f"boards in their USB boot loader: {names}; start one with BOOT0 high, or name it by "
            "--serial"
        )
    ((_, start, sectors),) = boards
    if (start, sectors) != (flash.start, flash.sectors):
        raise FlashError(
            f"the flash there is cut otherwise than that of the board {image.board}: nothing was "
            "written"
        )


def _run(words: list[str], serial: str | None) -> str:
    program = shutil.which(PROGRAM)
    if program is None:
        raise FlashError(f"{PROGRAM} is not installed: apt install {PROGRAM}")
    chosen = ["-S", serial] if serial else []
    try:
        done = subprocess.run(
            [program, "-d", DEVICE, *chosen, *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PATIENCE_S,
        )
    except subprocess.TimeoutExpired:
        raise FlashError(f"{PROGRAM} takes longer than {PATIENCE_S:g} s") from None
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines() or ["it said nothing"]
        raise FlashError(f"{PROGRAM}: {one_line(said[-1])}")
    return done.stdout
