"""The boot loader in the ROM of an STM32, on a serial line: ST's application note AN3155.

A board that starts with BOOT0 high listens on USART1 (PA9, PA10), the line of the host. Every
command is answered by ACK or NACK:

    host   command  ~command   address and its xor   size, data, xor of both
    chip                 ACK                   ACK                       ACK
"""

from __future__ import annotations

import functools
import operator
import termios
from collections.abc import Sequence

import serial

from soft_control.supply.flash import FlashError

ACK, NACK = 0x79, 0x1F
SYNC = 0x7F
GET, GET_ID, READ, GO, WRITE, EXTENDED_ERASE = 0x00, 0x02, 0x11, 0x21, 0x31, 0x44
NEEDED = (GET_ID, READ, GO, WRITE, EXTENDED_ERASE)
PIECE = 256
"""Bytes of a READ or WRITE at most."""
BAUD = 115_200
PARITY = serial.PARITY_EVEN
ANSWER_S = 1.0
ERASE_S = 10.0
"""For a sector: the data sheet says 2 s for one of 128 KiB, 4 s at low voltage."""
TRIES = 3


def _opened(port: str, baud: int) -> serial.SerialBase:
    """With even parity, but for ports that are no wire and have none, as pseudo-terminals: these
    refuse it at once, or at the next setting."""
    line = None
    try:
        line = serial.serial_for_url(port, baudrate=baud, parity=PARITY)
        line.timeout = ANSWER_S
    except termios.error:
        if line is not None:
            line.close()
        line = serial.serial_for_url(port, baudrate=baud, timeout=ANSWER_S)
    return line


class SerialBoot:
    """A session with it. Every method raises FlashError."""

    def __init__(self, port: str, baud: int = BAUD) -> None:
        """Opens the port, which may be a URL of pyserial, and wakes the boot loader."""
        self._name = port
        try:
            self._line = _opened(port, baud)
        except (OSError, ValueError, termios.error) as error:
            raise FlashError(f"{port}: {error}") from None
        try:
            self._wake()
            self._check_commands()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._line.close()

    def __enter__(self) -> SerialBoot:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def chip(self) -> int:
        self._command(GET_ID, "GET ID")
        (size,) = self._take(1)
        content = self._take(size + 1)
        self._acknowledged("GET ID")
        return int.from_bytes(content[:2], "big") & 0xFFF

    def erase(self, sectors: Sequence[int]) -> None:
        """One after another, so that none is waited for longer than it may take."""
        for sector in sectors:
            self._command(EXTENDED_ERASE, "EXTENDED ERASE")
            self._send_checked(b"\0\0" + sector.to_bytes(2, "big"))
            self._acknowledged(f"EXTENDED ERASE of sector {sector}", ERASE_S)

    def write(self, address: int, content: bytes) -> None:
        for at in range(0, len(content), PIECE):
            piece = content[at : at + PIECE]
            piece += b"\xff" * (-len(piece) % 4)
            self._command(WRITE, "WRITE MEMORY")
            self._send_address(address + at)
            self._send_checked(bytes([len(piece) - 1]) + piece)
            self._acknowledged(f"WRITE MEMORY at 0x{address + at:08x}")

    def read(self, address: int, size: int) -> bytes:
        content = b""
        while len(content) < size:
            count = min(PIECE, size - len(content))
            self._command(READ, "READ MEMORY")
            self._send_address(address + len(content))
            self._put(bytes([count - 1, count - 1 ^ 0xFF]))
            self._acknowledged("READ MEMORY")
            content += self._take(count)
        return content

    def start(self, address: int) -> None:
        self._command(GO, "GO")
        self._send_address(address)

    # ----------------------------------------------------------------------- bytes

    def _wake(self) -> None:
        """By the first byte it finds the baud rate. One that has found it takes the byte for half
        of a command and answers the next byte by NACK."""
        self._line.reset_input_buffer()
        for _ in range(TRIES):
            self._put(bytes([SYNC]))
            answer = self._line.read(1)
            if answer and answer[0] in (ACK, NACK):
                return
        raise FlashError(
            f"{self._name}: no boot loader answers: start the board with BOOT0 high, and check the "
            "line"
        )

    def _check_commands(self) -> None:
        self._command(GET, "GET")
        (size,) = self._take(1)
        known = self._take(size + 1)[1:]
        self._acknowledged("GET")
        missing = [command for command in NEEDED if command not in known]
        if missing:
            names = ", ".join(f"0x{command:02x}" for command in missing)
            raise FlashError(f"{self._name}: this boot loader has no command {names}")

    def _put(self, content: bytes) -> None:
        try:
            self._line.write(content)
        except OSError as error:
            raise FlashError(f"{self._name} is gone: {error}") from None

    def _command(self, command: int, name: str) -> None:
        self._put(bytes([command, command ^ 0xFF]))
        self._acknowledged(name)

    def _send_address(self, address: int) -> None:
        self._send_checked(address.to_bytes(4, "big"))
        self._acknowledged(f"address 0x{address:08x}")

    def _send_checked(self, content: bytes) -> None:
        """With the xor of its bytes behind it."""
        self._put(content + bytes([functools.reduce(operator.xor, content)]))

    def _acknowledged(self, what: str, timeout_s: float = ANSWER_S) -> None:
        answer = self._take(1, timeout_s, what)
        if answer[0] == NACK:
            advice = "; is its flash read-protected?" if "MEMORY" in what else ""
            raise FlashError(f"{self._name}: the boot loader refuses {what}{advice}")
        if answer[0] != ACK:
            raise FlashError(f"{self._name}: 0x{answer[0]:02x} is no answer to {what}")

    def _take(self, size: int, timeout_s: float = ANSWER_S, what: str = "data") -> bytes:
        self._line.timeout = timeout_s
        try:
            content = self._line.read(size)
        except OSError as error:
            raise FlashError(f"{self._name} is gone: {error}") from None
        if len(content) < size:
            raise FlashError(f"{self._name}: the boot loader is silent, {what} was awaited")
        return content
