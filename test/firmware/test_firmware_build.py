"""soft_control.firmware_build: settings into C, C into firmware, or an error that says why not."""

from __future__ import annotations

import ctypes
import math
import random
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from soft_control import firmware_build as module
from soft_control.control import mpc_settings
from soft_control.control.mpc_settings import budget_us, check, physical_settings
from soft_control.firmware_build import build
from soft_control.firmware_files import BuildError, read_build
from soft_control.learning.model import load_card
from soft_control.link.opening import open_session
from soft_control.rigs import describe

from .conftest import save_model


def files_of(built) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in built.directory.iterdir() if p.is_file()}


def test_same_input_same_bytes_elsewhere(firmware, model_dir, settings, tmp_path, monkeypatch):
    """Also where the folder for temporary files has a name that make and shells choke on."""
    elsewhere = tmp_path / "tmp $(date) 'a'"
    elsewhere.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(elsewhere))
    boards = tuple(firmware.compilers)
    other = build(model_dir, settings, tmp_path / "deeper" / "down", boards)
    assert files_of(other) == files_of(firmware)
    assert list(elsewhere.iterdir()) == []


HOSTILE_FOLDERS = [
    "b$x", "(1)", "a&b", "a;b", "o'neil", "%", "a:b", "*", "back\\slash", "two words",
    "-j", 'p&id>X&', "p$(shell touch ran)", "`touch ran`", '"quoted"', "#no", "a\nb", "=x", "~",
]  # fmt: skip


@pytest.mark.parametrize("names", [HOSTILE_FOLDERS[::2], HOSTILE_FOLDERS[1::2]], ids=["one", "two"])
def test_any_folder_name_works(model_dir, settings, tmp_path, monkeypatch, names):
    """A real build into one folder below all of these names; each is a folder of its own. What
    stands beside them stays as it was."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    out = Path(*names)
    built = build(model_dir, settings, out, ("host",))
    open_session("sil", built).close()
    assert read_build(out) == built
    assert [p.name for p in work.iterdir()] == [names[0]]
    assert sorted(p.name for p in out.iterdir()) == [
        "controller_config.c", "controller_config.h", "firmware.json", "fk.c", "fk.h",
        "libfirmware.so",
    ]  # fmt: skip
    assert [p.name for p in tmp_path.iterdir()] == ["work"]


def test_links_in_the_folder_are_replaced_not_followed(firmware, model_dir, settings, tmp_path):
    other = tmp_path / "other"
    other.write_text("mine")
    out = tmp_path / "out"
    out.mkdir()
    for name in ("fk.c", "libfirmware.so", "firmware.json", "build.log"):
        (out / name).symlink_to(other)
    build(model_dir, settings, out, ("host",))
    assert other.read_text() == "mine"
    assert (out / "fk.c").read_bytes() == (firmware.directory / "fk.c").read_bytes()


def test_a_folder_that_cannot_be_written_is_named(model_dir, settings, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BuildError, match="the firmware cannot be written: .*file"):
        build(model_dir, settings, tmp_path / "file", ("host",))


def hostile_text(chance: random.Random) -> str:
    """Ends of comments and strings, trigraphs, line ends, what make, shells and YAML read, and a
    function that would run when the library is loaded."""
    parts = [
        "*/", "/*", "//", "\\", "\\\n", "??/", "??/\n", "\n", "\r", "\u2028", '"', "'", "`", "$(x)",
        "${x}", "%", ";", "&", "|", "<b>", "{{ 7 * 7 }}", "{% raw %}", "#error", "\n#error\n", "\0",
        "\u202e", "é", "\t", ": - ", "__attribute__((constructor)) void f(void) { *(int *)0 = 0; }",
    ]  # fmt: skip
    return "".join(chance.choices(parts, k=chance.randint(1, 8)))


def test_no_name_of_a_card_becomes_code(model_dir, settings, tmp_path):
    """500 random names in place of a card's: each rendered file has the same lines as that of plain
    names outside its first comment, and all of them together compile without a warning."""
    card, chance = load_card(model_dir), random.Random(9)
    physical = physical_settings(settings, describe("tendon"))
    plain = module._render(settings, card, physical, "0" * 16)
    header, source = plain["controller_config.h"], plain["controller_config.c"]
    code = source[source.index("#include") :]
    comments = []
    channels = [card.robot.signal_names.index(name) for name in card.signal_names]
    for _ in range(500):
        names = [hostile_text(chance) for _ in range(len(card.command_names))]
        signals = [
            signal.model_copy(update={"name": f"{hostile_text(chance)}{i}"})
            for i, signal in enumerate(card.robot.signals)
        ]
        robot = card.robot.model_copy(update={"name": hostile_text(chance), "signals": signals})
        hostile = card.model_copy(
            update={
                "command_names": names,
                "signal_names": [signals[i].name for i in channels],
                "robot": robot,
            }
        )
        rendered = module._render(settings, hostile, physical, "0" * 16)
        assert rendered["controller_config.h"] == header
        text = rendered["controller_config.c"]
        assert text.endswith(code)
        comments.append(text.removesuffix(code))
    joined = tmp_path / "comments.c"
    joined.write_text("".join(comments) + "int only;\n", encoding="utf-8")
    flags = ["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-trigraphs", "-c"]
    built = subprocess.run(
        ["gcc", *flags, str(joined), "-o", str(tmp_path / "comments.o")],
        capture_output=True, text=True,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    symbols = subprocess.run(["nm", str(tmp_path / "comments.o")], capture_output=True, text=True)
    assert [line.split()[-1] for line in symbols.stdout.splitlines()] == ["only"]


def test_nothing_is_done_twice(model_dir, settings, tmp_path):
    first = build(model_dir, settings, tmp_path, ("host",))
    stamp = first.library.stat().st_mtime_ns
    assert build(model_dir, settings, tmp_path, ("host",)) == first == read_build(tmp_path)
    open_session("sil", read_build(tmp_path)).close()
    assert first.library.stat().st_mtime_ns == stamp
    changed = settings.model_copy(update={"iterations": 2})
    second = build(model_dir, changed, tmp_path, ("host",))
    assert second.build_id != first.build_id
    # The first library may be in use in this process, under the same name.
    with open_session("sil", read_build(tmp_path)) as session:
        assert session.info.build_id == second.build_id
    assert second.library.stat().st_mtime_ns != stamp


def test_sizes_are_reported_and_small(firmware, has_board_compiler):
    if not has_board_compiler:
        pytest.skip("arm-none-eabi-gcc is not installed")
    assert firmware.flash_bytes == firmware.elf.with_suffix(".bin").stat().st_size
    assert firmware.flash_percent == pytest.approx(100 * firmware.flash_bytes / 2**20, abs=1e-3)
    # The network is 10 kB of it; the image's own check and what outlasts the power are 2.1 kB, what
    # spares a robot that is as recorded the map of one that is not 0.3 kB.
    assert firmware.flash_percent < 4.05
    # The stack's reserve included; 1200 points of a reference take 14,400.
    assert 14_400 + 4096 < firmware.ram_bytes <= 24 << 10


def test_a_network_of_the_demos_size_takes_three_percent(settings, has_board_compiler, tmp_path):
    if not has_board_compiler:
        pytest.skip("arm-none-eabi-gcc is not installed")
    small = build(save_model(tmp_path, (16,)), settings, tmp_path / "build", ("stm32f405",))
    assert small.trajectory_points == 1200
    assert small.flash_percent <= 3.4 and small.ram_bytes <= 24 << 10


def test_no_heap_no_double_no_printf(firmware, has_board_compiler):
    if not has_board_compiler:
        pytest.skip("arm-none-eabi-gcc is not installed")
    from elftools.elf.elffile import ELFFile

    with firmware.elf.open("rb") as file:
        symbols = {s.name for s in ELFFile(file).get_section_by_name(".symtab").iter_symbols()}
    heavy = re.compile(r"_?malloc.*|_sbrk|.*printf.*|__aeabi_(d\w+|f2d)|expf?|tanhf?|sqrt")
    assert [name for name in symbols if heavy.fullmatch(name)] == []


class Units(ctypes.Structure):
    """units_t"""

    _fields_ = [
        ("command_offset", ctypes.c_float * 2),
        ("command_scale", ctypes.c_float * 2),
        ("output_offset", ctypes.c_float * 3),
        ("output_scale", ctypes.c_float * 3),
    ]


def controller_config(c):
    class Config(ctypes.Structure):
        _fields_ = [
            ("units", Units),
            ("signal_offset", ctypes.c_float * 4),
            ("signal_scale", ctypes.c_float * 4),
            ("signal_channel", ctypes.c_uint8 * 4),
            ("full_scale_counts", ctypes.c_float * 4),
            ("settings", c.Settings),
            ("limits", c.Limits),
        ]

    return Config.in_dll(c.lib, "controller_config")


def test_config_has_the_units_of_the_network(firmware, c, model_dir, settings):
    """mpc_config_t as settings.c makes it, against the definitions of the settings' units."""
    config, mpc = controller_config(c), c.MpcConfig()
    c.lib.settings_normalise(
        ctypes.byref(config.settings), ctypes.byref(config.units), ctypes.byref(mpc)
    )
    card = load_card(model_dir)
    offset, scale = np.array(card.command_offset), np.array(card.command_scale)
    close = {"rel": 1e-6}  # float32
    assert list(config.units.command_offset) == pytest.approx(card.command_offset, **close)
    assert list(config.signal_scale) == pytest.approx(card.signal_scale, **close)
    low = np.array(mpc.command_min) * scale + offset
    assert low == pytest.approx(settings.command_min, **close)
    # Smaller by the share that float32 rounding could add, 1e-6 rad of 0.05.
    assert np.array(mpc.move_max) * scale == pytest.approx(settings.move_max, rel=1e-4)
    one_mm = 1e-3 / card.output_scale[0]
    one_deg = np.radians(1.0) / scale
    assert np.array(mpc.output_weight) * one_mm**2 == pytest.approx([1.0] * 3, **close)
    assert list(mpc.terminal_weight) == list(mpc.output_weight)
    assert np.array(mpc.bound_weight) * one_mm**2 == pytest.approx([100.0] * 3, **close)
    assert np.array(mpc.move_weight) * one_deg**2 == pytest.approx([0.02] * 2, **close)
    assert list(mpc.command_weight) == [0.0, 0.0]
    middle = np.array(mpc.command_reference) * scale + offset
    assert middle == pytest.approx(np.add(settings.command_min, settings.command_max) / 2, **close)
    assert np.isinf(list(mpc.output_min)).all() and np.isinf(list(mpc.output_max)).all()


def test_each_output_has_a_scale_of_its_own(c):
    """A metre, a radian and a volt in one robot: powers of two, so that float32 rounds nothing."""
    config, mpc = controller_config(c), c.MpcConfig()
    settings, units = (
        c.Settings.from_buffer_copy(config.settings),
        Units.from_buffer_copy(config.units),
    )
    units.output_offset[:], units.output_scale[:] = [1.0, 2.0, -4.0], [0.125, 2.0, 8.0]
    settings.output_min[:], settings.output_max[:] = [0.5, -2.0, 4.0], [1.5, 6.0, 12.0]
    settings.output_weight[:] = [64.0, 1.0, 0.25]
    c.lib.settings_normalise(ctypes.byref(settings), ctypes.byref(units), ctypes.byref(mpc))
    assert list(mpc.output_weight) == [1.0, 4.0, 16.0]
    assert list(mpc.output_min) == [-4.0, -2.0, 1.0] and list(mpc.output_max) == [4.0, 2.0, 2.0]


@hypothesis_settings(max_examples=300, deadline=None)
@given(
    low=st.floats(-10, 0),
    high=st.floats(0.01, 10),
    offset=st.floats(-2, 2),
    scale=st.floats(1e-3, 10),
    share=st.floats(0, 1),
)
def test_a_command_survives_its_way_through_float32(c, low, high, offset, scale, share):
    """A normalised command anywhere within the normalised bounds is within the physical ones."""
    settings, units, mpc = c.Settings(), Units(), c.MpcConfig()
    settings.command_min[0] = mpc_settings._inwards(low, math.inf)
    settings.command_max[0] = mpc_settings._inwards(high, -math.inf)
    units.command_offset[0], units.command_scale[0] = offset, scale
    parts = ctypes.byref(settings), ctypes.byref(units)
    c.lib.settings_normalise(*parts, ctypes.byref(mpc))
    normalised = mpc.command_min[0] + share * (mpc.command_max[0] - mpc.command_min[0])
    c.lib.settings_command.restype = ctypes.c_float
    physical = c.lib.settings_command(*parts, 0, ctypes.c_float(normalised))
    assert low <= physical <= high
    # One unit in the last place of any number on the way, and the rounding of scale and offset.
    close = 16 * 2**-24 * (max(-low, high) + 2 * abs(offset)) + 1e-38
    assert physical == pytest.approx(low + share * (high - low), abs=close)


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_a_literal_reads_back_exactly(value):
    text = module._c_floats(value)
    assert re.fullmatch(r"-?\d+\.?\d*(e[+-]\d+)?f", text) and ("." in text or "e" in text)
    assert np.float32(text[:-1]) == np.float32(value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"move_weight": [0.02]}, "move_weight needs 2 values"),
        ({"output_weight": [1.0, 1.0]}, "output_weight needs 3 values"),
        ({"output_weight": [1.0, -1.0, 1.0]}, "output_weight.1 = .* greater than or equal to 0"),
        ({"command_min": [2.0, -1.0]}, "limits of 'servo_0': 2.0 .. 1.396 is not a range"),
        ({"move_max": [0.05, 0.0]}, "move_max.1 = .*: .* greater than 0"),
        ({"control_horizon": 8}, "control_horizon 8 is more than horizon - input_delay = 7"),
        ({"first_cost_stage": 5}, r"first_cost_stage 5 is outside 6 \.\. 12"),
        ({"first_cost_stage": 13}, r"first_cost_stage 13 is outside 6 \.\. 12"),
        ({"disturbance_ratio": 3.4e7}, "disturbance_ratio = .*: .* less than or equal to 1000"),
        ({"disturbance_ratio": math.inf}, "disturbance_ratio = .*: .*finite"),
        ({"time_budget_ms": math.inf}, "time_budget_ms = .*: .*finite"),
        ({"time_budget_ms": 1e12}, "time_budget_ms = .*: .* less than or equal to 25000"),
        ({"move_weight": [1e35, 1.0]}, "move_weight.0 = .*: .* less than or equal to 1"),
        ({"bound_weight": [1e35] * 3}, "bound_weight.0 = .*: .* less than or equal to 1"),
        ({"command_max": [math.nan, 0.5]}, "command_max.0 = .*: .*finite"),
        ({"command_reference": [1e30, 0.5]}, "command_reference.0 = .* less than or equal to 1"),
        ({"output_min": [1e30] * 3}, "output_min.0 = .*: must be infinite or within"),
        ({"output_min": [math.inf] * 3}, "output_min, output_max.0: inf .. inf is no range"),
        ({"output_max": [-math.inf] * 3}, "output_min, output_max.0: -inf .. -inf is no range"),
        ({"output_min": [math.nan] * 3}, "output_min.0 = .*: must be infinite or within"),
    ],
)
def test_settings_that_do_not_fit_are_named(model_dir, settings, tmp_path, change, message):
    with pytest.raises(BuildError, match=message):
        build(model_dir, settings.model_copy(update=change), tmp_path, ("host",))
    assert list(tmp_path.iterdir()) == []


def test_extreme_settings_that_are_taken_stay_finite(c, model_dir, settings):
    """The largest weights, ratio and budget: what the solver gets of them is finite, and so is the
    gain, which is 0.999 for a ratio of 1000: 1e-3 of it are the digits that float leaves."""
    most = {
        "output_weight": [1e8] * 3, "bound_weight": [1e10] * 3, "terminal_weight": [1e8] * 3,
        "move_weight": [1e8] * 2, "command_weight": [1e8] * 2, "disturbance_ratio": 1000.0,
        "time_budget_ms": 25_000.0,
    }  # fmt: skip
    card = load_card(model_dir)
    extreme = check(settings.model_copy(update=most), card)
    assert budget_us(extreme, card) * 168 < 2**32
    given = c.Settings()
    for name, value in physical_settings(extreme, describe("tendon")).items():
        if isinstance(value, list):
            getattr(given, name)[:] = value
        else:
            setattr(given, name, value)
    c.lib.settings_valid.restype = ctypes.c_bool
    built = controller_config(c).settings
    assert c.lib.settings_valid(ctypes.byref(given), ctypes.byref(built))
    mpc = c.MpcConfig()
    units = controller_config(c).units
    c.lib.settings_normalise(ctypes.byref(given), ctypes.byref(units), ctypes.byref(mpc))
    for name, kind in c.MpcConfig._fields_:
        values = list(getattr(mpc, name))
        assert name in ("output_min", "output_max") or np.isfinite(values).all(), (name, kind)
    offset, n = (ctypes.c_float * 3)(), ctypes.c_float * 3
    c.lib.estimate_update(
        ctypes.byref(offset), ctypes.c_float(1000.0), n(*[1.0] * 3), n(*[0.0] * 3)
    )
    assert list(offset) == pytest.approx([0.999] * 3, abs=1e-3)
    for name, value in (("disturbance_ratio", 1001.0), ("disturbance_ratio", math.nan)):
        setattr(given, name, value)
        assert not c.lib.settings_valid(ctypes.byref(given), ctypes.byref(built))


def test_a_slow_model_has_a_budget_that_fits(model_dir, settings):
    card = load_card(model_dir).model_copy(update={"rate_hz": 0.01})
    assert budget_us(settings, card) * 168 < 2**32


def test_messages_that_fit_no_frame_are_named(model_dir, settings, tmp_path):
    card = load_card(model_dir).model_copy(update={"signal_names": [f"s{i}" for i in range(520)]})
    with pytest.raises(
        BuildError, match="520 signals make SAMPLE, OBSERVE, TELEMETRY longer than a frame"
    ):
        module._check_frames(card)


def test_boards_are_the_folders_that_say_how_they_are_built():
    table = module.board_table()
    assert list(table) == ["host", "mps2-an386", "stm32f405"]
    assert (table["host"].compiler, table["host"].flash_bytes) == ("gcc", None)
    assert table["stm32f405"].products == ["firmware.elf", "firmware.bin", "firmware.map"]
    assert table["stm32f405"].flash_bytes == 1 << 20
    assert table["stm32f405"].machine == "netduinoplus2"
    assert [name for name, board in table.items() if board.on_request] == ["mps2-an386"]


def test_a_folder_has_room_for_one_microcontroller(model_dir, settings, tmp_path):
    both = ("stm32f405", "mps2-an386")
    with pytest.raises(BuildError, match="stm32f405 and mps2-an386: one folder has room for one"):
        build(model_dir, settings, tmp_path, both)
    with pytest.raises(BuildError, match="no board 'abacus'; there are host, mps2-an386, stm32f40"):
        build(model_dir, settings, tmp_path, ("abacus",))
    assert list(tmp_path.iterdir()) == []


def test_a_compiler_error_is_shown_and_the_earlier_build_stays(
    model_dir, settings, tmp_path, monkeypatch
):
    earlier = build(model_dir, settings, tmp_path, ("host",))
    before = files_of(earlier)
    compile_with = module.compile_with

    def broken(model, folder, options):
        compile_with(model, folder, options)
        with (folder / "fk.c").open("a") as file:
            file.write("int broken = nothing;\n")

    monkeypatch.setattr(module, "compile_with", broken)
    with pytest.raises(BuildError, match=r"building for host failed: .*nothing.*build\.log\)$"):
        build(model_dir, settings, tmp_path, ("host",))
    log = tmp_path / "build.log"
    assert "nothing" in log.read_text()
    log.unlink()
    assert read_build(tmp_path) == earlier and files_of(earlier) == before


def test_an_interrupted_build_leaves_the_earlier_one(model_dir, settings, tmp_path, monkeypatch):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    earlier = build(model_dir, settings, tmp_path / "out", ("host",))
    before = files_of(earlier)

    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "_make", interrupted)
    changed = settings.model_copy(update={"iterations": 2})
    with pytest.raises(KeyboardInterrupt):
        build(model_dir, changed, tmp_path / "out", ("host",))
    assert read_build(tmp_path / "out") == earlier and files_of(earlier) == before
    assert list(scratch.iterdir()) == []


def test_a_missing_compiler_is_named(model_dir, settings, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda program: None)
    with pytest.raises(BuildError, match="gcc is not installed: apt install gcc"):
        build(model_dir, settings, tmp_path, ("host",))
