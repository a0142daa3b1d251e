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
from pydantic import BaseModel, ConfigDict, Field

import nn4mc_codegen
from nn4mc_codegen.size import elf_size
from soft_control.evaluation import NETWORK_FILE, ModelCard, load_card
from soft_control.paths import share

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
    output_weight: list[float]
    """Cost of a squared tracking error, 1/mm², one an axis."""
    move_weight: list[float]
    """Cost of a squared move, 1/deg² or 1/unit² (see command_unit), one a command."""
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
    nn4mc_codegen.compile_model(
        model_dir / NETWORK_FILE, out_dir, name="fk", jacobian=jacobian_inputs(card)
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


def read_build(out_dir: str | Path) -> FirmwareBuild:
    """The build in OUT_DIR. Raises BuildError if there is none."""
    out_dir = Path(out_dir)
    fields = _read_json(out_dir / BUILD_FILE)
    if not fields:
        raise BuildError(f"no {BUILD_FILE} in {out_dir}: build the firmware first")
    return FirmwareBuild(directory=out_dir, **fields)


# --------------------------------------------------------------------------- what is given


def _check(settings: MpcSettings, card: ModelCard) -> None:
    """Raises BuildError naming the first setting that does not suit the model."""
    commands, outputs = len(card.command_names), len(card.output_offset)
    for name in ("move_weight", "command_min", "command_max", "move_max"):
        if len(getattr(settings, name)) != commands:
            raise BuildError(f"{name} needs {commands} values, one for each command of the model")
    if len(settings.output_weight) != outputs:
        raise BuildError(f"output_weight needs {outputs} values, one for each axis of the model")
    for name in ("output_weight", "move_weight"):
        if not all(math.isfinite(w) and w >= 0 for w in getattr(settings, name)):
            raise BuildError(f"{name} {getattr(settings, name)}: must be finite, not negative")
    limits = zip(settings.command_min, settings.command_max, settings.move_max, strict=True)
    for command, (low, high, move) in zip(card.command_names, limits, strict=True):
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise BuildError(f"limits of {command}: {low} .. {high} is not a range")
        if not (math.isfinite(move) and move > 0):
            raise BuildError(f"move_max of {command} is {move}: must be positive")
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


# --------------------------------------------------------------------------- normalised settings


def _normalised(settings: MpcSettings, card: ModelCard) -> dict[str, list[float]]:
    """mpc_config_t, field by field, in the units of the network."""
    columns = list(
        zip(
            card.command_offset,
            card.command_scale,
            settings.command_min,
            settings.command_max,
            settings.move_max,
            settings.move_weight,
            strict=True,
        )
    )
    wire_unit = math.degrees(1.0) if settings.command_unit == "deg" else 1.0
    output_mm = 1000.0 * card.output_scale
    return {
        "command_min": [_limit(low, o, s, inwards=1) for o, s, low, _, _, _ in columns],
        "command_max": [_limit(high, o, s, inwards=-1) for o, s, _, high, _, _ in columns],
        "move_max": [_move(move, o, s, low, high) for o, s, low, high, move, _ in columns],
        "output_weight": [w * output_mm**2 for w in settings.output_weight],
        "move_weight": [w * (s * wire_unit) ** 2 for _, s, _, _, _, w in columns],
    }


def _limit(limit: float, offset: float, scale: float, inwards: int) -> float:
    """The normalised limit, moved inwards until its way back in float32 keeps the limit."""
    offset32, scale32 = np.float32(offset), np.float32(scale)
    normalised = (limit - offset) / scale
    step = inwards * float(np.spacing(np.float32(max(abs(limit), abs(offset))))) / scale
    while inwards * (float(np.float32(normalised) * scale32 + offset32) - limit) < 0:
        normalised += step
    return float(np.float32(normalised))


def _move(move: float, offset: float, scale: float, low: float, high: float) -> float:
    """Smaller by what rounding can add: a sum, and the way back of two commands."""
    rounding = 8 * 2.0**-24 * (max(abs(low), abs(high)) + abs(offset))
    return max(move - rounding, 0.0) / scale


def _f32(value: float) -> str:
    """A C literal that reads back as exactly the float32 nearest to value."""
    with np.errstate(over="ignore"):
        single = np.float32(value)
    if not np.isfinite(single):
        raise BuildError(f"{value} is not a number that a float32 can hold")
    text = f"{single:.9g}"
    return text + ("f" if "." in text or "e" in text else ".0f")


def _render(settings: MpcSettings, card: ModelCard, build_id: str) -> dict[str, str]:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("soft_control"),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,
    )
    environment.filters["f32"] = _f32
    environment.filters["f32_array"] = lambda values: "{" + ", ".join(map(_f32, values)) + "}"
    values = {
        "card": card,
        "settings": settings,
        "first_cost_stage": _first_cost_stage(settings, card),
        "signal_offset": card.signal_offset or [0.0],
        "signal_scale": card.signal_scale or [1.0],
        "mpc": _normalised(settings, card),
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
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
