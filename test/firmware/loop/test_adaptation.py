"""The map of the day in C: against its twin, against scipy, and with a million hostile samples."""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Callable, Sequence
from ctypes import c_bool, c_float, c_uint16, c_uint32
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.optimize import lsq_linear

from nn4mc_codegen.trial.qemu import measure, missing_tools
from soft_control.control.adaptation import DOUBT_S, REACH, Adaptation
from soft_control.paths import share

SOURCES = share() / "firmware" / "src"
HARNESS = Path(__file__).with_name("adaptation.c")
FILES = [SOURCES / "loop" / "adaptation.c", SOURCES / "solver" / "number.c"]
RATE_HZ = 120.0
Groups = Sequence[Sequence[int]]
SANITIZERS = (
    "-fsanitize=address,undefined,bounds-strict,float-cast-overflow,float-divide-by-zero",
    "-fno-sanitize-recover=all",
)
HAS_FMA = "fma" in Path("/proc/cpuinfo").read_text().split()


def configure(folder: Path, outputs: int, groups: Groups = ()) -> None:
    text = f"#define OUTPUTS {outputs}\n#define CONTROL_RATE_HZ {RATE_HZ}f\n"
    if groups:
        group = [next(g for g, of in enumerate(groups) if i in of) for i in range(outputs)]
        place = [next(of.index(i) for of in groups if i in of) for i in range(outputs)]
        text += f"#define OUTPUT_GROUPS {len(groups)}\n#define GROUP_SIZE {max(map(len, groups))}\n"
        for name, values in (("GROUP", group), ("PLACE", place)):
            text += f"#define OUTPUT_{name} {{{', '.join(map(str, values))}}}\n"
    (folder / "controller_config.h").write_text(text)


def compile_in(
    folder: Path, outputs: int, flags: Sequence[str], name: str, groups: Groups = ()
) -> Path:
    configure(folder, outputs, groups)
    command = ["gcc", "-std=c99", "-g", "-ffp-contract=off", "-fno-math-errno", "-Wall", "-Wextra"]
    command += ["-Werror", f"-I{SOURCES}", f"-I{folder}", *(["-mfma"] if HAS_FMA else []), *flags]
    files = [str(path) for path in (HARNESS, *FILES)]
    subprocess.run([*command, *files, "-lm", "-o", str(folder / name)], check=True)
    return folder / name


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Callable[..., SimpleNamespace]:
    """The library for so many outputs, with adaptation_t and a function that feeds samples."""

    def build(outputs: int, *flags: str, groups: Groups = ()) -> SimpleNamespace:
        folder = tmp_path_factory.mktemp(f"adaptation{outputs}")
        options = ["-O2", "-shared", "-fPIC", *flags]
        lib = ctypes.CDLL(str(compile_in(folder, outputs, options, "adaptation.so", groups)))
        lib.adaptation_set.restype = c_bool
        n, size = outputs, max(map(len, groups), default=outputs)

        class Map(ctypes.Structure):
            _fields_ = [("gain", c_float * n * n), ("offset", c_float * n)]

        class Knowledge(ctypes.Structure):
            _fields_ = [
                ("upper", c_float * (size * (size + 1) // 2)),
                ("diagonal", c_float * (size + 1)),
            ]

        class State(ctypes.Structure):
            _fields_ = [
                *((name, Map) for name in ("learned", "taken")),
                ("known", Knowledge * (len(groups) or 1)),
                *((name, c_float * n) for name in ("output", "measured")),
                ("begun", c_bool),
                ("agreed", c_uint16),
                *((name, c_uint32) for name in ("believed", "doubted", "since_believed")),
            ]

        def feed(state: State, y: np.ndarray, z: np.ndarray) -> np.ndarray:
            """(samples, 2, n, n + 1): rows after each sample, learned and taken."""
            y, z = (np.ascontiguousarray(x, np.float32) for x in (y, z))
            maps = np.empty((len(y), 2, n * n + n), np.float32)
            where = (x.ctypes.data_as(ctypes.c_void_p) for x in (y, z, maps))
            lib.run(ctypes.byref(state), len(y), *where)
            gain = maps[..., : n * n].reshape(-1, 2, n, n)
            return np.concatenate([gain, maps[..., n * n :, None]], axis=-1)

        def start() -> State:
            state = State()
            lib.adaptation_start(ctypes.byref(state))
            return state

        def ignorance(state: State) -> np.ndarray:
            gain, offset = (c_float * n)(), (c_float * n)()
            lib.adaptation_ignorance(ctypes.byref(state), gain, offset)
            return np.array([*gain, *offset])

        return SimpleNamespace(
            lib=lib, Map=Map, State=State, start=start, feed=feed, ignorance=ignorance
        )

    return build


def rich(samples: int, outputs: int) -> np.ndarray:
    """(samples, outputs), normalised: two sines each."""
    t = np.arange(samples)[:, None] / RATE_HZ
    hertz = np.linspace(0.11, 0.53, outputs)
    phase = np.arange(outputs)
    return 0.8 * np.sin(2 * np.pi * hertz * t + phase) + 0.2 * np.sin(6.2 * np.pi * hertz * t)


def rows_of(outputs: int, seed: int) -> np.ndarray:
    """(n, n + 1): a map within reach."""
    change = np.random.default_rng(seed).uniform(-0.3, 0.3, (outputs, outputs + 1))
    return np.eye(outputs, outputs + 1) + change


def seen(rows: np.ndarray, y: np.ndarray, seed: int = 0) -> np.ndarray:
    noise = 0.01 * np.random.default_rng(seed).standard_normal(y.shape)
    return y @ rows[:, :-1].T + rows[:, -1] + noise


def bits(*arrays: np.ndarray) -> list[np.ndarray]:
    """As the firmware has them, so that the twin reads the same numbers."""
    return [np.asarray(x, np.float32) for x in arrays]


@pytest.mark.parametrize("outputs", [2, 3, 9])
def test_c_is_its_twin(built, outputs):
    """Ten thousand samples of rich motion, a frame that jumps, dropped samples: maps within 1e-4,
    and the same ones believed. 5e-6 is what rounding leaves, 1e-4 the project's bound."""
    y = rich(10_000, outputs)
    z = seen(rows_of(outputs, 1), y)
    z[4000:] += 0.4
    z[7000, 0], y[7500, -1], z[8000, 0] = np.nan, np.inf, 1e20
    y, z = bits(y, z)
    c, twin = built(outputs), Adaptation(outputs, RATE_HZ)
    state = c.start()
    maps = c.feed(state, y, z)
    worst = 0.0
    for k in range(len(y)):
        twin.update(y[k], z[k])
        worst = max(worst, np.abs(maps[k] - [twin.learned, twin.taken]).max())
    assert worst < 1e-4
    assert np.abs(c.ignorance(state) - twin.ignorance).max() < 1e-4
    assert (state.believed, state.doubted) == (twin.believed, twin.doubted)
    assert twin.doubted == 2 * DOUBT_S * RATE_HZ + 3


@pytest.mark.parametrize("groups", [[(0, 1, 2), (3, 4, 5), (6, 7, 8)], [(0, 3), (1,), (2,)]])
def test_outputs_of_other_points_are_no_features(built, groups):
    """As the twin, within 1e-4; gains between groups stay what they were, and what the motion of
    one group tells is not forgotten for another's."""
    outputs = sum(map(len, groups))
    y = rich(4000, outputs)
    y[2000:, list(groups[0])] = y[1999, list(groups[0])]
    y, z = bits(y, seen(rows_of(outputs, 3), y))
    c, twin = built(outputs, groups=groups), Adaptation(outputs, RATE_HZ, groups)
    state = c.start()
    maps = c.feed(state, y, z)
    for one, other in zip(y, z, strict=True):
        twin.update(one, other)
    assert np.abs(maps[-1, 0] - twin.learned).max() < 1e-4
    assert np.abs(maps[-1, 1] - twin.taken).max() < 1e-4
    assert np.abs(c.ignorance(state) - twin.ignorance).max() < 1e-4
    same = np.zeros((outputs, outputs), dtype=bool)
    for of in groups:
        same[np.ix_(of, of)] = True
    assert (maps[-1, 0, :, :-1][~same] == 0.0).all()
    assert np.abs(maps[-1, 0, :, :-1] - np.eye(outputs))[same].max() > 0.05
    assert c.ignorance(state)[:outputs].max() < 0.05


@pytest.mark.parametrize("poor", ["at rest", "on a line", "hardly", "far away"])
def test_c_is_its_twin_where_motion_is_poor(built, poor):
    """Variances 1e4 apart between the least and the most known: over other maps the largest
    difference was 1.2e-4 of a map, far away, and 5e-4 of a share of the prior, at rest."""
    t = np.arange(10_000) / RATE_HZ
    y = {
        "at rest": np.tile([0.7, -0.3, 0.2], (len(t), 1)),
        "on a line": np.sin(t)[:, None] * [1.0, 0.5, 0.3],
        "hardly": np.column_stack([np.sin(t), np.cos(t), 1e-4 * np.sin(3 * t)]),
        "far away": 4 * np.sin(np.outer(t, [0.02, 0.017, 0.01])),
    }[poor]
    y, z = bits(y, seen(rows_of(3, 2), y))
    c, twin = built(3), Adaptation(3, RATE_HZ)
    state = c.start()
    maps = c.feed(state, y, z)
    worst = 0.0
    for k in range(len(y)):
        twin.update(y[k], z[k])
        worst = max(worst, np.abs(maps[k] - [twin.learned, twin.taken]).max())
    assert worst < 3e-4
    assert np.abs(c.ignorance(state) - twin.ignorance).max() < 1e-3
    assert state.believed == twin.believed > 8000


@pytest.mark.parametrize("outputs", [2, 3, 9])
def test_without_forgetting_it_is_least_squares_with_a_prior(built, outputs):
    """scipy solves the same in float64: rows of samples over their noise, and rows of the prior."""
    c = built(outputs, "-DHALF_LIFE_S=1e12f")
    y, z = bits(rich(2400, outputs), seen(rows_of(outputs, 3), rich(2400, outputs)))
    learned = c.feed(c.start(), y, z)[-1, 0]
    weight = 1 / np.sqrt(0.02**2 * 0.5 * RATE_HZ / 0.3**2)  # NOISE of adaptation.c
    first = int(DOUBT_S * RATE_HZ)  # those before are doubted
    phi = np.column_stack([y, np.ones(len(y))])[first:]
    rows = np.vstack([weight * phi, np.eye(outputs + 1)])
    for i in range(outputs):
        wanted = np.concatenate([weight * z[first:, i], np.eye(outputs, outputs + 1)[i]])
        assert learned[i] == pytest.approx(lsq_linear(rows, wanted).x, abs=2e-5)


@pytest.mark.parametrize("gain", [0.8, 1.25])
@pytest.mark.parametrize("outputs", [2, 3])
def test_twenty_seconds_of_figure_eight_tell_the_gain(built, gain, outputs):
    phase = 2 * np.pi / 7.86 * np.arange(2400) / RATE_HZ
    columns = [0.8 * np.sin(phase), 0.5 * np.sin(2 * phase), 0.3 * np.cos(2 * phase)]
    y = np.column_stack(columns[:outputs])
    z = gain * y + 0.02 * np.random.default_rng(0).standard_normal(y.shape)
    taken = built(outputs)
    rows = taken.feed(taken.start(), y, z)[-1, 1]
    assert rows[:, :-1] == pytest.approx(gain * np.eye(outputs), abs=0.01 * gain)


def test_three_hours_at_rest_change_neither_what_is_known_nor_what_is_not(built):
    """In float32 each step rounds: what is unknown must not wind up, what is known must not go."""
    c = built(3)
    still = np.tile([0.6, -0.2, 0.1], (3 * 3600 * int(RATE_HZ), 1))
    state = c.start()
    c.feed(state, still, seen(rows_of(3, 4), still))
    unknown = c.ignorance(state)
    assert unknown.max() <= 1.0 and unknown[1:3].min() > 0.9  # of 0.6 it may be that gain, a little
    assert max(state.known[0].diagonal) <= 1.0

    state, y = c.start(), rich(2400, 3)
    c.feed(state, y, seen(rows_of(3, 4), y))
    known = c.ignorance(state)
    c.feed(state, still, seen(rows_of(3, 4), still))
    assert c.ignorance(state).max() < 1.5 * known.max() < 0.01
    rows = np.column_stack([np.array(state.learned.gain), np.array(state.learned.offset)])
    assert rows == pytest.approx(rows_of(3, 4), abs=0.02)


def test_a_jump_is_rejected_and_then_believed(built):
    c = built(3)
    y = rich(1200, 3)
    state = c.start()
    before = c.feed(state, y[:960], y[:960])[-1, 0]
    during = c.feed(state, y[960:990], y[960:990] + [0.0, 0.4, 0.0])
    assert np.array_equal(during, np.broadcast_to(before, during.shape))
    assert (state.believed, state.doubted, state.since_believed) == (930, 60, 30)
    after = c.feed(state, y[990:], y[990:] + [0.0, 0.4, 0.0])[-1, 0]
    assert state.doubted == 60 and state.since_believed == 0
    assert after[1, -1] > 0.02 and abs(after[0, -1]) < 0.001


def test_a_map_is_taken_back_between_runs(built):
    """What was taken, at the edge of its reach as well; nothing that is not finite or beyond."""
    c = built(2)
    y = rich(2400, 2)
    state = c.start()
    c.feed(state, y, 2.5 * y + [-1.0, 0.3])
    taken = state.taken
    assert np.array(taken.gain)[0, 0] == np.float32(1.0) + np.float32(REACH)
    again = c.start()
    assert c.lib.adaptation_set(ctypes.byref(again), ctypes.byref(taken))
    assert bytes(again.taken) == bytes(again.learned) == bytes(taken)
    assert c.ignorance(again) == pytest.approx([1.0] * 4)
    unchanged = bytes(again)
    for value in (1.61, np.nan, np.inf, -np.inf):
        bad = c.Map(taken.gain, taken.offset)
        bad.gain[1][1] = value
        assert not c.lib.adaptation_set(ctypes.byref(again), ctypes.byref(bad))
        bad = c.Map(taken.gain, taken.offset)
        bad.offset[1] = value
        assert not c.lib.adaptation_set(ctypes.byref(again), ctypes.byref(bad))
    assert bytes(again) == unchanged


def test_without_measurement_what_is_taken_goes_on(built):
    """Cut just after an offset of 0.5 is believed: reached within a second, not at once."""
    c = built(2)
    y = rich(90, 2)
    state = c.start()
    c.feed(state, y, y + 0.5)
    learned, taken = state.learned.offset[0], state.taken.offset[0]
    assert learned > 0.3 > 0.26 > taken
    for _ in range(120):
        c.lib.adaptation_rest(ctypes.byref(state))
    assert state.taken.offset[0] == pytest.approx(learned, abs=1e-6)
    assert state.learned.offset[0] == learned and state.since_believed == 120


@pytest.mark.parametrize("outputs", [1, 2, 3, 9])
def test_a_million_hostile_samples(outputs, tmp_path):
    """Under sanitizers, each with its checks in adaptation.c: D in 0 .. 1, all of it finite, the
    map that is taken within its reach and rate. No direction has more than its prior, but for what
    rounding adds in hours."""
    program = compile_in(tmp_path, outputs, ["-O1", *SANITIZERS], "hostile")
    words = [str(program), "1000000", "7"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    believed, least, largest = map(float, done.stdout.split())
    assert believed > 800_000  # so many have reached the covariance
    assert least > 1e-9  # the floor in adaptation.c, which is there for nothing
    assert 0.99 < largest < 1.05


def test_a_sample_is_cheap_and_the_state_small(built, tmp_path):
    assert ctypes.sizeof(built(3).State) <= 300
    if missing_tools():
        pytest.skip(missing_tools())
    configure(tmp_path, 3)
    (tmp_path / "day.h").write_text("void day_step(const float x[6], float y[3]);\n")
    (tmp_path / "day.c").write_text(
        '#include "day.h"\n#include "loop/adaptation.h"\n'
        "void day_step(const float x[6], float y[3])\n{\n    static adaptation_t day;\n"
        "    if (day.known[0].diagonal[0] == 0.0f) {\n        adaptation_start(&day);\n    }\n"
        "    adaptation_update(&day, x, x + 3);\n"
        "    for (int i = 0; i < 3; i++) {\n        y[i] = day.learned.offset[i];\n    }\n}\n"
    )
    y = rich(300, 3)
    x = np.hstack([y, seen(rows_of(3, 5), y)]).astype(np.float32)
    files = [tmp_path / "day.c", *FILES]
    small = [f"-I{SOURCES}", "-Os"]  # as firmware/Makefile builds it
    measured = measure(tmp_path, "day", x, sources=files, flags=small)
    assert measured.instructions <= 2_000
    c = built(3)
    maps = c.feed(c.start(), x[:, :3], x[:, 3:])
    assert np.array_equal(measured.outputs["y"], maps[:, 0, :, -1])  # the same bits
