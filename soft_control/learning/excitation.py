"""Open-loop commands that show how a rig moves: all of its range, slow and fast, and at rest."""

from __future__ import annotations

import numpy as np

SECTION_S = (4.0, 8.0)  # a section of one kind lasts this long
SLOWEST = 0.1  # of the largest move: each section has its own speed limit, from this to 1


def excitation(
    duration_s: float,
    rate_hz: float,
    minimum: np.ndarray,
    maximum: np.ndarray,
    move_max: np.ndarray,
    seed: int,
    pace: float = 1.0,
) -> np.ndarray:
    """Commands (T, m) within [minimum, maximum] that move at most `move_max` a sample, all (m,).

    The times of the sections' motions are those of a soft block; with a `pace` above 1 each section
    runs faster than that, up to so many times.

    Sections of four kinds in random order, from mid-range on: smoothed random targets, multisines,
    slow sweeps, steps that are held. Raises ValueError for less than one sample or an empty range.
    """
    minimum, maximum, move_max = (np.asarray(v, dtype=float) for v in (minimum, maximum, move_max))
    samples = round(duration_s * rate_hz)
    if samples < 1:
        raise ValueError(f"duration_s {duration_s} at {rate_hz} Hz holds no sample")
    if not (np.all(minimum < maximum) and np.all(move_max > 0) and pace > 0):
        raise ValueError("excitation needs minimum < maximum, move_max > 0 and pace > 0")
    rng = np.random.default_rng(seed)
    middle, half = (maximum + minimum) / 2, (maximum - minimum) / 2
    sections: list[np.ndarray] = []
    at = middle
    while sum(map(len, sections)) < samples:
        for kind in rng.permutation([_targets, _multisine, _sweep, _holds]):
            length = 1 + round(rng.uniform(*SECTION_S) * rate_hz)
            faster = pace ** rng.uniform() if pace != 1.0 else 1.0
            levels = np.clip(kind(rng, length, rate_hz / faster, len(minimum)), -1.0, 1.0)
            limit = move_max * SLOWEST ** rng.uniform(0.0, 1.0)
            sections.append(_follow(middle + half * levels, at, limit))
            at = sections[-1][-1]
    return np.vstack(sections)[:samples]


def _targets(rng: np.random.Generator, samples: int, rate_hz: float, m: int) -> np.ndarray:
    """Random targets, each reached along a second-order lag of its own section."""
    steps = _steps(rng, samples, rate_hz, m, (0.2, 1.2))
    gain = 1.0 - np.exp(-1.0 / (rate_hz * rng.uniform(0.03, 0.3)))
    once = twice = steps[0]
    smooth = np.empty_like(steps)
    for k, step in enumerate(steps):
        once = once + gain * (step - once)
        twice = twice + gain * (once - twice)
        smooth[k] = twice
    return smooth


def _multisine(rng: np.random.Generator, samples: int, rate_hz: float, m: int) -> np.ndarray:
    """Five sines a command, 0.08 to 2 Hz, the faster the smaller, about a random centre."""
    t_s = np.arange(samples)[:, None, None] / rate_hz
    frequency_hz = np.exp(rng.uniform(np.log(0.08), np.log(2.0), (m, 5)))
    phase = rng.uniform(0, 2 * np.pi, (m, 5))
    waves = np.sin(2 * np.pi * frequency_hz * t_s + phase) / (1.0 + 2.0 * frequency_hz)
    return rng.uniform(-0.4, 0.4, m) + 0.8 * waves.sum(axis=2)


def _sweep(rng: np.random.Generator, samples: int, rate_hz: float, m: int) -> np.ndarray:
    """Straight lines between far points of the range, a few seconds each."""
    corners = rng.uniform(-1.0, 1.0, (4, m))
    at = np.linspace(0.0, len(corners) - 1.0, samples)
    return np.column_stack([np.interp(at, range(len(corners)), corner) for corner in corners.T])


def _holds(rng: np.random.Generator, samples: int, rate_hz: float, m: int) -> np.ndarray:
    """Steps that are held for long enough to see the creep begin."""
    return _steps(rng, samples, rate_hz, m, (0.8, 2.5))


def _steps(
    rng: np.random.Generator, samples: int, rate_hz: float, m: int, hold_s: tuple[float, float]
) -> np.ndarray:
    """Random levels over the whole range, the commands changing independently."""
    levels = np.empty((samples, m))
    for column in levels.T:
        k = 0
        while k < samples:
            length = max(1, round(rng.uniform(*hold_s) * rate_hz))
            column[k : k + length] = rng.uniform(-1.0, 1.0)
            k += length
    return levels


def _follow(wanted: np.ndarray, start: np.ndarray, move_max: np.ndarray) -> np.ndarray:
    """The wanted commands, at most `move_max` a sample away from the one before."""
    commands = np.empty_like(wanted)
    at = start
    for k, want in enumerate(wanted):
        at = at + np.clip(want - at, -move_max, move_max)
        commands[k] = at
    return commands
