"""A board gets its firmware by `softctl flash`, in a process of its own, while others work."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile

from soft_control.firmware_files import FirmwareBuild
from soft_control.plain_text import one_line
from soft_control.processes import die_with_parent

PATIENCE_S = 3.0


class Flasher:
    """The command, while it runs. Who sets a node's parameters chooses the way, not the program."""

    def __init__(self, build: FirmwareBuild, by: str, port: str = "", probe: str = "") -> None:
        """by, port and probe are those of `softctl flash`. Raises ValueError where there is nothing
        for a board; OSError."""
        if not build.elf.is_file():
            raise ValueError(f"{build.elf} is missing: build for a board")
        self.words = [sys.executable, "-m", "soft_control.cli", "flash"]
        self.words += [str(build.directory.absolute()), f"--by={by}"]
        self.words += [f"--{name}={value}" for name, value in (("port", port), ("probe", probe))
                       if value]  # fmt: skip
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
