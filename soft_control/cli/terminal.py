"""All that reaches the terminal: tables, progress, warnings, errors and exit codes."""

from __future__ import annotations

import signal
import sys
import warnings
from collections.abc import Callable

from pydantic import ValidationError
from rich.console import Console
from rich.panel import Panel
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

console = Console()
errors = Console(stderr=True)


def say(text: object) -> None:
    """A line for the user."""
    console.print(text, highlight=False)


def show_table(*columns: str, rows: list, title: str | None = None) -> None:
    """Rows of cells below `columns`; without columns, a table without a header."""
    table = Table(*columns, title=title, title_justify="left", show_header=bool(columns))
    for row in rows:
        table.add_row(*row)
    console.print(table)


def show_panel(text: str, title: str) -> None:
    console.print(Panel(text, title=title))


def progress_bar(*columns: str) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        *(TextColumn(c) for c in columns),
        console=console,
    )


def carry_out(command: Callable[[], None]) -> None:
    """Runs `command`; what a user got wrong becomes one line and exit code 2, a failed run 1."""
    from soft_control.experiment.runner import RunFailed

    warnings.showwarning = show_warning
    # A shell that starts a job in the background makes it deaf to SIGINT, and Python leaves it so.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        command()
    except (ValueError, RuntimeError, OSError) as error:
        said = invalid(error) if isinstance(error, ValidationError) else str(error)
        errors.print(f"error: {said}", style="red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(1 if isinstance(error, RunFailed) else 2)


def invalid(error: ValidationError) -> str:
    """The first thing wrong with an option or setting, as one line."""
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc']))} = {first['input']!r}: {first['msg']}"


def show_warning(message: Warning | str, *_: object) -> None:
    """A warning is a sentence for the user; where in our code it was raised is not."""
    errors.print(f"warning: {message}", style="yellow", markup=False, highlight=False)
