"""The samples of a run: its topics joined by their stamps, all at once or one minute after another.

A minute is joined when the bag has told all of it and some seconds more, and is then forgotten, so
that a run of any length takes the memory of one minute.

    bag    ...-----------(---------------------------]----------|      newest message
                        low      rows of a block    high   + MARGIN_NS
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from soft_control.control.controllers import MCU_NODE
from soft_control.experiment.record import RunRecord, read_record
from soft_control.experiment.tracking_error import interpolated
from soft_control.learning.bag_messages import (
    TIP_POSITION,
    TYPES,
    check_order,
    messages,
)
from soft_control.learning.cdr import (
    DIAGNOSTIC_ARRAY,
    JOINT_STATE,
    JOINT_TRAJECTORY,
    NamedVectorReader,
    diagnosis,
    stamp_ns,
)
from soft_control.learning.recording import RecordingError, warn
from soft_control.plain_text import printable
from soft_control.topics import (
    COMMAND,
    MCU,
    OUTPUTS,
    PREDICTED_OUTPUTS,
    REFERENCE,
    SOLVER,
    STATISTICS,
)

AT_REST = "stopped", "fault"
"""States of the microcontroller in which it follows no reference any more."""
BLOCK_NS = 60 * 10**9
MARGIN_NS = 10 * 10**9
"""By so much one topic may be behind another in the bag: a logger that is late is late with all."""
RUN_TYPES = TYPES | {REFERENCE: {JOINT_TRAJECTORY: TYPES[REFERENCE][JOINT_TRAJECTORY]}}
TOPICS = (OUTPUTS, REFERENCE, COMMAND, PREDICTED_OUTPUTS, SOLVER, MCU, TIP_POSITION)
RETURNS = ("rearmed", "reconnections", "lost", "lost_samples")
"""What a node counts, of its statistics, whose device goes and comes back."""


class Solved(NamedTuple):
    """What the solver reported of a sample."""

    status: str
    step_cost: int
    step_cost_unit: str
    supervised: bool
    """Whether the supervisor changed the command."""
    state: str
    """Of the microcontroller; empty where it does not say."""
    doubted: str = ""
    """Names of signals that are not believed, with commas."""


class Seen(NamedTuple):
    """The robot at the K instants at which it was measured, whether or not a command answered."""

    t_s: np.ndarray
    """(K,) s since the first sample."""
    outputs: np.ndarray
    """(K, n)"""
    reference: np.ndarray | None
    """(K, n) as it was told, in realtime between its neighbours in time; in wiring mcu as the curve
    says where none was told or the robot was stopped, else NaN there. None for open-loop runs."""


@dataclass(frozen=True)
class Run:
    """One run, or a part of one, as its bag and its experiment.json tell it; T samples joined by
    stamp."""

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
    solver: list[Solved]
    """One a sample; empty for controllers that have no solver."""
    late: int
    """Samples whose command came after the next sample was due; 0 in lockstep."""
    seen: Seen
    """Of which the errors are."""
    mcu: dict[str, str] | None = None
    """Wiring mcu: what the microcontroller has counted; None where it was not asked any more."""
    returns: dict[str, dict[str, int]] | None = None
    """Realtime: by node, how often its device has come back, and samples lost meanwhile; so far."""

    @property
    def heard(self) -> np.ndarray:
        """(T,) samples of which the host heard: others were in a cut of its line, and the bag has
        their outputs alone."""
        return ~np.isnan(self.commands).any(axis=1)


@dataclass(frozen=True)
class Entry:
    """One run in a report."""

    label: str
    """Controller, target and folder."""
    run: Run
    summary: dict[str, Any]
    """What summary.measure found."""
    colour: str
    """Of its lines in all figures."""

    @property
    def record(self) -> RunRecord:
        """What the run was made with."""
        return self.run.record

    @property
    def title(self) -> str:
        """The controller's."""
        return printable(self.record.title)


def read_run(run_dir: Path) -> Run:
    """Reads a run directory. Raises RecordingError where a part of it is missing or is not what the
    run's description says."""
    (run,) = read_blocks(run_dir, block_ns=sys.maxsize)
    return run


def read_blocks(run_dir: Path, block_ns: int = BLOCK_NS) -> Iterator[Run]:
    """Reads a run directory part by part, each of `block_ns` and in the order of time; raises as
    `read_run` does. What the microcontroller has counted is in the last part."""
    reading = _Reading(run_dir, read_record(run_dir))
    found = False
    for part in reading.parts(block_ns):
        found = True
        yield part
    if reading.has_tip and OUTPUTS not in reading.counts:
        raise RecordingError(
            f"{run_dir}: the bag has {TIP_POSITION} and no {OUTPUTS}: make the run again"
        )
    if not found:
        raise RecordingError(f"{run_dir}: the bag ends before the first sample was answered")


class _Topic(NamedTuple):
    """Messages of a topic that may still be needed."""

    stamps: list[int]
    values: list[Any]
    logged: list[int]

    def forget(self, before_ns: int) -> None:
        """What is older, but for the newest of that."""
        old = 0
        while old + 1 < len(self.stamps) and self.stamps[old + 1] <= before_ns:
            old += 1
        for column in self:
            del column[:old]

    def sorted(self, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Stamps (K,), ns, each once; rows (K, width); and when they were logged (K,), ns."""
        stamps, first = np.unique(np.array(self.stamps, dtype=np.int64), return_index=True)
        rows = np.array(self.values, dtype=float).reshape(-1, width)[first]
        return stamps, rows, np.array(self.logged, dtype=np.int64)[first]


class _Reading:
    """One pass through a bag."""

    def __init__(self, run_dir: Path, record: RunRecord) -> None:
        self.run_dir, self.bag, self.record = run_dir, run_dir / "bag", record
        self.topics = {name: _Topic([], [], []) for name in TOPICS}
        self.counts: dict[str, int] = {}
        self.repeated: dict[str, int] = {}
        self.has_tip = False
        self.first_ns: int | None = None
        self.mcu: dict[str, str] | None = None
        instruments = record.robot.instruments
        nodes = (instruments.sensor.kind, MCU_NODE.node, instruments.actuators.kind)
        realtime = record.clock == "realtime"
        self.statistics = {f"/{node}/{STATISTICS}": node for node in nodes if realtime}
        self.returns: dict[str, dict[str, int]] = {}

    def parts(self, block_ns: int) -> Iterator[Run]:
        last: Run | None = None
        for part in self._parts(block_ns):
            if last:
                yield last
            last = part
        if last:
            # It is told at the end of a run, after the last sample.
            yield replace(last, mcu=self.mcu, returns=self.returns)

    def _parts(self, block_ns: int) -> Iterator[Run]:
        low = high = None
        for stamp in self._stamps():
            if low is None or high is None:
                # A little may be behind: the first message in the bag need not be the oldest.
                low = stamp - MARGIN_NS
                high = stamp + block_ns
            if stamp > high + MARGIN_NS:
                if part := self._part(low, high):
                    yield part
                # A clock that was set forward makes one long part, not one part for each minute.
                low, high = high, max(high + block_ns, stamp - MARGIN_NS)
                for topic in self.topics.values():
                    topic.forget(low - MARGIN_NS)
        self._check_repeated()
        if low is not None and (part := self._part(low, sys.maxsize)):
            yield part

    def _stamps(self) -> Iterator[int]:
        """Takes in one message after the other; the stamp of each, ns."""
        robot = self.record.robot
        wanted = {
            OUTPUTS: robot.output_names,
            REFERENCE: robot.output_names,
            COMMAND: robot.command_names,
            PREDICTED_OUTPUTS: None,  # a model may know some of the outputs only
        }
        readers: dict[str, Any] = {}
        newest: dict[str, int] = {}
        topics = (*TOPICS, *self.statistics)
        types = RUN_TYPES | {name: {JOINT_STATE: TYPES[OUTPUTS]} for name in self.statistics}
        for name, kind, when_ns, raw in messages(self.bag, topics, types, self.record.namespace):
            if name in self.statistics:
                self._count(self.statistics[name], raw)
                continue
            if name == TIP_POSITION:
                self.has_tip = True
                continue
            if name not in readers:
                readers[name] = _reader(kind, wanted.get(name))
            try:
                stamp, values = readers[name](raw)
            except ValueError as error:
                of = f" of the robot {robot.name}" if name in wanted else ""
                raise RecordingError(f"{self.run_dir}: {name}: {error}{of}") from None
            count = self.counts.get(name, 0)
            before = newest.get(name, stamp)
            check_order(self.bag, name, count, before, stamp)
            self.counts[name] = count + 1
            self.repeated[name] = self.repeated.get(name, 0) + (count > 0 and stamp == before)
            newest[name] = stamp
            if name == MCU:
                self.mcu = {key: value for key, value in values.items() if key != "status"}
            else:
                topic = self.topics[name]
                topic.stamps.append(stamp)
                topic.values.append(values)
                topic.logged.append(when_ns)
            yield stamp

    def _count(self, node: str, raw: bytes) -> None:
        """What a node has counted until now; one that is not active says nothing."""
        try:
            told = NamedVectorReader(JOINT_STATE)(raw)
            said = dict(zip(told.names, told.values, strict=True))
            found = {name: int(said[name]) for name in RETURNS if name in said}
        except (ValueError, OverflowError) as error:
            raise RecordingError(f"{self.run_dir}: /{node}/{STATISTICS}: {error}") from None
        if found:
            self.returns[node] = found

    def _check_repeated(self) -> None:
        for name, repeated in self.repeated.items():
            if repeated and repeated + 1 == self.counts[name]:
                raise RecordingError(
                    f"{self.bag}: all {repeated + 1} messages on {name} have one stamp: whoever "
                    "publishes them must fill header.stamp"
                )
        if total := sum(self.repeated.values()):
            warn(self.bag, f"{total} messages repeat a stamp of their topic, left out")

    def _part(self, low: int, high: int) -> Run | None:
        """What happened after `low` and until `high`, ns; None where there is no sample."""
        record, robot = self.record, self.record.robot
        n, m = len(robot.outputs), len(robot.commands)
        seen, outputs, _ = self.topics[OUTPUTS].sorted(n)
        asked, references, _ = self.topics[REFERENCE].sorted(n)
        told, commands, logged = self.topics[COMMAND].sorted(m)
        period_ns = 1e9 / record.rate_hz
        realtime, in_material = record.clock == "realtime", record.wiring == "mcu"
        follows = record.curve is not None
        answered = np.intersect1d(told, asked) if follows else told
        if record.measured and not seen.size:
            return None
        if in_material:
            # In realtime its stamps are those of its own clock, and a reference of the host's has
            # other ones. By its own timer it goes on when the rig has ended.
            if realtime and (asked.size or REFERENCE in self.counts):
                answered = told
            if seen.size:
                answered = answered[answered <= seen[-1] + (period_ns if realtime else 0)]
        inside = (seen > low) & (seen <= high)
        measured = seen[inside]
        unheard = _far_from(measured, answered, period_ns) if in_material else seen[:0]
        answered = answered[(answered > low) & (answered <= high)]
        at = np.union1d(answered, unheard)
        if self.first_ns is None:
            if not told.size or not at.size:  # what was measured before all began is no sample
                return None
            self.first_ns = int(at[0])
        heard = np.isin(at, answered)
        t_s = (at - self.first_ns) * 1e-9
        given = np.full((len(at), m), np.nan)
        given[heard] = commands[np.searchsorted(told, answered)]
        said = self._solved(answered)
        reference = wanted = None
        seen_t_s = (measured - self.first_ns) * 1e-9
        if follows:
            wanted = interpolated(measured, asked, references, record.rate_hz)
            if in_material:
                # It goes on along the curve, whether or not the host hears of that. A host that is
                # late is late on the curve too, so there nobody knows what was not told.
                alone = np.isnan(wanted).all(axis=1) | self._at_rest(measured)
                wanted[alone] = record.curve.values(seen_t_s[alone])
            reference = self._at(at, asked, references)
            # What a robot should do that nobody heard of, or that has been stopped, the curve says.
            alone = self._at_rest(at) | ~heard | (asked.size == 0)
            reference[alone] = record.curve.values(t_s[alone])
        since_ns = logged[np.searchsorted(told, answered)] - answered
        return Run(
            record=record,
            t_s=t_s,
            outputs=self._at(at, seen, outputs),
            reference=reference,
            commands=given,
            predicted=self._predicted(at),
            solver=list(said.values()),
            late=int(np.count_nonzero(since_ns > period_ns)) if realtime else 0,
            seen=Seen(seen_t_s, outputs[inside], wanted),
        )

    def _at(self, at: np.ndarray, stamps: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """(T, n) on the straight lines between rows. In realtime trackers have a clock of their
        own; in lockstep the stamps are the same. NaN where there are none."""
        if not stamps.size:
            return np.full((len(at), rows.shape[1]), np.nan)
        now, then = at - self.first_ns, stamps - self.first_ns
        return np.column_stack([np.interp(now, then, column) for column in rows.T])

    def _at_rest(self, at: np.ndarray) -> np.ndarray:
        """(T,) whether the last that the microcontroller has said by then is that it follows no
        reference any more."""
        topic = self.topics[SOLVER]
        stamps, first = np.unique(np.array(topic.stamps, dtype=np.int64), return_index=True)
        rests = np.array([topic.values[i].get("state") in AT_REST for i in first], dtype=bool)
        last = np.searchsorted(stamps, at, side="right") - 1
        return np.append(rests, False)[last]  # -1, where nothing was said, is the appended

    def _solved(self, answered: np.ndarray) -> dict[int, Solved]:
        topic = self.topics[SOLVER]
        said: dict[int, Solved] = {}
        wanted = set(answered.tolist())
        for stamp, values in zip(topic.stamps, topic.values, strict=True):
            if stamp not in wanted or stamp in said:
                continue
            try:
                said[stamp] = _solved(values)
            except (KeyError, ValueError) as error:
                raise RecordingError(
                    f"{self.run_dir}: {SOLVER} does not say what a sample cost: {error!r}"
                ) from None
        return said

    def _predicted(self, at: np.ndarray) -> np.ndarray:
        names = self.record.robot.output_names
        predicted = np.full((len(at), len(names)), np.nan)
        topic = self.topics[PREDICTED_OUTPUTS]
        rows = {stamp: k for k, stamp in enumerate(at.tolist())}
        for stamp, values in zip(topic.stamps, topic.values, strict=True):
            if (row := rows.pop(stamp, None)) is not None:
                predicted[row] = [values.get(name, np.nan) for name in names]
        return predicted


def _reader(kind: str, wanted: tuple[str, ...] | None) -> Any:
    """Of the bytes of a message its stamp, ns, and what is kept of it: values in the order of
    `wanted`, values by their names, or keys with what they say."""
    if kind == DIAGNOSTIC_ARRAY:
        return lambda raw: (stamp_ns(raw), diagnosis(raw))
    read = NamedVectorReader(kind, wanted)

    def named(raw: bytes) -> tuple[int, Any]:
        told = read(raw)
        by_name = told.values if wanted else dict(zip(told.names, told.values, strict=True))
        return told.stamp_ns, by_name

    return named


def _solved(said: dict[str, str]) -> Solved:
    return Solved(
        sys.intern(said["status"]),
        int(said["step_cost"]),
        sys.intern(said["step_cost_unit"]),
        said["supervisor"] != "0",
        sys.intern(said.get("state", "")),
        sys.intern(said.get("doubted", "")),
    )


def _far_from(seen: np.ndarray, stamps: np.ndarray, period_ns: float) -> np.ndarray:
    """Those of `seen` that have none of the `stamps` within a period of a sample, ns."""
    if not stamps.size:
        return seen
    after = np.minimum(np.searchsorted(stamps, seen), len(stamps) - 1)
    nearest = np.minimum(abs(stamps[after] - seen), abs(stamps[np.maximum(after - 1, 0)] - seen))
    return seen[nearest > 0.75 * period_ns]
