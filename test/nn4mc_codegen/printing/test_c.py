"""Text and numbers in C: what a model's file says can neither end a comment nor leave a string."""

from __future__ import annotations

import subprocess

import jinja2
import numpy as np
import pytest

from nn4mc_codegen.graph.check import ModelError
from nn4mc_codegen.printing.c import c_comment, c_float, c_string, plain_line, template_environment

HOSTILE = (
    "*/ int f(void); /*",
    "/*/",
    "**//",
    "???/",
    "????/",
    "ends in a backslash \\",
    "two\nlines",
    "line\u2028separator",
    "right\u202eto left",
    "bytes \udcff",
    "quotes \" and '",
    "%s%n",
    "$(touch x) `touch x`",
    "\x1b[2J\x00\x7f",
    "7\x017",
    "é 温度",
)


@pytest.mark.parametrize("text", HOSTILE)
def test_comment_is_one_line_that_does_not_end(text):
    comment = c_comment(text)
    assert comment.isprintable()
    for end in ("*/", "/*", "??", "\\"):
        assert end not in comment


def test_comment_keeps_what_does_no_harm():
    assert c_comment("y = max(W·x + b, 0), 3×4?") == "y = max(W·x + b, 0), 3×4?"
    assert c_comment("Temperatur_°C, 温度") == "Temperatur_°C, 温度"


def test_string_has_the_bytes_of_the_text(tmp_path):
    """Read back by the compiler, which knows what a literal means."""
    strings = "\n".join(f"    puts({c_string(t)});" for t in HOSTILE if "\x00" not in t)
    source = tmp_path / "strings.c"
    source.write_text(f"#include <stdio.h>\nint main(void)\n{{\n{strings}\n    return 0;\n}}\n")
    flags = "-std=c99 -trigraphs -Wall -Wextra -Werror".split()
    subprocess.run(["gcc", *flags, str(source), "-o", str(tmp_path / "strings")], check=True)
    printed = subprocess.run([tmp_path / "strings"], capture_output=True, check=True).stdout
    wanted = [t.encode("utf-8", "surrogateescape") for t in HOSTILE if "\x00" not in t]
    assert printed == b"".join(text + b"\n" for text in wanted)


def test_plain_line_is_one_line():
    for text in HOSTILE:
        assert len(plain_line(text).splitlines()) == 1
    assert plain_line("name=é") == "name=é"


def test_float_is_a_literal_or_refused():
    assert c_float(np.inf) == "INFINITY"
    assert c_float(-np.inf) == "-INFINITY"
    for value in (np.nan, 1e39, -1e39):
        with pytest.raises(ModelError, match="not a number that a float32 can hold"):
            c_float(value)


def test_templates_of_a_folder(tmp_path):
    template = "<{{ name }}>\n{% if name %}\n{{ name | comment }}\n{% endif %}\n"
    (tmp_path / "page").write_text(template)
    name = "<*/&"
    plain = template_environment(tmp_path).get_template("page")
    assert plain.render(name=name) == "<<*/&>\n<* /&\n"
    page = template_environment(tmp_path, html=True).get_template("page")
    assert page.render(name=name) == "<&lt;*/&amp;>\n&lt;* /&amp;\n"
    with pytest.raises(jinja2.UndefinedError):
        plain.render()
