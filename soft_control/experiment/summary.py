"""What a run came to: measures it part by part and writes summary.json."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial import cKDTree

from soft_control.control.controllers import MCU_NODE
from soft_control.experiment.checks import cut_of
from soft_control.experiment.record import RunRecord, write_json
from soft_control.experiment.run_samples import Run, read_blocks
from soft_control.learning.recording import RecordingError, warn
from soft_control.robots.description import OutputGroup
from soft_control.small_files import read_small_text

SUMMARY_FILE = "summary.json"
ROUNDING_S = 1e-6
"""A period is rounded to a nanosecond, so that sample 240 of 120 Hz is just before 2 s."""


@dataclass(frozen=True)
class Errors:
    """How far the robot was from its reference after it had settled, in `unit`."""

    of: str
    """Point or output that it is the error of."""
    unit: str
    """On paper, as the robot's description says."""
    rmse: float
    p95: float
    max: float
    path_rmse: float
    """Of the distance to the nearest point of the reference's curve, wherever that is in time."""
    path_p95: float
    path_max: float


def tracking_error(run: Run, group: OutputGroup) -> np.ndarray:
    """(K,) Euclidean distance of the group's outputs from their reference at each instant at which
    the robot was measured, in the group's unit on paper; NaN where no reference was told."""
    return group.distance(run.seen.outputs - run.seen.reference)


def error_figures(error: np.ndarray) -> tuple[float, float, float]:
    """RMSE, 95th percentile and maximum, in the unit of `error` (T,)."""
    return (
        float(np.sqrt(np.mean(error**2))),
        float(np.percentile(error, 95)),
        float(np.max(error)),
    )


class Figures:
    """The figures of a run, from its parts in the order of time. It keeps of each sample the errors
    and the cost, of which percentiles are asked; of the rest sums."""

    def __init__(self, record: RunRecord) -> None:
        self.record = record
        groups = record.robot.groups
        self._t_s: list[np.ndarray] = []
        self._tracking: list[list[np.ndarray]] = [[] for _ in groups]
        self._path: list[list[np.ndarray]] = [[] for _ in groups]
        self._curves = [_curve(record, group) for group in groups] if record.curve else []
        self._costs: list[np.ndarray] = []
        self._status: Counter[str] = Counter()
        self._doubted: Counter[str] = Counter()
        self._sha256 = hashlib.sha256()
        self._taken = self._given = self._measured = 0
        self._until_s = 0.0
        self._late = self._supervised = self._outside = 0
        self._counted: dict[str, str] = {}
        self._returns: dict[str, dict[str, int]] = {}

    def add(self, part: Run) -> None:
        """Takes in the next part."""
        robot, given = self.record.robot, part.commands[part.heard]
        low, high = robot.command_min, robot.command_max
        # The limits went through float32 on the MCU: half a unit in the last place of the largest.
        slack = np.spacing(np.float32(max(np.abs(low).max(), np.abs(high).max())))
        self._outside += int(((given < low - slack) | (given > high + slack)).any(axis=1).sum())
        self._sha256.update(given.astype("<f8").tobytes())
        self._taken += len(part.t_s)
        self._until_s = float(part.t_s[-1]) if len(part.t_s) else self._until_s
        self._given += len(given)
        self._measured += len(part.seen.t_s)
        self._late += part.late
        self._status.update(said.status for said in part.solver)
        self._doubted.update(name for said in part.solver for name in _names(said.doubted))
        self._supervised += sum(said.supervised for said in part.solver)
        counted = [s.step_cost for s in part.solver if s.step_cost_unit == "instructions"]
        self._costs.append(np.array(counted, dtype=np.int64))
        self._counted = part.mcu or self._counted
        self._returns = part.returns or self._returns
        if part.reference is None:
            return
        told = ~np.isnan(part.seen.reference).any(axis=1)
        self._t_s.append(part.seen.t_s[told])
        for k, group in enumerate(robot.groups):
            self._tracking[k].append(tracking_error(part, group)[told])
            near = self._curves[k].query(part.seen.outputs[told][:, list(group.columns)])[0]
            self._path[k].append(group.factor * near)

    def errors(self) -> list[Errors]:
        """Of each point and of each output that is no position; none without reference or time."""
        t_s = np.concatenate(self._t_s or [np.zeros(0)])
        settled = t_s >= self.record.settled_s - ROUNDING_S
        if not settled.any():
            return []
        return [
            Errors(
                group.name,
                group.unit,
                *error_figures(np.concatenate(tracking)[settled]),
                *error_figures(np.concatenate(path)[settled]),
            )
            for group, tracking, path in zip(
                self.record.robot.groups, self._tracking, self._path, strict=True
            )
        ]

    def cut_errors(self) -> dict[str, dict[str, float | None]]:
        """Name of a point or output -> before, during, after the cut: RMSE of its tracking error,
        in its unit on paper; None of a part without a sample. Empty where there was no cut."""
        if not self.record.cut or not self._t_s:
            return {}
        from_s, for_s = cut_of(self.record.cut, self.record.duration_s)
        settled_s = self.record.settled_s
        edges = np.maximum([settled_s, from_s, from_s + for_s, np.inf], settled_s) - ROUNDING_S
        t_s = np.concatenate(self._t_s)
        found: dict[str, dict[str, float | None]] = {}
        for group, errors in zip(self.record.robot.groups, self._tracking, strict=True):
            error, of = np.concatenate(errors), found.setdefault(group.name, {})
            parts = ("before", "during", "after")
            for name, low, high in zip(parts, edges[:-1], edges[1:], strict=True):
                part = error[(t_s >= low) & (t_s < high)]
                of[name] = error_figures(part)[0] if part.size else None
        return found

    def _lost(self, missing: int) -> int:
        """Samples that the bag has no command for. Where nobody measures the robot, its nodes have
        counted them."""
        if self.record.measured:
            return missing
        instruments = self.record.robot.instruments
        taker = MCU_NODE.node if MCU_NODE.node in self._returns else instruments.sensor.kind
        counted = [self._returns.get(node, {}) for node in (taker, instruments.actuators.kind)]
        return max(missing, sum(n.get("lost", 0) + n.get("lost_samples", 0) for n in counted))

    def summary(self) -> dict[str, Any]:
        """The figures of summary.json."""
        record = self.record
        build, counted, found = record.build, self._counted, self.errors()
        in_material, realtime = record.wiring == "mcu", record.clock == "realtime"
        # Each output that was measured is a sample, though no command may have answered it: in a
        # cut, where newer samples had come by then, or where two clocks do not count alike.
        taken = max(self._taken, self._measured) if in_material or realtime else self._taken
        unanswered = 0 if in_material else taken - self._taken
        costs = np.concatenate(self._costs or [np.zeros(0, dtype=np.int64)])
        return {
            "rig": record.robot.name,
            "twin": record.twin,
            **{key: getattr(record, key) for key in ("controller", "target", "reference")},
            "sim": record.sim,
            "clock": record.clock,
            "wiring": record.wiring,
            "namespace": record.namespace,
            "rate_hz": record.rate_hz,
            "duration_s": round(taken / record.rate_hz, 6),
            "last_sample_s": round(self._until_s, 6),
            "samples": self._given,
            "complete": taken >= round(record.duration_s * record.rate_hz)
            or (not record.sim and self._until_s >= record.duration_s - 2 / record.rate_hz),
            **errors_mm(found),
            "errors": [asdict(e) for e in found],
            **{
                key: getattr(build, key) if build else None
                for key in ("flash_bytes", "flash_percent", "ram_bytes")
            },
            "step_instructions_median": int(np.median(costs)) if costs.size else None,
            "step_instructions_max": int(costs.max()) if costs.size else None,
            "deadline_misses": int(counted["missed_samples"])
            if in_material and counted
            else self._late + unanswered,
            "lost_samples": self._lost(taken - self._given),
            "returns": self._returns,
            "cut": record.cut,
            "cut_rmse": self.cut_errors(),
            "mcu": {
                key: int(value) if value.isdigit() else value for key, value in counted.items()
            },
            "solver_status": dict(self._status),
            "doubted_samples": dict(self._doubted),
            "supervisor_interventions": self._supervised,
            "commands_outside_bounds": self._outside,
            "commands_sha256": self._sha256.hexdigest(),
            "seed": record.seed,
            "model_hash": record.model_hash,
        }


def _names(said: str) -> list[str]:
    return said.split(",") if said else []


def _curve(record: RunRecord, group: OutputGroup) -> cKDTree:
    """Points of the reference's curve, wherever they are in time."""
    return cKDTree(record.curve.curve()[:, list(group.columns)])


def figures(parts: Iterable[Run]) -> Figures:
    """Of a run in parts, of which there is at least one."""
    found: Figures | None = None
    for part in parts:
        found = found or Figures(part.record)
        found.add(part)
    if found is None:
        raise ValueError("a run without a part has no figures")
    return found


def measure(run: Run) -> dict[str, Any]:
    """The figures of summary.json, of a whole run."""
    return figures([run]).summary()


def errors_mm(found: list[Errors]) -> dict[str, float | None]:
    """Of the first point that is measured in mm, by names that carry the unit; None without one."""
    keys = ("rmse", "p95", "max", "path_rmse", "path_p95", "path_max")
    first = next((e for e in found if e.unit == "mm"), None)
    return {f"{key}_mm": getattr(first, key) if first else None for key in keys}


def summarise(run_dir: Path) -> dict[str, Any]:
    """Measures the run in `run_dir`, in one pass through its bag, and writes its summary.json.
    Raises RecordingError where there is nothing to measure."""
    summary = figures(read_blocks(run_dir)).summary()
    write_json(run_dir / SUMMARY_FILE, summary)
    return summary


def read_summary(run_dir: Path) -> dict[str, Any]:
    """What `summarise` has written. Raises RecordingError where it has not, or others have."""
    path = run_dir / SUMMARY_FILE
    try:
        summary = json.loads(read_small_text(path))
    except FileNotFoundError:
        raise RecordingError(f"{run_dir} has no {SUMMARY_FILE}: nothing was recorded") from None
    except (OSError, ValueError, RecursionError) as error:
        raise RecordingError(f"{path}: no summary of a run: {error}") from None
    if not isinstance(summary, dict):
        raise RecordingError(f"{path}: no summary of a run")
    return summary


def finish(run_dir: Path) -> dict[str, Any] | None:
    """`summarise` for whoever has run it, when the logger has ended: None, and a RecordingWarning
    that says why, where there is nothing to measure, as after a run that ended before its first
    sample."""
    try:
        return summarise(run_dir)
    except RecordingError as error:
        warn(run_dir, f"no {SUMMARY_FILE}: {str(error).removeprefix(f'{run_dir}: ')}")
        return None
