"""The controllers that a run can have: one table, which everything that starts or prints one asks.

A new controller is one node in soft_control/nodes/ and one entry here:
docs/tutorials/new_controller.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from soft_control.topics import OUTPUTS, SIGNALS

Need = Literal["model", "firmware", "rest"]
"""model: the network, which says too what surface the robot reaches; firmware: what was built from
it; rest: the same network where the robot rests."""
Size = Literal["commands", "outputs"]
"""What there are m of, and what there are n of."""

MEASURED, SENSED = OUTPUTS, SIGNALS
"""Topics that a controller may act on: the measured outputs, the calibrated signals."""


@dataclass(frozen=True)
class ControllerEntry:
    """One controller, as bring-up, command line, report, verdict and tuning see it."""

    title: str
    """For figures, tables and sentences."""
    help: str
    """For the command line, in a few words."""
    node: str
    """Module in soft_control/nodes/ that runs it; its parameters stand in config/<node>.yaml and,
    for one robot, below nodes in its description."""
    takes: tuple[str, ...]
    """Parameters of the node that a run sets: names out of bringup.offered."""
    trigger: str = SENSED
    """Topic on whose messages it acts; the reference is generated for their stamps."""
    sees_position: Callable[[Mapping[str, Any]], bool] = lambda parameters: False
    """Whether it is told the measured outputs, by the parameters of its node."""
    has_preview: bool = False
    """Whether it knows the reference over a horizon, and not of this sample alone."""
    needs: tuple[Need, ...] = ()
    """What must be there, and fit the robot, before it can start."""
    sizes: Mapping[str, tuple[Size, ...]] = field(default_factory=dict)
    """Parameters in config/ that are lists of finite numbers: what they have one value for."""
    tuner: str = ""
    """module:function that `softctl tune` calls to find its parameters, as experiment.tuning says;
    empty: it is not tuned."""
    targets: tuple[str, ...] = ()
    """Where its firmware can run; empty: it runs on the host."""
    tracks: bool = True
    """Whether it follows a reference; otherwise a run of it is a recording."""

    @property
    def name(self) -> str:
        """By which the graph chooses it: open_loop."""
        return self.title.lower().replace(" ", "_")

    def on(self, target: str) -> str:
        """Title of a run: with its target where a target makes a difference."""
        return f"{self.title} on {target}" if self.targets else self.title


COMMON = ("rate_hz", "command_names", "command_neutral", "output_names", "frame")
MCU = (*COMMON, "output_rest", "target", "firmware", "port", "clock", "signal_names")
WIRED = (
    "wiring",
    "controller",
    "sensor_port",
    "actuator_port",
    "host_lost",
    "rearm",
    "cut_from_s",
    "cut_for_s",
    "calibrate_s",
    "adaptation",
    "learned_file",
)
"""What the node mcu takes; of a run as it is asked for in WIRED."""
TURNS = ("clock", "standby")
"""What a controller takes that can wait until it is chosen while a run goes on."""

GAINS: dict[str, tuple[Size, ...]] = {
    "decoupling": ("commands", "outputs"),
    "kp": ("commands",),
    "ki": ("commands",),
    "kd": ("commands",),
}
"""Of a PID."""

CONTROLLERS: dict[str, ControllerEntry] = {
    "mpc": ControllerEntry(
        title="MPC",
        help="the firmware",
        node="mcu",
        takes=(*MCU, *WIRED, "trajectory"),
        sees_position=lambda parameters: bool(parameters.get("tethered", False)),
        has_preview=True,
        needs=("model", "firmware"),
        tuner="soft_control.experiment.tuning:mpc_for_model",
        targets=("sil", "pil", "hil"),
    ),
    "pid": ControllerEntry(
        title="PID",
        help="the baseline",
        node="pid",
        takes=(*COMMON, *TURNS, "command_min", "command_max"),
        trigger=MEASURED,
        sees_position=lambda parameters: True,
        needs=("model",),
        sizes=GAINS,
        tuner="soft_control.experiment.tuning:pid_for_model",
    ),
    "pid_feedforward": ControllerEntry(
        title="PID feedforward",
        help="the same with preview, on top of the static inverse",
        node="pid_feedforward",
        takes=(*COMMON, *TURNS, "command_min", "command_max", "rest"),
        trigger=MEASURED,
        sees_position=lambda parameters: True,
        has_preview=True,
        needs=("model", "rest"),
        sizes=GAINS,
        tuner="soft_control.experiment.feedforward_tuning:pid_feedforward_for_model",
    ),
    "static_inverse": ControllerEntry(
        title="static inverse",
        help="the command at which the network rests at the reference",
        node="static_inverse",
        takes=(
            *("rate_hz", "command_names", "command_min", "command_max", "output_names", "frame"),
            *(*TURNS, "rest"),
        ),
        has_preview=True,
        needs=("model", "rest"),
        tuner="soft_control.experiment.feedforward_tuning:static_inverse_for_model",
    ),
    "excitation": ControllerEntry(
        title="open loop",
        help="open-loop commands",
        node="excitation",
        takes=(
            *("rate_hz", "command_names", "command_min", "command_max", "seed", "duration_s"),
            *(*TURNS, "trigger"),
        ),
        sizes={"move_max": ("commands",)},
        tracks=False,
    ),
}

MCU_NODE = CONTROLLERS["mpc"]
"""The one whose node speaks with the firmware; in wiring mcu it does so for all others."""

HOLD = "hold"
"""The last command stays: no node of its own, but a choice as every controller is."""
CHOICES = (*(entry.name for entry in CONTROLLERS.values()), HOLD)
"""Who can find the commands: what the node mcu's parameter `controller` may be."""

TARGETS = tuple(dict.fromkeys(t for entry in CONTROLLERS.values() for t in entry.targets))
"""Every place where a controller's firmware can run."""


def controller(name: str) -> ControllerEntry:
    """The controller `name`. Raises ValueError listing all where there is none."""
    if name not in CONTROLLERS:
        raise ValueError(f"unknown controller '{name}': choose one of {', '.join(CONTROLLERS)}")
    return CONTROLLERS[name]


def standby(names: str) -> list[ControllerEntry]:
    """Those of a list with commas: keys of the table, or names by which the graph chooses.

    Raises ValueError for one that there is none, or that cannot wait for its turn.
    """
    found = []
    for name in filter(None, (part.strip() for part in names.split(","))):
        entry = next((e for e in CONTROLLERS.values() if e.name == name), None)
        entry = entry or controller(name)
        if entry is not MCU_NODE and not set(TURNS) <= set(entry.takes):
            raise ValueError(f"the {entry.title} cannot wait for its turn: it knows no standby")
        found.append(entry)
    return found
