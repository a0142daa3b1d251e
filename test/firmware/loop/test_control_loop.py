"""control_loop.c through sil: the walk, its states, and what must never happen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from soft_control.control.mpc_settings import physical_settings
from soft_control.control.observer import observer_config, reset, signal_function, step
from soft_control.learning.dataset import Recording
from soft_control.learning.model import ModelCard, free_run, load_model
from soft_control.link.codes import (
    Clock,
    ErrorCode,
    HostLost,
    SolverStatus,
    Source,
    State,
    Supervisor,
    Wiring,
)
from soft_control.link.framing import FrameDecoder, encode_frame
from soft_control.link.lace_line import format_line
from soft_control.link.learned_map import LearnedMap
from soft_control.link.messages import (
    Arm,
    AskAdaptation,
    Configure,
    Drive,
    Error,
    Heartbeat,
    Hello,
    Info,
    Measurement,
    MessageError,
    Observe,
    Reference,
    Sample,
    Stop,
    Telemetry,
    Trajectory,
    TrajectoryEnd,
    decode,
)
from soft_control.link.session import LinkError, McuSession
from soft_control.link.transport import Port, SilTransport, TransportError
from soft_control.rigs import describe

REST = (-0.17, -0.4)
ORIGIN = (0.0, 0.0, 0.0)
TENDON = describe("tendon")


def arm(command, outputs, host_timeout_ms=0, host_lost=0, age_max_ms=0) -> Arm:
    return Arm(0, 0, 0, 0, 0, 0, host_lost, 0, host_timeout_ms, 0, age_max_ms, command, outputs)


def reference(k: int) -> np.ndarray:
    return np.array([0.0, 0.012 * math.sin(k / 20), 0.006 * math.sin(k / 10)])


def signals(rng: np.random.Generator, count: int) -> np.ndarray:
    return 0.5 + 0.2 * rng.standard_normal(count)


class Run:
    """A run on its own random signals, sample after sample."""

    def __init__(self, session: McuSession, seed: int = 1) -> None:
        self.session, self.rng, self.k = session, np.random.default_rng(seed), 0
        n = session.info.horizon
        session.arm(REST, ORIGIN, [reference(k) for k in range(n)])

    def step(self) -> Telemetry:
        info = self.session.info
        values = signals(self.rng, info.signals)
        command = self.session.sample(self.k, values, reference(self.k + info.horizon))
        self.k += 1
        return replace(command, time_us=0)


class Raw:
    """Frames as they are, without a session's care."""

    def __init__(self, library, clock=lambda: 0.0) -> None:
        self.transport, self.decoder = SilTransport(library, clock), FrameDecoder()
        self.read()
        (info,) = self.ask(Hello(), sizes=(0, 0, 0))
        assert isinstance(info, Info)
        self.info, self.sizes = info, info.sizes

    def read(self, sizes=None) -> list:
        try:
            found = self.decoder.feed(self.transport.read(0.0))
        except RuntimeError:  # nothing came
            return []
        return [decode(content, sizes or self.sizes) for content in found] if sizes else found

    def ask(self, message, sizes=None) -> list:
        sizes = sizes or self.sizes
        self.transport.write(encode_frame(message.encode(sizes)))
        return self.read(sizes)


def plain(command: Telemetry) -> tuple:
    """All but what a measurement or a mishap adds."""
    return command.k, command.command, command.predicted, command.cost


def test_info_tells_the_build(open_target, firmware):
    info = open_target("sil").info
    assert (info.model_hash, info.build_id) == (firmware.model_hash, firmware.build_id)
    assert (info.board, info.commands, info.outputs, info.signals) == ("host", 2, 3, 4)
    assert (info.input_lags, info.output_lags, info.input_delay) == (3, 3, 5)
    assert (info.horizon, info.control_horizon, info.rate_hz) == (12, 3, 120.0)


def test_a_run_keeps_its_bounds_and_repeats_bit_for_bit(open_target, settings):
    first, second = Run(open_target("sil")), Run(open_target("sil"))
    commands = [first.step() for _ in range(300)]
    assert commands == [second.step() for _ in range(300)]
    assert {c.flags for c in commands} == {0}
    assert {SolverStatus(c.status) for c in commands} <= {
        SolverStatus.CONVERGED,
        SolverStatus.MAX_ITERATIONS,
    }
    u = np.array([REST, *(c.command for c in commands)])
    assert np.ptp(u, axis=0).min() > 0.1  # it does something
    assert (u[1:] >= settings.command_min).all() and (u[1:] <= settings.command_max).all()
    # The first move starts from REST in float64, all others from what the firmware sent.
    assert (np.abs(np.diff(u[1:], axis=0)) <= settings.move_max).all()


def test_instances_share_nothing(open_target):
    alone = [Run(open_target("sil"), seed).step for seed in (1, 2)]
    expected = [[step() for _ in range(50)] for step in alone]
    together = [Run(open_target("sil"), seed).step for seed in (1, 2)]
    found = [[], []]
    for _ in range(50):
        for i in (1, 0):
            found[i].append(together[i]())
    assert found == expected
    assert expected[0] != expected[1]


def test_observe_is_the_free_run_of_the_network(open_target, model_dir):
    """Against the float64 network in NumPy. float32 leaves 1e-7 of a 12 mm scale a sample, and this
    network neither forgets nor amplifies: 200 samples stay well below 1 um."""
    rng = np.random.default_rng(5)
    samples = 200
    run = Recording(
        source="made up",
        t_s=np.arange(samples) / 120.0,
        commands=np.cumsum(rng.normal(0, 0.02, (samples, 2)), axis=0) + REST,
        outputs=np.tile((0.004, -0.003, 0.002), (samples, 1)),
        signals=np.array([signals(rng, 4) for _ in range(samples)]),
        reference=None,
        command_names=["servo_0", "servo_1"],
        output_names=["x", "y", "z"],
        signal_names=[f"lace_{i:02d}" for i in range(4)],
    )
    expected = free_run(load_model(model_dir), run)
    session = open_target("sil")
    session.arm(run.commands[0], run.outputs[0])
    for k in range(samples - 1):
        answer = session.observe(k, run.signals[k], run.commands[k])
        assert answer.status == SolverStatus.NONE and answer.flags == 0
        assert answer.command == pytest.approx(run.commands[k], abs=1e-6)  # float32
        assert answer.predicted == pytest.approx(expected[k + 1], abs=1e-6)


def test_nothing_but_hello_before_reset(firmware):
    raw = Raw(firmware.library)
    for message in (
        Sample(0, 0, (0.0,) * 4, ORIGIN),
        Observe(0, (0.0,) * 4, REST),
        Reference(0, (ORIGIN,)),
        Measurement(0, 0, ORIGIN),
    ):
        assert raw.ask(message) == [Error(ErrorCode.WRONG_STATE, message.TYPE)]
    assert raw.ask(Hello()) == [raw.info]


@pytest.mark.parametrize(
    ("name", "first_that_is_none"),
    [("clock", len(Clock)), ("wiring", len(Wiring)), ("source", len(Source)), ("adapts", 2),
     ("host_lost", len(HostLost))],
)  # fmt: skip
def test_modes_that_there_are_none_of_arm_nothing(firmware, name, first_that_is_none):
    raw = Raw(firmware.library)
    for value in (first_that_is_none, 255):
        asked = replace(arm(REST, ORIGIN), **{name: value})
        assert raw.ask(asked) == [Error(ErrorCode.BAD_VALUE, Arm.TYPE)]
    assert raw.ask(Hello()) == [raw.info]
    (info,) = raw.ask(replace(arm(REST, ORIGIN), **{name: first_that_is_none - 1}))
    assert info.state == State.ARMED


def test_moves_of_nothing_hold_the_command_to_the_bit(open_target, settings):
    run = Run(open_target("sil"))
    for _ in range(10):
        last = run.step().command
    still = physical_settings(settings, TENDON) | {"move_max": [0.0, 0.0]}
    run.session.configure(still)
    answers = [run.step() for _ in range(10)]
    assert {answer.command for answer in answers} == {last}
    assert all(answer.status != SolverStatus.INFEASIBLE_PROBLEM for answer in answers)


def test_configure_changes_the_problem_at_once(open_target, settings):
    """Other bounds and weights count from the next sample on; the same ones change nothing, and
    none of them outlives the power."""
    usual, same, other = (Run(open_target("sil")) for _ in range(3))
    physical = physical_settings(settings, TENDON)
    same.session.configure(physical)
    for _ in range(20):
        assert usual.step() == same.step()
        other.step()
    narrow = physical | {"command_min": [-0.3125, -0.5], "command_max": [-0.25, -0.4375]}
    other.session.configure(narrow)
    after = [other.step() for _ in range(30)]
    commands = [answer.command for answer in after]
    # No single move leads there: the move limit comes first.
    assert after[0].status == SolverStatus.INFEASIBLE_PROBLEM
    assert np.abs(np.diff(commands, axis=0)).max() <= np.float32(settings.move_max[0]) + 1.2e-7
    inside = [-0.3125 <= u <= -0.25 and -0.5 <= v <= -0.4375 for u, v in commands]
    there = inside.index(True)
    assert 0 < there < 15 and all(inside[there:])
    settled = {answer.status for answer in after[there + 1 :]}
    assert SolverStatus.INFEASIBLE_PROBLEM not in settled
    still = physical | {"move_weight": [1e9, 1e9]}
    other.session.configure(still)
    settled = [other.step().command for _ in range(10)]
    assert np.ptp(settled, axis=0).max() < 1e-4
    fresh = Run(open_target("sil"))
    usual = Run(open_target("sil"))
    assert [fresh.step() for _ in range(5)] == [usual.step() for _ in range(5)]


@pytest.mark.parametrize(
    "change",
    [
        {"command_min": [2.0, -1.0]},
        {"command_min": [-math.inf, -1.0], "command_max": [math.inf, 0.0]},
        {"command_min": [-1e38, -1.0]},
        {"command_max": [1e30, 0.5]},
        {"command_min": [math.nan, -1.0]},
        {"move_max": [0.06, 0.05]},
        {"move_max": [math.inf, 0.05]},
        {"move_max": [-0.1, 0.1]},
        {"output_weight": [1.0, -1.0, 1.0]},
        {"terminal_weight": [1.0, math.nan, 1.0]},
        {"move_weight": [math.inf, 1.0]},
        {"command_reference": [math.nan, 0.0]},
        {"output_min": [math.nan, 0.0, 0.0]},
        {"output_min": [math.inf, 0.0, 0.0]},
        {"output_max": [0.0, 0.0, -math.inf]},
        {"disturbance_ratio": -1.0},
        {"disturbance_ratio": 3.4e7},
        {"disturbance_ratio": math.inf},
        {"output_weight": [1e35, 1.0, 1.0]},
        {"bound_weight": [1.0, 1.0, 1e35]},
        {"move_weight": [1.0, 1e35]},
    ],
    ids=lambda change: "-".join(change),
)
def test_configure_refuses_what_makes_no_problem(open_target, settings, change):
    usual, refused = Run(open_target("sil")), Run(open_target("sil"))
    with pytest.raises(LinkError, match="refused CONFIGURE: bad value"):
        refused.session.configure(physical_settings(settings, TENDON) | change)
    assert [refused.step() for _ in range(5)] == [usual.step() for _ in range(5)]


def test_configure_before_reset(open_target, settings):
    early, late = open_target("sil"), Run(open_target("sil"))
    narrow = physical_settings(settings, TENDON) | {"command_max": [-0.1, -0.3]}
    early.configure(narrow)
    late.session.configure(narrow)
    run = Run(early)
    assert [run.step() for _ in range(50)] == [late.step() for _ in range(50)]


def test_a_measured_position_takes_the_offset_out(open_target, settings):
    """A rig that is what the model says but for 2 mm: the estimate goes there by the gain of a
    Kalman filter, (sqrt(r² + 4r) - r) / 2, and the prediction with it; without positions, or with
    those of another sample, nothing changes."""
    ratio = 0.5
    gain = (math.sqrt(ratio**2 + 4 * ratio) - ratio) / 2
    told, silent, stale = (Run(open_target("sil")) for _ in range(3))
    for run in (told, silent, stale):
        run.session.configure(physical_settings(settings, TENDON) | {"disturbance_ratio": ratio})
    offset, estimate = np.array([0.0, 2e-3, -1e-3]), np.zeros(3)
    model = np.array(ORIGIN)  # what the model alone predicts for this sample
    for k in range(30):
        told.session.measurement(k, model + offset)
        stale.session.measurement(k + 1, model + offset)
        command = told.step()
        estimate += gain * (offset - estimate)
        model = np.array(command.predicted) - estimate
        assert silent.step() == stale.step()
    assert np.abs(offset - estimate).max() < 1e-6
    # Told, it aims at the reference less the offset, as a rig without one would be asked to.
    moved = Run(open_target("sil"))
    assert np.abs(np.subtract(told.step().command, moved.step().command)).max() > 1e-3


def test_without_a_measured_position_the_signals_take_the_offset_out(
    open_target, estimating, model_dir
):
    """The twin of observer.h, around what a firmware without any estimate predicts for the same
    commands. 1e-6 m as for the free run."""
    card = load_model(model_dir).card
    config, function = observer_config(card), signal_function(card)
    twin, acting = reset(3), [card.normalised_command(np.array(REST))] * (card.input_delay + 1)
    scale = np.array(card.output_scale)
    run, model = Run(open_target("sil", estimating)), open_target("sil")
    model.arm(REST, ORIGIN)
    seen, rng = np.zeros((100, 3)), np.random.default_rng(1)  # the signals that Run draws
    predicted, none = np.array(ORIGIN), np.zeros(4, bool)
    for k in range(100):
        values = signals(rng, 4)
        shown, outputs = card.normalised_signal(values), card.normalised_output(predicted)
        estimate = scale * step(config, function, twin, none, shown, outputs, acting[-1])
        run.session.measurement(k + 1, (1.0, 1.0, 1.0))  # of another sample: nobody's
        command = run.step()
        predicted = np.array(model.observe(k, values, command.command).predicted)
        acting = [card.normalised_command(np.array(command.command)), *acting[:-1]]
        assert command.predicted == pytest.approx(predicted + estimate, abs=1e-6)
        deviation = scale * np.sqrt(np.diag(twin.covariance))
        assert command.uncertainty == pytest.approx(deviation, rel=1e-3)
        seen[k] = estimate
    assert np.ptp(seen, axis=0).min() > 1e-3


AS_RECORDED = LearnedMap.as_recorded(3)
OTHER_DAY = replace(
    AS_RECORDED,
    gain=np.array([[0.8, 0.05, 0.0], [0.0, 1.2, 0.0], [-0.1, 0.0, 0.9]]),
    offset=np.array([1e-3, -5e-4, 0.0]),
    curve=np.array([[5.0, 0.0, -3.0, 0.0, 2.0, 0.0], [0.0] * 6, [0.0, 4.0, 0.0, -5.0, 0.0, 1.0]]),
)


def of_the_day(card: ModelCard, known: LearnedMap, predicted: Sequence[float]) -> np.ndarray:
    """What the robot of that day makes of the network's outputs (docs/protocol.md, ADAPTATION)."""
    middle = np.array(card.output_offset)
    v = np.asarray(predicted) - middle
    return middle + known.gain @ v + known.offset + known.curve @ np.outer(v, v)[np.triu_indices(3)]


def test_what_is_known_of_the_day_is_in_prediction_and_command(open_target, model_dir):
    """The prediction is that of a firmware which knows nothing and sees the same commands, mapped
    as protocol.md says: within 1e-5 m, since it is on the map's tangent at the sample before. What
    the run was told stays for the next one."""
    card = load_model(model_dir).card
    knowing, model = open_target("sil"), open_target("sil")
    knowing.adapt(OTHER_DAY)
    told = knowing.adaptation()
    np.testing.assert_allclose(told.gain, OTHER_DAY.gain, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(told.offset, OTHER_DAY.offset, rtol=1e-6)
    np.testing.assert_allclose(told.curve, OTHER_DAY.curve, rtol=1e-6)
    assert (told.believed, told.doubted, *told.offset_ignorance) == (0, 0, 1.0, 1.0, 1.0)
    for _ in range(2):
        run, usual, rng = Run(knowing), Run(open_target("sil")), np.random.default_rng(1)
        model.arm(REST, ORIGIN)
        apart = 0.0
        for k in range(60):
            command, plain = run.step(), usual.step()
            network = model.observe(k, signals(rng, 4), command.command).predicted
            wanted = of_the_day(card, OTHER_DAY, network)
            np.testing.assert_allclose(command.predicted, wanted, atol=1e-5)
            np.testing.assert_allclose(command.offset, wanted - network, atol=1e-5)
            apart = max(apart, np.abs(np.subtract(command.command, plain.command)).max())
        assert apart > 0.01
        knowing.stop()


@pytest.mark.parametrize("row", range(3))
def test_a_day_that_is_too_far_is_refused(open_target, row):
    session = open_target("sil")
    for change, much in (("gain", 10.4), ("offset", 10.0), ("curve", 300.0)):
        wrong = np.array(getattr(OTHER_DAY, change), dtype=float)
        wrong[row] += much
        with pytest.raises(LinkError, match="refused ADAPT: bad value"):
            session.adapt(replace(OTHER_DAY, **{change: wrong}))
    with pytest.raises(MessageError, match="not all finite"):
        session.adapt(replace(OTHER_DAY, gain=np.full((3, 3), np.nan)))
    Run(session).step()
    with pytest.raises(LinkError, match="refused ADAPT: wrong state"):
        session.adapt(OTHER_DAY)
    with pytest.raises(LinkError, match="refused ASK_ADAPTATION: bad value"):
        session.request(AskAdaptation(3))


def test_a_position_that_is_not_finite_is_dropped(firmware, settings):
    usual, bad = Raw(firmware.library), Raw(firmware.library)
    for raw in (usual, bad):
        physical = physical_settings(settings, TENDON) | {"disturbance_ratio": 0.5}
        raw.ask(Configure(**physical))
        raw.ask(arm(REST, ORIGIN))
    assert bad.ask(Measurement(0, 0, (math.nan, 0.0, 0.0))) == []
    sample = Sample(0, 0, (0.0,) * 4, ORIGIN)
    assert bad.ask(sample) == usual.ask(sample)


def test_session_says_what_was_refused(open_target):
    session = open_target("sil")
    with pytest.raises(LinkError, match=r"sil: .*refused SAMPLE: wrong state.*no good sample yet"):
        session.sample(0, [0.5] * 4, ORIGIN)


def test_order_errors_change_nothing(open_target):
    good, disturbed = Run(open_target("sil")), Run(open_target("sil"))
    for _ in range(5):
        good.step()
        disturbed.step()
    for k in (0, 3, 106, 2**32 - 1):
        with pytest.raises(LinkError, match=r"refused SAMPLE: out of order \(last good sample 4\)"):
            disturbed.session.sample(k, [0.5] * 4, ORIGIN)
    assert disturbed.step() == good.step()


def test_a_gap_is_crossed_with_the_command_held(open_target):
    """The same as observing the held command, with the signals of before, where samples miss."""
    gap, filled = open_target("sil"), open_target("sil")
    still = [reference(30)] * 12
    values = [0.45, 0.5, 0.55, 0.6]
    for session in (gap, filled):
        session.arm(REST, ORIGIN, still)
        first = session.sample(0, values, still[0])
    for k in (1, 2):
        filled.observe(k, values, first.command)
    after_gap = gap.sample(3, values, still[0])
    assert after_gap.flags & Supervisor.GAP
    assert gap.hello().missed_samples == 2 and filled.hello().missed_samples == 0
    # What the solver had planned for the samples that missed was not done, as far as it knows who
    # observed: there it plans anew, and a sample later its command is 2e-4 rad from that of the
    # other one, 0.4 % of a move.
    after_filled = filled.sample(3, values, still[0])
    assert after_gap.command == pytest.approx(after_filled.command, abs=5e-4)
    assert after_gap.predicted == pytest.approx(after_filled.predicted, abs=1e-7)


def test_k_may_start_anywhere_and_wrap(open_target):
    session, usual = open_target("sil"), Run(open_target("sil"))
    usual.session.arm(REST, ORIGIN)
    start = 2**32 - 3
    session.arm(REST, ORIGIN, k=start)
    for j in range(6):
        wrapped = session.sample((start + j) % 2**32, [0.5] * 4, reference(1))
        expected = usual.session.sample(j, [0.5] * 4, reference(1))
        assert wrapped.command == expected.command and not wrapped.flags & Supervisor.GAP


def test_missing_points_are_flagged_and_counted(open_target):
    session = open_target("sil")
    session.arm(REST, ORIGIN, [reference(k) for k in range(12) if k < 8])
    answers = [session.sample(k, [0.5] * 4, reference(k + 12)) for k in range(2)]
    assert [a.flags for a in answers] == [Supervisor.LOST_POINT, 0]
    assert session.hello().lost_points == 4
    session.arm(REST, ORIGIN)
    assert session.hello().lost_points == 0


def test_long_references_come_in_pieces(open_target):
    """More points than one frame holds; those beyond the horizon come again with their sample."""
    whole, pieces = Run(open_target("sil")), open_target("sil")
    pieces.arm(REST, ORIGIN, [reference(k) for k in range(60)])
    values = signals(np.random.default_rng(1), 4)
    assert plain(pieces.sample(0, values, reference(12))) == plain(whole.step())


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 3.4e38])
def test_numbers_that_are_none_are_refused_or_survived(firmware, bad):
    """3.4e38 m is a float32, but not once it is divided by a scale of 12 mm."""
    raw = Raw(firmware.library)
    reset = arm(REST, ORIGIN)
    assert raw.ask(arm(REST, (0.0, bad, 0.0))) == [Error(ErrorCode.BAD_VALUE, Arm.TYPE)]
    assert raw.ask(arm((bad, 0.0), ORIGIN)) == [Error(ErrorCode.BAD_VALUE, Arm.TYPE)]
    assert isinstance(raw.ask(reset)[0], Info)
    assert raw.ask(Reference(0, ((bad,) * 3,) * 12)) == []
    (answer,) = raw.ask(Sample(0, 0, (0.5,) * 4, (bad, 0.0, 0.0)))
    assert answer.flags & Supervisor.LOST_POINT
    assert np.isfinite([*answer.command, *answer.predicted, answer.cost]).all()
    if not math.isfinite(bad):
        refused = raw.ask(Observe(1, (0.5,) * 4, (bad, 0.0)))
        assert refused == [Error(ErrorCode.BAD_VALUE, Observe.TYPE)]


@pytest.mark.parametrize("bad", [math.nan, math.inf, 3.4e38, -3e38])
def test_signals_and_commands_that_are_none_once_normalised_are_refused(firmware, bad):
    raw = Raw(firmware.library)
    raw.ask(arm(REST, ORIGIN))
    for message in (
        Sample(0, 0, (0.5, bad, 0.5, 0.5), ORIGIN),
        Observe(0, (0.5, bad, 0.5, 0.5), REST),
        Observe(0, (0.5,) * 4, (0.0, bad)),
    ):
        assert raw.ask(message) == [Error(ErrorCode.BAD_VALUE, message.TYPE)]
    (answer,) = raw.ask(Sample(0, 0, (0.5,) * 4, ORIGIN))
    assert np.isfinite([*answer.command, *answer.predicted, answer.cost, *answer.signals]).all()


def test_an_absurd_reference_holds_the_command(firmware):
    """Finite, but its squared error is not: the solver says so, nothing infinite leaves."""
    raw = Raw(firmware.library)
    raw.ask(arm(REST, ORIGIN))
    (answer,) = raw.ask(Sample(0, 0, (0.5,) * 4, (1e30, 0.0, 0.0)))
    assert answer.status == SolverStatus.NOT_FINITE
    assert answer.flags & Supervisor.NOT_FINITE
    assert answer.command == pytest.approx(REST, abs=1e-7)
    assert np.isfinite([*answer.predicted, answer.cost]).all()
    raw.ask(arm(REST, ORIGIN))
    (answer,) = raw.ask(Sample(0, 0, (0.5,) * 4, (0.0, 0.001, 0.0)))
    assert answer.status != SolverStatus.NOT_FINITE


@pytest.mark.parametrize(
    ("host_lost", "state"),
    [(HostLost.CONTINUE, State.RUNNING), (HostLost.HOLD, State.HOLDING),
     (HostLost.STOP, State.STOPPED)],
)  # fmt: skip
def test_a_gap_longer_than_the_time_out_does_what_arm_says(firmware, host_lost, state):
    """Where samples are the clock, their numbers tell the time: 100 ms are 12 samples."""
    raw = Raw(firmware.library)
    raw.ask(arm(REST, ORIGIN, host_timeout_ms=100, host_lost=host_lost))
    far = (0.0, 0.02, 0.02)
    for k in range(20):
        (answer,) = raw.ask(Sample(k, 0, (0.5,) * 4, far))
        assert answer.state == State.RUNNING
    (info,) = raw.ask(Hello())
    assert info.state == State.RUNNING
    (answer,) = raw.ask(Sample(60, 0, (0.5,) * 4, far))
    assert answer.flags & Supervisor.HOST_STALE
    (info,) = raw.ask(Hello())
    assert (info.state, info.missed_samples) == (state, 40)


def test_a_session_bears_that_nothing_comes(firmware):
    """A firmware in this process that is not asked has nothing to say until its sensor has."""
    transport = SilTransport(firmware.library)
    with McuSession(transport) as session:
        session.arm(REST, ORIGIN, wiring=Wiring.MCU)
        assert session.telemetry(0.01) is None
        for _ in range(2):  # the first line may be the end of one
            transport.write_to(Port.SENSOR, format_line([20] * 11))
        assert [session.telemetry(0.01).k, session.telemetry(0.01)] == [0, None]


def test_samples_without_a_host_say_so(wired):
    """100 ms are 12 samples and a little; the next heartbeat ends it."""
    robot = wired("hold")
    robot.upload()
    robot.arm(host_timeout_ms=100, host_lost=HostLost.CONTINUE)
    robot.run(5)
    robot.run(20, beats=False)
    robot.run(5)
    stale = [told.k for told in robot.telemetry if told.flags & Supervisor.HOST_STALE]
    assert stale == list(range(17, 25))
    assert {told.state for told in robot.telemetry} == {State.RUNNING}


def test_an_old_message_is_refused_and_counted(firmware):
    """The host's clock tells that the sample has waited for half a second."""
    now = [10.0]
    raw = Raw(firmware.library, lambda: now[0])
    raw.ask(arm(REST, ORIGIN, age_max_ms=100))
    (answer,) = raw.ask(Sample(0, 0, (0.5,) * 4, ORIGIN))
    assert isinstance(answer, Telemetry)
    now[0] += 0.5
    old = Sample(1, 8333, (0.5,) * 4, ORIGIN)
    assert raw.ask(old) == [Error(ErrorCode.TOO_OLD, Sample.TYPE)]
    assert raw.ask(Hello())[0].refused == 1
    (answer,) = raw.ask(replace(old, host_us=500_000))
    assert answer.k == 1


def test_after_stop_a_new_reset_starts_afresh(open_target):
    session = open_target("sil")
    first = [Run(session).step() for _ in range(1)]
    run = Run(session)
    for _ in range(20):
        run.step()
    session.stop()
    assert [Run(session).step() for _ in range(1)] == first


def test_a_reset_in_mid_run_never_jumps(open_target, settings):
    """The host may be wrong about where the robot is; the firmware knows what it has sent."""
    session = open_target("sil")
    run = Run(session)
    last = [run.step() for _ in range(40)][-1].command
    assert np.abs(np.subtract(last, REST)).max() > 2 * settings.move_max[0]
    session.arm(settings.command_max, ORIGIN)
    for k in range(10):
        answer = session.sample(k, [0.5] * 4, ORIGIN)
        move = np.abs(np.subtract(answer.command, last))
        # The sum of a command and a move is rounded to float32, 1.2e-7 apart at 1.745.
        assert (move <= np.float32(settings.move_max) + 1.2e-7).all()
        last = answer.command


def test_stop_ends_a_run(firmware):
    raw = Raw(firmware.library)
    raw.ask(arm(REST, ORIGIN))
    assert isinstance(raw.ask(Stop())[0], Info)
    assert raw.ask(Sample(0, 0, (0.5,) * 4, ORIGIN)) == [Error(ErrorCode.WRONG_STATE, Sample.TYPE)]


def test_an_uploaded_trajectory_is_followed_and_the_start_blends_into_it(open_target):
    """The reference of TELEMETRY goes from the outputs of ARM to the circle at bounded speed, and
    then around it; whatever SAMPLE says of the reference is nobody's."""
    session, count, samples = open_target("sil"), 60, 150
    angle = np.arange(count) / count * 2 * np.pi
    circle = np.stack([0.0 * angle, 0.012 * np.sin(angle), 0.012 * np.cos(angle)], axis=1)
    blend = 0.0005
    session.upload(circle, step=2**32 // samples, periodic=True, blend=[blend] * 3)
    session.arm(REST, ORIGIN)
    found = []
    for k in range(2 * samples):
        answer = session.sample(k, [0.5] * 4, (9.0, 9.0, 9.0))
        assert answer.flags & Supervisor.LOST_POINT == 0
        found.append(answer.reference)
    found = np.array(found)
    assert np.abs(np.diff([ORIGIN, *found], axis=0)[:20]).max() <= 1.01 * blend + 1e-7
    way = np.arange(samples, 2 * samples) * (2**32 // samples) / 2**32 * 2 * np.pi
    wanted = np.stack([0.0 * way, 0.012 * np.sin(way), 0.012 * np.cos(way)], axis=1)
    # The chord of a 60th of a circle is 0.14 % of the radius inside of it.
    assert np.abs(found[samples:] - wanted).max() < 2e-5


def test_a_trajectory_with_a_hole_is_refused_and_none_is_taken_in_a_run(firmware):
    raw = Raw(firmware.library)
    assert raw.ask(Trajectory(0, (ORIGIN,) * 20)) == []
    end = TrajectoryEnd(25, 1, 2**20, (0.1,) * 3)
    assert raw.ask(end) == [Error(ErrorCode.INCOMPLETE, end.TYPE)]
    assert raw.ask(Trajectory(20, (ORIGIN,) * 5)) == []
    assert isinstance(raw.ask(end)[0], Info)
    assert raw.ask(Trajectory(1199, (ORIGIN,) * 2)) == [Error(ErrorCode.BAD_VALUE, Trajectory.TYPE)]
    raw.ask(arm(REST, ORIGIN))
    for message in (Trajectory(0, ()), end):
        assert raw.ask(message) == [Error(ErrorCode.WRONG_STATE, message.TYPE)]


def test_heartbeats_tell_what_was_lost(firmware):
    raw = Raw(firmware.library)
    raw.ask(arm(REST, ORIGIN))
    for k in range(10):
        raw.ask(Sample(k, 0, (0.5,) * 4, ORIGIN))
    assert raw.ask(Heartbeat(0, 7)) == []
    (info,) = raw.ask(Hello())
    assert (info.telemetry_sent, info.telemetry_lost) == (10, 3)


def test_what_the_wiring_has_no_use_for_is_refused(firmware):
    raw = Raw(firmware.library)
    raw.ask(arm(REST, ORIGIN))
    assert raw.ask(Drive(0, 0, REST)) == [Error(ErrorCode.WRONG_STATE, Drive.TYPE)]
    raw.ask(Stop())
    raw.ask(replace(arm(REST, ORIGIN), wiring=1))
    for message in (Sample(0, 0, (0.5,) * 4, ORIGIN), Observe(0, (0.5,) * 4, REST)):
        assert raw.ask(message) == [Error(ErrorCode.WRONG_STATE, message.TYPE)]


class Noisy:
    """A transport on which one bit of one frame is flipped, on the way there or back."""

    name, advice = "noisy", "nothing"

    def __init__(self, inner, damaged: int, there: bool) -> None:
        self.inner, self.damaged, self.there = inner, damaged, there
        self.frames = 0

    def _spoilt(self, data: bytes) -> bytes:
        self.frames += 1
        if self.frames != self.damaged:
            return data
        return data[:3] + bytes([data[3] ^ 0x10]) + data[4:]

    def write(self, data: bytes) -> None:
        self.inner.write(self._spoilt(data) if self.there else data)

    def read(self, timeout_s: float) -> bytes:
        try:
            data = self.inner.read(timeout_s)
        except TransportError:
            return b""  # as on a line
        return data if self.there else self._spoilt(data)

    def close(self) -> None:
        self.inner.close()


@pytest.mark.parametrize("there", [True, False], ids=["there", "back"])
def test_one_damaged_frame_changes_nothing(firmware, open_target, monkeypatch, there):
    """A sample is asked for again, answered again, and taken once."""
    monkeypatch.setattr("soft_control.link.session.RETRY_S", 0.01)
    undisturbed = Run(open_target("sil"))
    wanted = [undisturbed.step() for _ in range(20)]
    # HELLO, RESET and the points of REFERENCE come first; what is damaged is a sample.
    for damaged in (8, 15):
        noisy = Noisy(SilTransport(firmware.library), damaged, there)
        with McuSession(noisy) as session:
            run = Run(session)
            assert [run.step() for _ in range(20)] == wanted
            assert session.hello().bad_frames == (1 if there else 0)
        assert noisy.frames > damaged


requests = st.one_of(
    st.binary(max_size=300),
    st.binary(min_size=1, max_size=250).map(encode_frame),
    st.builds(
        lambda kind, rest: encode_frame(bytes([kind]) + rest),
        st.integers(1, 5),
        st.sampled_from([26, 24, 20, 17, 0, 29]).flatmap(
            lambda size: st.binary(min_size=size, max_size=size)
        ),
    ),
)


@hypothesis_settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(stream=st.lists(requests, max_size=20))
def test_whatever_comes_it_lives_and_says_nothing_infinite(firmware, settings, stream):
    raw = Raw(firmware.library)
    for data in stream:
        raw.transport.write(data)
        for message in raw.read(raw.sizes):
            if isinstance(message, Telemetry):
                assert np.isfinite([*message.predicted, message.cost]).all()
                if message.status != SolverStatus.NONE:
                    assert (np.array(message.command) >= settings.command_min).all()
                    assert (np.array(message.command) <= settings.command_max).all()
    raw.transport.write(b"\0")
    raw.read()
    (info,) = raw.ask(Hello())
    assert info.build_id == firmware.build_id
