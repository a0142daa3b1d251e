"""What a run came to: reads its bag, measures it, writes summary.json."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial import cKDTree

from soft_control.experiment.checks import cut_of
from soft_control.experiment.record import RunRecord, read_record, write_json
from soft_control.learning.bag import TIP_POSITION
from soft_control.learning.dataset import RecordingError, read_topics
from soft_control.robots.description import OutputGroup
from soft_control.topics import COMMAND, MCU, OUTPUTS, PREDICTED_OUTPUTS, REFERENCE, SOLVER

SETTLE_S = 2.0
"""Errors count from this time on: the rig starts at rest, the reference does not."""
ROUNDING_S = 1e-6
"""A period is rounded to a nanosecond, so that sample 240 of 120 Hz is just before 2 s."""


AT_REST = "stopped", "fault"
"""States of the microcontroller in which it follows no reference any more."""


@dataclass(frozen=True)
class Run:
    """One run as its bag and its experiment.json tell it; T samples joined by stamp."""

    record: RunRecord
    """experiment.json, as bringup wrote it."""
    t_s: np.ndarray
    """(T,) s since the first sample."""
    outputs: np.ndarray
    """(T, n) measured, in the units of the robot's description."""
    reference: np.ndarray | None
    """(T, n); None for open-loop runs."""
    commands: np.ndarray
    """(T, m), physical units; NaN where the host did not hear of the sample."""
    predicted: np.ndarray
    """(T, n) what the controller believed of these samples one sample before; NaN where nothing."""
    solver: list[dict[str, str]]
    """What the solver reported, a dict a sample; empty for controllers that have none."""
    late: int
    """Samples whose command came after the next sample was due; 0 in lockstep."""
    unanswered: int = 0
    """Samples that got no command, because newer ones had come by then; 0 in lockstep."""
    mcu: dict[str, str] | None = None
    """Wiring mcu: what the microcontroller has counted; None where it was not asked any more."""

    @property
    def heard(self) -> np.ndarray:
        """(T,) samples of which the host heard: others were in a cut of its line, and the bag has
        their outputs alone."""
        return ~np.isnan(self.commands).any(axis=1)


def read_run(run_dir: Path) -> Run:
    """Reads a run directory. Raises RecordingError where a part of it is missing or is not what the
    run's description says."""
    record = read_record(run_dir)
    robot = record.robot
    follows = record.curve is not None
    names = (OUTPUTS, TIP_POSITION, REFERENCE, COMMAND, PREDICTED_OUTPUTS, SOLVER, MCU)
    topics, logged_ns = read_topics(run_dir / "bag", names)
    if TIP_POSITION in topics and OUTPUTS not in topics:
        raise RecordingError(
            f"{run_dir}: the bag has {TIP_POSITION} and no {OUTPUTS}: make the run again"
        )
    measured, commands = topics.get(OUTPUTS, {}), topics.get(COMMAND, {})
    references = topics.get(REFERENCE, {})
    period_ns = 1e9 / record.rate_hz
    realtime, in_material = record.clock == "realtime", record.wiring == "mcu"
    stamps = sorted(commands.keys() & references.keys() if follows else commands)
    if in_material and measured:
        # In realtime its stamps are those of its own clock, and a reference of the host's has other
        # ones. By its own timer it goes on when the rig has ended.
        if realtime and references:
            stamps = sorted(commands)
        end_ns = max(measured) + (period_ns if realtime else 0)
        stamps = [stamp for stamp in stamps if stamp <= end_ns]
    if not stamps or not measured:
        raise RecordingError(f"{run_dir}: the bag ends before the first sample was answered")

    def named(topic: str, found: Any, values: Any, wanted: tuple[str, ...]) -> list[float]:
        told = dict(zip(found, values, strict=False))
        if len(told) != len(values) or not told.keys() >= set(wanted):
            raise RecordingError(
                f"{run_dir}: {topic} has {', '.join(found)}, but {robot.name} has "
                f"{', '.join(wanted)}"
            )
        return [told[name] for name in wanted]

    def vectors(topic: str, messages: list[Any], wanted: tuple[str, ...]) -> np.ndarray:
        return np.array([named(topic, m.name, m.position, wanted) for m in messages])

    def at_samples(told_ns: Sequence[int], values: np.ndarray) -> np.ndarray:
        # In realtime trackers have a clock of their own; in lockstep the stamps are the same.
        return np.column_stack([np.interp(at, told_ns, column) for column in values.T])

    seen = np.array(sorted(measured))
    unheard = _far_from(seen, np.array(stamps), period_ns) if in_material else set()
    stamps = sorted(unheard.union(stamps))
    heard = np.array([stamp not in unheard for stamp in stamps])
    answered = [stamp for stamp in stamps if stamp not in unheard]
    at = np.array(stamps)
    t_s = (at - at[0]) * 1e-9
    outputs = vectors(OUTPUTS, [measured[stamp] for stamp in seen], robot.output_names)
    predictions = topics.get(PREDICTED_OUTPUTS, {})
    predicted = np.full((len(stamps), len(robot.outputs)), np.nan)
    for row, stamp in zip(predicted, stamps, strict=True):
        if stamp in predictions:
            # A model may know some of the outputs only.
            told = dict(zip(predictions[stamp].name, predictions[stamp].position, strict=True))
            row[:] = [told.get(name, np.nan) for name in robot.output_names]
    counted = [_values(message) for message in topics.get(MCU, {}).values()]
    late = sum(logged_ns[COMMAND][s] - s > period_ns for s in answered) if realtime else 0
    said = {s: _solver(topics[SOLVER][s]) for s in answered if s in topics.get(SOLVER, {})}
    told = np.full((len(stamps), len(robot.commands)), np.nan)
    told[heard] = vectors(COMMAND, [commands[s] for s in answered], robot.command_names)
    reference = None
    if follows:
        told_ns = sorted(references)
        points = [
            named(REFERENCE, m.joint_names, m.points[0].positions, robot.output_names)
            for m in (references[stamp] for stamp in told_ns)
        ]
        reference = at_samples(told_ns, np.array(points))
        # What a robot should do that nobody heard of, or that has been stopped, the curve says.
        alone = [s in unheard or said.get(s, {}).get("state") in AT_REST for s in stamps]
        reference[alone] = record.curve.values(t_s[alone])
    return Run(
        record=record,
        t_s=t_s,
        outputs=at_samples(seen, outputs),
        reference=reference,
        commands=told,
        predicted=predicted,
        solver=list(said.values()),
        late=late,
        unanswered=max(0, len(measured) - len(stamps)) if realtime and not in_material else 0,
        mcu=counted[-1] if counted else None,
    )


def _far_from(seen: np.ndarray, stamps: np.ndarray, period_ns: float) -> set[int]:
    """Those of `seen` that have none of the `stamps` within a period of a sample, ns."""
    after = np.minimum(np.searchsorted(stamps, seen), len(stamps) - 1)
    nearest = np.minimum(abs(stamps[after] - seen), abs(stamps[np.maximum(after - 1, 0)] - seen))
    return set(seen[nearest > 0.75 * period_ns].tolist())


def _solver(message: Any) -> dict[str, str]:
    return {"status": message.status[0].message} | _values(message)


def _values(message: Any) -> dict[str, str]:
    """Of a diagnosis."""
    return {pair.key: pair.value for pair in message.status[0].values}


@dataclass(frozen=True)
class Errors:
    """How far the robot was from its reference after SETTLE_S, in `unit`."""

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
    """(T,) Euclidean distance of the group's outputs from their reference at equal instants, in the
    group's unit on paper."""
    return group.distance(run.outputs - run.reference)


def path_error(run: Run, group: OutputGroup) -> np.ndarray:
    """(T,) distance of the group's outputs from the nearest point of the reference's curve, in the
    group's unit on paper."""
    columns = list(group.columns)
    curve = run.record.curve.curve()[:, columns]
    return group.factor * cKDTree(curve).query(run.outputs[:, columns])[0]


def error_figures(error: np.ndarray) -> tuple[float, float, float]:
    """RMSE, 95th percentile and maximum, in the unit of `error` (T,)."""
    return (
        float(np.sqrt(np.mean(error**2))),
        float(np.percentile(error, 95)),
        float(np.max(error)),
    )


def errors(run: Run) -> list[Errors]:
    """Of each point and of each output that is no position; none without reference or time."""
    settled = run.t_s >= SETTLE_S - ROUNDING_S
    if run.reference is None or not settled.any():
        return []
    return [
        Errors(
            group.name,
            group.unit,
            *error_figures(tracking_error(run, group)[settled]),
            *error_figures(path_error(run, group)[settled]),
        )
        for group in run.record.robot.groups
    ]


def cut_errors(run: Run) -> dict[str, dict[str, float | None]]:
    """Name of a point or output -> before, during, after the cut: RMSE of its tracking error, in
    its unit on paper; None of a part without a sample. Empty where there was no cut."""
    if not run.record.cut:
        return {}
    from_s, for_s = cut_of(run.record.cut, run.record.duration_s)
    edges = np.maximum([SETTLE_S, from_s, from_s + for_s, np.inf], SETTLE_S) - ROUNDING_S
    found: dict[str, dict[str, float | None]] = {}
    for group in run.record.robot.groups:
        error, of = tracking_error(run, group), found.setdefault(group.name, {})
        for name, low, high in zip(("before", "during", "after"), edges, edges[1:], strict=False):
            part = error[(run.t_s >= low) & (run.t_s < high)]
            of[name] = error_figures(part)[0] if part.size else None
    return found


def errors_mm(found: list[Errors]) -> dict[str, float | None]:
    """Of the first point that is measured in mm, by names that carry the unit; None without one."""
    keys = ("rmse", "p95", "max", "path_rmse", "path_p95", "path_max")
    first = next((e for e in found if e.unit == "mm"), None)
    return {f"{key}_mm": getattr(first, key) if first else None for key in keys}


def measure(run: Run) -> dict[str, Any]:
    """The figures of summary.json."""
    record = run.record
    low, high = record.robot.command_min, record.robot.command_max
    # The limits went through float32 on the MCU: half a unit in the last place of the largest.
    slack = np.spacing(np.float32(max(np.abs(low).max(), np.abs(high).max())))
    outside = ((run.commands < low - slack) | (run.commands > high + slack)).any(axis=1)
    costs = [int(s["step_cost"]) for s in run.solver if s["step_cost_unit"] == "instructions"]
    build, counted, given = record.build, run.mcu, run.commands[run.heard]
    taken = len(run.t_s) + run.unanswered
    wanted = round(record.duration_s * record.rate_hz)
    found = errors(run)
    return {
        "rig": record.robot.name,
        "twin": record.twin,
        **{key: getattr(record, key) for key in ("controller", "target", "reference", "clock")},
        "wiring": record.wiring,
        "rate_hz": record.rate_hz,
        "duration_s": round(taken / record.rate_hz, 6),
        "samples": len(given),
        "complete": taken >= wanted,
        **errors_mm(found),
        "errors": [asdict(e) for e in found],
        **{
            key: getattr(build, key) if build else None
            for key in ("flash_bytes", "flash_percent", "ram_bytes")
        },
        "step_instructions_median": int(np.median(costs)) if costs else None,
        "step_instructions_max": max(costs) if costs else None,
        "deadline_misses": int(counted["missed_samples"])
        if record.wiring == "mcu" and counted
        else run.late + run.unanswered,
        "cut": record.cut,
        "cut_rmse": cut_errors(run),
        "mcu": {
            key: int(value) if value.isdigit() else value for key, value in (counted or {}).items()
        },
        "solver_status": dict(Counter(s["status"] for s in run.solver)),
        "supervisor_interventions": sum(s["supervisor"] != "0" for s in run.solver),
        "commands_outside_bounds": int(outside.sum()),
        "commands_sha256": hashlib.sha256(
            run.commands[run.heard].astype("<f8").tobytes()
        ).hexdigest(),
        "seed": record.seed,
        "model_hash": record.model_hash,
    }


def summarise(run_dir: Path) -> dict[str, Any]:
    """Measures the run in `run_dir` and writes its summary.json."""
    summary = measure(read_run(run_dir))
    write_json(run_dir / "summary.json", summary)
    return summary
