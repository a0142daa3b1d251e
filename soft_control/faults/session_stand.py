"""Faults tried on the host's end of the wire: what whoever starts a run is told of them.

The session, and the firmware in this process or a port, as `nodes/mcu` has them.
"""

from __future__ import annotations

import contextlib
import os
import time
import tty
from collections.abc import Callable
from typing import Literal

from soft_control.faults.fault import Fault, check_settings
from soft_control.faults.injections import spoilt_messages
from soft_control.faults.outcome import Outcome
from soft_control.faults.sil import Bench
from soft_control.faults.wire import DAMAGES, Damage, Way, Wire
from soft_control.link.framing import CONTENT_LIMIT, FrameDecoder, encode_frame
from soft_control.link.messages import (
    Adaptation,
    Boot,
    Info,
    MessageError,
    Sizes,
    Telemetry,
    VersionError,
)
from soft_control.link.session import LinkError, McuSession, ModelMismatch
from soft_control.link.transport import HilTransport, SilTransport, Transport, TransportError
from soft_control.rigs.parameters import Strict

SAMPLES = 40
BEFORE = 20
"""Samples before the fault."""
TIMEOUT_S = 3.0
WAIT_S = 0.01
"""Of a line on which nothing comes."""


class Changed:
    """A transport to a firmware that is not quite what it was."""

    def __init__(self, transport: Transport, change: Callable[[bytes], bytes | None]) -> None:
        """change: of the content of each frame to the host; None: it never comes."""
        self.name, self.advice = transport.name, transport.advice
        self._transport, self._change = transport, change
        self._decoder = FrameDecoder(CONTENT_LIMIT)

    def write(self, data: bytes) -> None:
        self._transport.write(data)

    def read(self, timeout_s: float) -> bytes:
        contents = self._decoder.feed(self._transport.read(timeout_s))
        return b"".join(encode_frame(c) for c in map(self._change, contents) if c)

    def close(self) -> None:
        self._transport.close()


class Noisy:
    """A transport whose two wires may be damaged."""

    def __init__(self, transport: Transport) -> None:
        self.name, self.advice = transport.name, transport.advice
        self.wires = {way: Wire() for way in Way}
        self.damaged = 0
        """Writes and reads that were."""
        self._transport = transport

    def write(self, data: bytes) -> None:
        self._transport.write(self._carry(Way.IN, data))

    def read(self, timeout_s: float) -> bytes:
        with contextlib.suppress(TransportError):  # what is asked again is answered again
            return self._carry(Way.OUT, self._transport.read(timeout_s))
        time.sleep(min(timeout_s, WAIT_S))
        return b""

    def _carry(self, way: Way, data: bytes) -> bytes:
        arrived = self.wires[way].carry(data, 0.0)
        self.damaged += arrived != data
        return arrived

    def close(self) -> None:
        self._transport.close()


# ------------------------------------------------------------------ what can go wrong


class OtherVersion(Strict):
    """The microcontroller speaks another version of the protocol."""

    version: int = 99

    def try_(self, bench: Bench, fault: Fault, outcome: Outcome) -> None:
        def change(content: bytes) -> bytes:
            told = content[0] in (Boot.TYPE, Info.TYPE)
            return content[:1] + bytes([self.version]) + content[2:] if told else content

        with McuSession(Changed(SilTransport(bench.build.library), change)):
            pass


class OtherModel(Strict):
    """The microcontroller has been flashed with another model."""

    def try_(self, bench: Bench, fault: Fault, outcome: Outcome) -> None:
        transport = SilTransport(bench.build.library)
        with McuSession(transport, model_hash="0123456789abcdef"):
            pass


class OtherBuild(Strict):
    """It has been flashed with the same model and other settings."""

    def try_(self, bench: Bench, fault: Fault, outcome: Outcome) -> None:
        with McuSession(SilTransport(bench.build.library), build_id="0123456789abcdef"):
            pass


class NotFiniteAnswers(Strict):
    """NaN and infinities in every number of an answer; what comes of each is told on."""

    message: Literal["INFO", "ADAPTATION"]

    def try_(self, bench: Bench, fault: Fault, outcome: Outcome) -> None:
        kind = {"INFO": Info, "ADAPTATION": Adaptation}[self.message]
        robot = bench.build.robot
        sizes = Sizes(len(robot.commands), len(robot.outputs), len(bench.build.signal_names))
        turn = [0]

        def change(content: bytes) -> bytes:
            if content[0] != kind.TYPE:
                return content
            spoilt = spoilt_messages(kind.decode(content[1:], sizes))
            turn[0] += 1
            return spoilt[turn[0] % len(spoilt)].encode(sizes)

        with McuSession(Changed(SilTransport(bench.build.library), change)) as session:
            run = _Samples(bench, session)
            run.take(BEFORE)
            session.stop()
            if kind is Adaptation:
                session.adapt(session.adaptation())


class TwoHosts(Strict):
    """Another host has the port of the microcontroller."""

    def try_(self, bench: Bench, fault: Fault, outcome: Outcome) -> None:
        controller, port = os.openpty()
        tty.setraw(port)
        try:
            first = HilTransport(os.ttyname(port))
            try:
                HilTransport(os.ttyname(port)).close()
            finally:
                first.close()
        finally:
            os.close(controller)
            os.close(port)


class PortGone(Strict):
    """The cable of the microcontroller is pulled."""

    def try_(self, bench: Bench, fault: Fault, outcome: Outcome) -> None:
        controller, port = os.openpty()
        tty.setraw(port)
        transport = HilTransport(os.ttyname(port))
        os.close(port)
        try:
            os.close(controller)
            McuSession(transport, start_timeout_s=TIMEOUT_S).close()
        finally:
            transport.close()


class McuSilent(Strict):
    """The microcontroller says nothing more."""

    def try_(self, bench: Bench, fault: Fault, outcome: Outcome) -> None:
        silent: list[bool] = []
        transport = Changed(
            SilTransport(bench.build.library), lambda content: None if silent else content
        )
        with McuSession(transport, timeout_s=TIMEOUT_S) as session:
            run = _Samples(bench, session)
            run.take(BEFORE)
            silent.append(True)
            run.take(1)


class McuRestarts(Strict):
    """The microcontroller starts again in the middle of a run."""

    def try_(self, bench: Bench, fault: Fault, outcome: Outcome) -> None:
        transport = SilTransport(bench.build.library)
        with McuSession(transport, timeout_s=TIMEOUT_S) as session:
            run = _Samples(bench, session)
            run.take(BEFORE)
            transport.restart()
            run.take(1)


class Noise(Strict):
    """Frames are damaged, whichever way: samples are asked again until they are answered, and each
    is taken once."""

    damage: str
    every: int = 701

    def try_(self, bench: Bench, fault: Fault, outcome: Outcome) -> None:
        answers = []
        for noisy in (False, True):
            transport = Noisy(SilTransport(bench.build.library))
            with McuSession(transport, timeout_s=TIMEOUT_S) as session:
                run = _Samples(bench, session)
                run.take(BEFORE)
                if noisy:
                    for way in Way:
                        transport.wires[way].damage = self._damage()
                run.take(SAMPLES)
                if noisy:
                    for way in Way:
                        transport.wires[way].damage = None
                    outcome.fail_unless(transport.damaged > 1, "hardly anything was damaged")
                answers.append([one.command for one in run.told])
        outcome.fail_unless(answers[0] == answers[1], "the commands are not the same")

    def _damage(self) -> Damage:
        return DAMAGES[self.damage].model_validate({"every": self.every})


class _Samples:
    """A run of wiring host on signals that stand still."""

    def __init__(self, bench: Bench, session: McuSession) -> None:
        self._session, self._reference = session, bench.reference
        self._signals = [0.5] * len(bench.build.signal_names)
        self._horizon = session.info.horizon
        self.told: list[Telemetry] = []
        robot = bench.build.robot
        first = bench.reference[: self._horizon]
        session.arm(robot.command_neutral, robot.output_rest, first)

    def take(self, samples: int) -> None:
        for k in range(len(self.told), len(self.told) + samples):
            wanted = self._reference[k + self._horizon]
            self.told.append(self._session.sample(k, self._signals, wanted))


KINDS: dict[str, type[Strict]] = {
    "other_version": OtherVersion,
    "other_model": OtherModel,
    "other_build": OtherBuild,
    "not_finite_answers": NotFiniteAnswers,
    "two_hosts": TwoHosts,
    "port_gone": PortGone,
    "mcu_silent": McuSilent,
    "mcu_restarts": McuRestarts,
    "noise": Noise,
}
"""By the name that a fault has for them."""


def check(fault: Fault) -> None:
    """Raises ValueError where this stand knows no such fault."""
    check_settings(fault, KINDS)


def try_fault(bench: Bench, fault: Fault) -> Outcome:
    """What a host is told of it, judged."""
    outcome = Outcome(fault)
    try:
        KINDS[fault.what].model_validate(fault.settings).try_(bench, fault, outcome)
    except (LinkError, VersionError, ModelMismatch, TransportError, MessageError) as error:
        outcome.said = str(error)
        outcome.fail_unless(bool(fault.expect.says), f"said {error}")
    outcome.judge()
    return outcome
