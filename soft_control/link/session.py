"""A run with a microcontroller: hello, reset, then sample after sample."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import TypeVar

from soft_control.link import messages
from soft_control.link.codes import Clock, ErrorCode, HostLost, Source, State, Wiring
from soft_control.link.errors import (
    Gone,
    LinkError,
    ModelMismatch,
    TooLate,
    check_identity,
    refusal,
    restarted,
)
from soft_control.link.framing import FrameDecoder, encode_frame
from soft_control.link.learned_map import LearnedMap
from soft_control.link.messages import (
    Adapt,
    Adaptation,
    Arm,
    AskAdaptation,
    Boot,
    Configure,
    Crash,
    Drive,
    Error,
    Heartbeat,
    Hello,
    Info,
    Measurement,
    Message,
    MessageError,
    Observe,
    Reference,
    Sample,
    Sizes,
    Stop,
    Switch,
    Telemetry,
    Trajectory,
    TrajectoryEnd,
    VersionError,
    finite,
    host_us,
)
from soft_control.link.transport import NothingMore, Transport, TransportError

__all__ = ["LinkError", "McuSession", "ModelMismatch", "VersionError"]

RETRY_S = 0.25
"""What is not answered is sent again after this long: a board may still be starting, a frame may be
damaged on its way. A sample that comes twice is answered twice and taken once."""

ACTIVE = (State.ARMED, State.RUNNING, State.HOLDING)
UNREAD_MAX = 4096
"""TELEMETRY that came while another answer was awaited, and is kept: half a minute at 120 Hz."""

M = TypeVar("M", bound=Message)


class McuSession:
    """Lockstep with one microcontroller. Not for two threads at once; but one may tell it something
    (`drive`, `measurement`, `preload`, `heartbeat`) while another waits for `telemetry`.

    Outputs are (n,), commands (m,), both in the units of the robot's description, signals (p,)
    calibrated, all in the model card's order. Every method but close raises LinkError, naming the
    transport, the last good sample and what to do.
    """

    def __init__(
        self,
        transport: Transport,
        timeout_s: float = 2.0,
        start_timeout_s: float = 10.0,
        model_hash: str | None = None,
        build_id: str | None = None,
    ) -> None:
        """Waits for the microcontroller; closes the transport if that fails.

        Raises LinkError, VersionError, and ModelMismatch if it is not the given model and build.
        """
        self.crash: Crash | None = None
        """What ended the firmware's run before the last start, if anything did."""
        self.received = 0
        """TELEMETRY that has come since `arm`."""
        self.lost = 0
        """TELEMETRY since then that has not, by the numbers of those that have."""
        self._rows: dict[int, Adaptation] = {}
        self._transport = transport
        self._writing = threading.Lock()
        self._timeout_s, self._start_timeout_s = timeout_s, start_timeout_s
        self._decoder = FrameDecoder()
        self._arrived: list[bytes] = []
        self._sizes = Sizes(0, 0, 0)
        self._last_k: int | None = None
        self._asked = 0  # the type of the message whose answer is awaited
        self._owed = 0  # answers to what was sent again, though it had come
        self._unread: deque[Telemetry] = deque(maxlen=UNREAD_MAX)
        try:
            self.info = self._introduce(start_timeout_s)
            check_identity(self.info, model_hash, build_id)
        except BaseException:
            self.close()
            raise

    def hello(self) -> Info:
        """Who is there, with the link's counters since the last reset."""
        return self._ask(Hello(), Info, self._timeout_s)

    def ask_info(self) -> None:
        """Asks for the link's counters and does not wait: `info` has them as soon as an answer has
        come in with others. By the thread that takes these."""
        self._send(Hello())
        self._owed += 1

    def request(self, message: Message) -> Message | None:
        """The answer to any message of the table; None where the firmware does not answer one.

        A message is sent again until it is answered.
        """
        answer = message.answered_by()
        if answer is None:
            self._send(message)
            return None
        if message.IN_ORDER:
            return self._step(message, answer)
        return self._ask(message, answer, self._timeout_s)

    def arm(
        self,
        command: Sequence[float],
        outputs: Sequence[float],
        reference: Sequence[Sequence[float]] = (),
        k: int = 0,
        *,
        clock: Clock = Clock.SAMPLES,
        wiring: Wiring = Wiring.HOST,
        source: Source = Source.MPC,
        tethered_samples: int = 0,
        adapts: bool = False,
        host_lost: HostLost = HostLost.CONTINUE,
        host_timeout_ms: int = 0,
        sensor_timeout_ms: int = 0,
        age_max_ms: int = 0,
    ) -> None:
        """Everything is set for a run that begins at sample k, at rest at that command and those
        outputs; the next sample starts it.

        A robot that is being driven goes on from its last command at bounded speed; where it is at
        rest at another one, because somebody has put it there, say `stop` before.

        reference: the outputs wanted at samples k, k+1, … k+N-1, where they are streamed; each
        sample of wiring `host` then brings those of k+N.
        tethered_samples: in so many samples from k on the measured outputs are waited for, where
        the sensor's samples are the clock; codes.TETHERED: in all of them.
        adapts: measured outputs teach what the robot of today is like.
        host_timeout_ms, sensor_timeout_ms: silences that count; 0: none does.
        age_max_ms: older messages are refused; 0: none is.
        """
        request = Arm(
            k,
            host_us(),
            clock,
            wiring,
            source,
            int(adapts),
            host_lost,
            tethered_samples,
            host_timeout_ms,
            sensor_timeout_ms,
            age_max_ms,
            finite(command),
            finite(outputs),
        )
        self._last_k = None
        self.received = self.lost = 0
        self._unread.clear()
        self.info = self._ask(request, Info, self._timeout_s)
        self.preload(k, reference)

    def upload(
        self,
        points: Sequence[Sequence[float]],
        step: int,
        periodic: bool,
        blend: Sequence[float],
    ) -> None:
        """A trajectory (T, n) that the reference follows from the next `arm` on; only while nothing
        runs.

        step: of its way in a sample, in units of 2^-32 of the way. blend: how far each output may
        move in a sample until it has met the trajectory; may be infinite.
        """
        pieces = messages.points_max(self._sizes)
        for first in range(0, len(points), pieces):
            piece = tuple(finite(point) for point in points[first : first + pieces])
            self._send(Trajectory(first, piece))
        end = TrajectoryEnd(len(points), int(periodic), step, tuple(map(float, blend)))
        self.info = self._ask(end, Info, self._start_timeout_s)  # behind some 10 kB

    def forget_trajectory(self) -> None:
        """The reference is streamed again; only while nothing runs."""
        nowhere = (0.0,) * self._sizes.outputs
        self.info = self._ask(TrajectoryEnd(0, 0, 0, nowhere), Info, self._timeout_s)

    def preload(self, k: int, reference: Sequence[Sequence[float]]) -> None:
        """The reference of samples k, k+1, …, (T, n), none beyond the horizon."""
        step = messages.points_max(self._sizes)
        for first in range(0, len(reference), step):
            points = tuple(finite(point) for point in reference[first : first + step])
            self._send(Reference(k + first, points))

    def stop(self) -> None:
        """Ends a run: the next one may begin at any command. Said of a robot that has been stopped
        it lets go: where its answer is late, it is said again only if the run still goes on."""
        self._asked = Stop.TYPE
        self._take_owed(Info)
        for _ in range(max(1, round(self._timeout_s / RETRY_S))):
            self._send(Stop())
            info = self._receive(Info, time.monotonic() + RETRY_S)
            if info is None:
                self._owed += 1
                info = self.hello()
            self.info = info
            if info.state not in ACTIVE:
                return
        raise self._silent("STOP", self._timeout_s)

    def configure(self, settings: Mapping[str, Sequence[float] | float]) -> None:
        """Other weights and bounds from the next sample on: the fields of messages.Configure, as
        `control.mpc_settings.physical_settings` gives them. Bounds of commands and moves may only
        be narrower than those of the build; those of outputs may be infinite."""
        values = {
            name: tuple(map(float, value)) if isinstance(value, Sequence) else float(value)
            for name, value in settings.items()
        }
        self.info = self._ask(Configure(**values), Info, self._timeout_s)

    def switch(self, source: Source, k: int = 0) -> int:
        """Another source of the commands while a run of wiring `mcu` goes on, from sample k on; a k
        that has passed, or 0, means the next one. Returns the first sample from which it holds.

        It takes over at the command that was told last; until the first `drive` that one is held.
        Refused (LinkError) where nothing runs, and for the MPC where it knows no reference.
        """
        self.info = self._ask(Switch(k, source), Info, self._timeout_s)
        return self.info.source_k

    def measurement(self, k: int, outputs: Sequence[float]) -> None:
        """The measured outputs of sample k; to be told before the sample itself."""
        self._send(Measurement(k, host_us(), finite(outputs)))

    def adapt(self, known: LearnedMap) -> None:
        """What the robot of today is like, before a run. Raises LinkError for a map that is further
        from a robot as it was recorded than the firmware takes, or that it has no room for."""
        for i, offset in enumerate(known.offset):
            row = Adapt(i, finite(known.gain[i]), float(offset), finite(known.curve[i]))
            self._ask(row, Adaptation, self._timeout_s)

    def adaptation(self) -> LearnedMap:
        """What has been learned of the robot of today; at any time."""
        self._rows.clear()
        for row in range(self._sizes.outputs):
            while row not in self._rows:  # an answer may be one to `ask_adaptation`
                found = self._ask(AskAdaptation(row), Adaptation, self._timeout_s)
                self._rows[found.row] = found
        return self.learned

    def ask_adaptation(self) -> None:
        """Asks for the same and does not wait: `learned` has it when all answers have come in with
        others. By the thread that takes these."""
        for row in range(self._sizes.outputs):
            self._send(AskAdaptation(row))

    @property
    def learned(self) -> LearnedMap | None:
        """What it has said last of the robot of today; None: it has not been asked."""
        rows = [self._rows.get(row) for row in range(self._sizes.outputs)]
        return LearnedMap.of_rows(rows) if rows and all(rows) else None

    def drive(self, k: int, command: Sequence[float]) -> None:
        """The host's own command for sample k, where it is the source of them."""
        self._send(Drive(k, host_us(), finite(command)))

    def heartbeat(self) -> None:
        """The host is there; the microcontroller learns how much of what it has sent has come."""
        self._send(Heartbeat(host_us(), self.received))

    def telemetry(self, timeout_s: float) -> Telemetry | None:
        """The next TELEMETRY of wiring `mcu`; None where none comes within the time. What was told
        meanwhile and is refused, because it comes too late, say, is passed over."""
        self._asked = 0
        found = self._unread.popleft() if self._unread else None
        if found is None:
            deadline = time.monotonic() + timeout_s
            found = self._receive(Telemetry, deadline, may_be_silent=True)
        if found is not None:
            self._last_k = found.k
            self.received += 1
            self.lost = found.number + 1 - self.received
        return found

    def sample(self, k: int, signals: Sequence[float], reference: Sequence[float]) -> Telemetry:
        """The command for sample k, from its signals and the reference of sample k + N. Raises
        TooLate for a sample that took too long on its way."""
        request = Sample(k, host_us(), finite(signals), finite(reference))
        return self._step(request, Telemetry)

    def observe(self, k: int, signals: Sequence[float], command: Sequence[float]) -> Telemetry:
        """The prediction for sample k + 1 if `command` is applied at k; nothing is controlled."""
        return self._step(Observe(k, finite(signals), finite(command)), Telemetry)

    def close(self) -> None:
        """Never raises."""
        self._transport.close()

    def __enter__(self) -> McuSession:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ----------------------------------------------------------------------- exchanges

    def _introduce(self, timeout_s: float) -> Info:
        info = self._ask(Hello(), Info, timeout_s)
        self._sizes = info.sizes
        self._decoder.content_max = messages.content_max(info.sizes)
        return info

    def _ask(self, request: Message, answer: type[M], timeout_s: float) -> M:
        """Sends until answered: for requests that may come twice."""
        self._asked = request.TYPE
        self._take_owed(answer)
        deadline = time.monotonic() + timeout_s
        while True:
            self._send(request)
            self._owed += 1
            patience = min(deadline, time.monotonic() + RETRY_S)
            found = self._receive(answer, patience)
            if found is not None:
                self._owed -= 1
                return found
            if time.monotonic() >= deadline:
                raise self._silent(request.title(), timeout_s)

    def _take_owed(self, answer: type[M]) -> None:
        """A slow end answers twice what was sent twice: the second answer is none to what is asked
        next. One that was damaged never comes."""
        deadline = time.monotonic() + RETRY_S
        while self._owed > 0 and self._receive(answer, deadline, may_be_silent=True) is not None:
            self._owed -= 1
        self._owed = 0

    def _step(self, request: Message, answer: type[M]) -> M:
        """Sends until answered, and passes answers to other samples over."""
        self._asked = request.TYPE
        deadline = time.monotonic() + self._timeout_s
        while time.monotonic() < deadline:
            self._send(request)
            patience = min(deadline, time.monotonic() + RETRY_S)
            while (found := self._receive(answer, patience)) is not None:
                if found.k == request.k:
                    self._last_k = request.k
                    return found
        raise self._silent(f"sample {request.k}", self._timeout_s)

    def _send(self, message: Message) -> None:
        try:
            with self._writing:
                self._transport.write(encode_frame(message.encode(self._sizes)))
        except TransportError as error:
            raise self._failed(str(error), Gone) from error

    def _receive(self, wanted: type[M], deadline: float, may_be_silent: bool = False) -> M | None:
        """The next message of that type, or None at the deadline; what else comes is dealt with.
        may_be_silent: None, too, where nothing will come."""
        while True:
            while self._arrived:
                message = self._understand(self._arrived.pop(0))
                if isinstance(message, wanted):
                    return message
                self._react(message, wanted)
            left = deadline - time.monotonic()
            try:
                data = self._transport.read(max(left, 0.0))
            except TransportError as error:
                if may_be_silent and isinstance(error, NothingMore):
                    return None
                raise self._failed(str(error), Gone) from error
            self._arrived += self._decoder.feed(data)
            if not data and left <= 0:
                return None

    def _understand(self, content: bytes) -> Message | None:
        try:
            return messages.decode(content, self._sizes)
        except MessageError:
            return None  # an answer to somebody before us, with other sizes

    def _react(self, message: Message | None, wanted: type[Message]) -> None:
        if isinstance(message, Error):
            mine, late = message.type == self._asked, message.code == ErrorCode.TOO_OLD
            if mine and late:
                raise TooLate(str(self._failed(refusal(message))))
            if self._asked and (mine or (wanted is Telemetry and not late)):
                in_run = self._last_k is not None and self._asked in (Sample.TYPE, Observe.TYPE)
                forgot = message.code == ErrorCode.WRONG_STATE and in_run
                raise self._failed(refusal(message), Gone if forgot else LinkError)
        elif isinstance(message, Crash):
            self.crash = message
        elif isinstance(message, Adaptation):
            self._rows[message.row] = message
        elif isinstance(message, Telemetry):
            self._unread.append(message)
        elif isinstance(message, Info):
            self.info, self._owed = message, max(self._owed - 1, 0)
        elif isinstance(message, Boot) and wanted is Telemetry:
            raise self._restarted(message)

    # ----------------------------------------------------------------------- errors

    def _restarted(self, boot: Boot) -> Gone:
        """With what the microcontroller says of it, when it is asked who it is."""
        self._asked = 0
        self.crash = None
        with contextlib.suppress(LinkError):
            self._send(Hello())
            self.crash = self._receive(Crash, time.monotonic() + RETRY_S)
        record = self.crash.encode(self._sizes)[1:] if self.crash else b""
        return self._failed(restarted(boot, record), Gone)

    def _silent(self, what: str, timeout_s: float) -> Gone:
        advice = self._transport.advice
        return self._failed(f"no answer to {what} within {timeout_s:g} s: {advice}", Gone)

    def _failed(self, reason: str, kind: type[LinkError] = LinkError) -> LinkError:
        name = self._transport.name
        last = "no good sample yet" if self._last_k is None else f"last good sample {self._last_k}"
        return kind(f"{name}: {reason} ({last})")
