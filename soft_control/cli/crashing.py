"""softctl crash: why a firmware has started again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from soft_control.cli.terminal import say


def crash(
    record: Annotated[str, typer.Option(help="The record of the crash: 50 hexadecimal digits.")],
    build: Annotated[
        Path, typer.Argument(help="Directory that `softctl build` wrote, of the firmware that ran.")
    ] = Path("build/tendon"),
) -> None:
    """What a crash record means: its cause, and the function and line where it was.

    The microcontroller keeps a record of what ended its program before its time, and tells it after
    the restart.

    \b
    softctl crash build/tendon --record 04180b0008f50f000800000f8100000002000000003a000000
    """
    from soft_control.firmware_crash import CrashRecord, decode
    from soft_control.firmware_files import read_build

    for line in decode(CrashRecord.from_hex(record), read_build(build).elf):
        say(line)
