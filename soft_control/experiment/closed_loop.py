"""A rig and a controller in one process: the walk of a lockstep run without ROS in between.

The same sample order as the graph of nodes, thousands of times faster than real time: for tuning,
benchmarks and comparisons. The firmware takes part as sil.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from soft_control.control import observer as observing
from soft_control.control import pid, static_inverse
from soft_control.control.controllers import controller
from soft_control.control.mpc_settings import MpcSettings, physical_settings
from soft_control.control.problem import Sizes, Start, Weights
from soft_control.experiment.checks import check_sizes
from soft_control.experiment.node_parameters import controller_parameters
from soft_control.firmware_files import read_build
from soft_control.learning.calibration import Calibration
from soft_control.learning.dataset import Recording
from soft_control.learning.excitation import excitation
from soft_control.learning.model import Model, ModelCard
from soft_control.link.learned_map import LearnedMap
from soft_control.link.opening import open_session
from soft_control.link.session import McuSession
from soft_control.rigs import Rig, Sample, make_rig
from soft_control.robots.description import RobotDescription


class Controller(Protocol):
    """Anything that answers a sample with a command."""

    preview: int
    """Samples beyond now that it wants to know the reference of."""

    def step(self, seen: Sample, signals: np.ndarray, ahead: np.ndarray) -> np.ndarray:
        """Command (m,) for what is seen now: calibrated signals (p,), reference (preview + 1, n),
        row 0 of this sample."""


@dataclass(frozen=True)
class Trace:
    """One run of T samples."""

    robot: RobotDescription
    t_s: np.ndarray
    """(T,)"""
    outputs: np.ndarray
    """(T, n) true outputs, in the description's units."""
    reference: np.ndarray
    """(T, n)"""
    commands: np.ndarray
    """(T, m)"""


def run(
    rig: Rig,
    controller: Controller,
    reference: Callable[[np.ndarray], np.ndarray],
    rate_hz: float,
    duration_s: float,
    progress: Callable[[int], None] = lambda sample: None,
) -> Trace:
    """Drive `rig` from rest; `reference` gives outputs (T, n) at times (T,) s."""
    rig.reset()
    calibrate = calibration(rig).apply
    samples = round(duration_s * rate_hz)
    wanted = reference(np.arange(samples + controller.preview) / rate_hz)
    outputs = np.empty((samples, len(rig.description.outputs)))
    commands = np.empty((samples, rig.command_min.size))
    for k in range(samples):
        seen = rig.measure()
        outputs[k] = rig.outputs()
        ahead = wanted[k : k + controller.preview + 1]
        commands[k] = controller.step(seen, calibrate(seen.signals), ahead)
        rig.step(commands[k], 1 / rate_hz)
        progress(k + 1)
    return Trace(rig.description, np.arange(samples) / rate_hz, outputs, wanted[:samples], commands)


class PidController:
    """The PID baseline: sees the measured outputs, has no preview. A sample without them it answers
    with the command before, as a node does that hears nothing."""

    preview = 0

    def __init__(self, config: pid.PidConfig, rate_hz: float) -> None:
        self._config, self._dt = config, 1 / rate_hz
        self._state = pid.reset(config)
        self._command = config.command_neutral

    def step(self, seen: Sample, signals: np.ndarray, ahead: np.ndarray) -> np.ndarray:
        """Command (m,): see Controller."""
        if np.isfinite(seen.outputs).all():
            self._command = pid.step(self._config, self._state, ahead[0], seen.outputs, self._dt)
        return self._command


class StaticInverseController:
    """The static inverse: sees nothing, and looks ahead by its lead."""

    def __init__(self, config: static_inverse.StaticInverseConfig, rate_hz: float) -> None:
        self.preview = math.ceil(config.lead_s * rate_hz)
        self._config, self._dt = config, 1 / rate_hz
        self._state = static_inverse.reset(config)

    def step(self, seen: Sample, signals: np.ndarray, ahead: np.ndarray) -> np.ndarray:
        """Command (m,): see Controller."""
        return static_inverse.step(self._config, self._state, ahead, self._dt)


class PidFeedforwardController:
    """The PID on top of a feed-forward: sees the measured outputs, and looks ahead. Without them it
    stays at its command, as the PID does."""

    def __init__(self, config: pid.PidConfig, forward: Controller, rate_hz: float) -> None:
        """forward: a StaticInverseController, or what it has found before."""
        self._forward, self.preview = forward, forward.preview
        self._config, self._dt = config, 1 / rate_hz
        self._state = pid.reset(config)
        self._command = config.command_neutral

    def step(self, seen: Sample, signals: np.ndarray, ahead: np.ndarray) -> np.ndarray:
        """Command (m,): see Controller."""
        forward = self._forward.step(seen, signals, ahead)
        if np.isfinite(seen.outputs).all():
            self._command = pid.step(
                self._config, self._state, ahead[0], seen.outputs, self._dt, forward
            )
        return self._command


class ModelController:
    """The control loop of the firmware around any solver of its problem, in float64.

    The network runs on the commands sent. What is measured may correct it in two ways: it moves a
    disturbance that is added to the network's output, so that no offset remains, and it moves the
    output itself, so that a motion which the network has not foreseen is damped:

        e = measured - d - y     d <- d + offset_gain · e     y <- y + output_gain · e

    Beside that, the signals may say how far the network's outputs are off: an observer.
    """

    def __init__(
        self,
        model: Model,
        solve: Callable[[Weights, Start, np.ndarray], np.ndarray],
        sizes: Sizes,
        weights: Weights,
        neutral: np.ndarray,
        live: Sequence[int] = (),
        offset_gain: float = 0.0,
        output_gain: float = 0.0,
        preview: bool = True,
        observer: observing.ObserverConfig | None = None,
    ) -> None:
        """`solve` gives the plan (Nc, m) for weights, start and the plan before; `live` are the
        numbers of the signals that the network sees; without `preview` the reference of now stands
        for the whole horizon. `observer`: of the signals, if there is one."""
        self.preview = sizes.horizon if preview else 0
        self._model, self._solve, self._sizes, self._weights = model, solve, sizes, weights
        self._live = list(live)
        self._offset_gain, self._output_gain = offset_gain, output_gain
        self._observing = observer
        self._function = observing.signal_function(model.card)
        self._neutral = model.card.normalised_command(neutral)
        self._started = False

    def step(self, seen: Sample, signals: np.ndarray, ahead: np.ndarray) -> np.ndarray:
        """Command (m,): see Controller."""
        card, s = self._model.card, self._sizes
        live = card.normalised_signal(signals[self._live]) if self._live else np.zeros(0)
        if not self._started:
            self._started = True
            self._commands = np.tile(self._neutral, (s.input_delay + s.input_lags, 1))
            rest = card.normalised_output(card.robot.output_rest)
            self._outputs = np.tile(rest, (s.output_lags, 1))
            self._plan = np.tile(self._neutral, (s.control_horizon, 1))
            self._offset = np.zeros(s.outputs)
            self._memory = np.tile(self._neutral, len(card.memory_s))
            self._observer = observing.reset(s.outputs)
        self._estimate(seen, live)
        wanted = card.normalised_output(ahead)
        reference = wanted[1:] if self.preview else np.tile(wanted[0], (s.horizon, 1))
        start = Start(
            self._commands,
            self._outputs,
            np.concatenate([live, self._memory]),
            reference - self._offset - self._observer.error,
            np.zeros(s.states),
        )
        plan = self._solve(self._weights, start, self._plan)
        self._commands = np.vstack([plan[0], self._commands[:-1]])
        lags = self._commands[s.input_delay :]
        acting = np.tile(lags[0], len(card.memory_s))
        self._memory += card.memory_gains() * (acting - self._memory)
        x = [lags.ravel(), self._outputs.ravel(), live, self._memory]
        y = self._model.step(np.concatenate(x))
        self._outputs = np.vstack([y, self._outputs[:-1]])
        self._plan = np.vstack([plan[1:], plan[-1:]])
        return plan[0] * np.array(card.command_scale) + np.array(card.command_offset)

    def _estimate(self, seen: Sample, live: np.ndarray) -> None:
        """Moves disturbance and output by what is seen; a reading that is not finite moves none."""
        card = self._model.card
        if self._observing is not None:
            observing.step(
                self._observing,
                self._function,
                self._observer,
                np.zeros(len(live), bool),
                live,
                self._outputs[0],
                self._commands[self._sizes.input_delay],
            )
        predicted = self._offset + self._outputs[0] + self._observer.error
        error = card.normalised_output(seen.outputs) - predicted
        if np.isfinite(error).all():
            self._offset += self._offset_gain * error
            self._outputs[0] += self._output_gain * error


class Firmware:
    """The firmware of a build, in process (sil) or in the emulator (pil). One run after another,
    each from its start."""

    def __init__(
        self,
        build_dir: Path,
        card: ModelCard,
        tethered: bool = False,
        adapts: bool = False,
        calibrate_s: float = 0.0,
        target: Literal["sil", "pil"] = "sil",
    ) -> None:
        """`tethered`: it is told the measured outputs, where there are any, for its offset
        estimate. `adapts`: they also teach it what the robot of today is like. `calibrate_s`: it
        is told them, and learns, for so long from each run's start, and then no more."""
        build = read_build(build_dir)
        self.step_costs: list[int] = []
        """Instructions of each control step since `restart`; in sil, where nobody counts, 0."""
        self.doubted: list[int] = []
        """Which signals each step since `restart` did not believe: bit i of the card's signal i."""
        self._session: McuSession = open_session(target, build)
        self._adapts = adapts or calibrate_s > 0
        self._told = math.inf if tethered else round(calibrate_s * card.rate_hz)
        self._robot = robot = card.robot
        self._neutral = robot.command_neutral
        self._live = [robot.signal_names.index(name) for name in card.signal_names]
        self.preview = build.horizon
        self.restart()

    def restart(self, settings: MpcSettings | None = None) -> Firmware:
        """Ready for another run, with other bounds and weights if they are given."""
        if settings is not None:
            self._session.configure(physical_settings(settings, self._robot))
        self._k = 0
        self.step_costs, self.doubted = [], []
        return self

    def step(self, seen: Sample, signals: np.ndarray, ahead: np.ndarray) -> np.ndarray:
        """Command (m,): see Controller."""
        if self._k == 0:
            self._session.stop()  # the rig is back at rest, wherever the run before has ended
            self._session.adapt(LearnedMap.as_recorded(len(self._robot.outputs)))
            self._session.arm(
                self._neutral, self._robot.output_rest, ahead[:-1], adapts=self._adapts
            )
        if self._k < self._told and np.isfinite(seen.outputs).all():
            self._session.measurement(self._k, seen.outputs)
        answer = self._session.sample(self._k, signals[self._live], ahead[-1])
        self._k += 1
        self.step_costs.append(answer.step_cost)
        self.doubted.append(answer.doubted)
        return np.asarray(answer.command)

    def learned(self) -> LearnedMap:
        """What the robot of this run is like."""
        return self._session.adaptation()

    def close(self) -> None:
        """Lets go of the library, or ends the emulator."""
        self._session.close()


def calibration(rig: Rig) -> Calibration:
    """Of the rig's signals, as the lightlace node applies it."""
    return Calibration(rig.description.full_scale_counts)


def record(rig_name: str, seed: int, duration_s: float, rate_hz: float) -> Recording:
    """What `softctl collect` records."""
    rig = make_rig(rig_name, seed=seed)
    entry = controller("excitation")
    parameters = controller_parameters(entry, rig.description, rate_hz)
    check_sizes(entry, "excitation", parameters, rig.description)
    commands = excitation(
        duration_s, rate_hz, rig.command_min, rig.command_max, seed=seed, **parameters
    )
    seen = []
    for command in commands:
        seen.append(rig.measure())
        rig.step(command, 1 / rate_hz)
    signals = np.array([sample.signals for sample in seen])
    return Recording(
        source=f"seed {seed}",
        t_s=np.arange(len(commands)) / rate_hz,
        commands=commands,
        outputs=np.array([sample.outputs for sample in seen]),
        signals=calibration(rig).apply(signals),
        reference=None,
        command_names=rig.command_names,
        output_names=rig.description.output_names,
        signal_names=rig.signal_names,
        robot=rig.description,
    )
