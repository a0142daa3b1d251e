"""The last clamp before actuators that hang on the host: limits, speed, age, silence.

Whatever commands, no command passes that is beyond the robot's limits, farther from the last one
than its speed allows in the time since then, or the answer to a sample of long ago; and where
nobody commands any more, the robot goes to its safe output. firmware/src/loop/supervisor.c does the
same for actuators that hang on the microcontroller.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from soft_control.safe_output import SafeOutput

GAP_PERIODS = 2.0
"""Of a longer silence no more counts as time to move in: goals never jump."""
ROUNDING = 1e-6
"""Of a command's range: what float32 and whole nanoseconds cost is not worth a change. A command
that keeps the limits of a firmware passes as it is, so that both wirings tell the same bytes."""


@dataclass(frozen=True)
class GateConfig:
    """Vectors are (m,), in the units of the commands."""

    minimum: np.ndarray
    maximum: np.ndarray
    neutral: np.ndarray
    """Where a run starts."""
    speed_max: np.ndarray
    """Largest change a second; infinite: any."""
    period_s: float
    """Of the control rate."""
    safe_output: SafeOutput = "hold"
    timeout_s: float = math.inf
    """Without a command for so long nobody commands any more."""
    age_max_periods: float = 2.0
    """Of the sample that a command answers."""
    mean_max: float = math.inf
    """Largest mean of (command - minimum)."""
    mean_s: float = 10.0
    """Time constant of that mean."""


@dataclass
class GateState:
    """Of actuators that have been told nothing yet."""

    command: np.ndarray
    """(m,) told last, or where the first move begins."""
    mean: np.ndarray
    """(m,) of (command - minimum)."""
    driving: bool = False
    """They follow `command`; else they have been let go, or were never told anything."""
    told_s: float | None = None
    """When they were told something last."""
    heard_s: float | None = None
    """When a command was accepted last."""
    silent: bool = False
    """Nobody commands any more."""
    refused: int = 0
    """Commands."""
    limited: int = 0
    """Commands that had to be changed."""


def reset(config: GateConfig) -> GateState:
    """At the neutral command, with nothing told."""
    return GateState(config.neutral.copy(), np.zeros_like(config.neutral))


def step(
    config: GateConfig, state: GateState, asked: np.ndarray, age_s: float, now_s: float
) -> np.ndarray | None:
    """What to tell the actuators at now_s where `asked` (m,) answers a sample that was taken age_s
    ago; None: the command is refused, for its age or because it is not finite."""
    too_old = abs(age_s) > config.age_max_periods * config.period_s
    if too_old or not np.all(np.isfinite(asked)):
        state.refused += 1
        return None
    state.heard_s, state.silent = now_s, False
    told = _towards(config, state, np.asarray(asked, dtype=float), now_s)
    state.limited += bool(np.any(told != asked))
    return told


def is_silent(config: GateConfig, state: GateState, now_s: float) -> bool:
    """Whether nobody commands any more. It stays so until the next command that is accepted; before
    the first one nobody is missed."""
    if state.heard_s is not None and now_s - state.heard_s > config.timeout_s:
        state.silent = True
    return state.silent


def safe(config: GateConfig, state: GateState, now_s: float) -> np.ndarray | None:
    """What to tell the actuators at now_s on the way to the safe output; None: let go."""
    if config.safe_output == "disarm":
        _pass_time(config, state, now_s)
        # Nobody knows where what was let go will be: it begins anew, as a firmware that is armed.
        state.command, state.driving = config.neutral.copy(), False
        return None
    wanted = config.neutral if config.safe_output == "neutral" else state.command
    return _towards(config, state, wanted, now_s)


def is_safe(config: GateConfig, state: GateState) -> bool:
    """Whether the safe output is reached, or nothing was ever told that it would have to follow."""
    if not state.driving or config.safe_output == "hold":
        return True
    return config.safe_output == "neutral" and np.array_equal(state.command, config.neutral)


def _towards(config: GateConfig, state: GateState, wanted: np.ndarray, now_s: float) -> np.ndarray:
    """The nearest to `wanted` that may be told; remembers it."""
    low, high = config.minimum, config.maximum
    elapsed_s = min(_pass_time(config, state, now_s), GAP_PERIODS * config.period_s)
    move = np.full_like(low, math.inf)
    np.multiply(config.speed_max, elapsed_s, out=move, where=np.isfinite(config.speed_max))
    # At the mean that is allowed for ever; beyond it the mean would grow on.
    top = np.where(state.mean > config.mean_max, np.minimum(high, low + config.mean_max), high)
    near = np.clip(np.clip(wanted, low, top), state.command - move, state.command + move)
    near = np.clip(near, low, high)
    told = np.where(np.abs(near - wanted) <= ROUNDING * (high - low), wanted, near)
    state.command, state.driving = told, True
    return told.copy()


def _pass_time(config: GateConfig, state: GateState, now_s: float) -> float:
    """The time since the actuators were told something, s; the mean goes on over it."""
    elapsed_s = config.period_s if state.told_s is None else max(now_s - state.told_s, 0.0)
    state.told_s = now_s
    held = state.command - config.minimum if state.driving else 0.0
    state.mean += -math.expm1(-elapsed_s / config.mean_s) * (held - state.mean)
    return elapsed_s
