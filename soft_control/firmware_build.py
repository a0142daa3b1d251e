"""Model directory and MPC settings in, firmware out: the ELF for the board, the library for sil.

The network becomes C through `nn4mc_codegen`, the rest of what a controller needs to know becomes
controller_config.[ch], and firmware/Makefile builds both with the portable sources.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import jinja2
from pydantic import BaseModel, ConfigDict

import nn4mc_codegen
from nn4mc_codegen.compile import compile_with
from nn4mc_codegen.graph.options import MAX_PUSH, Options
from nn4mc_codegen.printing.c import c_float, template_environment
from nn4mc_codegen.trial.size import elf_size
from soft_control.control.adaptation import day_config
from soft_control.control.mpc_settings import (
    MpcSettings,
    budget_us,
    check,
    first_cost_stage,
    physical_settings,
)
from soft_control.control.observer import observer_config
from soft_control.control.sensor_doubt import doubt_config
from soft_control.firmware_files import BUILD_FILE, BuildError, FirmwareBuild, read_build, record_of
from soft_control.firmware_instruments import (
    actuator_config,
    limits,
    sensor_config,
    telemetry_every,
)
from soft_control.learning.card import NETWORK_FILE, ModelCard, load_card
from soft_control.link.framing import CONTENT_LIMIT
from soft_control.link.messages import Sizes, Telemetry, content_max, too_long
from soft_control.paths import share

LOG_FILE = "build.log"
NETWORK_NAME = "fk"
HELD = ("signals", "memory")
"""The network's inputs that stay the same over the MPC's horizon."""
"""Prefix of the network's C names, and name of its files."""
TEMPLATES = Path(__file__).parent / "templates"


class Board(BaseModel):
    """What firmware/boards/<name>/board.mk says of a board."""

    model_config = ConfigDict(use_attribute_docstrings=True, extra="forbid")

    compiler: str
    packages: str
    """Debian packages that bring the compiler."""
    products: list[str]
    """Files that make leaves."""
    flash_bytes: int | None = None
    """None: it is no microcontroller."""
    machine: str | None = None
    """QEMU's name of what models it."""
    flash_start: str | None = None
    """Address; None, as the next two: it is only emulated, and nobody can write it there."""
    flash_sectors: str | None = None
    """How it is cut, as 4*16K 1*64K 7*128K."""
    chip: str | None = None
    """DEV_ID of DBGMCU_IDCODE, which tells the chip."""
    on_request: bool = False
    """Built only where it is named."""


def board_table() -> dict[str, Board]:
    """Every board by its name, the host among them: the folders of firmware/boards."""
    found = {}
    for path in sorted((share() / "firmware" / "boards").glob("*/board.mk")):
        lines = re.findall(r"^([A-Z_]+) := (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
        said = {key.lower(): value for key, value in lines if key.lower() in Board.model_fields}
        said["products"] = said["products"].split()
        found[path.parent.name] = Board(**said)
    return found


def build(
    model_dir: str | Path,
    settings: MpcSettings,
    out_dir: str | Path,
    boards: Sequence[str] | None = None,
    log_dir: Path | None = None,
) -> FirmwareBuild:
    """Build the firmware of MODEL_DIR's network into OUT_DIR, for the boards named or all that are
    not on request only. A folder has room for one microcontroller's.

    Same model, settings, sources and compilers: same bytes, and nothing is done twice. OUT_DIR gets
    all results at once when they are whole, and keeps the earlier ones if the build fails; then
    what the compilers have said is written to LOG_DIR, by default OUT_DIR.

    Raises BuildError; ModelError for a broken model directory, nn4mc_codegen.ModelError for a
    network that it does not know.
    """
    model_dir, out_dir = Path(model_dir), Path(out_dir)
    card = load_card(model_dir)
    try:
        settings = check(settings, card)
        actuator_config(card.robot)
        physical = physical_settings(settings, card.robot)
    except ValueError as error:
        raise BuildError(str(error)) from None
    _check_frames(card)
    _check_recurrent(card, settings)
    known = board_table()
    wanted = boards or [name for name, board in known.items() if not board.on_request]
    for name in wanted:
        if name not in known:
            raise BuildError(f"no board {name!r}; there are {', '.join(known)}")
    targets = [name for name in wanted if known[name].flash_bytes]
    if len(targets) > 1:
        raise BuildError(f"{' and '.join(targets)}: one folder has room for one of them")
    compilers = {board: _compiler_version(known[board]) for board in wanted}
    sources = share() / "firmware"

    # make and the compilers only see names that are chosen here: the folder is private, and they
    # work in it by relative paths.
    with tempfile.TemporaryDirectory(prefix="firmware-") as scratch:
        made = Path(scratch) / "build"
        made.mkdir()
        _compile_network(model_dir, settings, card, made)
        plain = _render(settings, card, physical)
        settings_hash = _settings_hash(plain)
        build_id = _build_id(sources, made, plain)
        for name, text in _render(settings, card, physical, build_id, settings_hash).items():
            (made / name).write_text(text, encoding="utf-8")

        same = {
            "build_id": build_id,
            "signal_names": card.signal_names,
            "horizon": settings.horizon,
            "trajectory_points": settings.trajectory_points,
            "compilers": compilers,
        }
        previous = record_of(out_dir)
        products = [name for board in compilers for name in known[board].products]
        if (
            previous.get("mpc")
            and {key: previous.get(key) for key in same} == same
            and all((out_dir / name).is_file() for name in products)
        ):
            return read_build(out_dir)
        shutil.copytree(sources, Path(scratch) / "firmware")
        for board in compilers:
            _make(Path(scratch), board, log_dir or out_dir)
        result = FirmwareBuild(
            directory=out_dir, model_hash=card.model_hash, mpc=settings, robot=card.robot, **same
        )
        for board in targets:
            size = elf_size(made / result.elf.name)
            result.flash_bytes, result.ram_bytes = size.flash_bytes, size.ram_bytes
            result.flash_percent = round(100.0 * size.flash_bytes / known[board].flash_bytes, 3)
            result.machine = known[board].machine
        record = result.model_dump_json(indent=2) + "\n"
        (made / BUILD_FILE).write_text(record, encoding="utf-8")
        _move_results(made, out_dir)
    return result


def _compile_network(model_dir: Path, settings: MpcSettings, card: ModelCard, folder: Path) -> None:
    compile_with(model_dir / NETWORK_FILE, folder, network_options(settings, card))


def network_options(settings: MpcSettings, card: ModelCard) -> Options:
    """How the network is compiled: what solver/network.h wants of it."""
    if card.states:
        return Options(NETWORK_NAME, push=settings.control_horizon * len(card.command_names))
    columns = jacobian_inputs(card)
    sums = lag_sums(len(card.command_names), card.input_lags, settings.tail_continues)
    return Options(
        NETWORK_NAME,
        [*columns, *sums],
        jacobian_range=True,
        hvp=None if settings.method == "gauss_newton" else columns,
        fold=[name for name in card.input_sizes() if name in HELD] or None,
    )


def jacobian_inputs(card: ModelCard) -> list[str]:
    """The network's inputs that the MPC wants the Jacobian for: all but those that it holds."""
    return [name for name in card.input_sizes() if name not in HELD]


def lag_sums(commands: int, input_lags: int, tail_continues: bool) -> list[tuple[int, ...]]:
    """Columns of the Jacobian that network.h takes where all lags are the same held command: for
    each command the elements of the flat input that are its lags, which it begins with."""
    if tail_continues or input_lags == 1:
        return []
    return [tuple(range(c, commands * input_lags, commands)) for c in range(commands)]


# --------------------------------------------------------------------------- settings


def _render(
    settings: MpcSettings,
    card: ModelCard,
    physical: dict[str, list[float] | float],
    build_id: str = "",
    settings_hash: str = "",
) -> dict[str, str]:
    """controller_config.[ch], with the bounds and weights of `physical_settings`. Text of the card
    only gets into comments, through their filter."""
    observer = observer_config(card, settings.observer)
    doubt = doubt_config(card, settings.signal_doubt)
    robot, channels = card.robot, card.robot.signal_names
    used = [channels.index(name) for name in card.signal_names]
    groups, outputs = card.output_groups, range(len(card.output_names))
    values = {
        "card": card,
        "groups": groups,
        "day": day_config(card),
        "group_of": [next(g for g, of in enumerate(groups) if i in of) for i in outputs],
        "place_of": [next(of.index(i) for of in groups if i in of) for i in outputs],
        "sensor": robot.instruments.sensor,
        "actuators": robot.instruments.actuators,
        "limits": limits(robot, physical["move_max"], card.rate_hz),
        "sensor_config": sensor_config(robot),
        "actuator_config": actuator_config(robot),
        "signal_channel": used or [0],
        "full_scale_counts": [robot.full_scale_counts[i] for i in used] or [1.0],
        "telemetry_every": telemetry_every(Telemetry.length_min(_sizes(card)), card.rate_hz),
        "signal_model": card.signal_model if observer or doubt else None,
        "observer": observer,
        "doubt": doubt,
        "settings": settings,
        "first_cost_stage": first_cost_stage(settings, card),
        "signal_offset": card.signal_offset or [0.0],
        "signal_scale": card.signal_scale or [1.0],
        "physical": physical,
        "budget_us": budget_us(settings, card),
        "content_max": content_max(_sizes(card)),
        "build_id": build_id,
        "settings_hash": settings_hash,
    }
    files = ("controller_config.h", "controller_config.c")
    try:
        return {name: _environment().get_template(name).render(values) for name in files}
    except nn4mc_codegen.ModelError as error:  # a number that is no float32
        raise BuildError(str(error)) from None


@functools.cache
def _environment() -> jinja2.Environment:
    environment = template_environment(TEMPLATES)
    environment.filters["c_floats"] = _c_floats
    environment.filters["c_value"] = _c_value
    return environment


def _c_floats(value: float | list[float]) -> str:
    """A float or a list of them, as a C literal or initialiser."""
    if isinstance(value, list):
        return "{" + ", ".join(map(c_float, value)) + "}"
    return c_float(value)


def _c_value(value: float | int | bool | list) -> str:
    """A number, a truth value or a list of numbers, as a C literal or initialiser."""
    if isinstance(value, list):
        return "{" + ", ".join(map(_c_value, value)) + "}"
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int) else c_float(value)


# --------------------------------------------------------------------------- build


def _sizes(card: ModelCard) -> Sizes:
    return Sizes(len(card.command_names), len(card.output_offset), len(card.signal_names))


def _check_frames(card: ModelCard) -> None:
    sizes = _sizes(card)
    if long := too_long(sizes):
        raise BuildError(
            f"{sizes.commands} commands, {sizes.outputs} outputs and {sizes.signals} signals make "
            f"{', '.join(long)} longer than a frame of {CONTENT_LIMIT} bytes"
        )


def _check_recurrent(card: ModelCard, settings: MpcSettings) -> None:
    if card.states and settings.method != "gauss_newton":
        raise BuildError(
            f"method: {settings.method} takes second derivatives, which a recurrent network has "
            "none of here; use gauss_newton"
        )
    directions = settings.control_horizon * len(card.command_names)
    if card.states and directions > MAX_PUSH:
        raise BuildError(
            f"control_horizon: {settings.control_horizon} moves of {len(card.command_names)} "
            f"commands are {directions} directions; a recurrent network takes {MAX_PUSH} at most"
        )


def _build_id(sources: Path, made: Path, rendered: dict[str, str]) -> str:
    contents = {
        path.relative_to(sources).as_posix(): path.read_bytes()
        for path in sources.rglob("*")
        if path.suffix in {".c", ".h", ".ld", ".mk", ".py"} or path.name == "Makefile"
    }
    contents |= {name: (made / name).read_bytes() for name in ("fk.c", "fk.h")}
    contents |= {name: text.encode() for name, text in rendered.items()}
    digest = hashlib.sha256()
    for name in sorted(contents):
        digest.update(f"{name}\0{len(contents[name])}\0".encode() + contents[name])
    return digest.hexdigest()[:16]


def _settings_hash(rendered: dict[str, str]) -> str:
    """Of all that is built in beside the network: scales, bounds, weights, instruments."""
    digest = hashlib.sha256()
    for name in sorted(rendered):
        digest.update(f"{name}\0{rendered[name]}\0".encode())
    return digest.hexdigest()[:16]


def _compiler_version(board: Board) -> str:
    for program, packages in ((board.compiler, board.packages), ("make", "make")):
        if shutil.which(program) is None:
            raise BuildError(f"{program} is not installed: apt install {packages}")
    answer = subprocess.run(
        [board.compiler, "--version"], capture_output=True, text=True, check=True
    )
    return answer.stdout.splitlines()[0]


def _make(scratch: Path, board: str, log_dir: Path) -> None:
    """Builds SCRATCH/build by SCRATCH/firmware; if that fails, LOG_DIR gets the log."""
    command = ["make", "-C", "firmware", "BUILD=../build", f"BOARD={board}"]
    own = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    own["PYTHON"] = sys.executable
    done = subprocess.run(
        command, cwd=scratch, env=own, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if done.returncode != 0:
        log = log_dir / LOG_FILE
        log_dir.mkdir(parents=True, exist_ok=True)
        log.write_text(done.stdout, encoding="utf-8")
        errors = [line for line in done.stdout.splitlines() if "error: " in line or "***" in line]
        first = " | ".join(errors[:2]) or done.stdout.strip()[-200:]
        raise BuildError(f"building for {board} failed: {first} (all of it: {log})")


def _move_results(made: Path, out_dir: Path) -> None:
    """The files of MADE into OUT_DIR, each whole. The record goes first and comes last: in between,
    a few renames long, there is no build."""
    try:
        out_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".firmware-", dir=out_dir) as inbox:
            names = sorted(
                (path.name for path in made.iterdir() if path.is_file()),
                key=lambda name: (name == BUILD_FILE, name),
            )
            for name in names:
                shutil.copyfile(made / name, Path(inbox) / name)
            (out_dir / LOG_FILE).unlink(missing_ok=True)
            (out_dir / BUILD_FILE).unlink(missing_ok=True)
            for name in names:
                (Path(inbox) / name).replace(out_dir / name)
    except OSError as error:
        raise BuildError(f"the firmware cannot be written: {error}") from None
