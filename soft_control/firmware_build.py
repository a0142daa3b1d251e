"""Model directory and MPC settings in, firmware out: the ELF for the board, the library for sil.

The network becomes C through `nn4mc_codegen`, the rest of what a controller needs to know becomes
controller_config.[ch], and firmware/Makefile builds both with the portable sources.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import subprocess
from pathlib import Path
from typing import Literal

import jinja2
import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

import nn4mc_codegen
from nn4mc_codegen.trial.size import elf_size
from soft_control.control.disturbance import signal_trust
from soft_control.learning.model import NETWORK_FILE, ModelCard, load_card
from soft_control.paths import share
from soft_control.robots.description import first_fault

FLASH_BYTES = 1 << 20
BUILD_FILE = "firmware.json"
LOG_FILE = "build.log"
COMPILERS = {"host": "gcc", "stm32f405": "arm-none-eabi-gcc"}
BOARDS = tuple(COMPILERS)
PACKAGES = {
    "gcc": "gcc",
    "arm-none-eabi-gcc": "gcc-arm-none-eabi libnewlib-arm-none-eabi",
    "make": "make",
}


class BuildError(RuntimeError):
    """The firmware cannot be built from what was given."""


class MpcSettings(BaseModel):
    """What the MPC is asked to do. Commands are in rad or in the rig's own unit, as recorded."""

    model_config = ConfigDict(use_attribute_docstrings=True, extra="forbid")

    horizon: int = Field(12, ge=1, le=100)
    """N: samples that the MPC looks ahead."""
    control_horizon: int = Field(3, ge=1)
    """Nc: moves that it plans; at most horizon - input_delay, later ones reach no output."""
    first_cost_stage: int | None = None
    """First sample of the horizon that counts; by default input_delay + 1, the first in reach."""
    iterations: int = Field(2, ge=1, le=255)
    """Newton-Raphson iterations a sample."""
    line_search_trials: int = Field(4, ge=1, le=4)
    """Step lengths 1, ½, ¼, ⅛ that are tried before an iteration gives up."""
    tail_continues: bool = True
    """Beyond Nc the last move goes on; otherwise the command is held."""
    method: Literal["gauss_newton", "newton", "soloway"] = "gauss_newton"
    """Second derivatives of the network left out; taken; taken, with the barrier of Soloway and
    Haley's cost, for comparison."""
    barrier: float = Field(1e-4, gt=0)
    """Of the method soloway: cost of a command at a normalised distance of 1 from a bound."""
    time_budget_ms: float | None = Field(None, gt=0)
    """A step ends with the best plan so far after this long; by default after a control period."""
    output_weight: list[float]
    """Cost of a squared tracking error, 1/mm², one an axis."""
    terminal_weight: list[float] | None = None
    """The same for the last sample of the horizon; by default no other."""
    output_min: list[float] | None = None
    """Soft lower bounds of the position, m, one an axis; by default none."""
    output_max: list[float] | None = None
    """Soft upper bounds of the position, m."""
    bound_weight: list[float] | None = None
    """Cost of a squared excess over them, 1/mm²; by default 100 times output_weight."""
    disturbance_ratio: float = Field(0.0, ge=0)
    """Offset estimate: variance of its change in a sample over that of a measured position's noise;
    0: none. 0.0026 makes a gain of 0.05."""
    signal_estimate: bool = False
    """Where no position is measured, the signals' own one moves the offset estimate: on rigs whose
    signals feel what moves the tip, with models that have signals."""
    position_noise_mm: float = Field(0.05, gt=0)
    """Standard deviation of a measured position, each axis. The signals' own one is noisier, and
    moves the estimate so much less; see firmware/src/loop/estimate.h."""
    move_weight: list[float]
    """Cost of a squared move, 1/deg² or 1/unit² (see command_unit), one a command."""
    command_weight: list[float] | None = None
    """Cost of a squared distance from command_reference, 1/deg² or 1/unit²; by default none."""
    command_reference: list[float] | None = None
    """Commands to prefer, rad or unit; by default the middle of the limits."""
    command_unit: Literal["deg", "unit"] = "deg"
    """deg: commands are in rad and move_weight counts degrees; unit: both in the rig's own unit."""
    command_min: list[float]
    """Lower limits of the commands, rad or unit."""
    command_max: list[float]
    """Upper limits of the commands, rad or unit."""
    move_max: list[float]
    """Largest change of a command in one sample, rad or unit."""


class FirmwareBuild(BaseModel):
    """What `build` wrote; firmware.json holds all but the directory."""

    model_config = ConfigDict(use_attribute_docstrings=True, extra="forbid")

    directory: Path = Field(exclude=True)
    model_hash: str
    """First 16 hex digits of the SHA-256 of the network file."""
    build_id: str
    """First 16 hex digits of the SHA-256 of all sources and settings."""
    horizon: int
    """N: a sample brings the reference of N samples ahead."""
    compilers: dict[str, str]
    """Board -> first line of its compiler's --version."""
    flash_bytes: int | None = None
    """All that is loaded into flash: code, constants, initial values. None without an ELF."""
    flash_percent: float | None = None
    """Of 1 MiB."""
    ram_bytes: int | None = None
    """Static variables and the stack reserve."""

    @property
    def elf(self) -> Path:
        return self.directory / "firmware.elf"

    @property
    def library(self) -> Path:
        return self.directory / "libfirmware.so"


def build(
    model_dir: str | Path,
    settings: MpcSettings,
    out_dir: str | Path,
    boards: tuple[str, ...] = BOARDS,
) -> FirmwareBuild:
    """Build the firmware of MODEL_DIR's network into OUT_DIR; nothing is done twice.

    Same model, settings, sources and compilers: same bytes. Raises BuildError; ModelError for a
    broken model directory, nn4mc_codegen.ModelError for a network that it does not know.
    """
    model_dir, out_dir = Path(model_dir), Path(out_dir).resolve()
    if " " in str(out_dir):
        raise BuildError(f"{out_dir}: make cannot build in a directory with a space in its name")
    card = load_card(model_dir)
    _check(settings, card)
    compilers = {board: _compiler_version(COMPILERS[board]) for board in boards}
    sources = share() / "firmware"

    out_dir.mkdir(parents=True, exist_ok=True)
    columns = jacobian_inputs(card)
    sums = lag_sums(len(card.command_names), card.input_lags, settings.tail_continues)
    nn4mc_codegen.compile_model(
        model_dir / NETWORK_FILE,
        out_dir,
        name="fk",
        jacobian=[*columns, *sums],
        jacobian_range=True,
        hvp=None if settings.method == "gauss_newton" else columns,
        fold=["signals"] if card.signal_names else None,
    )
    build_id = _build_id(sources, out_dir, settings, card)
    _write_config(out_dir, settings, card, build_id)

    wanted = {"build_id": build_id, "horizon": settings.horizon, "compilers": compilers}
    previous = _read_json(out_dir / BUILD_FILE)
    if {key: previous.get(key) for key in wanted} == wanted:
        return read_build(out_dir)
    (out_dir / BUILD_FILE).unlink(missing_ok=True)
    for board in boards:
        _make(sources, out_dir, board)
    result = FirmwareBuild(directory=out_dir, model_hash=card.model_hash, **wanted)
    if "stm32f405" in boards:
        size = elf_size(result.elf)
        result.flash_bytes, result.ram_bytes = size.flash_bytes, size.ram_bytes
        result.flash_percent = round(100.0 * size.flash_bytes / FLASH_BYTES, 3)
    (out_dir / BUILD_FILE).write_text(result.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return result


def jacobian_inputs(card: ModelCard) -> list[str]:
    """The network's inputs that the MPC wants the Jacobian for: all but the signals."""
    return [name for name in card.input_sizes() if name != "signals"]


def lag_sums(commands: int, input_lags: int, tail_continues: bool) -> list[tuple[int, ...]]:
    """Columns of the Jacobian that network.h takes where all lags are the same held command: for
    each command the elements of the flat input that are its lags, which it begins with."""
    if tail_continues or input_lags == 1:
        return []
    return [tuple(range(c, commands * input_lags, commands)) for c in range(commands)]


def read_build(out_dir: str | Path) -> FirmwareBuild:
    """The build in OUT_DIR. Raises BuildError if there is none."""
    out_dir = Path(out_dir)
    fields = _read_json(out_dir / BUILD_FILE)
    if not fields:
        raise BuildError(f"no {BUILD_FILE} in {out_dir}: build the firmware first")
    try:
        return FirmwareBuild.model_validate(fields | {"directory": out_dir})
    except ValidationError as error:
        raise BuildError(f"{out_dir / BUILD_FILE}: {first_fault(error)}") from None


# --------------------------------------------------------------------------- what is given


def _check(settings: MpcSettings, card: ModelCard) -> None:
    """Raises BuildError naming the first setting that does not suit the model."""
    commands, outputs = len(card.command_names), len(card.output_offset)
    commands_of = ("move_weight", "command_min", "command_max", "move_max", "command_weight")
    commands_of += ("command_reference",)
    outputs_of = ("output_weight", "terminal_weight", "output_min", "output_max", "bound_weight")
    sizes = {
        f"{commands} values, one for each command of the model": commands_of,
        f"{outputs} values, one for each axis of the model": outputs_of,
    }
    for (needed, names), length in zip(sizes.items(), (commands, outputs), strict=True):
        for name in names:
            given = getattr(settings, name)
            if given is not None and len(given) != length:
                raise BuildError(f"{name} needs {needed}, not {len(given)}")
    for name in (n for n in (*commands_of, *outputs_of) if n.endswith("weight")):
        if not all(math.isfinite(w) and w >= 0 for w in getattr(settings, name) or []):
            raise BuildError(f"{name} {getattr(settings, name)}: must be finite, not negative")
    limits = zip(settings.command_min, settings.command_max, settings.move_max, strict=True)
    for command, (low, high, move) in zip(card.command_names, limits, strict=True):
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise BuildError(f"limits of {command}: {low} .. {high} is not a range")
        if not (math.isfinite(move) and move > 0):
            raise BuildError(f"move_max of {command} is {move}: must be positive")
    for axis, (low, high) in enumerate(
        zip(settings.output_min or [], settings.output_max or [], strict=False)
    ):
        if not low <= high:
            raise BuildError(f"output_min, output_max of axis {axis}: {low} .. {high} is no range")
    reachable = settings.horizon - card.input_delay
    if settings.control_horizon > reachable:
        raise BuildError(
            f"control_horizon {settings.control_horizon} is more than "
            f"horizon - input_delay = {reachable}: later moves reach no output"
        )
    first = _first_cost_stage(settings, card)
    if not card.input_delay < first <= settings.horizon:
        raise BuildError(
            f"first_cost_stage {first} is outside {card.input_delay + 1} .. {settings.horizon}: "
            "no command reaches an earlier sample"
        )


def _first_cost_stage(settings: MpcSettings, card: ModelCard) -> int:
    return settings.first_cost_stage or card.input_delay + 1


# --------------------------------------------------------------------------- settings


def physical_settings(settings: MpcSettings) -> dict[str, list[float] | float]:
    """settings_t of firmware/src/loop/settings.h, field by field in its order: m, rad or unit."""
    commands, outputs = len(settings.move_weight), len(settings.output_weight)
    per_rad2 = math.degrees(1.0) ** 2 if settings.command_unit == "deg" else 1.0
    per_m2 = 1e6
    middle = [
        (low + high) / 2
        for low, high in zip(settings.command_min, settings.command_max, strict=True)
    ]
    tracking = settings.output_weight
    return {
        "command_min": [_inwards(low, math.inf) for low in settings.command_min],
        "command_max": [_inwards(high, -math.inf) for high in settings.command_max],
        "move_max": [_inwards(move, 0.0) for move in settings.move_max],
        "move_weight": [per_rad2 * w for w in settings.move_weight],
        "command_weight": [per_rad2 * w for w in settings.command_weight or [0.0] * commands],
        "command_reference": settings.command_reference or middle,
        "output_weight": [per_m2 * w for w in tracking],
        "terminal_weight": [per_m2 * w for w in settings.terminal_weight or tracking],
        "output_min": settings.output_min or [-math.inf] * outputs,
        "output_max": settings.output_max or [math.inf] * outputs,
        "bound_weight": [
            per_m2 * w for w in settings.bound_weight or [100.0 * w for w in tracking]
        ],
        "disturbance_ratio": settings.disturbance_ratio,
    }


def _inwards(limit: float, inside: float) -> float:
    """The float32 nearest to limit that is not beyond it."""
    single = np.float32(limit)
    beyond = float(single) < limit if inside > limit else float(single) > limit
    return float(np.nextafter(single, np.float32(inside)) if beyond else single)


def _f32(value: float) -> str:
    """A C literal that reads back as exactly the float32 nearest to value."""
    if math.isinf(value):
        return "INFINITY" if value > 0 else "-INFINITY"
    with np.errstate(over="ignore"):
        single = np.float32(value)
    if not np.isfinite(single):
        raise BuildError(f"{value} is not a number that a float32 can hold")
    text = f"{single:.9g}"
    return text + ("f" if "." in text or "e" in text else ".0f")


def _f32_array(values: list[float]) -> str:
    return "{" + ", ".join(map(_f32, values)) + "}"


def _render(settings: MpcSettings, card: ModelCard, build_id: str) -> dict[str, str]:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("soft_control"),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["f32"] = _f32
    environment.filters["f32_array"] = _f32_array
    environment.filters["f32_value"] = lambda v: _f32_array(v) if isinstance(v, list) else _f32(v)
    signal_map = card.signal_map if settings.signal_estimate else None
    values = {
        "card": card,
        "signal_map": signal_map,
        "signal_trust": signal_map
        and signal_trust(signal_map.residual_mm, settings.position_noise_mm).tolist(),
        "settings": settings,
        "first_cost_stage": _first_cost_stage(settings, card),
        "signal_offset": card.signal_offset or [0.0],
        "signal_scale": card.signal_scale or [1.0],
        "physical": physical_settings(settings),
        "budget_us": round(1e3 * (settings.time_budget_ms or 1e3 / card.rate_hz)),
        "build_id": build_id,
    }
    files = ("controller_config.h", "controller_config.c")
    return {name: environment.get_template(name).render(values) for name in files}


def _write_config(out_dir: Path, settings: MpcSettings, card: ModelCard, build_id: str) -> None:
    for name, text in _render(settings, card, build_id).items():
        (out_dir / name).write_text(text, encoding="utf-8")


# --------------------------------------------------------------------------- build


def _build_id(sources: Path, out_dir: Path, settings: MpcSettings, card: ModelCard) -> str:
    contents = {
        path.relative_to(sources).as_posix(): path.read_bytes()
        for path in sources.rglob("*")
        if path.suffix in {".c", ".h", ".ld"} or path.name == "Makefile"
    }
    contents |= {name: (out_dir / name).read_bytes() for name in ("fk.c", "fk.h")}
    contents |= {name: text.encode() for name, text in _render(settings, card, "").items()}
    digest = hashlib.sha256()
    for name in sorted(contents):
        digest.update(f"{name}\0{len(contents[name])}\0".encode() + contents[name])
    return digest.hexdigest()[:16]


def _compiler_version(program: str) -> str:
    for needed in (program, "make"):
        if shutil.which(needed) is None:
            raise BuildError(f"{needed} is not installed: apt install {PACKAGES[needed]}")
    answer = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    return answer.stdout.splitlines()[0]


def _make(sources: Path, out_dir: Path, board: str) -> None:
    command = ["make", "-C", str(sources), f"BUILD={out_dir}", f"BOARD={board}"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        log = out_dir / LOG_FILE
        log.write_text(done.stdout, encoding="utf-8")
        errors = [line for line in done.stdout.splitlines() if "error: " in line or "***" in line]
        first = " | ".join(errors[:2]) or done.stdout.strip()[-200:]
        raise BuildError(f"building for {board} failed: {first} (all of it: {log})")


def _read_json(path: Path) -> dict:
    """The object in a JSON file; an empty one where there is none."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}
