"""Runs as one self-contained HTML page, and the verdict as text.

Names of robots, controllers and folders are other people's text: they reach the page through
`printable` and the template's escaping, and figures as plain text, never as mathematics.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from nn4mc_codegen.printing.c import template_environment
from soft_control.experiment.energy import power_row
from soft_control.experiment.record import RunRecord, read_record
from soft_control.experiment.run_samples import Entry, read_run
from soft_control.experiment.summary import measure, read_summary
from soft_control.paths import TEMPLATES
from soft_control.plain_text import printable
from soft_control.small_files import write_whole

COLOURS = ("#0b6bb8", "#d9711a", "#3d8f45", "#8a4fa3", "#8c6d31", "#c2417c", "#20a4a4")


class Result(NamedTuple):
    """What a run was and what came of it: as much of an Entry as a table needs."""

    record: RunRecord
    summary: dict[str, Any]


def read_result(run_dir: Path) -> Result:
    """Reads a run that has been summed up, without reading its bag again. Raises RecordingError
    where it has not been."""
    return Result(read_record(run_dir), read_summary(run_dir))


def read_entries(run_dirs: Sequence[Path]) -> list[Entry]:
    """Reads and measures run directories.

    Raises RecordingError for what is no run, ValueError for runs that no report can compare.
    """
    entries = []
    for run_dir, colour in zip(run_dirs, COLOURS * len(run_dirs), strict=False):
        run = read_run(run_dir)
        if run.reference is None:
            raise ValueError(f"{run_dir} is an open-loop run: there is no tracking to report")
        entries.append(Entry(label_of(run.record, run_dir), run, measure(run), colour))
        first = entries[0].run.record.robot
        if run.record.robot.bare() != first.bare():
            raise ValueError(
                f"{run_dir} is of the robot {run.record.robot.name}, {run_dirs[0]} of "
                f"{first.name}, or with other limits: one report compares runs of one robot"
            )
    return entries


def label_of(record: RunRecord, run_dir: Path) -> str:
    """What a run is called in a report: `MPC on pil (first)`."""
    where = f" on {record.target}" if record.target else ""
    return printable(f"{record.title}{where} ({run_dir.name})")


def write_report(entries: Sequence[Entry], out: Path) -> None:
    """Writes the page, with its figures inside, to `out`."""
    # matplotlib takes longer to import than the table of a run takes to print.
    from soft_control.experiment.figures import draw_all

    environment = template_environment(TEMPLATES, html=True)
    environment.filters["printable"] = printable
    page = environment.get_template("report.html").render(
        entries=entries,
        verdict=verdict(entries),
        rows=table(entries),
        figures=draw_all(entries),
    )
    write_whole(out, page)


def table(entries: Sequence[Entry | Result]) -> list[tuple[str, list[str]]]:
    """Rows of the verdict's table: (quantity, value per run)."""

    def row(title: str, show: Callable[[dict[str, Any]], str]) -> tuple[str, list[str]]:
        return title, [show(entry.summary) for entry in entries]

    def said(title: str, show: Callable[[RunRecord], bool]) -> tuple[str, list[str]]:
        return title, ["yes" if show(entry.record) else "no" for entry in entries]

    def cost(s: dict) -> str:
        if s["step_instructions_median"] is None:
            return "-"
        return f"{s['step_instructions_median']:,} / {s['step_instructions_max']:,}"

    def memory(s: dict) -> str:
        if None in (s["flash_bytes"], s["flash_percent"], s["ram_bytes"]):
            return "-"
        return (
            f"{s['flash_bytes']:,} B ({s['flash_percent']:.2f} % of 1 MiB) / {s['ram_bytes']:,} B"
        )

    def statuses(s: dict) -> str:
        return ", ".join(f"{name} {count}" for name, count in s["solver_status"].items()) or "-"

    def doubts(s: dict) -> str:
        return ", ".join(
            f"{printable(name)} {count}" for name, count in s.get("doubted_samples", {}).items()
        )

    summaries = [entry.summary for entry in entries]
    of_doubts = [row("signals not believed, samples", lambda s: doubts(s) or "-")]
    powers = [
        power_row(entry.summary, record.robot, record.rate_hz, record.wiring)
        for entry in entries
        for record in (entry.record,)
    ]

    def lost(s: dict) -> str:
        return f"{s['mcu']['telemetry_lost']:,}" if s["mcu"] else "-"

    def at_the_end(s: dict) -> str:
        state, cause = s["mcu"].get("state", "-"), s["mcu"].get("cause", "none")
        return state if cause == "none" else f"{state} ({cause.replace('_', ' ')})"

    of_the_mcu = [
        ("instruments on", [entry.record.wiring for entry in entries]),
        *(row(*of) for of in cut_rows(entries)),
        row("samples lost to the host, as the MCU counts", lost),
        row("MCU at the end", at_the_end),
    ]
    calibrated = [f"{s:g}" if (s := entry.record.calibrate_s) else "-" for entry in entries]
    twins = [printable(entry.record.twin or "-") for entry in entries]
    return [
        *(row(*of) for of in error_rows(entries[0].record)),
        *([("on the twin", twins)] if set(twins) != {"-"} else []),
        *(of_the_mcu if any(entry.record.wiring == "mcu" for entry in entries) else []),
        said("sees the measured outputs", lambda record: record.sees_position),
        *([("learned before, s", calibrated)] if set(calibrated) != {"-"} else []),
        said("has preview", lambda record: record.has_preview),
        row("step cost, instructions, median / max", cost),
        row("flash / RAM", memory),
        ("estimated power", powers),
        row("solver status", statuses),
        *(of_doubts if any(map(doubts, summaries)) else []),
        row("commands outside bounds", lambda s: str(s["commands_outside_bounds"])),
        row("deadline misses", lambda s: str(s["deadline_misses"])),
        row("samples", lambda s: f"{s['samples']}{'' if s['complete'] else ' (cut short)'}"),
    ]


def error_rows(record: RunRecord) -> list[tuple[str, Callable[[dict[str, Any]], str]]]:
    """Title, and how to show a summary, of the rows about errors: four for each point or output."""
    groups = record.robot.groups
    kinds = {
        "rmse": "tracking error RMSE",
        "p95": "tracking error 95 %",
        "max": "tracking error maximum",
        "path_rmse": "path error RMSE",
    }

    def show(number: int, key: str) -> Callable[[dict[str, Any]], str]:
        return lambda s: f"{s['errors'][number][key]:.2f}" if s["errors"] else "-"

    rows = []
    for number, group in enumerate(groups):
        of = f"{printable(group.name)}: " if len(groups) > 1 else ""
        unit = "" if group.unit == "1" else f", {printable(group.unit)}"
        rows += [(f"{of}{title}{unit}", show(number, key)) for key, title in kinds.items()]
    return rows


def cut_rows(
    entries: Sequence[Entry | Result],
) -> list[tuple[str, Callable[[dict[str, Any]], str]]]:
    """The same of the errors before, during and after a cut, where a run had one."""
    if not any(entry.summary["cut"] for entry in entries):
        return []
    groups = entries[0].record.robot.groups

    def show(name: str) -> Callable[[dict[str, Any]], str]:
        return lambda s: _phases(s, name) or "-"

    rows = []
    for group in groups:
        of = f"{printable(group.name)}: " if len(groups) > 1 else ""
        unit = "" if group.unit == "1" else f", {printable(group.unit)}"
        rows.append((f"{of}RMSE before / during / after the cut{unit}", show(group.name)))
    return rows


def _phases(summary: dict[str, Any], group: str) -> str:
    found = summary["cut_rmse"].get(group, {})
    return " / ".join("-" if rmse is None else f"{rmse:.2f}" for rmse in found.values())


# ------------------------------------------------------------------------------------------ verdict


def verdict(entries: Sequence[Entry]) -> str:
    """In a few sentences: who tracked better, by how much, and under which conditions.

    The runs are ranked by the RMSE of the robot's first point or output.
    """
    measured = sorted(
        (entry for entry in entries if entry.summary["errors"]),
        key=lambda entry: entry.summary["errors"][0]["rmse"],
    )
    if not measured:
        return "No run lasted long enough to be measured."
    names = _names(measured)
    said = [_ranking(measured, names)]
    if len(measured) > 1:
        said.append(_conditions(measured, names))
    said += [_cut(entry, name) for entry, name in zip(measured, names, strict=True)]
    tasks = [_task(entry.record) for entry in measured]
    if any(task != tasks[0] for task in tasks):
        said.append("The runs followed different references, so this is no comparison.")
    if len(measured) < len(entries):
        short = [entry.label for entry in entries if not entry.summary["errors"]]
        said.append(f"Too short to be measured: {', '.join(short)}.")
    return " ".join(filter(None, said))


def _names(entries: Sequence[Entry]) -> list[str]:
    """The controllers' titles; labels where a title stands for several runs, numbered where even
    those do."""
    titles = Counter(entry.title for entry in entries)
    labels = Counter(entry.label for entry in entries)
    if len(entries) == 1:
        return [entries[0].label]
    names = []
    for place, entry in enumerate(entries, start=1):
        name = entry.title if titles[entry.title] == 1 else entry.label
        names.append(f"{name}, run {place}" if labels[entry.label] > 1 else name)
    return names


def _ranking(measured: Sequence[Entry], names: Sequence[str]) -> str:
    first = measured[0].summary["errors"][0]
    group = measured[0].record.robot.groups[0]
    unit = "" if group.unit == "1" else f" {printable(group.unit)}"
    rmse = [f"{entry.summary['errors'][0]['rmse']:.2f}{unit}" for entry in measured]
    maximum = [f"{entry.summary['errors'][0]['max']:.2f}{unit}" for entry in measured]
    of = f" of {printable(first['of'])}" if len(measured[0].record.robot.groups) > 1 else ""
    if len(measured) == 1:
        return f"{names[0]}: RMSE{of} {rmse[0]}, maximum {maximum[0]}."
    if len(measured) == 2:
        return (
            f"{names[0]} has the smaller tracking error{of}: RMSE {rmse[0]} against {rmse[1]} of "
            f"{names[1]}; maximum {maximum[0]} against {maximum[1]}."
        )
    others = [
        f"{name} with RMSE {r}, maximum {m}"
        for name, r, m in zip(names[1:], rmse[1:], maximum[1:], strict=True)
    ]
    return (
        f"{names[0]} has the smallest tracking error{of}: RMSE {rmse[0]}, maximum {maximum[0]}; "
        f"then {'; then '.join(others)}."
    )


def _conditions(measured: Sequence[Entry], names: Sequence[str]) -> str:
    """What each controller knew, in words."""

    def knew(record: RunRecord) -> str:
        if record.sees_position == record.has_preview:
            if record.sees_position:
                return "sees the measured outputs and has preview of the reference"
            return "neither sees the measured outputs nor has preview of the reference"
        if record.sees_position:
            return "sees the outputs and has no preview"
        return "never sees the measured outputs but has preview of the reference"

    ordered = sorted(zip(measured, names, strict=True), key=lambda e: e[0].record.sees_position)
    sentences = [f"{name} {knew(entry.record)}" for entry, name in ordered]
    return "; ".join(sentences) + "."


def _cut(entry: Entry, name: str) -> str:
    """What came of a run whose line to the host was cut; nothing of any other."""
    cut, lost = entry.summary["cut"], entry.summary["mcu"].get("telemetry_lost")
    if not cut:
        return ""
    group = entry.record.robot.groups[0]
    unit = "" if group.unit == "1" else f" {printable(group.unit)}"
    for_s, _, from_s = cut.partition("@")
    heard = "" if lost is None else f"; the host did not hear of {lost:,} samples"
    return (
        f"{name} went on while its line to the host was cut for {printable(for_s)} s at "
        f"{printable(from_s)} s: RMSE before / during / after {_phases(entry.summary, group.name)}"
        f"{unit}{heard}."
    )


def _task(record: RunRecord) -> tuple[Any, ...]:
    return record.curve, record.load
