"""softctl in this process: exit code and what it printed."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from soft_control.cli import terminal
from soft_control.cli.app import NAME, app


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    def mistake(self) -> str:
        """The one line that says what was wrong; anything else fails the test."""
        assert self.code == terminal.MISTAKEN, self
        return self.error()

    def error(self) -> str:
        """The one line that says what went wrong, without its prefix; warnings may come before."""
        *warnings, line = self.err.splitlines()
        assert line.startswith("error: ") and self.err.replace("\n", "").isprintable(), self
        assert all(warning.startswith("warning: ") for warning in warnings), self
        return line.removeprefix("error: ")


@pytest.fixture
def softctl(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Callable[..., Ended]]:
    """Runs softctl with the arguments, in a folder of its own where there is nothing."""
    monkeypatch.chdir(tmp_path)
    before = signal.getsignal(signal.SIGINT)

    def call(*arguments: object) -> Ended:
        capsys.readouterr()
        code = terminal.carry_out(app, NAME, [str(argument) for argument in arguments])
        printed = capsys.readouterr()
        return Ended(code, printed.out, printed.err)

    yield call
    signal.signal(signal.SIGINT, before)
