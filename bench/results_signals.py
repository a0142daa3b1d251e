"""What docs/results.md says of signals that lie, and of those that do not and were doubted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from soft_control.campaign.disturbances import DISTURBANCES, fails_channels, parts_of
from soft_control.campaign.results import Doubt, Figure, Results

SEEDS_MAX = 2**32
"""Seeds of a plan are below it."""


@dataclass(frozen=True)
class Kind:
    """A way to fail, of a controller, over all channels."""

    name: str
    help: str
    figure: Figure
    """Mean over channels, too."""
    worst_rmse: str
    """Channel with the largest mean RMSE."""
    worst_s: str
    """Channel that was found last; empty where none was."""
    doubt: Doubt


@dataclass(frozen=True)
class Channel:
    """A channel, and what its failing did in each way: a controller's figure, and how it was found;
    None: no run."""

    name: str
    found: Sequence[tuple[Figure, Doubt | None] | None]


@dataclass(frozen=True)
class Alarms:
    """A task in which no channel fails, and what the controllers doubted there; None: no run."""

    task: str
    help: str
    watched: bool
    """Whether it is of the runs that are there for this."""
    doubts: Sequence[Doubt | None]


@dataclass(frozen=True)
class Signals:
    """All that the page says of a rig's signals."""

    controllers: Sequence[str]
    """Who has any, and tells which it believes."""
    kinds: Mapping[str, Sequence[Kind]]
    """By controller."""
    ways: Sequence[str]
    """Columns of `channels`: how a channel fails."""
    channels: Sequence[Channel]
    """Of the first controller."""
    alarms: Sequence[Alarms]


def signals_of(rig: str, controllers: Sequence[str], moving: Results, watched: Results) -> Signals:
    """From the runs with a path, and from those in which only doubt counts."""
    tasks = moving.names("disturbance", rig)
    failing = [name for name in tasks if fails_channels(name) and ":" in name]
    ways = list(dict.fromkeys(parts_of(name)[0] for name in failing))
    channels = list(dict.fromkeys(parts_of(name)[1] for name in failing))
    first = controllers[0]
    alarms = [
        _alarms(results, rig, name, controllers, results is watched)
        for results in (watched, moving)
        for name in results.names("disturbance", rig)
        if not fails_channels(name)
    ]
    return Signals(
        controllers=controllers,
        kinds={
            name: [found for way in ways if (found := _kind(moving, rig, name, way, failing))]
            for name in controllers
        },
        ways=ways,
        channels=[
            Channel(one, [_cell(moving, rig, first, f"{way}:{one}") for way in ways])
            for one in channels
        ],
        alarms=[one for one in alarms if any(one.doubts)],
    )


def _kind(
    results: Results, rig: str, controller: str, way: str, failing: Sequence[str]
) -> Kind | None:
    rows = {
        parts_of(name)[1]: found
        for name in failing
        if parts_of(name)[0] == way and (found := results.rows(rig, name, controller))
    }
    every = [row for found in rows.values() for row in found]
    doubt = results.doubt(every) if every else None
    if doubt is None:
        return None
    by_channel = {name: results.doubt(found) for name, found in rows.items()}
    last = max(by_channel, key=lambda name: np.nan_to_num(by_channel[name].worst_s, nan=-1.0))
    return Kind(
        name=way,
        help=DISTURBANCES[way].help,
        figure=results.figure(every),
        worst_rmse=max(rows, key=lambda name: results.figure(rows[name]).rmse),
        worst_s=last if doubt.found else "",
        doubt=doubt,
    )


def _cell(
    results: Results, rig: str, controller: str, name: str
) -> tuple[Figure, Doubt | None] | None:
    rows = results.rows(rig, name, controller)
    return (results.figure(rows), results.doubt(rows)) if rows else None


def _alarms(
    results: Results, rig: str, name: str, controllers: Sequence[str], watched: bool
) -> Alarms:
    doubts = []
    for controller in controllers:
        rows = results.rows(rig, name, controller)
        doubts.append(results.doubt(rows) if rows else None)
    return Alarms(name, DISTURBANCES[parts_of(name)[0]].help, watched, doubts)


def folded(table: pa.Table) -> pa.Table:
    """The table with all channels that fail in one way as one disturbance. Runs of different
    channels with the same seed stay apart: they get seeds that no plan has."""
    names, channels = [], []
    for name in table["disturbance"].to_pylist():
        entry, channel = parts_of(name)
        names.append(entry)
        channels.append(channel)
    number = {channel: i for i, channel in enumerate(dict.fromkeys(["", *channels]))}
    seeds = [
        seed + SEEDS_MAX * number[channel]
        for seed, channel in zip(table["seed"].to_pylist(), channels, strict=True)
    ]
    for column, values in (("disturbance", names), ("seed", seeds)):
        place = table.schema.get_field_index(column)
        table = table.set_column(place, table.schema.field(place), [values])
    return table


def found_after(doubt: Doubt | None) -> str:
    """How soon, in a cell: mean / worst, s."""
    if doubt is None or not doubt.failed:
        return "-"
    if not doubt.found:
        return f"never in {doubt.failed}"
    said = f"{doubt.mean_s:.2f} / {doubt.worst_s:.2f}"
    return said + (f", never in {doubt.missed} of {doubt.failed}" if doubt.missed else "")


def alarmed(doubt: Doubt | None) -> str:
    """False alarms, in a cell: samples, and in how many runs."""
    if doubt is None:
        return "-"
    if not doubt.alarms:
        return f"0 of {doubt.samples:,}"
    return f"{doubt.alarms:,} of {doubt.samples:,}, {doubt.alarmed} runs"
