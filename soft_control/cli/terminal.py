"""All that reaches the terminal: plain text, tables, progress, warnings, errors and exit codes.

Names in files and on the command line may be anyone's: whatever is printed passes `plain`, so that
no name moves the cursor, breaks a line or looks like markup. What a stream's encoding lacks is
written in characters that every terminal has.
"""

from __future__ import annotations

import codecs
import contextlib
import errno
import io
import json
import os
import select
import signal
import sys
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.panel import Panel
from rich.progress import (
    BarColumn,
    Progress,
    Task,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Column, Table
from rich.text import Text

from soft_control.plain_text import first_fault, printable, spelled

FAILED, MISTAKEN, INTERRUPTED, UNREAD = 1, 2, 128 + signal.SIGINT, 128 + signal.SIGPIPE
"""Exit codes: a run or a check failed; the user got something wrong; Ctrl-C; the reader of the
output has gone, as `head` does (as the shell counts processes that a signal ended)."""

SPELLED = {
    "²": "^2", "³": "^3", "½": "1/2", "¼": "1/4", "⅛": "1/8", "±": "+-", "×": "x", "·": "*",
    "µ": "u", "°": "deg", "→": "->", "≥": ">=", "≤": "<=", "–": "-", "…": "...",
}  # fmt: skip
"""How our own texts read where an encoding lacks a character of theirs."""

SHOWN_CHARACTERS = 1000
"""Of one text: a message that quotes a whole file is cut."""


# -------------------------------------------------------------------------------------------- text


def plain(text: object) -> str:
    """`text` as one line that shows what it says and does nothing else (plain_text.printable)."""
    return printable(text, SHOWN_CHARACTERS)


def _in_plain_characters(error: UnicodeError) -> tuple[str, int]:
    """Error handler of the output streams: `SPELLED`, or as in a string literal."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    missing = error.object[error.start : error.end]
    return "".join(SPELLED.get(c) or spelled(c) for c in missing), error.end


codecs.register_error("softctl_plain", _in_plain_characters)


class _Console(Console):
    """Writes text as it is: no markup, no emoji codes, nothing highlighted."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def on_broken_pipe(self) -> None:
        raise  # rich would end the process here; `carry_out` says how it ends


console = _Console()
errors = _Console(stderr=True)


def say(text: object) -> None:
    """A line for the user; a long one is not broken, so that paths can be copied from it."""
    console.print(Text(plain(text)), soft_wrap=True)


def say_json(content: Any) -> None:
    """JSON in ASCII, which any terminal and any reader takes."""
    print(json.dumps(content, indent=2))


def show_table(*columns: str, rows: Iterable[Sequence[str]], title: str | None = None) -> None:
    """Rows of cells below `columns`, below a line with the title; without columns no header."""
    rows = [[Text(plain(cell)) for cell in row] for row in rows]
    width = len(columns) or max(map(len, rows), default=0)
    headers = [Text(plain(name)) for name in columns] or [""] * width
    table = Table(
        *(Column(header=header, overflow="fold") for header in headers),
        show_header=bool(columns),
    )
    for row in rows:
        table.add_row(*row)
    if title is not None:
        say(title)
    console.print(table)


def show_panel(text: str, title: str) -> None:
    """A text in a frame with a title."""
    console.print(Panel(Text(plain(text)), title=Text(plain(title))))


class _PlainColumn(TextColumn):
    """A column of the progress bar whose text passes `plain` too."""

    def render(self, task: Task) -> Text:
        return Text(plain(self.text_format.format(task=task)), style=self.style)


def progress_bar(*columns: str) -> Progress:
    """Bars with a description and the time, and `columns` as format strings of `task` behind them;
    nothing where no terminal would show it move."""
    return Progress(
        _PlainColumn("{task.description}"),
        BarColumn(bar_width=24),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        *(_PlainColumn(column) for column in columns),
        console=console,
        disable=not console.is_terminal,
    )


def warn(text: object) -> None:
    """A sentence in one line on stderr."""
    errors.print(Text(f"warning: {plain(text)}", style="yellow"), soft_wrap=True)


def complain(text: object) -> None:
    """What went wrong, in one line on stderr."""
    errors.print(Text(f"error: {plain(text)}", style="red"), soft_wrap=True)


# ------------------------------------------------------------------------------------ how it ends


def carry_out(app: typer.Typer, name: str, arguments: Sequence[str]) -> int:
    """Runs the command that `arguments` name and returns the exit code.

    What a user got wrong becomes one line on stderr and MISTAKEN; a run that failed FAILED.
    """
    for stream in ("stdout", "stderr"):
        if getattr(sys, stream) is None:  # closed by the shell: >&-
            setattr(sys, stream, open(os.devnull, "w", encoding="utf-8"))
        getattr(sys, stream).reconfigure(errors="softctl_plain")
    warnings.showwarning = lambda message, *_: warn(message)
    # What a package will change some day is for us, not for the user; the tests show it.
    warnings.filterwarnings("ignore", category=FutureWarning)
    # A shell that starts a job in the background makes it deaf to SIGINT, and Python leaves it so.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        code = _code_of(app, name, arguments)
        sys.stdout.flush()
    except OSError as error:
        if error.errno == errno.EPIPE and _unread():
            return UNREAD
        complain(said(error))
        code = MISTAKEN
    return code


def _code_of(app: typer.Typer, name: str, arguments: Sequence[str]) -> int:
    from soft_control.experiment.outcome import RunFailed

    command = typer.main.get_command(app)
    try:
        # Not app(): typer would catch a mistake, Ctrl-C and a closed pipe in its own ways.
        with command.make_context(name, list(arguments)) as context:
            command.invoke(context)
    except typer.Exit as end:
        return end.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    except typer.TyperException as mistake:
        context = getattr(mistake, "ctx", None)
        hint = f" ({context.command_path} --help says more)" if context else ""
        complain(mistake.format_message() + hint)
        return MISTAKEN
    except RunFailed as failure:
        complain(failure)
        return FAILED
    except (ValueError, RuntimeError) as mistake:
        complain(said(mistake))
        return MISTAKEN
    return 0


def said(error: Exception) -> str:
    """An exception as a user understands it: what was wrong, and where."""
    if isinstance(error, ValidationError):
        return first_fault(error)
    if isinstance(error, OSError) and error.filename is not None:
        return f"{os.fsdecode(error.filename)}: {error.strerror}"
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return "no space left on the device that is written to"
    if isinstance(error, RecursionError):
        return "nested too deeply"
    return str(error)


def _unread() -> bool:
    """Whether nobody reads stdout or stderr any more; then the rest goes nowhere, for Python would
    complain once more when it ends."""
    unread = False
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(io.UnsupportedOperation):  # no file below, as in tests
            poll = select.poll()
            poll.register(stream.fileno(), 0)
            if poll.poll(0):  # asked for nothing, it tells of errors alone
                unread = True
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, stream.fileno())
                os.close(nowhere)
    return unread
