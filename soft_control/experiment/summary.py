"""What a run came to: reads its bag, measures it, writes summary.json."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial import cKDTree

from soft_control.control.references import Reference
from soft_control.learning.dataset import RecordingError, read_topics

SETTLE_S = 2.0
"""Errors count after this time: the rig starts at rest, the reference does not."""


@dataclass(frozen=True)
class Run:
    """One run as its bag and its experiment.json tell it; T samples joined by stamp."""

    experiment: dict[str, Any]
    """experiment.json, as bringup wrote it."""
    t_s: np.ndarray
    """(T,) s since the first sample."""
    position: np.ndarray
    """(T, 3) measured tip position, m."""
    reference: np.ndarray | None
    """(T, 3) m; None for open-loop runs."""
    commands: np.ndarray
    """(T, m), physical units."""
    predicted: np.ndarray
    """(T, 3) what the controller believed of these samples one sample before, m; NaN where none."""
    solver: list[dict[str, str]]
    """What the solver reported, a dict a sample; empty for controllers that have none."""
    late: int
    """Samples whose command came after the next sample was due; 0 in lockstep."""


def read_run(run_dir: Path) -> Run:
    """Reads a run directory. Raises RecordingError where a part of it is missing."""
    try:
        experiment = json.loads((run_dir / "experiment.json").read_text())
    except FileNotFoundError:
        raise RecordingError(f"{run_dir} is no run: it has no experiment.json") from None
    names = ("/tip_position", "/reference", "/command", "/predicted_position", "/solver")
    topics, logged_ns = read_topics(run_dir / "bag", names)
    tips, commands = topics.get("/tip_position", {}), topics.get("/command", {})
    references = topics.get("/reference", {})
    stamps = sorted(commands.keys() & (references if experiment["curve"] else commands).keys())
    if not stamps or not tips:
        raise RecordingError(f"{run_dir}: the bag ends before the first sample was answered")

    at = np.array(stamps)
    seen = np.array(sorted(tips))
    xyz = np.array([_xyz(tips[stamp].point) for stamp in seen])
    # In realtime the tracker has a clock of its own; in lockstep the stamps are the same.
    position = np.column_stack([np.interp(at, seen, axis) for axis in xyz.T])
    predictions = topics.get("/predicted_position", {})
    nan = (np.nan,) * 3
    period_ns = 1e9 / experiment["rate_hz"]
    realtime = experiment["clock"] == "realtime"
    late = sum(logged_ns["/command"][s] - s > period_ns for s in stamps) if realtime else 0
    return Run(
        experiment=experiment,
        t_s=(at - at[0]) * 1e-9,
        position=position,
        reference=np.array([_xyz(references[s].poses[0].pose.position) for s in stamps])
        if experiment["curve"]
        else None,
        commands=np.array([commands[s].position for s in stamps]),
        predicted=np.array(
            [_xyz(predictions[s].point) if s in predictions else nan for s in stamps]
        ),
        solver=[_solver(topics["/solver"][s]) for s in stamps if s in topics.get("/solver", {})],
        late=late,
    )


def _xyz(p: Any) -> tuple[float, float, float]:
    return p.x, p.y, p.z


def _solver(message: Any) -> dict[str, str]:
    status = message.status[0]
    return {"status": status.message} | {pair.key: pair.value for pair in status.values}


def tracking_error_mm(position: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """(T,) Euclidean distance at equal instants, mm."""
    return 1e3 * np.linalg.norm(position - reference, axis=1)


def path_error_mm(position: np.ndarray, curve: np.ndarray) -> np.ndarray:
    """(T,) distance to the nearest point of the reference's curve (K, 3), mm."""
    return 1e3 * cKDTree(curve).query(position)[0]


def error_figures(error_mm: np.ndarray) -> tuple[float, float, float]:
    """RMSE, 95th percentile and maximum, mm."""
    return (
        float(np.sqrt(np.mean(error_mm**2))),
        float(np.percentile(error_mm, 95)),
        float(np.max(error_mm)),
    )


def errors_mm(run: Run) -> dict[str, float | None]:
    """Tracking and path error after SETTLE_S; None where there is no reference or no such time."""
    keys = ("rmse_mm", "p95_mm", "max_mm", "path_rmse_mm", "path_p95_mm", "path_max_mm")
    settled = run.t_s >= SETTLE_S
    if run.reference is None or not settled.any():
        return dict.fromkeys(keys)
    position = run.position[settled]
    curve = Reference(**run.experiment["curve"]).curve()
    tracking = error_figures(tracking_error_mm(position, run.reference[settled]))
    return dict(zip(keys, tracking + error_figures(path_error_mm(position, curve)), strict=True))


def measure(run: Run) -> dict[str, Any]:
    """The figures of summary.json."""
    experiment = run.experiment
    low, high = np.array(experiment["command_min"]), np.array(experiment["command_max"])
    # The limits went through float32 on the MCU: half a unit in the last place of the largest.
    slack = np.spacing(np.float32(max(np.abs(low).max(), np.abs(high).max())))
    outside = ((run.commands < low - slack) | (run.commands > high + slack)).any(axis=1)
    costs = [int(s["step_cost"]) for s in run.solver if s["step_cost_unit"] == "instructions"]
    build = experiment["build"] or {}
    wanted = round(experiment["duration_s"] * experiment["rate_hz"])
    return {
        **{key: experiment[key] for key in ("rig", "controller", "target", "reference", "clock")},
        "rate_hz": experiment["rate_hz"],
        "duration_s": round(len(run.t_s) / experiment["rate_hz"], 6),
        "samples": len(run.t_s),
        "complete": len(run.t_s) >= wanted,
        **errors_mm(run),
        **{key: build.get(key) for key in ("flash_bytes", "flash_percent", "ram_bytes")},
        "step_instructions_median": int(np.median(costs)) if costs else None,
        "step_instructions_max": max(costs) if costs else None,
        "deadline_misses": run.late,
        "solver_status": dict(Counter(s["status"] for s in run.solver)),
        "supervisor_interventions": sum(s["supervisor"] != "0" for s in run.solver),
        "commands_outside_bounds": int(outside.sum()),
        "commands_sha256": hashlib.sha256(run.commands.astype("<f8").tobytes()).hexdigest(),
        "seed": experiment["seed"],
        "model_hash": experiment["model_hash"],
    }


def summarise(run_dir: Path) -> dict[str, Any]:
    """Measures the run in `run_dir` and writes its summary.json."""
    summary = measure(read_run(run_dir))
    write_json(run_dir / "summary.json", summary)
    return summary


def write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n")
