"""Learn a twin of a robot from recordings of it: networks, transport delay and noise.

A twin stands in for a robot before anything moves, so it shares nothing with the controller's
network but the recordings: several larger networks, from seeds of their own, which predict signals
as well as outputs, and a delay and a noise that are measured. `rigs/learned.py` runs it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from soft_control.learning.blank_card import blank_card, robot_of
from soft_control.learning.dataset import live_signals, resample, window_samples
from soft_control.learning.errors import rmse
from soft_control.learning.model import ROLLOUT_SAMPLES, Model, ModelCard, free_run
from soft_control.learning.noise import measured_noise
from soft_control.learning.recording import Recording, warn
from soft_control.learning.settings import (
    TrainingError,
    TrainingSettings,
    check_update,
)
from soft_control.learning.suitability import check_long_enough
from soft_control.learning.training import Progress, fit
from soft_control.learning.transport_delay import transport_delay
from soft_control.rigs.learned import Networks
from soft_control.rigs.twin_files import FreeRun, TwinCard, split, write_card, write_network
from soft_control.robots.description import Output, RobotDescription, Signal

REST_S = 120.0
"""A twin that is not at rest after so long under mid-range commands has no rest."""
REST_MOVE = 1e-6
"""Normalised: what moves less than that in a sample is at rest."""
HELD_COMMANDS = 40
"""Of the recorded ones; each is held, and the network must come to rest."""
HELD_S = 20.0
HELD_MOVE = 1e-3
"""In a sample, normalised: a slow creep moves less, a network that trembles by 0.02 to 0.3."""
COUNTS_A_NOISE = 5.0
"""A signal's noise is so many counts of the twin's line at least: rounding adds 1/300 of it."""
COUNTS_A_SPAN = 1e5
"""Counts over the span of a signal that has no noise."""
COUNTS_MAX = 1e9
"""A count on the line has ten digits: the largest recorded one stays ten times smaller."""


class TwinSettings(BaseModel):
    """How a twin is learned. The defaults take minutes; what is not here is as in a training."""

    model_config = ConfigDict(use_attribute_docstrings=True, extra="forbid", allow_inf_nan=False)

    networks: int = Field(4, ge=1, le=32)
    """Whose mean the twin is."""
    hidden: tuple[Annotated[int, Field(ge=1, le=4096)], ...] = Field(
        (64, 64), min_length=1, max_length=16
    )
    """Units of their hidden layers, all tanh."""
    updates: int = Field(4000, ge=1, le=10**8)
    """Gradient steps of each on rollouts; its last weights are kept, so that nothing is chosen on
    the run held out."""
    warm_start_updates: int = Field(500, ge=0, le=10**8)
    """Gradient steps on single samples before that."""
    batch: int = Field(64, ge=1, le=10**5)
    """Rollouts side by side."""
    rollout_samples: int = Field(40, ge=1, le=10**4)
    """Samples through which the gradient of an update goes back."""
    learning_rate: float = Field(5e-3, gt=0, le=1e3)
    """Of Adam at the start; falls to zero along a cosine."""
    difference_gain: float = Field(5.0, ge=0, le=1e6)
    """Extra weight, in training, of the differences between neighbouring lags."""
    input_lags: int = Field(3, ge=1, le=1000)
    """nd: commands that the networks see."""
    output_lags: int = Field(1, ge=1, le=1000)
    """dd: states, outputs and signals, that they see; 2 or 3 for a robot that swings, unless its
    signals tell how fast it moves. With 3, eleven of twelve networks learned from the recorded
    trunk trembled under one to six of forty held commands; with 1 none did."""
    input_delay: int | None = Field(None, ge=0, le=1000)
    """d: samples of transport delay; by default it is measured."""
    delay_max_s: float = Field(0.5, ge=0, le=10)
    """Longest delay that is looked for."""
    seed: int = Field(10_000, ge=0, lt=2**31 - 64)
    """Of the first network, then one up: far from those of a controller's network."""

    @model_validator(mode="after")
    def _fits_into_memory(self) -> TwinSettings:
        check_update(self.batch, self.rollout_samples)
        return self


def learn(
    recordings: Sequence[Recording],
    held_out: Recording,
    settings: TwinSettings,
    rate_hz: float | None,
    out_dir: str | Path,
    progress: Callable[[Progress], None] = lambda _: None,
) -> TwinCard:
    """Learn from whole runs and write OUT_DIR/twin.json and OUT_DIR/twin.npy; `rate_hz` is by
    default the robot's.

    Raises TrainingError or RecordingError for what nothing can be learned from, and for a twin that
    does not come to rest; warns about what is left out.
    """
    robot = robot_of([*recordings, held_out], TrainingSettings())
    rate_hz = rate_hz or robot.rate_hz
    runs = [resample(run, rate_hz) for run in recordings]
    moving = [name for name in live_signals(runs) if name in robot.signal_names]
    noise = measured_noise(recordings, robot.output_names, moving)
    progress(Progress(stage="transport delay", update=0, updates=1))
    delay = settings.input_delay
    if delay is None:
        segments = [
            (
                part.command(robot.command_names),
                np.hstack([part.output(robot.output_names), part.signal(moving)]),
            )
            for run in runs
            for part in run.segments()
        ]
        delay = transport_delay(segments, round(settings.delay_max_s * rate_hz))
    training = TrainingSettings(
        rate_hz=rate_hz,
        input_delay=delay,
        signals=False,
        **settings.model_dump(exclude={"networks", "input_delay", "delay_max_s"}),
    )
    shortest = window_samples(settings.input_lags, settings.output_lags, delay)
    check_long_enough(resample(held_out, rate_hz, shortest), shortest + ROLLOUT_SAMPLES - 1)
    seen = _whole_state(robot, moving)
    known = [_as_state(resample(run, rate_hz, shortest), robot, moving, seen) for run in recordings]
    judged = _as_state(resample(held_out, rate_hz, shortest), robot, moving, seen)
    card = blank_card(seen, known, [judged], training)
    models = _networks(card, known, training, settings.networks, progress)
    networks = [model.network.layers for model in models]
    still = [name for name in robot.signal_names if name not in moving]
    shown = np.vstack([run.signal(moving) for run in runs])
    values = {name: _constant(runs, name) for name in still}
    felt = dict(zip(moving, zip(noise[len(robot.outputs) :], shown.T, strict=True), strict=True))
    scales = full_scales(robot.signals, felt, values)
    out_dir = Path(out_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    twin = TwinCard(
        robot=robot.calibrated(scales) if scales else robot,
        rate_hz=rate_hz,
        input_lags=settings.input_lags,
        state_lags=settings.output_lags,
        input_delay=delay,
        command_offset=card.command_offset,
        command_scale=card.command_scale,
        moving=moving,
        still=values,
        state_offset=card.output_offset,
        state_scale=card.output_scale,
        noise=noise.tolist(),
        hidden=list(settings.hidden),
        rest=[[0.0] * len(card.output_names)] * len(models),
        recordings=[run.source for run in recordings],
        held_out=held_out.source,
        free_run=_errors(robot, models, judged),
        network_hash=write_network(out_dir, networks),
    )
    rest = rest_of(twin, networks)
    twin = TwinCard.model_validate({**dict(twin), "rest": rest})
    write_card(out_dir, twin)
    return twin


def _whole_state(robot: RobotDescription, moving: Sequence[str]) -> RobotDescription:
    """The robot as the networks see it: its moving signals are outputs."""
    felt = {signal.name: signal for signal in robot.signals}
    signals = tuple(
        Output(
            name=f"signal {i}: {name}"[:100],
            unit=felt[name].unit,
            display_unit=felt[name].display_unit,
        )
        for i, name in enumerate(moving)
    )
    return robot.model_copy(
        update={"outputs": (*robot.outputs, *signals), "signals": (), "recording": None}
    )


def _as_state(
    run: Recording, robot: RobotDescription, moving: Sequence[str], seen: RobotDescription
) -> Recording:
    """A recording whose moving signals are outputs."""
    return replace(
        run,
        commands=run.command(robot.command_names),
        command_names=robot.command_names,
        outputs=np.hstack([run.output(robot.output_names), run.signal(moving)]),
        output_names=seen.output_names,
        signals=np.zeros((len(run), 0)),
        signal_names=(),
        reference=None,
        robot=seen,
    )


def _networks(
    card: ModelCard,
    runs: Sequence[Recording],
    training: TrainingSettings,
    count: int,
    progress: Callable[[Progress], None],
) -> list[Model]:
    """So many networks, each from a seed of its own; those that do not come to rest are left out,
    and others learned in their place."""
    commands = np.vstack([run.commands for run in runs])
    some = np.linspace(0, len(commands) - 1, HELD_COMMANDS).astype(int)
    held = np.vstack([card.robot.command_neutral, commands[some]])
    found: list[Model] = []
    for i in range(2 * count):

        def show(state: Progress, of: str = f"network {len(found) + 1} of {count}") -> None:
            progress(state.model_copy(update={"stage": f"{of}, {state.stage}"}))

        chosen = training.model_copy(update={"seed": training.seed + i})
        model = fit(card, runs, [], chosen, show).as_model()
        if not all(np.all(np.isfinite(w)) for layer in model.network.layers for w in layer):
            raise TrainingError("the training diverged; choose a smaller learning_rate")
        if trembling := restless(model, held):
            warn(
                f"network of seed {chosen.seed}",
                f"left out: does not come to rest under {trembling} of {len(held)} held commands",
            )
        else:
            found.append(model)
        if len(found) == count:
            return found
    raise TrainingError(
        f"no twin: {2 * count - len(found)} of {2 * count} networks do not come to rest under held "
        "commands: choose fewer output_lags, fewer updates or a smaller learning_rate"
    )


def restless(model: Model, commands: np.ndarray) -> int:
    """Under how many of `commands` (C, m), in their units, each held for `HELD_S`, a network does
    not come to rest."""
    card = model.card
    acting = np.tile(card.normalised_command(commands), (1, card.input_lags))
    lags = np.zeros((len(commands), card.output_columns))
    outputs = len(card.output_offset)
    for _ in range(round(HELD_S * card.rate_hz)):
        newest = model.step(np.hstack([acting, lags]))
        move = np.max(np.abs(newest - lags[:, :outputs]), axis=1)
        lags = np.hstack([newest, lags[:, :-outputs]])
    return int(np.count_nonzero(move > HELD_MOVE))


def _errors(robot: RobotDescription, models: Sequence[Model], run: Recording) -> list[FreeRun]:
    """Of the mean of the networks' free runs."""
    count = len(robot.outputs)
    predicted = np.mean([free_run(model, run) for model in models], axis=0)[:, :count]
    outputs = run.outputs[:, :count]
    return [
        FreeRun(group=group.name, unit=group.unit, error=error, spread=spread)
        for group, error, spread in zip(
            robot.groups,
            rmse(robot, predicted - outputs),
            rmse(robot, outputs - outputs.mean(axis=0)),
            strict=True,
        )
    ]


def rest_of(twin: TwinCard, layers: Sequence) -> list[list[float]]:
    """The normalised state in which each network stays under mid-range commands: where its free
    run from the mean of the recordings settles. Raises TrainingError where one does not settle."""
    numbers = np.concatenate(
        [np.concatenate([w.ravel(), b.ravel()]) for network in layers for w, b in network]
    )
    networks = Networks(twin, split(numbers.astype(np.float32).astype(float), twin))
    commands = np.tile(twin.robot.command_neutral, (twin.input_lags, 1))
    lags = np.zeros((len(layers), twin.state_lags, twin.size))
    for _ in range(round(REST_S * twin.rate_hz)):
        moved = networks.step(commands, lags)
        move = float(np.max(np.abs(moved - lags)))
        lags = moved
        if move < REST_MOVE:
            return lags[:, 0].tolist()
    raise TrainingError(
        f"no twin: under mid-range commands it moves on by {move:.1e} of its spread a sample after "
        f"{REST_S:g} s: learn from more recordings, with fewer updates or another seed"
    )


def _constant(runs: Sequence[Recording], name: str) -> float:
    """Value of a signal that does not move; 0 where a recording lacks it."""
    if any(name not in run.signal_names for run in runs):
        return 0.0
    return float(np.median(np.concatenate([run.signal([name]) for run in runs])))


def full_scales(
    signals: Sequence[Signal],
    moving: dict[str, tuple[float, np.ndarray]],
    still: dict[str, float],
) -> list[float]:
    """Calibration of the twin's line: the robot's, for a firmware has to read both. Where its
    description says nothing, 1, times ten until a count is fine enough for what the signal shows.
    `moving` are noise and values (T,) by name, `still` are values."""
    scales = []
    for signal in signals:
        if signal.full_scale_counts not in (0.0, 1.0):
            scales.append(signal.full_scale_counts)
            continue
        if signal.name in moving:
            noise, values = moving[signal.name]
            finest = noise / COUNTS_A_NOISE or np.ptp(values) / COUNTS_A_SPAN
            largest = float(np.max(np.abs(values)))
        else:
            largest = abs(still[signal.name])
            finest = largest / COUNTS_A_SPAN
        scale = signal.full_scale_counts or float(finest > 0.0)
        while finest and 1.0 / scale > finest and 10.0 * scale * largest < COUNTS_MAX:
            scale *= 10.0
        scales.append(scale)
    return scales
