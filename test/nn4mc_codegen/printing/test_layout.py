"""Each layout as its users build it."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from nn4mc_codegen.graph.options import Options
from nn4mc_codegen.printing.layout import arrange
from nn4mc_codegen.trial.host import STRICT_FLAGS

SELFTEST = {
    "toy_selftest.h": """
#ifdef __cplusplus
extern "C"
#endif
int toy_selftest(void);
""",
    "toy_selftest.c": """
#include "toy_selftest.h"
#include "toy.h"
int toy_selftest(void)
{
    toy_state state;
    const float x[2] = {1.0f, 2.0f};
    float y[1];
    toy_reset(&state);
    toy_step(&state, x, y);
    return y[0] == 4.0f ? 0 : 1;
}
""",
}
ARDUINO = """
#include <stdio.h>
class FakeSerial {
 public:
  void begin(long) {}
  void print(const char *text) { fputs(text, stdout); }
  void print(char c) { putchar(c); }
  void print(double value, int digits) { printf("%.*f", digits, value); }
  void print(unsigned long value) { printf("%lu", value); }
  void println(const char *text) { puts(text); }
  void println(int value) { printf("%d\\n", value); }
};
extern FakeSerial Serial;
unsigned long micros();
void delay(unsigned long milliseconds);
"""
SKETCH = """
#include "Arduino.h"
#include "{sketch}"
FakeSerial Serial;
unsigned long micros() {{ static unsigned long now; return now += 7; }}
void delay(unsigned long) {{}}
int main() {{ setup(); loop(); }}
"""


@pytest.fixture
def write(toy_texts, tmp_path):
    def write_layout(layout, self_test=True):
        texts = {**toy_texts, **(SELFTEST if self_test else {})}
        files = arrange(texts, Options(name="toy", layout=layout), "m.keras", "0123")
        for path, text in files.items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(text)
        return sorted(files)

    return write_layout


def run(*words, **options):
    return subprocess.run(
        [str(w) for w in words], check=True, capture_output=True, text=True, **options
    ).stdout


def test_plain(write):
    assert write("plain", self_test=False) == ["toy.c", "toy.h"]
    assert write("plain") == ["toy.c", "toy.h", "toy_selftest.c", "toy_selftest.h"]


def test_cmake(write, tmp_path):
    if shutil.which("cmake") is None:
        pytest.skip("cmake is not installed (apt install cmake)")
    assert "CMakeLists.txt" in write("cmake")
    user = tmp_path / "user"
    user.mkdir()
    (user / "main.c").write_text(
        '#include "toy_selftest.h"\nint main(void) { return toy_selftest(); }\n'
    )
    (user / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.13)\nproject(user C)\n"
        "add_subdirectory(.. toy)\nadd_executable(user main.c)\ntarget_link_libraries(user toy)\n"
    )
    run("cmake", "-S", user, "-B", tmp_path / "build")
    run("cmake", "--build", tmp_path / "build")
    run(tmp_path / "build" / "user")
    assert (tmp_path / "build" / "toy" / "libtoy.a").exists()


@pytest.mark.parametrize("self_test", [False, True])
def test_arduino(write, tmp_path, self_test):
    """The library's C as C, the sketch as C++, as the IDE does it, on an Arduino of a few lines."""
    files = write("arduino", self_test)
    assert {"library.properties", "src/toy.h", "src/toy.c", "examples/toy/toy.ino"} <= set(files)
    properties = dict(
        line.split("=", 1) for line in (tmp_path / "library.properties").read_text().splitlines()
    )
    assert properties["name"] == "toy" and properties["architectures"] == "*"
    sketch = tmp_path / "sketch.cpp"
    sketch.write_text(SKETCH.format(sketch=tmp_path / "examples/toy/toy.ino"))
    (tmp_path / "Arduino.h").write_text(ARDUINO)
    objects = []
    for source in (tmp_path / "src").glob("*.c"):
        objects.append(source.with_suffix(".o"))
        run("gcc", "-std=gnu11", "-Wall", "-Werror", "-c", source, "-o", objects[-1])
    include = [f"-I{tmp_path}", f"-I{tmp_path / 'src'}"]
    flags = ["-std=gnu++17", "-Wall", "-Wextra", "-Werror"]
    run("g++", *flags, *include, sketch, *objects, "-o", tmp_path / "sketch")
    printed = run(tmp_path / "sketch").splitlines()
    assert printed == ["failures in the self-test: 0"] * self_test + ["0.000000 7 us"]


@pytest.mark.parametrize("compiler", [("gcc", "-std=c99"), ("g++", "-std=c++11")])
def test_single_file(write, tmp_path, compiler):
    assert write("single-file") == ["toy.h"]
    suffix = ".c" if compiler[0] == "gcc" else ".cpp"
    first, second = tmp_path / f"first{suffix}", tmp_path / f"second{suffix}"
    # Included twice, also after the implementation.
    first.write_text('#define TOY_IMPLEMENTATION\n#include "toy.h"\n#include "toy.h"\n')
    second.write_text('#include "toy.h"\nint main(void) { return toy_selftest(); }\n')
    flags = [f for f in STRICT_FLAGS if f != "-std=c99"]
    run(*compiler, *flags, first, second, "-o", tmp_path / "program")
    run(tmp_path / "program")
