"""messages.py and session.py: the vectors of the firmware's tests, and a port that misbehaves."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from soft_control.firmware_crash import CrashRecord
from soft_control.link.codes import Clock, ErrorCode, HostLost, ResetCause, Source, Wiring
from soft_control.link.errors import Gone
from soft_control.link.framing import (
    CONTENT_LIMIT,
    CONTENT_MAX,
    FrameDecoder,
    encode_frame,
    frame_size,
)
from soft_control.link.learned_map import LearnedMap
from soft_control.link.messages import (
    MESSAGES,
    PROTOCOL_VERSION,
    Adaptation,
    Arm,
    AskAdaptation,
    Boot,
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
    When,
    content_max,
    decode,
    points_max,
    too_long,
)
from soft_control.link.session import LinkError, McuSession, ModelMismatch, VersionError
from soft_control.link.transport import TransportError

VECTORS = json.loads((Path(__file__).parents[2] / "firmware" / "vectors.json").read_text())
SIZES = Sizes(**VECTORS["sizes"])
BY_NAME = {message.__name__: message for message in MESSAGES.values()}
NOW = 123_456_789
REST, ORIGIN, SIGNALS = (0.0, 0.0), (0.0, 0.0, 0.0), (0.5,) * 4


def tuples(value):
    return tuple(map(tuples, value)) if isinstance(value, list) else value


# ------------------------------------------------------------------ messages


@pytest.mark.parametrize("vector", VECTORS["messages"], ids=lambda v: v["name"])
def test_message_vectors_both_ways(vector):
    fields = {name: tuples(value) for name, value in vector["fields"].items()}
    message = BY_NAME[vector["message"]](**fields)
    assert message.encode(SIZES).hex() == vector["content"]
    assert encode_frame(message.encode(SIZES)).hex() == vector["frame"]
    assert decode(bytes.fromhex(vector["content"]), SIZES) == message


@pytest.mark.parametrize("row", VECTORS["table"], ids=lambda row: row["message"])
def test_the_table_is_that_of_the_vectors(row):
    message = MESSAGES[row["type"]]
    assert message.__name__ == row["message"]
    assert list(message.lengths(SIZES)) == row["lengths"]
    assert message.WHEN == When(row.get("when", "any time"))
    assert message.IN_ORDER == (row.get("order") == "in order")
    assert message.ANSWER == row.get("answer")


def test_the_table_has_no_other_message():
    assert {row["type"] for row in VECTORS["table"]} == set(MESSAGES)


def test_a_type_that_is_taken_is_refused():
    with pytest.raises(TypeError, match="message type 0x01: Again, Hello"):

        class Again(Message, type=Hello.TYPE):
            pass


@pytest.mark.parametrize("size", [1, 250, 251, 252, 253, 506, 507, CONTENT_LIMIT])
def test_the_size_of_a_frame_is_known_before(size):
    """Also where a block of COBS is full; content without zeros makes the longest."""
    longest = max(len(encode_frame(bytes([value]) * size)) for value in range(256))
    assert frame_size(size) == longest


def test_what_does_not_fit_a_frame_is_named():
    assert too_long(SIZES) == []
    assert too_long(Sizes(20, 20, 120)) == []
    assert too_long(Sizes(20, 30, 4)) == ["CONFIGURE"]
    assert too_long(Sizes(2, 3, 520)) == ["SAMPLE", "OBSERVE", "TELEMETRY"]


def test_a_frame_has_room_for_the_longest_message():
    """Of six commands and nine outputs it is CONFIGURE: 1 + 4 (6 m + 5 n + 1) bytes."""
    assert content_max(SIZES) == CONTENT_MAX == 250
    assert content_max(Sizes(6, 9, 0)) == 329
    assert points_max(Sizes(6, 9, 0)) == (329 - 6) // 36


def test_a_session_takes_frames_as_long_as_the_sizes_ask_for():
    """An answer of forty commands and outputs, which no frame of 250 bytes holds."""
    sizes = Sizes(40, 40, 1)
    info = replace(INFO, commands=40, outputs=40, signals=1)
    answer = replace(
        telemetry(7),
        **{"signals": (0.5,), "command": (1.0,) * 40},
        **{name: (2.0,) * 40 for name in ("predicted", "reference", "offset", "uncertainty")},
    )
    assert len(answer.encode(sizes)) > 250

    class Port(FakePort):
        def write(self, data):
            self._out.append(encode_frame((answer if self.got else info).encode(sizes)))
            self.got.append(data)

    session = McuSession(Port(), timeout_s=0.05, start_timeout_s=1.0)
    assert session.sample(7, (0.5,), (0.0,) * 40) == answer


@pytest.mark.parametrize("vector", VECTORS["messages"], ids=lambda v: v["name"])
def test_any_other_length_is_an_error(vector):
    content = bytes.fromhex(vector["content"])
    for size in range(1, 251):
        if size != len(content):
            # A version cut off is a version error: nothing else can be trusted then.
            with pytest.raises((MessageError, VersionError)):
                decode(content.ljust(size, b"\1")[:size], SIZES)


@given(st.binary(min_size=1, max_size=250))
def test_garbage_is_a_message_or_an_error(content):
    try:
        message = decode(content, SIZES)
    except (MessageError, VersionError):
        return
    assert message.TYPE == content[0]


float32 = st.floats(width=32, allow_nan=False)


@given(
    k=st.integers(0, 2**32 - 1),
    points=st.lists(st.tuples(float32, float32, float32), max_size=points_max(SIZES)),
)
def test_references_survive_the_wire(k, points):
    message = Reference(k, tuple(points))
    content = message.encode(SIZES)
    assert decode(content, SIZES) == message
    assert len(encode_frame(content)) == len(content) + 4


@pytest.mark.parametrize(
    "message",
    [
        Arm(-1, *[0] * 10, REST, ORIGIN),
        Arm(2**32, *[0] * 10, REST, ORIGIN),
        Arm(0, 0, 256, *[0] * 8, REST, ORIGIN),
        Arm(0, *[0] * 9, 65536, REST, ORIGIN),
        Arm(0, *[0] * 10, (0.0,), ORIGIN),
        Sample(0, 0, (1e39, 0.0, 0.0, 0.0), ORIGIN),
        Sample(0, 0, (0.0, 0.0, 0.0), ORIGIN),
        Drive(0, 2**32, REST),
        Trajectory(65536, ()),
        Observe(0, (0,) * 4, (1e39, 0.0)),
        Reference(0, ((0.0, 0.0),)),
        Reference(0, (ORIGIN,) * 21),
    ],
    ids=str,
)
def test_fields_that_do_not_fit_are_errors(message):
    with pytest.raises(MessageError, match=type(message).__name__):
        message.encode(SIZES)


def test_another_version_is_refused_whatever_follows():
    for content in (bytes([Info.TYPE, PROTOCOL_VERSION + 1, 1, 2]), bytes([Boot.TYPE])):
        with pytest.raises(VersionError, match="build and flash"):
            decode(content, SIZES)


# ------------------------------------------------------------------ sessions

INFO = Info(
    version=PROTOCOL_VERSION, model_hash="m" * 16, build_id="b" * 16, board="fake",
    commands=2, outputs=3, signals=4, input_lags=3, output_lags=3, input_delay=5,
    horizon=12, control_horizon=3, step_cost_unit=0, rate_hz=120.0,
    trajectory_points=1200, state=1, cause=0, source=0, source_k=0, missed_samples=0, lost_points=0,
    telemetry_sent=0, telemetry_lost=0, telemetry_dropped=0, refused=0, limited=0, bad_frames=0,
    sensor_samples=0, sensor_dropped=0, actuator_bad=0, step_cost_max=0, stack_free=0,
)  # fmt: skip


def telemetry(k: int) -> Telemetry:
    return Telemetry(
        k=k, time_us=0, number=k, state=3, cause=0, flags=0, status=0, iterations=2, latency_us=0,
        signals=SIGNALS, command=REST, predicted=ORIGIN, reference=ORIGIN, offset=ORIGIN, cost=0.0,
        step_cost=0, missed_samples=0, telemetry_lost=0, actuator_errors=0, voltage=0.0,
        temperature=0.0, doubted=0, uncertainty=(0.0, 0.0, 0.0),
    )  # fmt: skip


def well_behaved(message: Message) -> list[Message]:
    if message.answered_by() is Info:
        return [INFO]
    return [telemetry(message.k)] if isinstance(message, (Sample, Observe)) else []


class FakePort:
    """Answers each message with those that `answers` gives; an exception among them is raised."""

    name, advice = "fake", "buy a better one"

    def __init__(self, answers: Callable[[Message], list] = well_behaved, greeting=()) -> None:
        self.answers, self.closed = answers, False
        self.got: list[Message] = []
        self._decoder = FrameDecoder()
        self._out: list = list(greeting)

    def write(self, data: bytes) -> None:
        for content in self._decoder.feed(data):
            self.got.append(decode(content, SIZES))
            self._out += self.answers(self.got[-1])

    def read(self, timeout_s: float) -> bytes:
        if not self._out:
            return b""
        answer = self._out.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, bytes) else encode_frame(answer.encode(SIZES))

    def close(self) -> None:
        self.closed = True


def open_fake(answers=well_behaved, greeting=(), **options) -> tuple[McuSession, FakePort]:
    port = FakePort(answers, greeting)
    options = {"timeout_s": 0.05, "start_timeout_s": 1.0} | options
    return McuSession(port, **options), port


@pytest.fixture(autouse=True)
def still_clock(monkeypatch):
    """The host's clock stands: what is sent can be compared."""
    monkeypatch.setattr("soft_control.link.session.host_us", lambda: NOW)


def test_a_good_run_sends_what_it_says():
    session, port = open_fake()
    points = [(0.0, 0.0, j / 1024) for j in range(30)]
    session.arm(
        (0.5, -0.5),
        (0.25, 0.0, 0.0),
        points,
        k=7,
        clock=Clock.TIMER,
        wiring=Wiring.MCU,
        source=Source.HOST,
        tethered_samples=2400,
        adapts=True,
        host_lost=HostLost.STOP,
        host_timeout_ms=100,
        sensor_timeout_ms=50,
        age_max_ms=300,
    )
    session.measurement(7, (0.25, 0.5, 0.0))
    assert session.sample(7, SIGNALS, (0.0, 0.5, 0.0)) == telemetry(7)
    assert session.observe(8, SIGNALS, (0.5, 0.25)) == telemetry(8)
    session.drive(9, (0.75, 0.5))
    session.stop()
    assert port.got == [
        Hello(),
        Arm(7, NOW, 1, 1, 1, 1, 2, 2400, 100, 50, 300, (0.5, -0.5), (0.25, 0.0, 0.0)),
        Reference(7, tuple(points[:20])),
        Reference(27, tuple(points[20:])),
        Measurement(7, NOW, (0.25, 0.5, 0.0)),
        Sample(7, NOW, SIGNALS, (0.0, 0.5, 0.0)),
        Observe(8, SIGNALS, (0.5, 0.25)),
        Drive(9, NOW, (0.75, 0.5)),
        Stop(),
    ]


def test_a_trajectory_goes_in_pieces_and_ends():
    session, port = open_fake()
    points = tuple((0.0, 0.0, j / 1024) for j in range(45))
    session.upload(points, step=2**32 // 45, periodic=True, blend=(0.5, math.inf, 0.0))
    assert port.got[1:] == [
        Trajectory(0, points[:20]),
        Trajectory(20, points[20:40]),
        Trajectory(40, points[40:]),
        TrajectoryEnd(45, 1, 2**32 // 45, (0.5, math.inf, 0.0)),
    ]


def test_telemetry_comes_unasked_and_the_heartbeat_counts_it():
    session, port = open_fake(
        lambda m: [INFO] + [telemetry(k) for k in (0, 1)] if isinstance(m, Arm) else well_behaved(m)
    )
    session.arm(REST, ORIGIN)
    assert [session.telemetry(0.01) for _ in range(3)] == [telemetry(0), telemetry(1), None]
    session.heartbeat()
    assert port.got[-1] == Heartbeat(NOW, 2)
    session.arm(REST, ORIGIN)
    session.heartbeat()
    assert port.got[-1] == Heartbeat(NOW, 0)


def test_counters_are_asked_for_without_waiting():
    """They come between reports; whoever asks and waits afterwards gets an answer to that."""
    news = [replace(INFO, bad_frames=5), replace(INFO, bad_frames=6)]

    def answers(message):
        if isinstance(message, Hello) and port.got.count(Hello()) > 1:
            return [news.pop(0)] if news else [replace(INFO, bad_frames=7)]
        return well_behaved(message)

    session, port = open_fake()
    port.answers = answers
    session.arm(REST, ORIGIN)
    session.ask_info()
    assert session.info.bad_frames == INFO.bad_frames
    assert session.sample(0, SIGNALS, ORIGIN) == telemetry(0)
    assert session.info.bad_frames == 5
    session.ask_info()
    assert session.hello().bad_frames == 7


def test_what_is_refused_while_nobody_waits_for_it_is_passed_over():
    """A command or a position that came too late, or that the microcontroller does not take now."""

    def refuses(message):
        if isinstance(message, (Drive, Measurement)):
            codes = (ErrorCode.TOO_OLD, ErrorCode.WRONG_STATE)
            return [*(Error(code, message.TYPE) for code in codes), telemetry(message.k)]
        return well_behaved(message)

    session, _ = open_fake(refuses)
    session.arm(REST, ORIGIN)
    session.drive(3, REST)
    session.measurement(4, ORIGIN)
    assert [session.telemetry(0.01) for _ in range(3)] == [telemetry(3), telemetry(4), None]


def test_a_restart_ends_the_wait_for_telemetry():
    boot = Boot(PROTOCOL_VERSION, ResetCause.WATCHDOG, "fake")
    session, _ = open_fake(lambda m: [boot] if isinstance(m, Heartbeat) else well_behaved(m))
    session.arm(REST, ORIGIN)
    session.heartbeat()
    with pytest.raises(LinkError, match=r"has started again \(cause: watchdog\)"):
        session.telemetry(0.01)


def test_a_trajectory_is_forgotten():
    session, port = open_fake()
    session.forget_trajectory()
    assert port.got[1:] == [TrajectoryEnd(0, 0, 0, ORIGIN)]


def test_what_ended_the_last_run_is_kept():
    crash = Crash(2, 0x08001234, 0x08000ABD, 0x21000000, 0x8200, 0xE000ED00, 512)
    session, _ = open_fake(lambda m: [crash, INFO] if isinstance(m, Hello) else well_behaved(m))
    assert session.crash == crash
    assert open_fake()[0].crash is None


def test_hello_is_repeated_until_somebody_is_there(monkeypatch):
    monkeypatch.setattr("soft_control.link.session.RETRY_S", 0.01)
    hellos = []

    def late(message):
        hellos.append(message)
        return [INFO] if len(hellos) == 4 else []

    boot = Boot(PROTOCOL_VERSION, ResetCause.POWER_ON, "fake")
    session, port = open_fake(late, greeting=[b"\xff\x03garbage\0", boot, telemetry(3)])
    assert session.info == INFO and port.got == [Hello()] * 4


def test_nobody_there_closes_the_port():
    port = FakePort(lambda message: [])
    with pytest.raises(LinkError, match="fake: no answer to HELLO within 0.02 s: buy a better one"):
        McuSession(port, start_timeout_s=0.02)
    assert port.closed


def test_another_model_build_or_version_closes_the_port():
    for expected in ({"model_hash": "x" * 16}, {"build_id": "x" * 16}):
        port = FakePort()
        with pytest.raises(ModelMismatch, match="not x{16}: flash this build"):
            McuSession(port, **expected)
        assert port.closed
    other = PROTOCOL_VERSION + 1
    port = FakePort(lambda message: [encode_frame(bytes([Info.TYPE, other]))])
    with pytest.raises(VersionError, match=f"version {other}, this host {PROTOCOL_VERSION}"):
        McuSession(port)
    assert port.closed


def test_a_dropped_reply_is_an_error_with_the_last_good_sample():
    session, _ = open_fake(lambda m: [] if getattr(m, "k", 0) == 3 else well_behaved(m))
    session.arm(REST, ORIGIN)
    for k in range(3):
        session.sample(k, SIGNALS, ORIGIN)
    with pytest.raises(LinkError, match=r"^fake: no answer to sample 3 .*\(last good sample 2\)$"):
        session.sample(3, SIGNALS, ORIGIN)
    assert session.sample(4, SIGNALS, ORIGIN) == telemetry(4)  # and can go on


def test_late_and_broken_answers_are_passed_over():
    def messy(message):
        if isinstance(message, Sample):
            broken = encode_frame(telemetry(message.k).encode(SIZES)).replace(b"\x83", b"\x82")
            return [telemetry(message.k - 1), broken, b"\0\0", telemetry(message.k)]
        return well_behaved(message)

    session, _ = open_fake(messy)
    session.arm(REST, ORIGIN)
    assert session.sample(1, SIGNALS, ORIGIN) == telemetry(1)


def test_any_message_of_the_table_can_be_requested():
    session, port = open_fake()
    session.arm(REST, ORIGIN)
    assert session.request(Hello()) == INFO
    assert session.request(Reference(0, (ORIGIN,))) is None
    assert session.request(Sample(0, NOW, SIGNALS, ORIGIN)) == telemetry(0)
    assert port.got[2:] == [Hello(), Reference(0, (ORIGIN,)), Sample(0, NOW, SIGNALS, ORIGIN)]


def test_a_refusal_names_message_and_reason():
    def refuses(message):
        if isinstance(message, Sample):
            return [Error(ErrorCode.OUT_OF_ORDER, Sample.TYPE)]
        return well_behaved(message)

    session, _ = open_fake(refuses)
    with pytest.raises(LinkError, match="refused SAMPLE: out of order"):
        session.sample(0, SIGNALS, ORIGIN)


def test_one_that_knows_nothing_of_the_run_is_gone():
    """Its BOOT was damaged on the way. A first sample that is refused is another matter."""
    answers = {0: [telemetry(0)]}

    def forgets(message):
        if isinstance(message, Sample):
            return answers.get(message.k, [Error(ErrorCode.WRONG_STATE, Sample.TYPE)])
        return well_behaved(message)

    session, _ = open_fake(forgets)
    with pytest.raises(LinkError, match="refused SAMPLE: wrong state") as refused:
        session.sample(1, SIGNALS, ORIGIN)
    assert not isinstance(refused.value, Gone)
    session.sample(0, SIGNALS, ORIGIN)
    with pytest.raises(Gone, match=r"refused SAMPLE: wrong state \(last good sample 0\)"):
        session.sample(1, SIGNALS, ORIGIN)


def test_what_was_learned_comes_with_other_answers_and_each_row_is_its_own():
    def rows(message):
        if isinstance(message, AskAdaptation):
            gain = tuple(float(message.row == column) for column in range(3))
            curves = (0.0, 0.01 * message.row, 0.0, 0.0, 0.0, 0.0)
            return [Adaptation(message.row, 7, 0, gain, 0.1 * message.row, 0.5, 0.5, curves, 0.0)]
        return well_behaved(message)

    session, _ = open_fake(rows)
    session.arm(REST, ORIGIN)
    session.ask_adaptation()
    assert session.learned is None
    found = session.adaptation()  # the answers to both are under way
    session.sample(0, SIGNALS, ORIGIN)
    for learned in (found, session.learned):
        np.testing.assert_array_equal(learned.gain, np.eye(3))
        np.testing.assert_allclose(learned.offset, [0.0, 0.1, 0.2], rtol=1e-6)
        np.testing.assert_allclose(np.array(learned.curve)[:, 1], [0.0, 0.01, 0.02], rtol=1e-6)


@pytest.mark.parametrize("part", ["gain", "offset", "curve"])
def test_a_map_in_which_one_number_was_learned_says_something(part):
    recorded = LearnedMap.as_recorded(3)
    assert not recorded.says_something
    learned = getattr(recorded, part).copy()
    learned.flat[1] = 0.1
    assert replace(recorded, **{part: learned}).says_something


def test_a_restart_in_mid_run_is_an_error_with_its_cause():
    boot = Boot(PROTOCOL_VERSION, ResetCause.FAULT, "fake")
    session, _ = open_fake(lambda m: [boot] if isinstance(m, Sample) else well_behaved(m))
    with pytest.raises(LinkError, match=r"has started again \(cause: fault\)"):
        session.sample(0, SIGNALS, ORIGIN)


def test_a_crash_in_mid_run_is_told_with_its_record():
    """As `softctl crash` reads it."""
    boot, crash = Boot(PROTOCOL_VERSION, ResetCause.FAULT, "fake"), Crash(3, 1, 2, 3, 4, 5, 6)
    crashed = []

    def crashing(message):
        if isinstance(message, Sample):
            crashed.append(message)
            return [boot]
        return [INFO, crash] if crashed and isinstance(message, Hello) else well_behaved(message)

    session, _ = open_fake(crashing)
    with pytest.raises(
        LinkError, match=r"cause: fault\); where it was says `softctl crash"
    ) as told:
        session.sample(0, SIGNALS, ORIGIN)
    record = str(told.value).partition("--record ")[2].partition("`")[0]
    assert CrashRecord.from_hex(record) == CrashRecord(3, 1, 2, 3, 4, 5, 6)
    assert session.crash == crash


def test_a_dead_transport_is_an_error_that_names_it():
    def dying(message):
        return [TransportError("gone")] if isinstance(message, Sample) else well_behaved(message)

    session, port = open_fake(dying)
    with pytest.raises(LinkError, match=r"^fake: gone \(no good sample yet\)$"):
        session.sample(0, SIGNALS, ORIGIN)
    with session:
        pass
    assert port.closed


def test_what_is_not_finite_is_never_sent():
    session, port = open_fake()
    for call in (
        lambda: session.arm((math.nan, 0.0), ORIGIN),
        lambda: session.arm(REST, (0.0, math.inf, 0.0)),
        lambda: session.sample(0, (math.nan,) * 4, ORIGIN),
        lambda: session.sample(0, SIGNALS, (math.nan, 0.0, 0.0)),
        lambda: session.observe(0, SIGNALS, (0.0, -math.inf)),
        lambda: session.measurement(0, (math.nan, 0.0, 0.0)),
        lambda: session.drive(0, (math.inf, 0.0)),
        lambda: session.upload([(math.nan, 0.0, 0.0)], 1, False, ORIGIN),
    ):
        with pytest.raises(MessageError, match="finite"):
            call()
    assert port.got == [Hello()]


def test_a_late_answer_is_none_to_what_is_asked_next(monkeypatch):
    """INFO of a configuration comes twice, as it was asked for twice; ARM waits for its own."""
    monkeypatch.setattr("soft_control.link.session.RETRY_S", 0.01)
    held: list[Message] = []

    def slow(message: Message) -> list[Message]:
        if isinstance(message, Hello):
            held.append(INFO)
            if len(held) < 3:
                return []
            answers = list(held)
            held.clear()
            return answers
        return [replace(INFO, state=2)] if isinstance(message, Arm) else well_behaved(message)

    session, _ = open_fake(slow)
    session.arm((0.0, 0.0), (0.0, 0.0, 0.0))
    assert session.info.state == 2


def test_stop_is_not_said_again_to_a_robot_that_has_stopped(monkeypatch):
    """Said twice it would let go. Its answer is lost; the state says that it has come."""
    monkeypatch.setattr("soft_control.link.session.RETRY_S", 0.01)
    session, port = open_fake(
        lambda m: [] if isinstance(m, Stop) else [replace(INFO, state=5)]
    )  # fmt: skip
    session.stop()
    assert [type(m) for m in port.got].count(Stop) == 1 and session.info.state == 5


def test_stop_that_was_lost_is_said_again(monkeypatch):
    monkeypatch.setattr("soft_control.link.session.RETRY_S", 0.01)
    states = [2, 3, 3, 5]
    session, port = open_fake(
        lambda m: [] if isinstance(m, Stop) else [replace(INFO, state=states.pop(0))]
    )
    session.stop()
    assert [type(m) for m in port.got].count(Stop) == 3 and session.info.state == 5


def test_switch_tells_the_first_sample_and_what_was_refused():
    answers = [replace(INFO, source=1, source_k=17), Error(ErrorCode.INCOMPLETE, Switch.TYPE)]
    session, port = open_fake(
        lambda m: [answers.pop(0)] if isinstance(m, Switch) else well_behaved(m)
    )
    assert session.switch(Source.HOST) == 17 and port.got[-1] == Switch(0, 1)
    with pytest.raises(LinkError, match="refused SWITCH: incomplete"):
        session.switch(Source.MPC, k=30)
    assert port.got[-1] == Switch(30, 0)


def test_telemetry_that_comes_before_an_answer_is_kept():
    session, _ = open_fake(
        lambda m: (
            [telemetry(4), telemetry(5), INFO] if isinstance(m, Heartbeat) else well_behaved(m)
        )
    )
    session.arm((0.0, 0.0), (0.0, 0.0, 0.0))
    session.heartbeat()
    session.hello()
    assert [session.telemetry(0.0).k for _ in range(2)] == [4, 5] and session.received == 2


def test_telemetry_that_never_came_is_counted_by_its_numbers():
    """Of both ends: the microcontroller is told how many have come."""
    numbers = [0, 1, 4, 5, 9]
    told = [replace(telemetry(k), number=number) for k, number in enumerate(numbers)]
    session, port = open_fake(
        lambda m: told if isinstance(m, Heartbeat) and not m.received else well_behaved(m)
    )
    session.arm((0.0, 0.0), (0.0, 0.0, 0.0))
    session.heartbeat()
    lost = []
    while session.telemetry(0.0) is not None:
        lost.append(session.lost)
    assert lost == [0, 0, 2, 2, 5] and session.received == 5
    session.heartbeat()
    assert port.got[-1].received == 5
    session.arm((0.0, 0.0), (0.0, 0.0, 0.0))
    assert session.lost == 0
