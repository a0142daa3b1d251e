"""The text of the generated C: deterministic, strict, self-explaining."""

from __future__ import annotations

import shutil
import subprocess

import numpy as np
import pytest

from nn4mc_codegen.graph.check import ModelError
from nn4mc_codegen.graph.options import Options
from nn4mc_codegen.ops.activation import SELU_ALPHA, SELU_SCALE, Activation
from nn4mc_codegen.ops.add import Add
from nn4mc_codegen.ops.concatenate import Concatenate
from nn4mc_codegen.printing.c import c_float, tiles
from nn4mc_codegen.printing.emit import emit
from nn4mc_codegen.printing.emitted import Origin

ORIGIN = Origin("m.keras", "0123456789abcdef", "nn4mc compile")
WARNINGS = "-Wall -Wextra -Wpedantic -Wconversion -Wdouble-promotion -Wshadow -Werror".split()
CORTEX_M4F = "-mcpu=cortex-m4 -mthumb -mfloat-abi=hard -mfpu=fpv4-sp-d16".split()
EVERY_ACTIVATION = [
    Activation(name) for name in "linear relu tanh sigmoid softplus softsign".split()
] + [
    Activation("leaky_relu", (("a", 0.1),)),
    Activation("elu", (("a", 1.0),)),
    Activation("selu", (("s", SELU_SCALE), ("a", SELU_ALPHA))),
    Activation("hard_sigmoid", (("a", 0.2),)),
]


@pytest.fixture
def graph(build):
    """Every operator and activation, an input in increment form."""
    b = build()
    u, y = b.input(4, name="commands"), b.input(3, name="output")
    h = b.apply(Concatenate(-1), u, y)
    for f in EVERY_ACTIVATION:
        h = b.apply(f, b.dense(h, 7, f))
    return b.graph(b.apply(Add(), y, b.dense(h, 3)))


def texts_of(graph, jacobian=None, **options):
    return emit(graph, Options("fk", jacobian, **options), ORIGIN).texts


def test_same_model_same_bytes(graph):
    first = texts_of(graph, "all")
    assert first == texts_of(graph, "all")
    assert set(first) == {"fk.h", "fk.c"}


def test_header_explains_itself(graph):
    header = texts_of(graph, 4)["fk.h"]
    for line in (
        "#define FK_INPUTS 7",
        "#define FK_OUTPUTS 3",
        "#define FK_JACOBIAN_COLUMNS 4",
        "#define FK_COMMANDS_OFFSET 0",
        "#define FK_COMMANDS_SIZE 4",
        "#define FK_OUTPUT_OFFSET 4",
        "#define FK_OUTPUT_SIZE 3",
        '#define FK_MODEL_HASH "0123456789abcdef"',
        "void fk_step(const float x[FK_INPUTS], float y[FK_OUTPUTS]);",
    ):
        assert line in header.splitlines()
    for word in ("m.keras", "nn4mc compile", "layer_0", "W·x + b", "x[0..3]"):
        assert word in header


def test_without_jacobian_there_is_none(graph):
    texts = texts_of(graph)
    assert "fk_jacobian" not in texts["fk.h"] + texts["fk.c"]
    assert "#define FK_JACOBIAN_COLUMNS 0" in texts["fk.h"]


def test_no_double_no_heap_no_static_variable(graph):
    source = texts_of(graph, "all")["fk.c"]
    for word in ("double)", "double x", "malloc", "static float", "tanhf", "expf"):
        assert word not in source


ASKED = {
    "step": {},
    "reverse": {"jacobian": "all"},
    "forward": {"jacobian": (6,)},
    "everything": {"jacobian": 4, "vjp": "all", "jvp": 2, "hvp": "all", "fold": "output"},
    "speed": {"jacobian": "all", "hvp": "all", "optimize": "speed"},
    "size": {"jacobian": "all", "hvp": "all", "optimize": "size", "weights": "ram"},
}


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize(
    "compiler",
    [
        ["gcc", "-std=c99"],
        ["g++", "-std=c++11", "-x", "c++"],
        ["arm-none-eabi-gcc", "-std=c99", *CORTEX_M4F],
        ["gcc", "-std=c99", "-DFK_UNFUSED"],
    ],
    ids=["c", "c++", "cortex-m4f", "unfused"],
)
def test_compiles_without_a_warning(graph, tmp_path, compiler, asked):
    if shutil.which(compiler[0]) is None:
        pytest.skip(f"{compiler[0]} is not installed")
    for name, text in texts_of(graph, **ASKED[asked]).items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    command = [*compiler, *WARNINGS, "-O1", "-c", str(tmp_path / "fk.c"), "-o", "/dev/null"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_cortex_m4f_needs_no_library(graph, tmp_path):
    """fmaf() becomes an instruction; nothing of libm is left to link."""
    if shutil.which("arm-none-eabi-gcc") is None:
        pytest.skip("arm-none-eabi-gcc is not installed")
    for name, text in texts_of(graph, "all").items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    flags = [*CORTEX_M4F, "-O2", "-ffp-contract=off", "-c"]
    source, object_file = str(tmp_path / "fk.c"), str(tmp_path / "fk.o")
    subprocess.run(["arm-none-eabi-gcc", *flags, source, "-o", object_file], check=True)
    symbols = subprocess.run(
        ["arm-none-eabi-nm", "-u", object_file], capture_output=True, text=True, check=True
    )
    assert set(symbols.stdout.split()) <= {"U", "memset", "memcpy"}


def test_names_of_a_file_cannot_leave_a_comment_or_collide(build, tmp_path):
    b = build()
    first, second = b.input(2, name="*/ int x; /*"), b.input(2, name="-/ int x; --")
    graph = b.graph(b.dense(b.apply(Concatenate(-1), first, second), 2))
    origin = Origin("a*/b\\\n??/.keras", "0", "nn4mc")
    for name, text in emit(graph, Options(jacobian=(0,)), origin).texts.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    command = ["cc", "-std=c99", *WARNINGS, "-c", str(tmp_path / "fk.c"), "-o", "/dev/null"]
    subprocess.run(command, check=True)


@pytest.mark.parametrize("name", ["", "1fk", "_fk", "f k", "fk;", "fé"])
def test_bad_prefix_is_refused(name):
    with pytest.raises(ModelError, match="no C identifier"):
        Options(name)


def test_floats_read_back_as_themselves():
    random = np.random.default_rng(0)
    values = random.integers(0, 1 << 32, 20000, dtype=np.uint32).view(np.float32)
    for value in values[np.isfinite(values)]:
        literal = c_float(value)
        assert literal.endswith("f") and np.float32(literal[:-1]) == value
    assert [c_float(v) for v in (0.0, 1.0, -2.5, 1e10)] == ["0.0f", "1.0f", "-2.5f", "1e+10f"]


@pytest.mark.parametrize("total", [*range(1, 70), 1000])
@pytest.mark.parametrize("limit", [1, 4, 6, 16])
def test_tiles_cover_everything_once(total, limit):
    covered = []
    for tile in tiles(total, limit):
        assert 1 <= tile.size <= limit
        for begin in range(tile.begin, tile.end, tile.size):
            covered.extend(range(begin, begin + tile.size))
    assert covered == list(range(total))
    assert len(tiles(total, limit)) <= 2
