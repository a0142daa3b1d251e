"""What must fit before a run may start, each by name: nothing is written or started until it does.

Every function raises ValueError (BuildError is one for a firmware) in one line that says what was
wrong, where, and what to do.
"""

from __future__ import annotations

import math
import os
import shutil
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from soft_control.control.controllers import MEASURED, ControllerEntry
from soft_control.control.references import SHAPES, Reference
from soft_control.control.sampled_reference import SampledReference, read_reference
from soft_control.experiment.recorded_reference import is_recorded, read_recorded
from soft_control.firmware_files import FirmwareBuild
from soft_control.learning.surface import Surface
from soft_control.link.returning import PortFinder
from soft_control.plain_text import first_fault, printable
from soft_control.rigs import RIGS, describe
from soft_control.robots import said_in
from soft_control.robots.config_files import as_mapping
from soft_control.robots.description import RobotDescription

if TYPE_CHECKING:  # the card knows the compiler, which no node shall import
    from soft_control.learning.model import ModelCard


def check_length(duration_s: float, rate_hz: float) -> None:
    """A run has at least one sample."""
    if round(duration_s * rate_hz) < 1:
        raise ValueError(
            f"a run of {duration_s:g} s holds no sample at {rate_hz:g} Hz: it needs at least "
            f"{1 / rate_hz:.4g} s"
        )


def check_target(entry: ControllerEntry, target: str, port: str) -> None:
    """The place where a controller's firmware runs, and its serial port."""
    if not entry.targets:
        return
    if target not in entry.targets:
        raise ValueError(
            f"the {entry.title} cannot run on '{target}': choose {' or '.join(entry.targets)}"
        )
    if target == "pil" and shutil.which("qemu-system-arm") is None:
        raise ValueError("pil needs qemu-system-arm: apt install qemu-system-arm")
    if target == "hil":
        check_port(port)
    elif port:
        raise ValueError(f"--port {port} is for the target hil, not for {target}")


def check_wiring(
    entry: ControllerEntry, wiring: str, target: str, cut: str, sim: bool = True
) -> None:
    """Who can be at the other end of the instruments' lines, and whose line can be cut."""
    own = "firmware" in entry.needs
    if wiring == "host":
        if cut:
            raise ValueError("a cut needs --wiring mcu: in wiring host nothing goes on without it")
    elif target == "hil" and sim:
        raise ValueError(
            "--wiring mcu on hil: the simulated rig has no line to the instrument ports of a board"
        )
    elif not own and entry.trigger != MEASURED:
        raise ValueError(
            f"the {entry.title} acts on the signals, which the microcontroller has in --wiring "
            "mcu: choose --wiring host"
        )
    elif cut and not own:
        raise ValueError(
            f"the {entry.title} is on the host: a cut would be its end; only the firmware's own "
            "controller goes on"
        )


def cut_of(cut: str, duration_s: float) -> tuple[float, float]:
    """From when, and for how long, s, of FOR@FROM; zeros for none."""
    if not cut:
        return 0.0, 0.0
    try:
        for_s, from_s = map(float, cut.split("@"))
    except ValueError:
        for_s = from_s = math.nan
    if not (math.isfinite(for_s) and math.isfinite(from_s) and for_s > 0 and from_s > 0):
        raise ValueError(f"cut '{cut}' is not how long @ from when, in s, such as 4@8")
    if from_s + for_s >= duration_s:
        raise ValueError(
            f"the line is cut until {from_s + for_s:g} s, but the run ends at {duration_s:g} s: "
            "nobody would see it come back"
        )
    return from_s, for_s


def check_instruments(
    sim: bool, ports: Mapping[str, str], at_board: bool, load: str, tracked: bool
) -> None:
    """Ports of the robot's own sensor and actuators, by the options that name them: a robot of
    one's own needs them, unless they are at a board, and a simulated rig has its own."""
    named = next((option for option, port in ports.items() if port), None)
    if sim and (named or tracked):
        raise ValueError(
            f"{named or '--tracker'} is of a robot of your own: use --no-sim, or leave it out"
        )
    if not sim and load:
        raise ValueError("--load is put on a simulated rig: leave it out, or --no-sim")
    if not sim and at_board and named:
        raise ValueError(f"{named}: in --wiring mcu the instruments are at the board's own ports")
    if sim or at_board:
        return
    for option, port in ports.items():
        if not port:
            raise ValueError(f"--no-sim needs the robot's own instruments: {option} is missing")
        check_port(port, option, "instrument")


def check_calibration(
    entry: ControllerEntry, calibrate_s: float, adaptation: str, measured: bool
) -> None:
    """Who can learn what the robot of today is like, and from what."""
    if not (calibrate_s or adaptation):
        return
    option = "--calibrate-s" if calibrate_s else "--adaptation"
    if "firmware" not in entry.needs:
        raise ValueError(f"{option} is of the firmware's own controller: choose --controller mpc")
    if calibrate_s and not measured:
        raise ValueError(
            "--calibrate-s: the firmware learns from measured outputs, and nobody measures them: "
            "use --tracker"
        )


def check_measured(entry: ControllerEntry, parameters: Mapping[str, Any], wiring: str) -> None:
    """A robot of one's own without a tracker has a controller that needs none. In wiring mcu one on
    the host acts on measured outputs in any case: the signals come with the commands there."""
    on_host = wiring == "mcu" and "firmware" not in entry.needs
    if on_host or entry.trigger == MEASURED or entry.sees_position(parameters):
        raise ValueError(
            f"the {entry.title} acts on measured outputs, and nobody measures them: use --tracker"
        )


def check_lead(entry: ControllerEntry, parameters: Mapping[str, Any], rate_hz: float) -> None:
    """A controller's lead is within what it is told of the reference."""
    lead_s, preview = (parameters.get(key, 0) for key in ("lead_s", "preview"))
    if _is_numbers([lead_s, preview]) and lead_s * rate_hz > preview * (1 + 1e-9):
        raise ValueError(
            f"the {entry.title} looks {lead_s:g} s ahead, but preview of the node {entry.node} is "
            f"{preview} samples, {preview / rate_hz:g} s at {rate_hz:g} Hz: give it more"
        )


def check_port(port: str, option: str = "--port", what: str = "board") -> None:
    """The serial port of a board or an instrument, and the option that names it."""
    if not port:
        raise ValueError(f"hil needs a board: name its serial port with {option}")
    try:
        path = PortFinder(port).find() or port
        mode = os.stat(path).st_mode
    except (OSError, ValueError) as error:
        said = error.strerror if isinstance(error, OSError) else error
        raise ValueError(f"{option} {port}: {said}; is the {what} plugged in?") from None
    if not stat.S_ISCHR(mode) or not _is_terminal(path, option):
        raise ValueError(f"{option} {port} is no serial port")


def _is_terminal(path: str, option: str) -> bool:
    """Whether a device is a terminal, as every serial port is. Raises ValueError if it is shut."""
    try:
        opened = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    except OSError as error:
        raise ValueError(f"{option} {path} cannot be opened: {error.strerror}") from None
    try:
        return os.isatty(opened)
    finally:
        os.close(opened)


def load_options(load: str, robot: RobotDescription) -> dict[str, Any]:
    """Options of `make_rig` for the load y_0,…@t: a displacement of each output, in its unit on
    paper, from t, s, on; none for no load."""
    if not load:
        return {}
    outputs = robot.outputs
    try:
        where, _, when = load.partition("@")
        shown = [float(part) for part in where.split(",")]
        after_s = float(when)
    except ValueError:
        shown, after_s = [], math.nan
    fits = len(shown) == len(outputs) and all(map(math.isfinite, shown))
    if not (fits and math.isfinite(after_s) and after_s >= 0):
        names = ",".join(output.name for output in outputs)
        units = ", ".join(dict.fromkeys(output.shown_in for output in outputs))
        example = ",".join(["0"] * (len(outputs) - 1) + ["-2"])
        raise ValueError(
            f"load '{load}' is not {names}@t with finite numbers in {units} and s, such as "
            f"{example}@10"
        )
    offset = [value / output.factor for value, output in zip(shown, outputs, strict=True)]
    return {"load_offset": offset, "load_after_s": after_s}


def check_load(options: Mapping[str, Any], duration_s: float) -> None:
    """A load comes on within the run."""
    if options and options["load_after_s"] >= duration_s:
        raise ValueError(
            f"the load comes on at {options['load_after_s']:g} s, but the run ends at "
            f"{duration_s:g} s"
        )


def check_model(card: ModelCard, folder: Path, robot: RobotDescription) -> None:
    """The model was trained on this robot: its name, commands, signals and outputs."""
    if card.rig != robot.name:
        raise ValueError(
            f"the model in {folder} is of the robot '{card.rig}', not of {robot.name}: choose its "
            "own --model"
        )
    if tuple(card.command_names) != robot.command_names:
        raise ValueError(
            f"the model in {folder} has the commands {', '.join(card.command_names)}; {robot.name} "
            f"has {', '.join(robot.command_names)}"
        )
    foreign = [name for name in card.signal_names if name not in robot.signal_names]
    if foreign:
        raise ValueError(
            f"the model in {folder} needs signals that {robot.name} has not: {', '.join(foreign)}"
        )
    if tuple(card.output_names) != robot.output_names:
        raise ValueError(
            f"the model in {folder} has the outputs {', '.join(card.output_names)}; {robot.name} "
            f"has {', '.join(robot.output_names)}"
        )


def check_same(robot: RobotDescription, known: RobotDescription, of: str) -> None:
    """A description is of the robot of a model or rig, which `of` calls by name: the same
    quantities in the same units. Limits, and what its nodes are told, may be others."""
    for what in ("commands", "outputs", "signals"):
        given, wanted = ([f"{q.name} ({q.unit})" for q in getattr(r, what)] for r in (robot, known))
        if given != wanted:
            raise ValueError(
                f"{said_in(robot)} has the {what} {', '.join(given) or 'none'}, {of} has "
                f"{', '.join(wanted) or 'none'}: make it again from this description"
            )


def rig_for(card: ModelCard, folder: Path, rig: str | None) -> str:
    """The rig or twin's directory on which a model is tried: `rig`, by default the one that is
    called as the model's robot."""
    if rig is None and card.rig not in RIGS:
        raise ValueError(
            f"no rig simulates the robot {printable(card.rig)} of the model in {folder}: name a "
            "twin that `softctl twin` has learned from recordings, --rig DIR"
        )
    if rig is None:
        return card.rig
    check_model(card, folder, describe(rig))
    return rig


def check_build(
    build: FirmwareBuild, folder: Path, card: ModelCard, model: Path, rate_hz: float, target: str
) -> None:
    """The firmware was built from this model, is there for the target, and runs at this rate."""
    if build.model_hash != card.model_hash:
        raise ValueError(
            f"the firmware in {folder} was built from another model ({build.model_hash}) than "
            f"{model} ({card.model_hash}): run `softctl build` again"
        )
    if not math.isclose(card.rate_hz, rate_hz):
        raise ValueError(
            f"the model in {model} predicts at {card.rate_hz:g} Hz; it cannot control at "
            f"{rate_hz:g} Hz: train at that rate"
        )
    needed = build.library if target == "sil" else build.elf
    if not needed.is_file():
        raise ValueError(f"{needed} is missing: run `softctl build` again")


def check_counts(
    build: FirmwareBuild, folder: Path, robot: RobotDescription, of: str, remedy: str
) -> None:
    """A firmware and the sensor whose counts reach it, which `of` names, mean the same by a
    count of each signal that the model sees."""
    if build.robot is None:
        return
    meant, sent = (
        dict(zip(r.signal_names, r.full_scale_counts, strict=True)) for r in (build.robot, robot)
    )
    for name in build.signal_names:
        if name in sent and not math.isclose(meant.get(name, sent[name]), sent[name]):
            raise ValueError(
                f"{name} is 1 at {meant[name]:g} counts for the firmware in {folder}, and at "
                f"{sent[name]:g} for the sensor of {of}: {remedy}"
            )


def check_sizes(
    entry: ControllerEntry, name: str, parameters: Mapping[str, Any], robot: RobotDescription
) -> None:
    """Lists in the parameters of a controller's node have as many finite numbers as needed."""
    counts = {"commands": len(robot.commands), "outputs": len(robot.outputs)}
    for key, sizes in entry.sizes.items():
        needed = math.prod(counts[size] for size in sizes)
        values = parameters.get(key, [])
        if not (_is_numbers(values) and len(values) == needed):
            found = f"softctl tune --controller {name}" if entry.tuner else ""
            raise ValueError(
                f"the {entry.title} does not fit the robot {robot.name}: {key} of the node "
                f"{entry.node} must be {needed} finite numbers ({' x '.join(sizes)}); "
                + (f"find them with `{found}` or " if found else "")
                + f"write them below nodes.{entry.node} into {said_in(robot)}"
            )


def _is_numbers(values: Any) -> bool:
    return isinstance(values, list) and all(
        isinstance(v, (int, float)) and not isinstance(v, bool) and math.isfinite(v) for v in values
    )


def check_parameters(
    model: type[BaseModel], node: str, parameters: Mapping[str, Any], path: str
) -> None:
    """No value out of a parameter file is one that the node, whose parameters are `model`, would
    refuse."""
    known = {key: parameters[key] for key in parameters if key in model.model_fields}
    try:
        model.model_validate(known)
    except ValidationError as error:
        raise ValueError(f"{path}: {node}: {first_fault(error)}") from None


def check_ros(node: str, parameters: Mapping[str, Any]) -> None:
    """Every parameter of a node is one that ROS can hold: a scalar, a list of equal ones, or a
    mapping of them."""
    for key, value in parameters.items():
        if isinstance(value, dict):
            check_ros(f"{node}.{key}", value)
            continue
        values = value if isinstance(value, list) else [value]
        kinds = {type(v) for v in values}
        if not (len(kinds) <= 1 and kinds <= {bool, int, float, str}):
            raise ValueError(
                f"parameter {node}.{key} = {value!r}: must be a number, a text, or a list of one "
                "kind of them; see config/"
            )


def curve_of(
    reference: str,
    parameters: Mapping[str, Any],
    surface: Surface | None,
    robot: RobotDescription,
) -> Reference | SampledReference:
    """A shape as large, where and as fast as the parameters of the reference node say, or what a
    CSV file holds, a table of the outputs or a recorded run; `surface` is the model's."""
    if reference not in SHAPES:
        path = Path(reference)
        if is_recorded(path, robot):
            return read_recorded(path, robot)
        return read_reference(path, robot.output_names, surface)
    given = as_mapping(parameters.get("outputs", {}), "outputs of the node reference")
    where = f"see nodes.reference.outputs in {said_in(robot)}"
    foreign = [name for name in given if name not in robot.output_names]
    if foreign:
        raise ValueError(
            f"the node reference has {', '.join(foreign)}, but the outputs of {robot.name} are "
            f"{', '.join(robot.output_names)}: {where}"
        )
    follow = surface.following if surface else ()
    chosen: dict[str, list[float]] = {"amplitude": [], "centre": [], "component": []}
    for number, name in enumerate(robot.output_names):
        own = as_mapping(given.get(name, {}), f"{name} of the node reference")
        unknown = [key for key in own if key not in chosen]
        if unknown:
            raise ValueError(f"{name} of the node reference has {unknown[0]}: {where}")
        # What follows a surface is there already, the others move about where the robot rests.
        defaults = {"centre": robot.outputs[number].rest, "component": number}
        if name in follow:
            defaults |= {"centre": 0.0, "amplitude": 0.0}
        for key, values in chosen.items():
            value = own.get(key, defaults.get(key))
            if not _is_numbers([value]) or key == "component" and not _is_number_of_one(value):
                wanted = "a whole number from 0 on" if key == "component" else "a finite number"
                if value is None and key == "amplitude":
                    example = f"{name}: {{amplitude: …}}, in {robot.outputs[number].unit}"
                    raise ValueError(
                        f"nobody says how far {name} goes in a shape: write {example}, below "
                        f"nodes.reference.outputs into {said_in(robot)}, or follow a file: "
                        "--reference FILE.csv"
                    )
                raise ValueError(
                    f"{key} of {name} in the node reference must be {wanted}, not {value!r}: "
                    f"{where}"
                )
            values.append(value)
    rate = parameters.get("angular_rate")
    if not _is_numbers([rate]):
        raise ValueError(
            f"angular_rate of the node reference must be a finite number, not {rate!r}: see "
            "config/reference.yaml"
        )
    return Reference(
        outputs=robot.output_names,
        shape=reference,
        amplitude=tuple(map(float, chosen["amplitude"])),
        centre=tuple(map(float, chosen["centre"])),
        component=tuple(map(int, chosen["component"])),
        angular_rate=float(rate),
        surface=surface,
    )


def _is_number_of_one(value: Any) -> bool:
    return isinstance(value, int) and value >= 0
