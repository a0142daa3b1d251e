"""One firmware for all tests of this folder, and its C functions and structs through ctypes."""

from __future__ import annotations

import ctypes
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from ctypes import c_bool, c_char_p, c_float, c_int32, c_size_t, c_uint8, c_uint16, c_uint32
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from soft_control.control.mpc_settings import MpcSettings
from soft_control.firmware_build import build
from soft_control.firmware_files import FirmwareBuild
from soft_control.learning.card import ModelCard, SignalModel
from soft_control.link.messages import CURVES
from soft_control.link.opening import open_session
from soft_control.link.session import McuSession
from soft_control.rigs import describe

HERE = Path(__file__).parent
VECTORS = json.loads((HERE / "vectors.json").read_text())
M, N, P = (VECTORS["sizes"][name] for name in ("commands", "outputs", "signals"))
INPUT_LAGS, OUTPUT_LAGS, DELAY, HORIZON = 3, 3, 5, 12
COMMAND_REST = (-0.17, -0.4)
FRAME_SIZE_MAX, CONTENT_MAX, POINTS_MAX = 254, 250, (250 - 6) // (4 * N)
REFERENCE_POINTS = 1200
UNITS = 5
MEMORY_S = (0.2, 1.0)


@pytest.fixture(scope="session")
def settings() -> MpcSettings:
    return MpcSettings(
        horizon=HORIZON,
        control_horizon=3,
        output_weight=[1.0] * N,
        move_weight=[0.02] * M,
        command_min=[-1.745, -1.745],
        command_max=[1.396, 0.873],
        move_max=[0.0506] * M,
        observer=0.0,
    )


def signal_model_of_test() -> SignalModel:
    """Signals that swing by one or two while outputs and commands swing by one."""
    rng = np.random.default_rng(5)
    inputs = N + M
    spread = 0.1 * rng.standard_normal((N, N))
    return SignalModel(
        hidden=rng.standard_normal((UNITS, inputs + 1)).tolist(),
        weights=(0.5 * rng.standard_normal((P, 1 + inputs + UNITS))).tolist(),
        noise=[0.1, 0.2, 0.025, 1.0],
        error=(spread @ spread.T + 0.001 * np.eye(N)).round(6).tolist(),
        error_s=0.5,
    )


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("model"), (32, 32))


def save_model(directory: Path, hidden: Sequence[int]) -> Path:
    """An increment network as `softctl train` saves it, with random weights."""
    keras = pytest.importorskip("keras", reason="the test network is made with Keras")
    keras.utils.set_random_seed(3)
    sizes = {
        "commands": INPUT_LAGS * M,
        "output": N,
        "past_outputs": (OUTPUT_LAGS - 1) * N,
        "signals": P,
        "memory": len(MEMORY_S) * M,
    }
    inputs = {name: keras.Input((size,), name=name) for name, size in sizes.items()}
    x = keras.layers.Concatenate()(list(inputs.values()))
    for units in hidden:
        x = keras.layers.Dense(units, activation="tanh")(x)
    # Increments of a few percent of the range a sample, as a trained network has them.
    small = keras.initializers.RandomNormal(stddev=0.02)
    increment = keras.layers.Dense(N, kernel_initializer=small)(x)
    output = keras.layers.Add()([inputs["output"], increment])
    keras.Model(list(inputs.values()), output).save(directory / "fk.keras")
    card = ModelCard(
        robot=describe("tendon"),
        rate_hz=120.0,
        input_lags=INPUT_LAGS,
        output_lags=OUTPUT_LAGS,
        input_delay=DELAY,
        command_names=["servo_0", "servo_1"],
        command_offset=list(COMMAND_REST),
        command_scale=[0.8, 0.7],
        output_offset=[0.001, 0.002, 0.003],
        output_names=["x", "y", "z"],
        output_scale=[0.012] * N,
        signal_names=[f"lace_{i:02d}" for i in range(P)],
        signal_offset=[0.5] * P,
        signal_scale=[0.2] * P,
        memory_s=list(MEMORY_S),
        signal_model=signal_model_of_test(),
        surface=None,
        metrics=[],
        evaluated_on=[],
        recordings=[],
        model_hash=hashlib.sha256((directory / "fk.keras").read_bytes()).hexdigest()[:16],
    )
    (directory / "fk.json").write_text(card.model_dump_json())
    return directory


@pytest.fixture(scope="session")
def has_board_compiler() -> bool:
    return shutil.which("arm-none-eabi-gcc") is not None


@pytest.fixture(scope="session")
def boards(has_board_compiler: bool) -> tuple[str, ...]:
    """The host, and the board if its compiler is there."""
    return ("host", "stm32f405") if has_board_compiler else ("host",)


@pytest.fixture(scope="session")
def firmware(
    model_dir: Path,
    settings: MpcSettings,
    boards: tuple[str, ...],
    tmp_path_factory: pytest.TempPathFactory,
) -> FirmwareBuild:
    return build(model_dir, settings, tmp_path_factory.mktemp("build"), boards)


@pytest.fixture(scope="session")
def estimating(
    model_dir: Path,
    settings: MpcSettings,
    boards: tuple[str, ...],
    tmp_path_factory: pytest.TempPathFactory,
) -> FirmwareBuild:
    """The same, but with an observer, and an estimate of what is measured beside it."""
    changes = {"observer": 1.0, "disturbance_ratio": 0.5}
    changed = settings.model_copy(update=changes)
    return build(model_dir, changed, tmp_path_factory.mktemp("estimating"), boards)


@pytest.fixture
def open_target(
    firmware: FirmwareBuild, has_board_compiler: bool
) -> Iterator[Callable[..., McuSession]]:
    """Opens sessions by target, on `firmware` or another build; they are closed after the test."""
    sessions: list[McuSession] = []

    def open_(target: str, build: FirmwareBuild = firmware) -> McuSession:
        if target == "pil" and not has_board_compiler:
            pytest.skip("arm-none-eabi-gcc is not installed")
        if target == "pil" and shutil.which("qemu-system-arm") is None:
            pytest.skip("qemu-system-arm is not installed")
        sessions.append(open_session(target, build))
        return sessions[-1]

    yield open_
    for session in sessions:
        session.close()


class FrameDecoder(ctypes.Structure):
    _fields_ = [
        ("body", c_uint8 * (CONTENT_MAX + 2)),
        ("size", c_uint16),
        ("block_left", c_uint8),
        ("started", c_bool),
        ("full_block", c_bool),
        ("too_long", c_bool),
        ("bad_frames", c_uint32),
    ]


class Settings(ctypes.Structure):
    """settings_t: the fields of CONFIGURE, in their order."""

    _fields_ = [
        *((name, c_float * M) for name in ("command_min", "command_max", "move_max")),
        *((name, c_float * M) for name in ("move_weight", "command_weight", "command_reference")),
        *((name, c_float * N) for name in ("output_weight", "terminal_weight")),
        *((name, c_float * N) for name in ("output_min", "output_max", "bound_weight")),
        ("disturbance_ratio", c_float),
    ]


class CModel(ctypes.Structure):
    """signal_model_t of `signal_model_of_test`."""

    _fields_ = [
        ("hidden", (c_float * (N + M + 1)) * UNITS),
        ("weights", (c_float * (1 + N + M + UNITS)) * P),
    ]

    @classmethod
    def of(cls, known: SignalModel) -> CModel:
        made = cls()
        np.ctypeslib.as_array(made.hidden)[...] = known.hidden
        np.ctypeslib.as_array(made.weights)[...] = known.weights
        return made


class Points(ctypes.Structure):
    _fields_ = [("count", c_uint32), ("at", (c_float * N) * POINTS_MAX)]


class Modes(ctypes.Structure):
    """modes_t"""

    _fields_ = [(name, c_uint8) for name in ("clock", "wiring", "source", "adapts", "host_lost")]


class Times(ctypes.Structure):
    """times_t"""

    _fields_ = [(name, c_uint16) for name in ("host_timeout_ms", "sensor_timeout_ms", "age_max_ms")]


class Request(ctypes.Structure):
    """request_t"""

    _fields_ = [
        ("line", c_uint8),
        ("modes", Modes),
        ("periodic", c_uint8),
        ("row", c_uint8),
        ("keep", c_uint8),
        ("times", Times),
        *((name, c_uint16) for name in ("first", "count")),
        *((name, c_uint32) for name in ("k", "host_us", "received", "step", "tethered_samples")),
        ("row_offset", c_float),
        ("row_curve", c_float * CURVES),
        ("signals", c_float * P),
        ("command", c_float * M),
        ("outputs", c_float * N),
        ("points", Points),
        ("settings", Settings),
    ]


class Line(ctypes.Structure):
    """message_line_t"""

    _fields_ = [
        ("type", c_uint8),
        ("when", c_uint8),
        ("in_order", c_bool),
        ("field_count", c_uint8),
        ("fields", ctypes.c_void_p),
    ]


class Boot(ctypes.Structure):
    """boot_t"""

    _fields_ = [("version", c_uint8), ("reset_cause", c_uint8), ("board", c_char_p)]


class Info(ctypes.Structure):
    """info_t, with the members of info_sizes_t and counters_t"""

    _fields_ = [
        ("version", c_uint8),
        *((name, c_char_p) for name in ("model_hash", "build_id", "board")),
        *((name, c_uint8) for name in ("commands", "outputs", "signals")),
        *((name, c_uint8) for name in ("input_lags", "output_lags", "input_delay")),
        *((name, c_uint8) for name in ("horizon", "control_horizon", "step_cost_unit")),
        ("rate_hz", c_float),
        ("trajectory_points", c_uint16),
        *((name, c_uint8) for name in ("state", "cause", "source")),
        ("source_k", c_uint32),
        *((name, c_uint32) for name in ("missed_samples", "lost_points")),
        *((name, c_uint32) for name in ("telemetry_sent", "telemetry_lost", "telemetry_dropped")),
        *((name, c_uint32) for name in ("refused", "limited", "bad_frames")),
        *((name, c_uint32) for name in ("sensor_samples", "sensor_dropped", "actuator_bad")),
        *((name, c_uint32) for name in ("step_cost_max", "stack_free")),
    ]


class Telemetry(ctypes.Structure):
    """telemetry_t"""

    _fields_ = [
        *((name, c_uint32) for name in ("k", "time_us", "number")),
        *((name, c_uint8) for name in ("state", "cause")),
        ("flags", c_uint16),
        *((name, c_uint8) for name in ("status", "iterations")),
        ("latency_us", c_uint16),
        ("signals", c_float * P),
        ("command", c_float * M),
        *((name, c_float * N) for name in ("predicted", "reference", "offset")),
        ("cost", c_float),
        *((name, c_uint32) for name in ("step_cost", "missed_samples", "telemetry_lost")),
        ("actuator_errors", c_uint8),
        *((name, c_float) for name in ("voltage", "temperature")),
        ("doubted", c_uint32),
        ("uncertainty", c_float * N),
    ]


class Crash(ctypes.Structure):
    """crash_report_t"""

    _fields_ = [
        ("cause", c_uint8),
        *((name, c_uint32) for name in ("pc", "lr", "psr", "status", "address", "stack_free")),
    ]


class Adaptation(ctypes.Structure):
    """adaptation_report_t"""

    _fields_ = [
        ("row", c_uint8),
        *((name, c_uint32) for name in ("believed", "doubted")),
        ("gain", c_float * N),
        *((name, c_float) for name in ("offset", "gain_ignorance", "offset_ignorance")),
        ("curve", c_float * CURVES),
        ("curve_ignorance", c_float),
    ]


class Kept(ctypes.Structure):
    """kept_report_t"""

    _fields_ = [("can_keep", c_uint8), ("number", c_uint32)]


class Error(ctypes.Structure):
    _fields_ = [("code", c_uint8), ("type", c_uint8)]


class MpcConfig(ctypes.Structure):
    """mpc_config_t"""

    _fields_ = [
        ("command_min", c_float * M),
        ("command_max", c_float * M),
        ("move_max", c_float * M),
        *((name, c_float * N) for name in ("output_weight", "terminal_weight")),
        *((name, c_float * N) for name in ("output_min", "output_max", "bound_weight")),
        *((name, c_float * M) for name in ("move_weight", "command_weight", "command_reference")),
        ("output_gain", (c_float * N) * N),
        ("output_offset", c_float * N),
    ]


class Limits(ctypes.Structure):
    """limits_t"""

    _fields_ = [
        *((name, c_float * M) for name in ("command_min", "command_max", "move_max")),
        *((name, c_float * M) for name in ("neutral", "load_max")),
        *((name, c_float) for name in ("load_share", "voltage_min", "voltage_max")),
        ("temperature_max", c_float),
        ("actuator_samples", c_uint16),
        *((name, c_uint8) for name in ("actuator_errors", "safe_output")),
        *((name, c_int32) for name in ("count_min", "count_max", "count_step_max")),
        ("frozen_samples", c_uint16),
    ]


class Reference(ctypes.Structure):
    """reference_t"""

    _fields_ = [
        ("points", (c_float * N) * REFERENCE_POINTS),
        ("known", c_uint8 * ((REFERENCE_POINTS + 7) // 8)),
        ("before", c_float * N),
        *((name, c_uint32) for name in ("start", "now", "lost")),
        ("count", c_uint16),
        ("periodic", c_bool),
        ("step", c_uint32),
        ("blend", c_float * N),
        ("met", c_bool * N),
    ]


class Supervisor(ctypes.Structure):
    """supervisor_t"""

    _fields_ = [
        *((name, c_uint8) for name in ("state", "cause")),
        ("driving", c_bool),
        *((name, c_float * M) for name in ("command", "load")),
        *((name, c_uint8) for name in ("sensor_faults", "solver_failures", "deadline_misses")),
        ("limited", c_uint32),
    ]


@pytest.fixture(scope="session")
def c(firmware: FirmwareBuild) -> SimpleNamespace:
    """The library (`c.lib`) and the structs of its headers."""
    lib = ctypes.CDLL(str(firmware.library))
    for name in ("frame_encode", "frame_decode", "message_encode"):
        getattr(lib, name).restype = c_size_t
    lib.frame_encode.argtypes = [c_char_p, c_size_t, c_char_p]
    lib.frame_crc.restype = c_uint16
    lib.frame_crc.argtypes = [c_char_p, c_size_t]
    lib.all_finite.restype = c_bool
    for name in ("supervisor_active", "reference_upload", "reference_follow"):
        getattr(lib, name).restype = c_bool
    for name in ("reference_horizon", "reference_end", "host_clock_age"):
        getattr(lib, name).restype = c_uint32
    return SimpleNamespace(
        lib=lib,
        M=M,
        N=N,
        P=P,
        HORIZON=HORIZON,
        FrameDecoder=FrameDecoder,
        Request=Request,
        Settings=Settings,
        Line=Line,
        Boot=Boot,
        Info=Info,
        Telemetry=Telemetry,
        Error=Error,
        Crash=Crash,
        Adaptation=Adaptation,
        Kept=Kept,
        MpcConfig=MpcConfig,
        Limits=Limits,
        Reference=Reference,
        REFERENCE_POINTS=REFERENCE_POINTS,
        Supervisor=Supervisor,
    )


@pytest.fixture(scope="session")
def c_decode(c: SimpleNamespace) -> Callable[[bytes], tuple[list[bytes], int]]:
    """Bytes through a fresh C decoder: contents of the good frames, count of the bad ones."""

    def decode(data: bytes) -> tuple[list[bytes], int]:
        decoder = c.FrameDecoder()
        contents = []
        for byte in data:
            size = c.lib.frame_decode(ctypes.byref(decoder), c_uint8(byte))
            if size:
                contents.append(bytes(decoder.body[:size]))
        return contents, decoder.bad_frames

    return decode


@pytest.fixture(scope="session")
def c_encode(c: SimpleNamespace) -> Callable[[bytes], bytes]:
    def encode(content: bytes) -> bytes:
        frame = ctypes.create_string_buffer(FRAME_SIZE_MAX)
        size = c.lib.frame_encode(content, len(content), frame)
        return frame.raw[:size]

    return encode
