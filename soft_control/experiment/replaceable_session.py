"""A session whose firmware can be replaced by another one while the run goes on.

It is used as the session that it stands for, and remembers what a firmware must know that takes
over: modes, settings, trajectory, the streamed reference, and the last two seconds of the run.

wiring host   the new firmware lives through these two seconds again beside the old one, which
              answers until the new one can: its lags and estimate are then those of the run
wiring mcu    the old one holds its command and is closed at a known sample, the new one has its
              ports and begins there, from the command and the outputs that were told last

In lockstep the robot waits meanwhile, in real time its actuators hold.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from soft_control.experiment.remembered_run import Lived, Remembered
from soft_control.firmware_files import KeptBuild
from soft_control.link.codes import Source, State, Wiring, in_words
from soft_control.link.learned_map import LearnedMap
from soft_control.link.messages import Info, Telemetry
from soft_control.link.opening import FirmwareFiles
from soft_control.link.session import LinkError, McuSession, ModelMismatch, VersionError

PAST_S = 2.0
"""Of a run that a firmware lives through again: ten times the slowest lag of the demo's network."""
PATIENCE_S = 2.0
"""What has been sent is there within so long."""
POLL_S = 0.01

Open = Callable[[FirmwareFiles, bool], McuSession]
"""Opens a session with a firmware; in wiring mcu on its ports, if the second argument says so."""


class _Door:
    """Many may be inside; whoever shuts it is alone when all have left."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside, self._is_shut = 0, False

    def __enter__(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: not self._is_shut)
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._inside -= 1
            self._changed.notify_all()

    @contextlib.contextmanager
    def shut(self) -> Iterator[None]:
        with self._changed:
            self._is_shut = True
            self._changed.wait_for(lambda: self._inside == 0)
        try:
            yield
        finally:
            with self._changed:
                self._is_shut = False
                self._changed.notify_all()


class Lost(LinkError):
    """Neither the new firmware nor the one before goes on."""


@dataclass(frozen=True)
class Replaced:
    """What was replaced by what."""

    k: int
    """First sample of the new one."""
    before: Info
    """What the old one had counted at its end."""
    now: Info


class ReplaceableSession:
    """Everything that is not here is the session's own. One thread may `replace` while another
    waits for telemetry: that one goes on when it is done."""

    def __init__(
        self,
        open_firmware: Open,
        kept: KeptBuild,
        discard: Callable[[], None] = lambda: None,
        rehearse: Callable[[McuSession], None] = lambda session: None,
    ) -> None:
        """Opens the first one. discard: throws away what has come on the instruments' lines and
        nobody has read. rehearse: is done with each firmware before it is told anything of the run.
        Raises as McuSession."""
        self._open, self._kept = open_firmware, kept
        self._discard, self._rehearse = discard, rehearse
        self.on_begun: Callable[[], None] = lambda: None
        """Called when a firmware has begun on the ports of another: what their sensor had said
        last, that one has taken with it."""
        self._session = open_firmware(kept.build, True)
        self._rehearse(self._session)
        self._known = Remembered()
        self._unread: deque[Telemetry] = deque()
        self._replaced = self.generation = 0
        """How many firmwares there were before the one that is there now, and before the one that
        the last TELEMETRY is of."""
        self._door = _Door()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    # ------------------------------------------------------------------ as the session

    def arm(
        self,
        command: Sequence[float],
        outputs: Sequence[float],
        reference: Sequence[Sequence[float]] = (),
        k: int = 0,
        **modes: Any,
    ) -> None:
        with self._door:
            self._session.arm(command, outputs, reference, k, **modes)
        kept = max(round(PAST_S * self._session.info.rate_hz), 2)
        self._known = Remembered(
            command,
            outputs,
            k,
            k,
            modes,
            self._known.trajectory,
            self._known.settings,
            self._known.learned,
            dict(enumerate(reference, k)),
            past=deque(maxlen=kept + 1),
        )

    def upload(
        self,
        points: Sequence[Sequence[float]],
        step: int,
        periodic: bool,
        blend: Sequence[float],
    ) -> None:
        with self._door:
            self._session.upload(points, step, periodic, blend)
        self._known.trajectory = points, step, periodic, blend

    def forget_trajectory(self) -> None:
        with self._door:
            self._session.forget_trajectory()
        self._known.trajectory = None

    def configure(self, settings: Mapping[str, Sequence[float] | float]) -> None:
        with self._door:
            self._session.configure(settings)
        self._known.settings = settings

    def adapt(self, known: LearnedMap) -> None:
        with self._door:
            self._session.adapt(known)
        self._known.learned = known

    def preload(self, k: int, reference: Sequence[Sequence[float]]) -> None:
        with self._door:
            self._session.preload(k, reference)
        self._known.points |= dict(enumerate(reference, k))

    def measurement(self, k: int, outputs: Sequence[float]) -> None:
        with self._door:
            self._session.measurement(k, outputs)
        self._known.measured[k] = outputs

    def drive(self, k: int, command: Sequence[float]) -> None:
        with self._door:
            self._session.drive(k, command)
        self._known.driven_k = k

    def switch(self, source: Source, k: int = 0) -> int:
        with self._door:
            first = self._session.switch(source, k)
        self._known.modes["source"] = source
        return first

    def heartbeat(self) -> None:
        with self._door:
            self._session.heartbeat()

    def ask_info(self) -> None:
        with self._door:
            self._session.ask_info()

    def hello(self) -> Info:
        with self._door:
            return self._session.hello()

    def stop(self) -> None:
        with self._door:
            self._session.stop()

    def sample(self, k: int, signals: Sequence[float], reference: Sequence[float]) -> Telemetry:
        told = self._session.sample(k, signals, reference)
        self._known.points[k + self._session.info.horizon] = reference
        self._lived(k, signals, told)
        return told

    def observe(self, k: int, signals: Sequence[float], command: Sequence[float]) -> Telemetry:
        told = self._session.observe(k, signals, command)
        self._lived(k, signals, told)
        return told

    def telemetry(self, timeout_s: float) -> Telemetry | None:
        with self._door:
            if self._unread:
                return self._unread.popleft()
            self.generation = self._replaced
            return self._heard(timeout_s)

    def close(self) -> None:
        self._session.close()

    # ------------------------------------------------------------------ what is remembered

    def _lived(self, k: int, signals: Sequence[float], told: Telemetry) -> None:
        known = self._known
        measured = known.measured.pop(k, None)
        known.past.append(Lived(k, signals, measured, told.command, told.predicted))
        self._forget_before(told)

    def _heard(self, timeout_s: float) -> Telemetry | None:
        told = self._session.telemetry(timeout_s)
        if told is not None:
            self._forget_before(told)
        return told

    def _forget_before(self, told: Telemetry) -> None:
        known = self._known
        known.told, known.told_s = told, time.monotonic()
        for of_samples in (known.points, known.measured):
            while of_samples and (k := next(iter(of_samples))) <= told.k:
                del of_samples[k]

    # ------------------------------------------------------------------ another firmware

    def replace(
        self,
        kept: KeptBuild,
        settings: Mapping[str, Any] | None = None,
        same_horizon: bool = False,
    ) -> Replaced:
        """From the next sample on another firmware goes on. settings: as of `configure`; None: it
        goes on as it was built. same_horizon: whoever streams the reference reckons with that of
        the old one.

        Raises ValueError where the new one does not fit, LinkError, VersionError, ModelMismatch
        where it does not start or is refused something, with the reason; the old one then goes on.
        Raises Lost where it cannot.
        """
        with self._door.shut():
            before = self._session.hello()
            self._known.learned = self._session.adaptation()
            if self._known.modes and before.state not in (State.ARMED, State.RUNNING):
                raise ValueError(
                    f"the microcontroller is {in_words(State, before.state)}: it goes on with no "
                    "other firmware before the next run"
                )
            new = self._open(kept.build, False)
            try:
                self._check(new.info, before, same_horizon)
                if self._known.wiring == Wiring.HOST:
                    self._rehearse(new)
                    k = self._known.relive(new, settings)
                    new, self._session = self._session, new
            finally:
                new.close()
            if self._known.wiring == Wiring.MCU:
                k, before = self._hand_over(kept, settings)
            self._kept, self._known.settings = kept, settings
            self._replaced += 1
            return Replaced(k, before, self._session.info)

    def _check(self, new: Info, old: Info, same_horizon: bool) -> None:
        """Raises ValueError where a firmware cannot take the place of another."""
        if new.sizes != old.sizes:
            numbers = (f"{s.commands}, {s.outputs} and {s.signals}" for s in (new.sizes, old.sizes))
            raise ValueError("it has {} commands, outputs and signals, the run {}".format(*numbers))
        for name, unit, needed in (("rate_hz", " Hz", True), ("horizon", "", same_horizon)):
            values = getattr(new, name), getattr(old, name)
            if needed and values[0] != values[1]:
                raise ValueError(
                    f"its {name} is {values[0]:g}{unit}, the run's {values[1]:g}{unit}"
                )
        trajectory = self._known.trajectory
        room = len(trajectory[0]) if trajectory else old.trajectory_points
        if new.trajectory_points < room:
            raise ValueError(
                f"it has room for {new.trajectory_points:,} points of the reference, the run needs "
                f"{room:,}"
            )

    def _hand_over(self, kept: KeptBuild, settings: Mapping[str, Any] | None) -> tuple[int, Info]:
        """Wiring mcu: one at a time has the ports."""
        k, before = self._quiet()
        self._session.close()
        self._discard()
        try:
            return self._begin(self._open(kept.build, True), k, settings), before
        except (LinkError, VersionError, ModelMismatch, OSError) as error:
            reason = str(error)
        self._session.close()
        self._discard()
        try:
            with self._kept.again() as build:
                self._begin(self._open(build, True), k, self._known.settings)
        except (LinkError, VersionError, ModelMismatch, OSError) as error:
            raise Lost(f"{reason}; nor does the firmware before go on: {error}") from None
        raise LinkError(reason)

    def _quiet(self) -> tuple[int, Info]:
        """The old firmware holds its command from a sample on that is known: in lockstep it waits
        there for one of the host. Returns that sample, and what was counted."""
        known, old = self._known, self._session
        source = known.modes.get("source", Source.MPC)
        k = known.k
        if source != Source.HOST:
            k = old.switch(Source.HOST)
        elif known.driven_k is not None:
            k = known.driven_k + 1
        deadline = time.monotonic() + PATIENCE_S
        while self._next_k() < k and time.monotonic() < deadline:
            self._listen()
        info = old.hello()
        if not known.in_lockstep:
            return self._next_k(), info
        # Each firmware has counted the samples of the sensor since it has started; that of sample k
        # must have come, or it would come to the next one.
        wanted = k - known.k + 1
        while info.sensor_samples < wanted and time.monotonic() < deadline:
            self._listen()  # a firmware in this process takes bytes while somebody reads
            info = old.hello()
        if self._next_k() == k and info.sensor_samples == wanted:
            return k, info
        if source != Source.HOST:
            old.switch(source)
        raise LinkError(f"the firmware does not say where it is (sample {k}); ask again")

    def _listen(self) -> None:
        """What comes is for whoever reads telemetry later."""
        if (told := self._heard(POLL_S)) is not None:
            self._unread.append(told)

    def _next_k(self) -> int:
        known = self._known
        return known.k if known.told is None else known.told.k + 1

    def _begin(self, new: McuSession, k: int, settings: Mapping[str, Any] | None) -> int:
        """Wiring mcu: the run goes on from sample k, in real time from the one that is due."""
        known, self._session = self._known, new
        self._rehearse(new)
        told = known.told
        if told is not None:
            known.command, known.outputs = told.command, told.predicted
            if not known.in_lockstep:
                passed = round((time.monotonic() - known.told_s) * new.info.rate_hz)
                k = told.k + max(passed, 1)
        known.prepare(new, k, settings)
        new.arm(known.command, known.outputs, k=k, **known.modes_at(k))
        known.k, known.driven_k = k, None
        known.stream(new, k)
        for at, outputs in known.measured.items():
            new.measurement(at, outputs)
        self.on_begun()
        return k
