"""A board gets its firmware by a command of the user's, which runs while others work."""

from __future__ import annotations

import shlex
import signal
import subprocess
import tempfile

from soft_control.firmware_files import FirmwareBuild
from soft_control.plain_text import one_line
from soft_control.processes import die_with_parent

EXAMPLE = "openocd -f board/stm32f4discovery.cfg -c 'program {elf} verify reset exit'"
PATIENCE_S = 3.0


class Flasher:
    """A command that flashes a board, while it runs."""

    def __init__(self, command: str, build: FirmwareBuild) -> None:
        """Raises ValueError where no command is given, or no file for it; OSError."""
        if not command.strip():
            raise ValueError(f"the parameter flash_command is empty: set it, such as {EXAMPLE}")
        if not build.elf.is_file():
            raise ValueError(f"{build.elf} is missing: build for a board")
        paths = {
            "{elf}": build.elf.absolute(),
            "{bin}": build.elf.with_suffix(".bin").absolute(),
            "{firmware}": build.directory.absolute(),
        }
        self.words = shlex.split(command)
        for name, path in paths.items():
            self.words = [word.replace(name, str(path)) for word in self.words]
        self._said = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            self.words,
            stdin=subprocess.DEVNULL,
            stdout=self._said,
            stderr=self._said,
            start_new_session=True,
            preexec_fn=die_with_parent(signal.SIGTERM),
        )

    def poll(self) -> int | None:
        """Its exit code; None: it runs."""
        return self._process.poll()

    def last_words(self) -> str:
        """The last line that it has said."""
        self._said.seek(0)
        lines = self._said.read().decode(errors="replace").strip().splitlines()
        return one_line(lines[-1]) if lines else "it said nothing"

    def cancel(self) -> None:
        """Asks it to end."""
        self._process.terminate()

    def end(self) -> None:
        """The same, and waits for it: half a program is worse than a late end."""
        self.cancel()
        try:
            self._process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
