"""The card of a model: all that must be known of its network to use it, checked as a whole."""

from __future__ import annotations

import hashlib
import math
import reprlib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from soft_control.learning.fields import Name, Text
from soft_control.learning.surface import Surface
from soft_control.plain_text import first_fault
from soft_control.robots.description import RobotDescription
from soft_control.small_files import read_small

CARD_FILE = "fk.json"
NETWORK_FILE = "fk.keras"

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Range = tuple[float, float]
"""Smallest and largest value."""


class ModelError(ValueError):
    """A model directory that cannot be used, or a recording that does not suit the model."""


class _Checked(BaseModel):
    model_config = ConfigDict(
        use_attribute_docstrings=True,
        extra="forbid",
        allow_inf_nan=False,
        protected_namespaces=(),
        ser_json_inf_nan="constants",  # a bound in the robot's nodes may be infinite
    )


class SignalModel(_Checked):
    """How the signals follow from the outputs, and how far off this and the network are: what an
    observer needs to know. soft_control/learning/signal_model.py; all is normalised."""

    hidden: list[list[float]] = Field(min_length=1)
    """Rows of n + m + 1: by outputs, newest command that they have seen, constant."""
    weights: list[list[float]]
    """p rows of 1 + n + m + len(hidden)."""
    noise: list[Positive]
    """Standard deviation of a signal about that; what lasts counts by its sum over time."""
    error: list[list[float]]
    """n rows of n: covariance of what free runs of the network err by;"""
    error_s: float = Field(gt=0, le=1e4)
    """for so long it is the same error, s."""


class RestSignals(_Checked):
    """The signals of a robot that rests, by its commands: normalised signals = coefficients @ terms
    of the normalised commands (`surface.terms`). `rest.fit_rest_signals` finds them."""

    degree: int = Field(ge=0, le=12)
    """Of the polynomials."""
    coefficients: list[list[float]]
    """One row a signal that the network sees, of as many values as there are terms."""
    residual: list[NotNegative]
    """RMS error on the recordings of `evaluated_on`, which move, one a signal, normalised."""


class SignalDoubt(_Checked):
    """How far a sound signal is from what it should be by the signal model and by the outputs that
    the network predicts: soft_control/learning/signal_doubt.py. All is normalised."""

    innovation: list[Positive]
    """Largest difference between signal and prediction on any of the recordings."""
    others: list[list[Annotated[float, Field(ge=-100.0, le=100.0)]]]
    """p rows of p: the difference that those of the others let expect; 0 of the signal itself."""
    slow_rest: list[Positive]
    """Largest mean, over a short time, of what that leaves of the difference."""
    rest_sum: list[Positive]
    """Largest sum of what is left beyond that mean, over samples."""
    still_samples: list[Annotated[int, Field(ge=2, le=65_535)]]
    """A signal that is the same for longer does not live."""


class Trained(_Checked):
    """What the recordings of a training held: beyond it, nobody knows what the network does."""

    commands: list[Range]
    """One a command, in its unit."""
    outputs: list[Range]
    """One an output, in its unit."""
    signals: list[Range]
    """Calibrated, one for each signal that the network sees."""
    frame: Text | None = None
    """Of the points, where the recordings say it."""


class SessionMap(_Checked):
    """What a session of an aligned training differs by from the reference, whose map is identity;
    with the card's offsets o of commands and outputs,

        command of the reference = o + command_gain (command - o) + command_offset
        output of the session = o + output_gain (output of the network - o) + output_offset
    """

    session: Text
    command_gain: list[float]
    """One a command."""
    command_offset: list[float]
    """One a command, in its unit."""
    output_gain: list[list[float]]
    """n rows of n, outputs in their units; 0 between outputs that are no point together."""
    output_offset: list[float]
    """One an output, in its unit."""


class Errors(_Checked):
    """Of the predictions of a point, as distances, or of an output that is no coordinate; RMSE."""

    group: Text
    """The point or the output."""
    unit: Text
    """Of all values here."""
    one_step: NotNegative
    """After a rollout over one sample."""
    ten_step_live: NotNegative
    """After a rollout over ten, with the signals of the run."""
    ten_step_held: NotNegative
    """After a rollout over ten, with the first one's signals."""
    free_run: NotNegative
    """Of free runs over whole recordings."""
    free_run_p95: NotNegative
    """95th percentile of the same."""
    free_run_max: NotNegative
    """Maximum of the same."""


class ModelCard(_Checked):
    """What goes with the network file; it works on normalised = (physical - offset) / scale."""

    robot: RobotDescription
    """What was recorded."""
    rate_hz: float = Field(gt=0, le=1e5)
    """Control rate; the network predicts one such sample ahead."""
    input_lags: int = Field(ge=1, le=1000)
    """nd: commands the network sees, u(k-d) … u(k-d-nd+1)."""
    output_lags: int = Field(ge=1, le=1000)
    """dd: outputs the network sees, y(k) … y(k-dd+1)."""
    input_delay: int = Field(ge=0, le=1000)
    """d: whole samples of transport delay that the network need not learn."""
    command_names: list[Name] = Field(min_length=1)
    """Of the robot, in its order."""
    command_offset: list[float]
    """One a command, in its unit."""
    command_scale: list[Positive]
    """One a command, in its unit."""
    output_names: list[Name] = Field(min_length=1)
    """Of the robot, in its order."""
    output_offset: list[float]
    """One an output, in its unit."""
    output_scale: list[Positive]
    """One an output, in its unit; the same for all coordinates of a point, so that its errors stay
    isotropic."""
    signal_names: list[Name]
    """The live signals that the network sees; constant ones were left out."""
    signal_offset: list[float]
    """Of the calibrated, unitless signals."""
    signal_scale: list[Positive]
    memory_s: list[Annotated[float, Field(gt=0, le=1e4)]] = []
    """Time constants, s, of slow means of the commands, which the network sees beside the lags: of
    what creeps, no lag of some ten milliseconds tells where it is."""
    states: int = Field(default=0, ge=0, le=10_000)
    """Values that the network itself carries from sample to sample: of a GRU its units; 0 of a
    network that sees lags alone."""
    signal_model: SignalModel | None = None
    """None without signals, and in older cards."""
    rest_signals: RestSignals | None = None
    """None without signals."""
    signal_doubt: SignalDoubt | None = None
    """None without signals, and in older cards: all signals are believed."""
    surface: Surface | None
    """What a robot with fewer commands than outputs reaches; else none."""
    trained: Trained | None = None
    """None for a network that was not trained on recordings."""
    sessions: list[SessionMap] = []
    """Of an aligned training, the reference first; empty where recordings were pooled. All else
    here is the reference's."""
    metrics: list[Errors]
    """One a group of the robot's outputs, over the recordings of `evaluated_on`; none for a network
    that was not evaluated."""
    evaluated_on: list[Text]
    """The runs held out for validation, or the training runs where none was."""
    recordings: list[Text]
    """The training runs."""
    model_hash: str = Field(pattern="^([0-9a-f]{16})?$")
    """First 16 hex digits of the SHA-256 of the network file; empty before there is one."""

    @model_validator(mode="after")
    def _whole(self) -> ModelCard:
        for field in ("command_names", "output_names", "signal_names"):
            values = getattr(self, field)
            if len(set(values)) < len(values):
                raise ValueError(f"{field} = {values}: a name is there more than once")
        lengths = {
            "command_offset": "command_names",
            "command_scale": "command_names",
            "output_offset": "output_names",
            "output_scale": "output_names",
            "signal_offset": "signal_names",
            "signal_scale": "signal_names",
        }
        for field, names in lengths.items():
            _check_length(field, getattr(self, field), names, getattr(self, names))
        self._check_robot()
        if self.surface is not None:
            for name in (*self.surface.leading, *self.surface.following):
                if name not in self.output_names:
                    raise ValueError(f"surface: {name} is no output of the model")
        if self.signal_model is not None:
            self._check_signal_model(self.signal_model)
        if self.rest_signals is not None:
            self._check_rest_signals(self.rest_signals)
        if self.signal_doubt is not None:
            self._check_doubt(self.signal_doubt)
        for i, session in enumerate(self.sessions):
            self._check_session(f"sessions.{i}", session)
        if self.trained is not None:
            ranges = self.trained
            for field, values, names, known in (
                ("trained.commands", ranges.commands, "command_names", self.command_names),
                ("trained.outputs", ranges.outputs, "output_names", self.output_names),
                ("trained.signals", ranges.signals, "signal_names", self.signal_names),
            ):
                _check_length(field, values, names, known)
                for i, (low, high) in enumerate(values):
                    if low > high:
                        raise ValueError(f"{field}.{i} = [{low}, {high}]: not in order")
        return self

    def _check_rest_signals(self, rest: RestSignals) -> None:
        rows, signals = rest.coefficients, self.signal_names
        _check_length("rest_signals.coefficients", rows, "signal_names", signals)
        _check_length("rest_signals.residual", rest.residual, "signal_names", signals)
        wanted = math.comb(len(self.command_names) + rest.degree, rest.degree)
        for i, row in enumerate(rows):
            if len(row) != wanted:
                raise ValueError(
                    f"rest_signals.coefficients.{i}: {len(row)} values, but a polynomial of degree "
                    f"{rest.degree} in {len(self.command_names)} commands has {wanted}"
                )

    def _check_signal_model(self, known: SignalModel) -> None:
        if not self.signal_names:
            raise ValueError("signal_model: there is one, but signal_names is empty")
        outputs = len(self.output_names)
        inputs = outputs + len(self.command_names)
        _check_length("signal_model.weights", known.weights, "signal_names", self.signal_names)
        _check_length("signal_model.noise", known.noise, "signal_names", self.signal_names)
        _check_length("signal_model.error", known.error, "output_names", self.output_names)
        for field, width in (
            ("hidden", inputs + 1),
            ("weights", 1 + inputs + len(known.hidden)),
            ("error", outputs),
        ):
            for i, row in enumerate(getattr(known, field)):
                if len(row) != width:
                    raise ValueError(f"signal_model.{field}.{i}: {len(row)} values, not {width}")
        error = np.array(known.error)
        if np.any(error != error.T) or np.min(np.linalg.eigvalsh(error)) < -1e-9 * np.trace(error):
            raise ValueError("signal_model.error: a covariance is symmetric and positive")

    def _check_session(self, where: str, session: SessionMap) -> None:
        for field, names, known in (
            ("command_gain", "command_names", self.command_names),
            ("command_offset", "command_names", self.command_names),
            ("output_gain", "output_names", self.output_names),
            ("output_offset", "output_names", self.output_names),
        ):
            _check_length(f"{where}.{field}", getattr(session, field), names, known)
        for i, row in enumerate(session.output_gain):
            _check_length(f"{where}.output_gain.{i}", row, "output_names", self.output_names)

    def _check_doubt(self, doubt: SignalDoubt) -> None:
        if self.trained is None or self.signal_model is None:
            raise ValueError("signal_doubt: there is one, but no signal_model, or no trained")
        for field in ("innovation", "others", "slow_rest", "rest_sum", "still_samples"):
            values = getattr(doubt, field)
            _check_length(f"signal_doubt.{field}", values, "signal_names", self.signal_names)
        for i, row in enumerate(doubt.others):
            _check_length(f"signal_doubt.others.{i}", row, "signal_names", self.signal_names)

    def _check_robot(self) -> None:
        robot = self.robot
        for field, known in (
            ("command_names", robot.command_names),
            ("output_names", robot.output_names),
        ):
            names = getattr(self, field)
            if tuple(names) != known:
                raise ValueError(f"{field} = {names}: the robot has {', '.join(known)}")
        foreign = [name for name in self.signal_names if name not in robot.signal_names]
        if foreign:
            raise ValueError(f"signal_names: the robot has no {', '.join(foreign)}")
        for group in robot.groups:
            scales = {self.output_scale[column] for column in group.columns}
            if len(scales) > 1:
                raise ValueError(f"output_scale: not the same for all coordinates of {group.name}")

    @property
    def command_columns(self) -> int:
        """nd·m, leading entries of x."""
        return self.input_lags * len(self.command_names)

    @property
    def output_columns(self) -> int:
        """dd·n, the entries of x after the commands."""
        return self.output_lags * len(self.output_offset)

    @property
    def memory_columns(self) -> int:
        """Slow means of the commands, the last entries of x: by time constant, then command."""
        return len(self.memory_s) * len(self.command_names)

    def memory_gains(self) -> np.ndarray:
        """(memory_columns,) g of mean(k) = mean(k-1) + g (u(k-d) - mean(k-1))."""
        gains = 1.0 - np.exp(-1.0 / (np.array(self.memory_s, dtype=float) * self.rate_hz))
        return np.repeat(gains, len(self.command_names))

    @property
    def output_groups(self) -> list[list[int]]:
        """Numbers of outputs that together are a point, and of each other one by itself."""
        names, own = self.robot.output_names, self.output_names
        groups = [[names[column] for column in group.columns] for group in self.robot.groups]
        return [[own.index(name) for name in of] for of in groups]

    def input_sizes(self) -> dict[str, int]:
        """The network's named inputs in their order in x; inputs of size 0 do not exist."""
        outputs = len(self.output_offset)
        sizes = {
            "commands": self.command_columns,
            "output": outputs,
            "past_outputs": self.output_columns - outputs,
            "signals": len(self.signal_names),
            "memory": self.memory_columns,
        }
        return {name: size for name, size in sizes.items() if size}

    def normalised_command(self, command: np.ndarray) -> np.ndarray:
        """(…, m) in the commands' units -> normalised."""
        return (command - np.array(self.command_offset)) / np.array(self.command_scale)

    def normalised_output(self, outputs: np.ndarray) -> np.ndarray:
        """(…, n) in the outputs' units -> normalised."""
        return (outputs - np.array(self.output_offset)) / np.array(self.output_scale)

    def outputs(self, normalised: np.ndarray) -> np.ndarray:
        """(…, n) normalised -> in the outputs' units."""
        return normalised * np.array(self.output_scale) + np.array(self.output_offset)

    @property
    def rig(self) -> str:
        """Name of the robot."""
        return self.robot.name

    def normalised_signal(self, signal: np.ndarray) -> np.ndarray:
        """(…, p) calibrated -> normalised."""
        return (signal - np.array(self.signal_offset)) / np.array(self.signal_scale)


def _check_length(field: str, values: Sequence, names: str, known: Sequence) -> None:
    if len(values) != len(known):
        raise ValueError(
            f"{field} = {reprlib.repr(values)}: {len(values)} values, but {names} are {len(known)}"
        )


def load_card(directory: str | Path) -> ModelCard:
    """The card DIR/fk.json. Raises ModelError when it or its network is missing or broken."""
    directory = Path(directory)
    for name in (CARD_FILE, NETWORK_FILE):
        if not (directory / name).is_file():
            raise ModelError(f"{directory}: no {name}: not a model directory of softctl train")
    try:
        text = read_small(directory / CARD_FILE)
        card = ModelCard.model_validate_json(text, strict=True)
    except ValidationError as error:
        raise ModelError(f"{directory / CARD_FILE}: {first_fault(error)}") from error
    network_file = directory / NETWORK_FILE
    if file_hash(network_file) != card.model_hash:
        raise ModelError(
            f"{network_file}: its hash is not the card's {card.model_hash}; train again"
        )
    return card


def file_hash(path: Path) -> str:
    """First 16 hex digits of the SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
