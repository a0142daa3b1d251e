"""Names out of a file or from the command line never become code: 700 random ones, compiled."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from elftools.elf.elffile import ELFFile

from nn4mc_codegen import compile_model
from nn4mc_codegen.graph.check import ModelError

# Ends of comments, strings and lines; words of shells, make, CMake, printf and Jinja.
FRAGMENTS = [
    *("*/", "/*", "//", "??/", "?", "??", "\\", '"', "'", "`touch ran`", "$(touch ran)", "${HOME}"),
    *("\n", "\r", "\t", "\v", "\x1b[2J", "\x7f", "\u0085", "\u2028", "\u2029", "\u202e", "\u200b"),
    *("%s%n", "{{ 7 * 7 }}", "{% raw %}", "{#", "#", ";", ":", "&", "|", ">ran", "=", "@", " "),
    *("\n#define y x\n", "\n#include </dev/random>\n", "é", "温度", "ß", "ı", "𝒙", "Z" * 40),
    *("*/ __attribute__((constructor)) static void run(void) { *(int *)0 = 0; } /*", "int", "x"),
    *("dense", "state", "step", "apply_dense", "dense_W", "W_dense", "1", "_"),
]
FLAGS = "-std=c99 -trigraphs -Wall -Wextra -Wpedantic -Werror -O0 -c".split()
MODELS, LAYERS, LONGEST = 10, 18, 240
KINDS = {
    "plain": {},
    "cmake": {"layout": "cmake", "self_test": 2},
    "arduino": {"layout": "arduino"},
    "int8": {"dtype": "int8"},
    "derivatives": {"jacobian": "all", "optimize": "speed", "weights": "ram"},
}


def hostile(random: np.random.Generator, file: bool = False) -> str:
    """A name; of a file without what no file name can have."""
    name = "".join(random.choice(FRAGMENTS, random.integers(1, 6)))
    if file:
        name = name.replace("/", "").replace("\0", "")
        name = name.encode()[:LONGEST].decode(errors="ignore") or "x"
        name = "x" + name if set(name) == {"."} else name
    return name


def config(names: list[str]) -> dict:
    """A chain of Dense layers on an input, with these names."""
    layers = [{"class_name": "InputLayer", "config": {"batch_shape": [None, 3], "name": names[0]}}]
    for before, name in zip(names, names[1:], strict=False):
        inside = {"name": name, "units": 3, "activation": "tanh"}
        history = {"class_name": "__keras_tensor__", "config": {"keras_history": [before, 0, 0]}}
        nodes = [{"args": [history], "kwargs": {}}]
        layers.append({"class_name": "Dense", "config": inside, "inbound_nodes": nodes})
    ends = {"input_layers": [[names[0], 0, 0]], "output_layers": [[names[-1], 0, 0]]}
    return {"class_name": "Functional", "config": {"layers": layers, **ends}}


def contents(path: Path) -> dict[str, bytes]:
    """Sections of an object that become part of a program. What a layer is called is nothing but
    the name of something static, and not among them."""
    with path.open("rb") as file:
        sections = ELFFile(file).iter_sections()
        return {s.name: s.data() for s in sections if s["sh_flags"] & 2}  # SHF_ALLOC


def files_below(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


def test_names_leave_the_code_as_it_is(files, tmp_path, monkeypatch):
    random = np.random.default_rng(0)
    scale = np.float32(0.5)
    arrays = {
        f"dense_{k}" if k else "dense": [
            scale * random.normal(size=(3, 3)).astype(np.float32),
            random.normal(size=3).astype(np.float32),
        ]
        for k in range(LAYERS - 1)
    }
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    objects = tmp_path / "objects"
    objects.mkdir()
    sources, allowed, used = {}, set(), 0
    for number in range(MODELS):
        kind = list(KINDS)[number % len(KINDS)]
        names = list(dict.fromkeys(hostile(random) for _ in range(3 * LAYERS)))[:LAYERS]
        plain = [f"layer_{k}" for k in range(LAYERS)]
        model, folder = f"{hostile(random, file=True)}.keras", hostile(random, file=True)
        used += len(names) + 2
        for prefix, own, file_name, out in (
            ("hostile", names, model, tmp_path / "made" / f"{number}" / folder),
            ("plain", plain, f"m{number}.keras", tmp_path / "made" / f"plain{number}"),
        ):
            options = dict(KINDS[kind])
            path = files.zip(config(own), arrays, name=file_name)
            allowed.add(path)
            if kind == "int8":
                options["representative"] = tmp_path / f"{prefix}{model}{number}.npy"
                np.save(options["representative"], np.linspace(-1, 1, 15).reshape(5, 3))
                allowed.add(options["representative"])
            made = compile_model(path, out, f"n{number}", **options).files
            allowed.update(made)
            sources[prefix, number] = [f for f in made if f.suffix == ".c"]
            other = [f for f in made if f.name in ("CMakeLists.txt", "library.properties")]
            sources[prefix, number, "lines"] = [len(f.read_text().splitlines()) for f in other]
    assert used >= 200
    # One call of the compiler for each side: its objects are named after the sources.
    for prefix in ("hostile", "plain"):
        folder = objects / prefix
        folder.mkdir()
        every = [f for n in range(MODELS) for f in sources[prefix, n]]
        done = subprocess.run(
            ["gcc", *FLAGS, *map(str, every)], cwd=folder, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr[:2000]
    assert files_below(work) == set()
    assert files_below(tmp_path) - files_below(objects) == allowed
    names = sorted(path.name for path in (objects / "plain").iterdir())
    assert names == sorted(path.name for path in (objects / "hostile").iterdir())
    for name in names:
        assert contents(objects / "hostile" / name) == contents(objects / "plain" / name)
    for number in range(MODELS):
        assert sources["hostile", number, "lines"] == sources["plain", number, "lines"]


# Every word of C99, C11 and C++17 that no name may be.
KEYWORDS = """
auto break case char const continue default do double else enum extern float for goto if inline int
long register restrict return short signed sizeof static struct switch typedef union unsigned void
volatile while _Alignas _Alignof _Atomic _Bool _Complex _Generic _Imaginary _Noreturn _Static_assert
_Thread_local alignas alignof and and_eq asm bitand bitor bool catch char16_t char32_t class compl
const_cast constexpr decltype delete dynamic_cast explicit export false friend mutable namespace
new noexcept not not_eq nullptr operator or or_eq private protected public reinterpret_cast
static_assert static_cast template this thread_local throw true try typeid typename using virtual
wchar_t xor xor_eq
""".split()
BEYOND_ASCII = "äßéıλΩ温度センサー한글עברעربي𝒙🤖ﬁﬀªºǅ"


def test_500_layer_names_compile(files, tmp_path):
    """Keywords, every word of the generated code with and without its prefix, and unicode."""
    random = np.random.default_rng(2)
    samples = tmp_path / "samples.npy"
    np.save(samples, np.linspace(-1, 1, 15).reshape(5, 3))
    kinds = {"int8": {"dtype": "int8", "representative": samples}, "float": {"vjp": "all"}}
    sources: list[Path] = []

    def compiled(names: list[str], prefix: str) -> None:
        arrays = {
            f"dense_{k}" if k else "dense": [
                random.normal(size=(3, 3)).astype(np.float32),
                random.normal(size=3).astype(np.float32),
            ]
            for k in range(len(names) - 1)
        }
        path = files.zip(config(names), arrays, name=f"{prefix}.keras")
        for kind, options in kinds.items():
            # One prefix for all: what a name must not be like is then the same in each file.
            out = tmp_path / f"{prefix}_{kind}"
            made = compile_model(path, out, "fk", **options).files
            sources.extend(f for f in made if f.suffix == ".c")

    compiled(["in", "first", "second"], "trial")
    words = re.findall(r"[A-Za-z_][A-Za-z0-9_]*", "\n".join(f.read_text() for f in sources))
    symbols = [w.removeprefix("fk_").removeprefix("FK_") for w in words]
    pieces = [*KEYWORDS, *symbols, "w", "b", "r", "_", "2"]
    names = list(dict.fromkeys([*KEYWORDS, *words, *symbols, " ", "1", "_", "__", "温度", "é"]))
    while len(names) < 500:
        few = random.choice(pieces, random.integers(1, 4)).tolist()
        few.insert(random.integers(len(few) + 1), str(random.choice(list(BEYOND_ASCII))))
        names = list(dict.fromkeys([*names, "".join(few)]))
    random.shuffle(names)
    for number, start in enumerate(range(0, len(names), 64)):
        compiled(names[start : start + 64], f"m{number}")
    for source in sources:
        command = ["gcc", *FLAGS, "-fsyntax-only", str(source)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[:2000]


def test_a_name_that_is_no_identifier_is_refused(files, tmp_path):
    random = np.random.default_rng(1)
    arrays = [np.ones((3, 3), np.float32), np.zeros(3, np.float32)]
    path = files.zip(config(["x", "y"]), {"dense": arrays})
    before = files_below(tmp_path)
    for name in (hostile(random) for _ in range(100)):
        if name.isascii() and name.isidentifier() and name[0] != "_":
            continue
        with pytest.raises(ModelError, match="is no C identifier") as refused:
            compile_model(path, tmp_path / "out", name)
        assert str(refused.value).isprintable()
    for name in ("math", "STRING"):  # a file math.h would be found in place of C's own
        with pytest.raises(ModelError, match="is that of a header of C"):
            compile_model(path, tmp_path / "out", name)
    assert files_below(tmp_path) == before
