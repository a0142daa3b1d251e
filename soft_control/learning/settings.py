"""How a network is trained: every setting with its bounds."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from soft_control.plain_text import first_fault
from soft_control.robots.description import PlainName, RobotDescription

HELD_OUT_SHARE = 0.1
"""Of a recording that is alone: its end, by which a network is judged."""
IMAGINED_SAMPLES_MAX = 10**6
"""In all imagined runs, 72,000 by default. Each takes what the network sees of it, some 50 numbers
of 4 bytes, and while they are made of 8: 0.6 GB."""
UPDATE_SAMPLES_MAX = 10**6
"""Samples in one gradient step, 2560 by default. Of each the gradient keeps what every layer takes
and gives, with the default network some 150 numbers of 4 bytes: 0.6 GB."""


class TrainingError(ValueError):
    """Recordings that nothing can be learned from."""


def check_update(batch: int, rollout_samples: int) -> None:
    """Raises ValueError where no memory holds a gradient step on so many rollouts so long."""
    samples = batch * rollout_samples
    if samples > UPDATE_SAMPLES_MAX:
        raise ValueError(
            f"batch = {batch} times rollout_samples = {rollout_samples} are {samples} samples an "
            f"update, at most {UPDATE_SAMPLES_MAX} are possible"
        )


class TrainingSettings(BaseModel):
    """How a network is trained. The defaults suit minutes of excitation at 120 Hz."""

    model_config = ConfigDict(use_attribute_docstrings=True, extra="forbid", allow_inf_nan=False)

    rig: PlainName | None = None
    """Name of the rig, for the model card; by default the one that the recordings name."""
    rate_hz: float = Field(120.0, gt=0, le=1e5)
    """Control rate; recordings are resampled to it."""
    input_lags: int = Field(3, ge=1, le=1000)
    """nd: commands that the network sees."""
    output_lags: int = Field(3, ge=1, le=1000)
    """dd: outputs that the network sees."""
    input_delay: int = Field(5, ge=0, le=1000)
    """d: whole samples of transport delay."""
    memory_s: tuple[Annotated[float, Field(gt=0, le=1e4)], ...] = Field((), max_length=4)
    """Time constants, s, of slow means of the commands that the network sees, too: for robots that
    creep. Their recordings must hold still for as long, sometimes."""
    signals: bool = True
    """Whether the network sees the live signals. Not across days: their calibration moves."""
    hidden: tuple[Annotated[int, Field(ge=1, le=4096)], ...] = Field(
        (16,), min_length=1, max_length=16
    )
    """Units of the hidden layers, all tanh (ReLU networks can diverge in free run)."""
    updates: int = Field(8000, ge=1, le=10**8)
    """Gradient steps on rollouts."""
    warm_start_updates: int = Field(500, ge=0, le=10**8)
    """Gradient steps on single samples before that."""
    batch: int = Field(64, ge=1, le=10**5)
    """Rollouts side by side."""
    rollout_samples: int = Field(80, ge=1, le=10**4)
    """Samples through which the gradient of an update goes back."""
    reset_share: float = Field(0.1, ge=0, le=1)
    """Share of the rollouts that an update puts back to the measured truth somewhere else."""
    held_out_share: float = Field(HELD_OUT_SHARE, ge=0, lt=1)
    """Share of the time of a recording that is alone and no run validates: its end, which chooses
    the best network and is not trained on; 0: all is trained on and the last network kept."""
    held_share: float = Field(0.5, ge=0, le=1)
    """Share of the rollouts whose signals stand still at their end, as in the MPC's horizon."""
    signal_gain: float = Field(0.0, ge=0, le=1)
    """Spread of a factor on all signals, one for each rollout until it is put back, as magnets or
    lamps are weaker on another day: the network leans less on absolute values."""
    signal_offset: float = Field(0.0, ge=0, le=10)
    """Spread of what is added to each signal, normalised, for each rollout until it is put back."""
    whitening: float = Field(30.0, ge=1, le=1e6)
    """In training the lags are decorrelated and scaled to equal spread, by at most so much beyond
    the widest."""
    difference_gain: float | None = Field(None, ge=0, le=1e6)
    """Instead of whitening: extra weight, in training, of the differences between neighbouring
    lags."""
    learning_rate: float = Field(5e-3, gt=0, le=1e3)
    """Of Adam at the start; falls to zero along a cosine."""
    clip: float = Field(0.5, gt=0)
    """Largest norm of a gradient."""
    sessions: Literal["pooled", "aligned"] = "pooled"
    """Whether recordings of several days are one robot, or each session has maps of its own of
    commands and outputs, learned with the network, which is that of the first session. A session is
    what one argument of `softctl train` names: a file, a bag, or a directory of them."""
    seed: int = Field(0, ge=0, lt=2**31 - 64)
    """Same seed, same recordings, same machine: same file."""
    teachers: int = Field(0, ge=0, le=32)
    """Networks, with this seed and those after it, whose mean this one learns as well."""
    teacher_hidden: tuple[Annotated[int, Field(ge=1, le=4096)], ...] = Field(
        (64, 64), min_length=1, max_length=16
    )
    """Units of their hidden layers."""
    teacher_updates: int = Field(4000, ge=1, le=10**8)
    """Gradient steps of each on rollouts."""
    imagined_runs: int = Field(10, ge=1, le=10**4)
    """Runs that only the teachers know, of the commands recorded, each shifted for itself."""
    imagined_s: float = Field(60.0, gt=0, le=1e5)
    """Length of such a run, s; the first 2 s are left out."""

    @model_validator(mode="after")
    def _fits_into_memory(self) -> TrainingSettings:
        check_update(self.batch, self.rollout_samples)
        imagined = self.imagined_runs * self.imagined_s * self.rate_hz
        if self.teachers and imagined > IMAGINED_SAMPLES_MAX:
            raise ValueError(
                f"imagined_runs = {self.imagined_runs} of imagined_s = {self.imagined_s:g} are "
                f"{imagined:.0f} samples, at most {IMAGINED_SAMPLES_MAX} are possible"
            )
        return self


def described_settings(robot: RobotDescription, source: str) -> TrainingSettings:
    """How a robot's description wants its networks trained, at the robot's rate.

    Raises ValueError naming `source` and the setting that is wrong.
    """
    for field in ("rig", "rate_hz"):
        if field in robot.training:
            raise ValueError(f"{source}: training.{field}: the description says it itself")
    try:
        return TrainingSettings(**{"rate_hz": robot.rate_hz, **robot.training})
    except ValidationError as error:
        raise ValueError(f"{source}: {first_fault(error, otherwise='training.')}") from None
