"""softctl flash and keep: a firmware onto a board, and what the board keeps over the power."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from soft_control.cli.terminal import say

BUILD = typer.Argument(help="Directory that `softctl build` wrote.")


def flash(
    by: Annotated[
        Literal["swd", "dfu", "serial"],
        typer.Option(
            help="swd: a debug probe, by pyOCD. dfu: the boot loader on USB, by dfu-util. serial: "
            "the boot loader on a serial line. The boot loaders listen after a start with BOOT0 "
            "high."
        ),
    ],
    build: Annotated[Path, BUILD] = Path("build/tendon"),
    port: Annotated[
        str | None, typer.Option(help="Of the board, with --by serial, such as /dev/ttyUSB0.")
    ] = None,
    probe: Annotated[
        str | None,
        typer.Option(help="Serial number of probe or board, where there are several."),
    ] = None,
) -> None:
    """Write a firmware into a board's flash, and read it back.

    Nothing is erased unless the image is whole and for the chip that is there. Only the sectors
    that it needs are erased: what `softctl keep` has stored stays, and holds if the new firmware
    is of the same model and settings.

    \b
    softctl flash build/tendon --by swd
    softctl flash build/tendon --by dfu
    softctl flash build/tendon --by serial --port /dev/ttyUSB0
    """
    from soft_control.firmware_build import board_table
    from soft_control.firmware_files import read_build
    from soft_control.supply.an3155 import SerialBoot
    from soft_control.supply.dfu import write_by_dfu
    from soft_control.supply.flash import Flash, write_image
    from soft_control.supply.image import read_image
    from soft_control.supply.swd import swd

    if (by == "serial") != (port is not None):
        raise ValueError("--port is the serial line of --by serial: give both or neither")
    built = read_build(build)
    image = read_image(built.elf)
    image.check(built.model_hash, built.build_id)
    boards = board_table()
    board = boards.get(image.board)
    if board is None or not (board.flash_start and board.flash_sectors and board.chip):
        can = ", ".join(name for name, one in boards.items() if one.chip)
        raise ValueError(f"{image.path}: nobody can write to {image.board}; there are {can}")
    memory = Flash.of(board.flash_start, board.flash_sectors, board.chip)
    if by == "dfu":
        write_by_dfu(image, memory, probe, say)
    elif by == "serial":
        with SerialBoot(port) as line:
            write_image(line, image, memory, say)
    else:
        with swd(probe) as way:
            write_image(way, image, memory, say)
    say(f"{image.board} runs build {image.build_id} of model {image.model_hash}")


def keep(
    port: Annotated[str, typer.Option(help="The board's serial port, such as /dev/ttyACM0.")],
    do: Annotated[
        Literal["ask", "store", "forget"],
        typer.Option(
            help="store: settings in force and the map of the day outlast the power. forget: the "
            "next start is as it was built. Both only while nothing runs."
        ),
    ] = "ask",
) -> None:
    """What a board keeps over the power: its settings, and what it has learned of the robot.

    Of two copies in its flash one is always whole, wherever the power is cut. A firmware of another
    model, or of other built-in settings, does not take them.

    \b
    softctl keep --port /dev/ttyACM0 --do store
    """
    from soft_control.link import keeping
    from soft_control.link.session import McuSession
    from soft_control.link.transport import HilTransport, TransportError

    does = {"ask": keeping.kept, "store": keeping.store, "forget": keeping.forget}
    try:
        transport = HilTransport(port)
    except TransportError as error:
        raise ValueError(str(error)) from None
    with McuSession(transport, timeout_s=keeping.PATIENCE_S) as session:
        answer = does[do](session)
        if not answer.can_keep:
            say(f"{session.info.board} has no memory that outlasts the power")
        elif answer.number:
            say(f"copy {answer.number} is kept; {session.info.board} starts with it")
        else:
            say(f"nothing is kept; {session.info.board} starts as it was built")
