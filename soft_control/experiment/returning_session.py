"""A session whose microcontroller may go in the middle of a run, and come back.

A cable was pulled, a board was reset, an emulator was killed. When it can be reached again, either

it has run on      it has the instruments and has needed nobody: its host listens again
it knows nothing   it is told settings, trajectory and what had been learned of the robot of today,
                   and is armed at the sample that is due by then, where the robot's settings allow

In real time the trajectory has gone on meanwhile, so that the robot is where it would have been; in
lockstep time has stood still.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from soft_control.experiment.replaceable_session import Open, ReplaceableSession
from soft_control.firmware_files import KeptBuild
from soft_control.link.codes import Cause, Source, State, Wiring, in_words
from soft_control.link.errors import Gone
from soft_control.link.messages import Info, Telemetry
from soft_control.link.session import ACTIVE, McuSession
from soft_control.link.transport import TransportError

GAP_MAX = 100
"""Samples that the firmware bridges in one go (firmware/src/loop/control_loop.h)."""
RELIVED = 30
"""Samples of the past that a firmware lives through again in real time: more than its lags and its
delay are long, and told within a tenth of a second on the emulated line."""
RELIVED_WITHIN_S = 0.4
"""Of a longer absence it would bridge more than GAP_MAX samples: it then begins at rest."""
SPARE = 1.2
"""The next telling of all that a firmware must know takes by so much longer than the last."""
CRASHES_MAX, CRASHES_S = 3, 10.0
"""A firmware that crashes so often within so long is not armed again."""


class NotArmedAgain(RuntimeError):
    """It is there, and the run does not go on with it."""


@dataclass(frozen=True)
class Returned:
    """How a microcontroller has come back."""

    armed: bool
    """It knew nothing of the run any more, and has been armed; else it has run on."""
    k: int
    """The first sample that it was armed for, or that is due."""


class ReturningSession(ReplaceableSession):
    """One in whose place another one takes part, when the microcontroller has gone."""

    def __init__(self, open_firmware: Open, kept: KeptBuild, *others: Callable[..., None]) -> None:
        """As ReplaceableSession."""
        super().__init__(open_firmware, kept, *others)
        self._lost_before = 0
        self._prepare_s = 0.0
        self._crashes_s: deque[float] = deque(maxlen=CRASHES_MAX)
        self._rest: tuple[Sequence[float], Sequence[float]] = (), ()

    @property
    def lost(self) -> int:
        """TELEMETRY that has not come, of all firmwares of the run."""
        return self._lost_before + self._session.lost

    def arm(
        self,
        command: Sequence[float],
        outputs: Sequence[float],
        reference: Sequence[Sequence[float]] = (),
        k: int = 0,
        **modes: Any,
    ) -> None:
        super().arm(command, outputs, reference, k, **modes)
        self._rest, self._lost_before = (command, outputs), 0

    def upload(self, *trajectory: Any) -> None:
        began_s = time.monotonic()
        super().upload(*trajectory)
        self._prepare_s = SPARE * (time.monotonic() - began_s)

    def sample(self, k: int, signals: Sequence[float], reference: Sequence[float]) -> Telemetry:
        self._catch_up(k)
        return super().sample(k, signals, reference)

    def observe(self, k: int, signals: Sequence[float], command: Sequence[float]) -> Telemetry:
        self._catch_up(k)
        return super().observe(k, signals, command)

    def go_on(self, may_arm: bool, next_k: int | None = None) -> Returned:
        """Looks once for a microcontroller that has gone, and goes on with it. next_k: wiring host,
        the number that the next sample has at least.

        Raises LinkError where it cannot be reached yet, NotArmedAgain where it has started again
        and may not, or must not, be armed, ModelMismatch and VersionError where it is another.
        """
        with self._door.shut():
            known, old = self._known, self._session
            old.close()
            known.learned = old.learned or known.learned
            in_material = known.wiring == Wiring.MCU
            try:
                self._discard()
            except TransportError as error:
                raise Gone(str(error)) from error
            with self._kept.again() as build:
                new = self._open(build, in_material)
            try:
                if in_material and self._runs_on(new.info, may_arm):
                    new.received, new.lost = old.received, old.lost
                    self._session = new
                    return Returned(False, self._due_k(0.0))
                self._check_may_arm(new.info, may_arm)
                if new.info.state in ACTIVE:
                    new.stop()  # a trajectory is told to one that rests
                self._rehearse(new)
                k = self._arm_in_material(new) if in_material else self._arm_at_host(new, next_k)
            except BaseException:
                new.close()
                raise
            self._lost_before += old.lost
            self._session = new
            self._replaced += 1
            return Returned(True, k)

    def _runs_on(self, info: Info, may_arm: bool) -> bool:
        """Whether it has been there all the time. One that has held or stopped the robot because
        its host was gone is armed again, where it may be; one that has stopped it for another
        reason is left as it is."""
        if info.state in (State.BOOT, State.IDLE) or info.cause == Cause.CRASHED:
            return False
        return not (may_arm and info.cause == Cause.HOST_LOST)

    def _check_may_arm(self, info: Info, may_arm: bool) -> None:
        """Raises NotArmedAgain. What has stopped a robot stays so."""
        told = self._known.told
        if told is not None and told.state not in ACTIVE and told.cause != Cause.HOST_LOST:
            raise NotArmedAgain(
                f"the robot had been stopped ({in_words(Cause, told.cause)}) before the "
                "microcontroller went: it is not armed again"
            )
        if not may_arm:
            raise NotArmedAgain(
                f"the microcontroller is {in_words(State, info.state)} and knows nothing of the "
                "run: this robot is not armed again by itself (instruments.actuators.rearm in its "
                "description)"
            )
        if info.cause != Cause.CRASHED:
            return
        now_s = time.monotonic()
        self._crashes_s.append(now_s)
        if len(self._crashes_s) == CRASHES_MAX and now_s - self._crashes_s[0] < CRASHES_S:
            raise NotArmedAgain(
                f"the firmware has crashed {CRASHES_MAX} times within {CRASHES_S:g} s: it is not "
                "armed again"
            )

    def _arm_in_material(self, new: McuSession) -> int:
        """Its actuators have held what they were told last, unless a crash or their own silence has
        put them elsewhere. In real time it begins at the sample that is due when all is told.

        They may have been told one command more than this host has heard of. From there to the
        command of the next sample would be two moves: so the first sample holds the one that is
        known."""
        known = self._known
        k = self._due_k(self._prepare_s)
        began_s = time.monotonic()
        known.prepare(new, k, known.settings)
        self._prepare_s = SPARE * (time.monotonic() - began_s)
        if known.told is not None:
            due_s = known.told_s + (k - known.told.k - 0.5) / new.info.rate_hz
            time.sleep(max(due_s - time.monotonic(), 0.0))
        holds = self._safe_output == "hold" or not self._was_let_go(new.info)
        self._arm(new, k, holds, source=Source.HOLD)
        new.switch(known.modes.get("source", Source.MPC), k + 1)
        return k

    def _was_let_go(self, info: Info) -> bool:
        return info.cause == Cause.CRASHED or self._safe_output == "disarm"

    def _arm_at_host(self, new: McuSession, k: int) -> int:
        """Its model has the past again, as far as that is not too long ago."""
        known = self._known
        recent = time.monotonic() - known.told_s < RELIVED_WITHIN_S
        if known.in_lockstep or (recent and known.past):
            return known.relive(new, known.settings, None if known.in_lockstep else RELIVED)
        known.prepare(new, k, known.settings)
        self._arm(new, k, self._safe_output == "hold")
        return k

    def _arm(self, new: McuSession, k: int, holds: bool, **others: Any) -> None:
        """At rest: where the robot was told to be last, or where a run begins; modes, but for
        others than those of the run."""
        known = self._known
        known.command, known.outputs = self._rest
        if holds and known.told is not None:
            known.command, known.outputs = known.told.command, known.told.predicted
        new.arm(known.command, known.outputs, k=k, **known.modes_at(k) | others)
        known.k, known.driven_k = k, None
        known.stream(new, k)

    def _due_k(self, ahead_s: float) -> int:
        """The next sample so long from now, by the last that was answered."""
        known = self._known
        if known.told is None:
            return known.k
        if known.in_lockstep:
            return known.told.k + 1
        passed_s = time.monotonic() + ahead_s - known.told_s
        passed = passed_s * self._session.info.rate_hz
        return max(known.told.k + max(math.ceil(passed) if ahead_s else int(passed), 1), known.k)

    def _catch_up(self, k: int) -> None:
        """Wiring host: a firmware that would have to bridge too many samples begins anew."""
        known = self._known
        answered = known.k if known.told is None else max(known.told.k + 1, known.k)
        if k - answered <= GAP_MAX:
            return
        self._session.stop()
        known.prepare(self._session, k, known.settings)
        self._arm(self._session, k, self._safe_output == "hold")

    @property
    def _safe_output(self) -> str:
        robot = self._kept.build.robot
        return robot.instruments.actuators.safe_output if robot else "hold"
