"""soft_control.firmware_build: settings into C, C into firmware, or an error that says why not."""

from __future__ import annotations

import ctypes
import math
import re
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from soft_control import firmware_build as module
from soft_control.firmware_build import BuildError, build, read_build
from soft_control.learning.model import load_card
from soft_control.link import open_session


def files_of(built) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in built.directory.iterdir() if p.is_file()}


def test_same_input_same_bytes_elsewhere(firmware, model_dir, settings, tmp_path):
    boards = tuple(firmware.compilers)
    other = build(model_dir, settings, tmp_path / "deeper" / "down", boards)
    assert files_of(other) == files_of(firmware)


def test_nothing_is_done_twice(model_dir, settings, tmp_path):
    first = build(model_dir, settings, tmp_path, ("host",))
    stamp = first.library.stat().st_mtime_ns
    assert build(model_dir, settings, tmp_path, ("host",)) == first == read_build(tmp_path)
    open_session("sil", read_build(tmp_path)).close()
    assert first.library.stat().st_mtime_ns == stamp
    changed = settings.model_copy(update={"iterations": 1})
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
    assert firmware.flash_percent < 3.0
    assert 4096 < firmware.ram_bytes < 16384  # stack reserve included


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
        ("output_scale", ctypes.c_float),
    ]


def controller_config(c):
    class Config(ctypes.Structure):
        _fields_ = [
            ("units", Units),
            ("signal_offset", ctypes.c_float * 4),
            ("signal_scale", ctypes.c_float * 4),
            ("settings", c.Settings),
        ]

    return Config.in_dll(c.lib, "controller_config")


def test_config_has_the_units_of_the_network(firmware, c, model_dir, settings):
    """mpc_config_t as settings.c makes it, against the definitions of the settings' units."""
    config, mpc = controller_config(c), c.Limits()
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
    one_mm = 1e-3 / card.output_scale
    one_deg = np.radians(1.0) / scale
    assert np.array(mpc.output_weight) * one_mm**2 == pytest.approx([1.0] * 3, **close)
    assert list(mpc.terminal_weight) == list(mpc.output_weight)
    assert np.array(mpc.bound_weight) * one_mm**2 == pytest.approx([100.0] * 3, **close)
    assert np.array(mpc.move_weight) * one_deg**2 == pytest.approx([0.02] * 2, **close)
    assert list(mpc.command_weight) == [0.0, 0.0]
    middle = np.array(mpc.command_reference) * scale + offset
    assert middle == pytest.approx(np.add(settings.command_min, settings.command_max) / 2, **close)
    assert np.isinf(list(mpc.output_min)).all() and np.isinf(list(mpc.output_max)).all()


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
    settings, units, mpc = c.Settings(), Units(), c.Limits()
    settings.command_min[0] = module._inwards(low, math.inf)
    settings.command_max[0] = module._inwards(high, -math.inf)
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
    text = module._f32(value)
    assert re.fullmatch(r"-?\d+\.?\d*(e[+-]\d+)?f", text) and ("." in text or "e" in text)
    assert np.float32(text[:-1]) == np.float32(value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"move_weight": [0.02]}, "move_weight needs 2 values"),
        ({"output_weight": [1.0, 1.0]}, "output_weight needs 3 values"),
        ({"output_weight": [1.0, -1.0, 1.0]}, "output_weight .* not negative"),
        ({"command_min": [2.0, -1.0]}, "limits of servo_0: 2.0 .. 1.396 is not a range"),
        ({"move_max": [0.05, 0.0]}, "move_max of servo_1 is 0.0: must be positive"),
        ({"control_horizon": 8}, "control_horizon 8 is more than horizon - input_delay = 7"),
        ({"first_cost_stage": 5}, r"first_cost_stage 5 is outside 6 \.\. 12"),
        ({"first_cost_stage": 13}, r"first_cost_stage 13 is outside 6 \.\. 12"),
    ],
)
def test_settings_that_do_not_fit_are_named(model_dir, settings, tmp_path, change, message):
    with pytest.raises(BuildError, match=message):
        build(model_dir, settings.model_copy(update=change), tmp_path, ("host",))
    assert list(tmp_path.iterdir()) == []


def test_a_compiler_error_is_shown_and_nothing_is_left_as_if_built(
    model_dir, settings, tmp_path, monkeypatch
):
    build(model_dir, settings, tmp_path, ("host",))
    compile_model = module.nn4mc_codegen.compile_model

    def broken(*arguments, **options):
        compile_model(*arguments, **options)
        with (tmp_path / "fk.c").open("a") as file:
            file.write("int broken = nothing;\n")

    monkeypatch.setattr(module.nn4mc_codegen, "compile_model", broken)
    with pytest.raises(BuildError, match=r"building for host failed: .*nothing.*build\.log\)$"):
        build(model_dir, settings, tmp_path, ("host",))
    with pytest.raises(BuildError, match="build the firmware first"):
        read_build(tmp_path)


def test_a_missing_compiler_is_named(model_dir, settings, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda program: None)
    with pytest.raises(BuildError, match="gcc is not installed: apt install gcc"):
        build(model_dir, settings, tmp_path, ("host",))


def test_a_space_in_the_path_is_refused(model_dir, settings, tmp_path):
    with pytest.raises(BuildError, match="space in its name"):
        build(model_dir, settings, tmp_path / "my build", ("host",))
