"""The map of the day in C: against its twin, against scipy, and with a million hostile samples."""

from __future__ import annotations

import ctypes
import itertools
import subprocess
from collections.abc import Callable, Sequence
from ctypes import c_bool, c_float, c_uint8, c_uint16, c_uint32
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.optimize import lsq_linear

from nn4mc_codegen.trial.qemu import measure, missing_tools
from soft_control.control.adaptation import (
    DOUBT_S,
    FURTHEST,
    REACH,
    TURNS,
    Adaptation,
    products,
)
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


def configure(
    folder: Path, outputs: int, groups: Groups = (), curved: bool = False, error: float = 0.02
) -> None:
    """The header of a robot whose outputs are one point, or those of each group. Those of more than
    one curve, if any is to."""
    text = f"#define OUTPUTS {outputs}\n#define CONTROL_RATE_HZ {RATE_HZ}f\n"
    groups = groups or [range(outputs)]
    size = max(map(len, groups))
    bends = bending(groups, curved)
    text += f"#define OUTPUT_GROUPS {len(groups)}\n#define GROUP_SIZE {size}\n"
    text += f"#define CURVES {products(size) * curved}\n"
    tables = {
        "OUTPUT_GROUP": [next(g for g, of in enumerate(groups) if i in of) for i in range(outputs)],
        "OUTPUT_PLACE": [next(of.index(i) for of in groups if i in of) for i in range(outputs)],
        "GROUP_CURVES": list(map(int, bends)),
        "GROUP_FEATURES": [
            len(of) + 1 + bent * products(len(of)) for of, bent in zip(groups, bends, strict=True)
        ],
        "GROUP_ERROR": [f"{error}f"] * len(groups),
    }
    for name, values in tables.items():
        text += f"#define {name} {{{', '.join(map(str, values))}}}\n"
    (folder / "controller_config.h").write_text(text)


def bending(groups: Groups, curved: bool) -> list[bool]:
    return [curved and len(of) > 1 for of in groups]


def compile_in(
    folder: Path, outputs: int, flags: Sequence[str], name: str, *config: object
) -> Path:
    configure(folder, outputs, *config)
    command = ["gcc", "-std=c99", "-g", "-ffp-contract=off", "-fno-math-errno", "-Wall", "-Wextra"]
    command += ["-Werror", f"-I{SOURCES}", f"-I{folder}", *(["-mfma"] if HAS_FMA else []), *flags]
    files = [str(path) for path in (HARNESS, *FILES)]
    subprocess.run([*command, *files, "-lm", "-o", str(folder / name)], check=True)
    return folder / name


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Callable[..., SimpleNamespace]:
    """The library for so many outputs, with adaptation_t and a function that feeds samples."""

    def build(
        outputs: int,
        *flags: str,
        groups: Groups = (),
        curved: bool = False,
        error: float = 0.02,
    ) -> SimpleNamespace:
        folder = tmp_path_factory.mktemp(f"adaptation{outputs}")
        options = ["-O2", "-shared", "-fPIC", *flags]
        config = groups, curved, error
        lib = ctypes.CDLL(str(compile_in(folder, outputs, options, "adaptation.so", *config)))
        lib.adaptation_set.restype = c_bool
        lib.adaptation_ignorance.restype = c_float
        groups = groups or [range(outputs)]
        n, size = outputs, max(map(len, groups))
        features = size + 1 + curved * products(size)
        mine = [
            features_of(list(of), size, bent)
            for of, bent in zip(groups, bending(groups, curved), strict=True)
        ]

        class Map(ctypes.Structure):
            _fields_ = [("row", c_float * features * n)]

        class Knowledge(ctypes.Structure):
            _fields_ = [
                ("upper", c_float * (features * (features - 1) // 2)),
                ("diagonal", c_float * features),
            ]

        class Lesson(ctypes.Structure):
            _fields_ = [*((name, c_float * features) for name in ("phi", "along"))]
            _fields_ += [("weight", c_float)]

        class State(ctypes.Structure):
            _fields_ = [
                *((name, Map) for name in ("learned", "taken")),
                ("known", Knowledge * len(groups)),
                ("lesson", Lesson * len(groups)),
                *((name, c_float * n) for name in ("wanted", "left")),
                *((name, c_uint8) for name in ("turn", "unmoved")),
                ("begun", c_bool),
                ("agreed", c_uint16),
                *((name, c_uint32) for name in ("believed", "doubted", "since_believed")),
            ]

        def feed(state: State, y: np.ndarray, z: np.ndarray) -> np.ndarray:
            """(samples, 2, n, f): rows after each sample, learned and taken."""
            y, z = (np.ascontiguousarray(x, np.float32) for x in (y, z))
            maps = np.empty((len(y), 2, n, features), np.float32)
            where = (x.ctypes.data_as(ctypes.c_void_p) for x in (y, z, maps))
            lib.run(ctypes.byref(state), len(y), *where)
            return maps

        def start() -> State:
            state = State()
            lib.adaptation_start(ctypes.byref(state))
            return state

        def ignorance(state: State) -> list[np.ndarray]:
            """Of each group by its features."""
            ask = lib.adaptation_ignorance
            return [
                np.array([ask(ctypes.byref(state), of[0], f) for f in own])
                for of, own in zip(groups, mine, strict=True)
            ]

        def twin() -> Adaptation:
            bends = bending(groups, curved)
            return Adaptation(n, RATE_HZ, groups, bends, [error] * len(groups))

        def rows(twin: Adaptation) -> np.ndarray:
            """(2, n, f) of a twin, as `feed` has them."""
            found = np.zeros((2, n, features))
            for of, own, *both in zip(groups, mine, twin.learned, twin.taken, strict=True):
                for which, values in enumerate(both):
                    found[which][np.ix_(list(of), own)] = values
            return found

        def output(state: State, y: np.ndarray) -> np.ndarray:
            z = (c_float * n)()
            lib.adaptation_output(ctypes.byref(state), (c_float * n)(*y), z)
            return np.array(z)

        def linearise(state: State, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            added, slopes = (c_float * n)(), (c_float * n * n)()
            lib.adaptation_linearise(ctypes.byref(state), (c_float * n)(*y), added, slopes)
            return np.array(added), np.array(slopes)

        return SimpleNamespace(
            lib=lib,
            Map=Map,
            State=State,
            start=start,
            feed=feed,
            ignorance=ignorance,
            twin=twin,
            rows=rows,
            output=output,
            linearise=linearise,
        )

    return build


def features_of(group: list[int], size: int, curved: bool) -> list[int]:
    """Which of the features of the largest group, of this size, are those of this one."""
    own, pairs = len(group), itertools.combinations_with_replacement(range(size), 2)
    curves = [size + 1 + c for c, (_, last) in enumerate(pairs) if last < own]
    return [*range(own), size, *(curves if curved else [])]


def rich(samples: int, outputs: int) -> np.ndarray:
    """(samples, outputs), normalised: two sines each."""
    t = np.arange(samples)[:, None] / RATE_HZ
    hertz = np.linspace(0.11, 0.53, outputs)
    phase = np.arange(outputs)
    return 0.8 * np.sin(2 * np.pi * hertz * t + phase) + 0.2 * np.sin(6.2 * np.pi * hertz * t)


def rows_of(outputs: int, seed: int) -> np.ndarray:
    """(n, n + 1): what is added by a map within reach."""
    return np.random.default_rng(seed).uniform(-0.3, 0.3, (outputs, outputs + 1))


def seen(rows: np.ndarray, y: np.ndarray, seed: int = 0, bent: float = 0.0) -> np.ndarray:
    """What is measured; bent: how much of the square of the next output comes with each."""
    noise = 0.01 * np.random.default_rng(seed).standard_normal(y.shape)
    return y + y @ rows[:, :-1].T + rows[:, -1] + bent * np.roll(y, 1, axis=1) ** 2 + noise


def bits(*arrays: np.ndarray) -> list[np.ndarray]:
    """As the firmware has them, so that the twin reads the same numbers."""
    return [np.asarray(x, np.float32) for x in arrays]


@pytest.mark.parametrize(
    ("outputs", "curved"), [(2, False), (9, False), (1, True), (2, True), (3, True)]
)
def test_c_is_its_twin(built, outputs, curved):
    """Ten thousand samples of rich motion, a frame that jumps, dropped samples: maps within 1e-4,
    and the same ones believed. 2e-5 is what rounding leaves, 1e-4 the project's bound."""
    y = rich(10_000, outputs)
    z = seen(rows_of(outputs, 1), y, bent=0.1 * curved)
    z[4000:] += 0.4
    z[7000, 0], z[8000, 0] = np.nan, 1e20
    y[7500, -1] = np.inf
    y, z = bits(y, z)
    c = built(outputs, curved=curved)
    state, twin = c.start(), c.twin()
    maps = c.feed(state, y, z)
    worst = 0.0
    for k in range(len(y)):
        twin.update(y[k], z[k])
        worst = max(worst, np.abs(maps[k] - c.rows(twin)).max())
    assert worst < 1e-4
    assert np.abs(c.ignorance(state)[0] - twin.ignorance[0]).max() < 1e-4
    assert (state.believed, state.doubted) == (twin.believed, twin.doubted)
    assert twin.doubted == 2 * DOUBT_S * RATE_HZ + 3
    for one in y[::1000]:
        assert c.output(state, one) == pytest.approx(twin.output(one), abs=1e-4, nan_ok=True)


@pytest.mark.parametrize(
    ("groups", "curved"),
    [([(0, 1, 2), (3, 4, 5), (6, 7, 8)], False), ([(0, 3), (1,), (2, 4, 5)], True)],
)
def test_outputs_of_other_points_are_no_features(built, groups, curved):
    """As the twin, within 1e-4, where those that are no points do not curve; what the motion of one
    group tells is not forgotten for another's."""
    outputs = sum(map(len, groups))
    y = rich(8000, outputs)
    y[4000:, list(groups[0])] = y[3999, list(groups[0])]
    y, z = bits(y, seen(rows_of(outputs, 3), y))
    c = built(outputs, groups=groups, curved=curved)
    state, twin = c.start(), c.twin()
    maps = c.feed(state, y, z)
    for one, other in zip(y, z, strict=True):
        twin.update(one, other)
    # Other groups' outputs look like noise of up to 0.5, which single samples tell well of.
    assert np.abs(maps[-1] - c.rows(twin)).max() < 1e-4 * (1 + 9 * curved)
    for mine, its in zip(c.ignorance(state), twin.ignorance, strict=True):
        assert np.abs(mine - its).max() < 1e-4
        assert mine[0] < 0.05
    assert np.abs(maps[-1, 0]).max() > 0.05


POOR = ["at rest", "on a line", "hardly", "far away", "on a surface"]


@pytest.mark.parametrize(("poor", "curved"), [*((poor, True) for poor in POOR), ("hardly", False)])
def test_c_is_its_twin_where_motion_is_poor(built, poor, curved):
    """What the map makes of the outputs that it has seen, within 1e-4; elements that no motion has
    told apart are rounded further, to 2e-3 at most."""
    t = np.arange(10_000) / RATE_HZ
    wide = np.sin(np.outer(t, [0.7, 1.1]))
    y = {
        "at rest": np.tile([0.7, -0.3, 0.2], (len(t), 1)),
        "on a line": np.sin(t)[:, None] * [1.0, 0.5, 0.3],
        "hardly": np.column_stack([np.sin(t), np.cos(t), 1e-4 * np.sin(3 * t)]),
        "far away": 4 * np.sin(np.outer(t, [0.02, 0.017, 0.01])),
        "on a surface": np.column_stack([wide, 0.5 * wide[:, 0] ** 2 - 0.3 * wide[:, 1]]),
    }[poor]
    y, z = bits(y, seen(rows_of(3, 2), y, bent=0.02 * curved))
    c = built(3, curved=curved)
    state, twin = c.start(), c.twin()
    maps = c.feed(state, y, z)
    apart = outputs = 0.0
    for k in range(len(y)):
        twin.update(y[k], z[k])
        if k % 50 == 49:
            apart = max(apart, np.abs(maps[k] - c.rows(twin)).max())
            phi = twin.features(0, y[k])
            its = c.rows(twin)[1] @ phi
            outputs = max(outputs, np.abs(maps[k, 1] @ phi - its).max())
    assert outputs < 1e-4
    assert apart < 2e-3
    assert np.abs(c.ignorance(state)[0] - twin.ignorance[0]).max() < 2e-3
    assert state.believed == twin.believed > 8000


@pytest.mark.parametrize(("outputs", "curved"), [(2, False), (9, False), (3, True)])
def test_without_forgetting_it_is_least_squares_with_a_prior(built, outputs, curved):
    """scipy solves the same in float64: rows of samples over their noise, and rows of the prior."""
    c = built(outputs, "-DHALF_LIFE_S=1e12f", curved=curved)
    y, z = bits(rich(2410, outputs), seen(rows_of(outputs, 3), rich(2410, outputs)))
    learned = c.feed(c.start(), y, z)[-1, 0]
    weight = 1 / np.sqrt(0.02**2 * 0.5 * RATE_HZ / 0.3**2 / TURNS)  # NOISE of adaptation.c
    # Those before are doubted, and the turns of the last one are not over.
    told = slice(int(DOUBT_S * RATE_HZ), 2410 - TURNS + 1, TURNS)
    phi = np.array([c.twin().features(0, one) for one in y])[told]
    rows = np.vstack([weight * phi, np.eye(phi.shape[1])])
    for i in range(outputs):
        wanted = np.concatenate([weight * (z - y)[told, i], np.zeros(phi.shape[1])])
        assert learned[i] == pytest.approx(lsq_linear(rows, wanted).x, abs=4e-5)


@pytest.mark.parametrize("gain", [0.8, 1.25])
@pytest.mark.parametrize(("outputs", "curved"), [(2, False), (3, False), (3, True)])
def test_twenty_seconds_of_figure_eight_tell_the_gain(built, gain, outputs, curved):
    """Curved, the features stand in for one another, but on the figure-eight it is the gain."""
    phase = 2 * np.pi / 7.86 * np.arange(2400) / RATE_HZ
    columns = [0.8 * np.sin(phase), 0.5 * np.sin(2 * phase), 0.3 * np.cos(2 * phase)]
    y = np.column_stack(columns[:outputs])
    z = gain * y + 0.02 * np.random.default_rng(0).standard_normal(y.shape)
    c = built(outputs, curved=curved)
    state = c.start()
    rows = c.feed(state, y, z)[-1, 1]
    if not curved:
        own = (gain - 1.0) * np.eye(outputs)
        assert rows[:, :outputs] == pytest.approx(own, abs=0.012 * gain)
    for one in y[:1000:50]:
        assert c.output(state, one) == pytest.approx(gain * one, abs=0.02)


def test_the_tangent_is_that_of_the_map(built):
    """By differences, within and at the bound."""
    c = built(3, curved=True)
    state = c.start()
    rng = np.random.default_rng(1)
    for size in (0.2, 5.0):
        rows = rng.uniform(-size, size, (3, 10)).astype(np.float32)
        assert c.lib.adaptation_set(ctypes.byref(state), ctypes.byref(c.Map.from_buffer_copy(rows)))
        y, step = np.array([0.5, -0.7, 0.9]), 1e-3
        added, slopes = c.linearise(state, y)
        assert c.output(state, y) == pytest.approx(y + added, abs=1e-6)
        for j, along in enumerate(step * np.eye(3)):
            change = c.output(state, y + along) - c.output(state, y - along) - 2 * along
            assert slopes[:, j] == pytest.approx(change / (2 * step), abs=2e-3)
        reach = REACH * (1.0 + np.abs(y).sum())
        assert np.isclose(np.abs(added), reach).any() == (size > 1.0)


def test_three_hours_at_rest_change_neither_what_is_known_nor_what_is_not(built):
    """In float32 each step rounds: what is unknown must not wind up, what is known must not go."""
    c = built(3, curved=True)
    still = np.tile([0.6, -0.2, 0.1], (3 * 3600 * int(RATE_HZ), 1))
    there = seen(rows_of(3, 4), still)
    state = c.start()
    c.feed(state, still, there)
    unknown = c.ignorance(state)[0]
    assert unknown.max() <= 1.0 and unknown[1:3].min() > 0.9  # of 0.6 it may be that gain, a little
    assert max(state.known[0].diagonal) <= 1.0

    state, y = c.start(), rich(4800, 3)
    c.feed(state, y, seen(rows_of(3, 4), y))
    known = c.ignorance(state)[0]
    before = c.output(state, y[100])
    c.feed(state, still, there)
    assert c.ignorance(state)[0].max() < 1.5 * known.max() < 0.02
    assert c.output(state, y[100]) == pytest.approx(before, abs=0.02)


def test_a_jump_is_rejected_and_then_believed(built):
    c = built(3, curved=True)
    y = rich(1200, 3)
    state = c.start()
    c.feed(state, y[:960], y[:960])
    assert state.turn == 2  # of a sample that is believed: it is learned from
    before = c.feed(state, y[960:962], y[960:962] + [0.0, 0.4, 0.0])[-1, 0]
    during = c.feed(state, y[962:990], y[962:990] + [0.0, 0.4, 0.0])
    assert np.array_equal(during[:, 0], np.broadcast_to(before, during[:, 0].shape))
    assert (state.believed, state.doubted, state.since_believed) == (930, 60, 30)
    after = c.feed(state, y[990:], y[990:] + [0.0, 0.4, 0.0])[-1, 0]
    assert state.doubted == 60 and state.since_believed == 0
    assert after[1, 3] > 0.02 and abs(after[0, 3]) < 0.001


@pytest.mark.parametrize("every", [2, 3, 4, 5, 7])
def test_of_a_slower_tracker_each_measurement_is_learned_from_as_turns_allow(built, every):
    """Turns pass without measurements, too, and the next one begins them anew."""
    c = built(2)
    y = rich(120 * every, 2)
    z = 1.2 * y
    state = c.start()
    ends = 0
    for k in range(len(y)):
        before = bytes(state.learned)
        if k % every == 0:
            c.feed(state, y[k : k + 1], z[k : k + 1])
        else:
            c.lib.adaptation_rest(ctypes.byref(state))
        ends += bytes(state.learned) != before
    spacing = -(-TURNS // every)
    assert abs(ends - (120 - 30) / spacing) <= 1


def test_a_map_is_taken_back_between_runs(built):
    """What was taken, at its bound as well; nothing that is not finite or beyond."""
    c = built(2, curved=True)
    y = rich(4800, 2)
    state = c.start()
    c.feed(state, y, 2.5 * y + [-1.0, 0.3])
    taken = state.taken
    again = c.start()
    assert c.lib.adaptation_set(ctypes.byref(again), ctypes.byref(taken))
    assert bytes(again.taken) == bytes(again.learned) == bytes(taken)
    assert c.ignorance(again)[0] == pytest.approx([1.0] * 6)
    unchanged = bytes(again)
    for value in (1.01 * FURTHEST, np.nan, np.inf, -np.inf):
        for element in range(6):
            bad = c.Map(taken.row)
            bad.row[1][element] = value
            assert not c.lib.adaptation_set(ctypes.byref(again), ctypes.byref(bad))
    assert bytes(again) == unchanged


def test_without_measurement_what_is_taken_goes_on(built):
    """Cut just after an offset of 0.5 is believed: reached within a second, not at once."""
    c = built(2)
    y = rich(90, 2)
    state = c.start()
    c.feed(state, y, y + 0.5)
    learned, taken = state.learned.row[0][2], state.taken.row[0][2]
    assert learned > 0.3 > 0.26 > taken
    for _ in range(120):
        c.lib.adaptation_rest(ctypes.byref(state))
    assert state.taken.row[0][2] == pytest.approx(state.learned.row[0][2], abs=1e-6)
    assert state.since_believed == 120
    learned = state.learned.row[0][2]
    c.lib.adaptation_rest(ctypes.byref(state))
    assert state.learned.row[0][2] == learned


@pytest.mark.parametrize(("outputs", "curved"), [(1, False), (9, False), (3, True)])
def test_a_million_hostile_samples(outputs, curved, tmp_path):
    """Under sanitizers, each with its checks in adaptation.c: D in 0 .. 1, all of it finite, the
    map that is taken within its reach and rate. No direction has more than its prior, but for what
    rounding adds in hours."""
    flags = ["-O1", *SANITIZERS]
    program = compile_in(tmp_path, outputs, flags, "hostile", (), curved)
    words = [str(program), "1000000", "7"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    believed, least, largest = map(float, done.stdout.split())
    assert believed > 700_000  # a quarter of these have reached the covariance
    assert least > 1e-9  # the floor in adaptation.c, which is there for nothing
    assert 0.99 < largest < 1.05


def test_a_sample_is_cheap_and_the_state_small(built, tmp_path):
    assert ctypes.sizeof(built(3, curved=True).State) <= 700
    if missing_tools():
        pytest.skip(missing_tools())
    configure(tmp_path, 3, curved=True)
    (tmp_path / "day.h").write_text("void day_step(const float x[6], float y[6]);\n")
    (tmp_path / "day.c").write_text(
        '#include "day.h"\n#include "loop/adaptation.h"\n'
        "void day_step(const float x[6], float y[6])\n{\n    static adaptation_t day;\n"
        "    float slopes[3][3];\n"
        "    if (day.known[0].diagonal[0] == 0.0f) {\n        adaptation_start(&day);\n    }\n"
        "    adaptation_update(&day, x, x + 3);\n"
        "    adaptation_linearise(&day, x, y + 3, slopes);\n"
        "    for (int i = 0; i < 3; i++) {\n        y[i] = day.learned.row[i][3];\n    }\n}\n"
    )
    y = rich(300, 3)
    x = np.hstack([y, seen(rows_of(3, 5), y)]).astype(np.float32)
    files = [tmp_path / "day.c", *FILES]
    small = [f"-I{SOURCES}", "-Os"]  # as firmware/Makefile builds it
    measured = measure(tmp_path, "day", x, sources=files, flags=small)
    assert measured.instructions <= 3_400
    c = built(3, curved=True)
    maps = c.feed(c.start(), x[:, :3], x[:, 3:])
    assert np.array_equal(measured.outputs["y"][:, :3], maps[:, 0, :, 3])  # the same bits


def test_an_element_is_found_by_its_outputs(built):
    """Gains within a group alone; products of coordinates where its outputs curve, by their slots
    00 01 02 11 12 22 of three coordinates, of which a smaller robot has fewer."""
    groups = [(0, 3), (1,), (2, 4, 5)]
    lib = built(6, groups=groups, curved=True).lib
    for of in groups:
        for i, j in itertools.product(of, range(6)):
            assert lib.adaptation_gain(i, j) == (of.index(j) if j in of else -1)
    assert [lib.adaptation_curve(2, slot) for slot in range(6)] == [4, 5, 6, 7, 8, 9]
    assert [lib.adaptation_curve(1, slot) for slot in range(6)] == [-1] * 6
    flat, line = built(2, curved=True).lib, built(1, curved=True).lib
    assert [flat.adaptation_curve(1, slot) for slot in range(6)] == [3, 4, -1, 5, -1, -1]
    assert [line.adaptation_curve(0, slot) for slot in range(6)] == [-1] * 6


def test_the_time_without_a_belief_does_not_wrap(built):
    c = built(2)
    state = c.start()
    state.since_believed = 2**32 - 2
    for _ in range(3):
        c.lib.adaptation_rest(ctypes.byref(state))
    assert state.since_believed == 2**32 - 1


def test_nothing_is_forgotten_beyond_what_the_prior_knew(built):
    """Variances of 1 and a little more, as rounding leaves them: no further, and not for ever.
    1e-6: rounding of a sum of three."""
    c, rng, most = built(2), np.random.default_rng(4), np.float32(1.0001)
    grown = stopped = 0
    for _ in range(300):
        state = c.start()
        known = state.known[0]
        known.diagonal[:] = np.minimum(10 ** rng.uniform(-3, 0.2, 3), most)
        before = np.array(known.diagonal)
        state.begun, state.agreed = True, int(DOUBT_S * RATE_HZ)
        y = (c_float * 2)(*rng.uniform(-1, 1, 2))
        c.lib.adaptation_update(ctypes.byref(state), y, y)  # the turn that weighs
        assert state.believed == 1 and state.turn == 1
        c.lib.adaptation_rest(ctypes.byref(state))  # and the one that forgets
        after = [c.lib.adaptation_ignorance(ctypes.byref(state), 0, f) for f in range(3)]
        upper = np.eye(3)
        upper[np.triu_indices(3, 1)] = np.array(known.upper)[[0, 1, 2]]
        variances = np.diag(upper @ np.diag(known.diagonal) @ upper.T)
        assert np.all(variances <= most + 1e-6) and np.all(variances >= before - 1e-6)
        assert after == pytest.approx(np.minimum(variances, 1.0), abs=1e-6)
        grown += variances.sum() > before.sum() + 1e-6
        stopped += np.array_equal(known.diagonal, before) and before.max() == most
    assert grown > 100 and stopped > 10
