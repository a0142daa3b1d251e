"""Nothing that is printed acts on the terminal, breaks a line or is taken for markup."""

from __future__ import annotations

import importlib.util
import io
import subprocess
import sys
import unicodedata
import warnings
from pathlib import Path

import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field, ValidationError

from soft_control.cli import terminal
from soft_control.cli.terminal import (
    FAILED,
    INTERRUPTED,
    MISTAKEN,
    UNREAD,
    carry_out,
    plain,
)

_spec = importlib.util.spec_from_file_location("hostile", Path(__file__).with_name("hostile.py"))
hostile = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(hostile)

few = settings(max_examples=60, deadline=None)


def printed(show, encoding: str = "utf-8", width: int = 4000) -> str:
    """What `show` prints on consoles of that width and encoding, both streams."""
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding, errors="softctl_plain", newline="\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(terminal, "console", terminal._Console(file=stream, width=width))
        patch.setattr(terminal, "errors", terminal._Console(file=stream, width=width))
        show()
    stream.flush()
    return raw.getvalue().decode(encoding)


@few
@given(hostile.names)
def test_a_plain_text_can_be_seen_and_tells_all_texts_of_visible_characters_as_they_are(name):
    assert plain(name).isprintable()
    if name.isprintable():
        assert plain(name) == name


@given(st.characters(exclude_categories=["Cs"]))
def test_what_cannot_be_seen_is_spelled_as_python_spells_it(character):
    unseen = unicodedata.category(character)[0] in "CZ" and character != " "
    spelled = ascii(character)[1:-1]
    assert plain(character) == (spelled if unseen else character)


def test_a_byte_of_a_name_that_is_no_utf8_is_spelled_as_a_byte():
    assert plain(b"caf\xe9".decode("utf-8", "surrogateescape")) == r"caf\xe9"
    assert plain("\ud800") == r"\ud800"


def test_a_text_without_end_is_cut():
    assert len(plain("x" * 10**6)) < 1100


@few
@given(hostile.names)
def test_lines_warnings_and_errors_are_one_line_each(name):
    for show in (terminal.say, terminal.warn, terminal.complain):
        text = printed(lambda show=show: show(name))
        assert hostile.harmless(text)
        assert text.count("\n") == 1 and text.endswith("\n")
        assert plain(name) in text


@few
@given(hostile.names, hostile.names)
def test_tables_and_panels_hold_names_as_they_are(name, title):
    header = printed(lambda: terminal.show_table(name, "b", rows=[["x", "y"]], title=title))
    cells = printed(lambda: terminal.show_table(rows=[[name, "y"], ["x", title]], title=name))
    panel = printed(lambda: terminal.show_panel(name, title=title))
    for text, lines in ((header, 6), (cells, 5), (panel, 3)):
        assert hostile.harmless(text)
        assert text.count("\n") == lines
    for text in (header, cells, panel):
        for one in (name, title):
            # Rich strips blanks around a title and at the end of a cell.
            assert plain(one).strip() in text


@few
@given(hostile.names, hostile.names)
def test_progress_titles_and_notes_hold_names_as_they_are(name, note):
    bar = terminal.progress_bar("{task.fields[note]}")
    bar.add_task(name, total=2, note=note)
    text = printed(lambda: terminal.console.print(bar.get_renderable()))
    assert hostile.harmless(text) and text.count("\n") == 1
    assert plain(name) in text and plain(note).strip() in text


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "koi8-r", "utf-8"])
@few
@given(name=hostile.names)
def test_any_encoding_shows_plain_characters(encoding, name):
    def show() -> None:
        terminal.say(name)
        terminal.warn("10 mm² ± 1 µm, 5 ≥ 4, kp·e")
        terminal.show_table(name, rows=[[name]], title=name)
        terminal.show_panel(name, title="verdict")

    text = printed(show, encoding)
    assert hostile.harmless(text)
    if encoding == "ascii":
        assert text.isascii()
        assert "10 mm^2 +- 1 um, 5 >= 4, kp*e" in text


def test_a_long_cell_is_folded_and_not_cut():
    name = "x" * 300
    text = printed(lambda: terminal.show_table("a", rows=[[name]]), width=80)
    assert text.count("x") == 300


def test_json_is_ascii_and_the_same_when_read():
    import json

    content = {"source": "\x1b[2Jé\n[red]"}
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", out)
        terminal.say_json(content)
    assert out.getvalue().isascii() and hostile.harmless(out.getvalue())
    assert json.loads(out.getvalue()) == content


# ------------------------------------------------------------------------------------- exit codes


def ending_with(error: BaseException | None) -> typer.Typer:
    """An app with one command that raises."""
    app = typer.Typer(rich_markup_mode=None, add_completion=False)

    @app.command()
    def command() -> None:
        if error is not None:
            raise error

    return app


def failed(message: str) -> Exception:
    from soft_control.experiment.outcome import RunFailed

    return RunFailed(message)


class Settings(BaseModel):
    updates: int = Field(1, ge=1)


def invalid() -> ValidationError:
    with pytest.raises(ValidationError) as error:
        Settings(updates=-1)
    return error.value


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (None, 0, ""),
        (ValueError("no\nJSON"), MISTAKEN, "error: no\\nJSON\n"),
        (RuntimeError("no compiler"), MISTAKEN, "error: no compiler\n"),
        (RecursionError("maximum depth"), MISTAKEN, "error: nested too deeply\n"),
        (FileNotFoundError(2, "No such file", "a\nb"), MISTAKEN, "error: a\\nb: No such file\n"),
        (OSError("odd"), MISTAKEN, "error: odd\n"),
        (BrokenPipeError(32, "Broken pipe"), MISTAKEN, "error: [Errno 32] Broken pipe\n"),
        (failed("mcu ended with code 1"), FAILED, "error: mcu ended with code 1\n"),
        (typer.Exit(7), 7, ""),
        (KeyboardInterrupt(), INTERRUPTED, ""),
        (invalid(), MISTAKEN, "error: updates = -1: Input should be greater than or equal to 1\n"),
        (
            typer.BadParameter("odd"),
            MISTAKEN,
            "error: Invalid value: odd (softctl --help says more)\n",
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_how_a_command_ends(error, code, line, capsys):
    assert carry_out(ending_with(error), "softctl", []) == code
    assert capsys.readouterr().err == line


def test_a_mistake_in_our_own_code_is_not_taken_for_the_users():
    with pytest.raises(KeyError):
        carry_out(ending_with(KeyError("mpc")), "softctl", [])


def test_a_warning_is_a_sentence_for_the_user(capsys):
    app = typer.Typer(rich_markup_mode=None, add_completion=False)

    @app.command()
    def command() -> None:
        warnings.warn("run.csv: row 7 was\nleft out", UserWarning, stacklevel=1)
        warnings.warn("a package changes in its next version", FutureWarning, stacklevel=1)

    assert carry_out(app, "softctl", []) == 0
    assert capsys.readouterr().err == "warning: run.csv: row 7 was\\nleft out\n"


PRINTS_MUCH = """
import sys, typer
from soft_control.cli.terminal import carry_out, say, say_json, show_table
app = typer.Typer(rich_markup_mode=None, add_completion=False)
@app.command()
def command():
    for i in range(100_000):
        {}
sys.exit(carry_out(app, "softctl", []))
"""


@pytest.mark.parametrize("line", ["say(i)", "say_json(i)", "show_table(rows=[[str(i)]])"])
def test_a_reader_that_leaves_early_is_no_fault(line):
    """As `| head` does."""
    process = subprocess.Popen(
        [sys.executable, "-c", PRINTS_MUCH.format(line)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    process.stdout.readline()
    process.stdout.close()
    errors = process.stderr.read()
    process.stderr.close()
    assert process.wait(60) == UNREAD
    assert errors == b""


@pytest.mark.parametrize(("closed", "code"), [(">&-", 0), ("2>&-", MISTAKEN)])
def test_a_stream_that_the_shell_has_closed_takes_everything(closed, code):
    argument = "" if code == 0 else "--bogus"
    script = PRINTS_MUCH.format("say(i)").replace("100_000", "3").replace("[]", "sys.argv[1:]")
    done = subprocess.run(
        ["sh", "-c", f'"$0" -c "$1" {argument} {closed}', sys.executable, script],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (code, "", "")


def test_a_full_disk_is_said_once():
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("there is no /dev/full")
    with full.open("w") as out:
        done = subprocess.run(
            [sys.executable, "-c", PRINTS_MUCH.format("say(i)")],
            stdout=out,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )
    assert done.returncode == MISTAKEN
    assert done.stderr == "error: no space left on the device that is written to\n"
