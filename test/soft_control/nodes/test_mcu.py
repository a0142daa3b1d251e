"""The bridge to the MCU: what goes over the link for a sample, by name and by time."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed: soft_control[ros]")

from soft_control.experiment.ros_messages import joint_state, to_ns, trajectory  # noqa: E402
from soft_control.link.codes import Clock, Supervisor  # noqa: E402
from soft_control.nodes import _mcu, mcu  # noqa: E402
from soft_control.nodes._at_host import GAP_MAX  # noqa: E402
from soft_control.nodes._mcu_health import COUNTERS  # noqa: E402
from soft_control.topics import FIRST_NS, REFERENCE, SIGNALS  # noqa: E402

HORIZON = 4
PERIOD_NS = 8_333_333


UNTETHERED = {"adapts": False, "tethered_samples": 0}


class Session:
    """In place of a session with a microcontroller: writes down what it is asked."""

    uncertainty: tuple[float, ...] = ()
    lost = 0

    def __init__(self) -> None:
        self.asked: list[tuple] = []
        counted = dict.fromkeys(COUNTERS, 0)
        self.info = SimpleNamespace(
            step_cost_unit=1, board="none", horizon=HORIZON, state=3, cause=0, **counted
        )

    def ask_info(self):
        self.asked.append(("ask_info",))

    def ask_adaptation(self):
        self.asked.append(("ask_adaptation",))

    def arm(self, *arguments, **choices):
        self.asked.append(("arm", *arguments, choices))

    def measurement(self, k, outputs):
        self.asked.append(("measurement", k, *outputs))

    def sample(self, k, signals, reference):
        self.asked.append(("sample", k, *signals))
        return SimpleNamespace(
            k=k,
            status=0,
            flags=0,
            iterations=1,
            command=(0.1, 0.2),
            predicted=(0.01, 0.02),
            cost=0.0,
            step_cost=100,
            doubted=0,
            uncertainty=self.uncertainty,
        )

    def forget_trajectory(self):
        self.asked.append(("forget_trajectory",))

    def preload(self, k, points):
        self.asked.append(("preload", k, len(points)))

    def close(self):
        pass

    def last(self, what: str) -> list[tuple]:
        return [asked[1:] for asked in self.asked if asked[0] == what]


@pytest.fixture
def node(make_node, monkeypatch):
    def make(**parameters):
        monkeypatch.setattr(_mcu, "read_build", lambda folder: folder)
        monkeypatch.setattr(_mcu, "returning_session", lambda node: Session())
        return make_node(
            mcu.Mcu,
            firmware="build",
            command_names=["a", "b"],
            command_neutral=[0.0, 0.5],
            signal_names=["left", "right"],
            output_names=["y", "z"],
            peers=["mcu", "nobody"],
            **parameters,
        )

    return make


def take(node, now_ns, names=("right", "dead", "left"), values=(2.0, 0.0, 1.0)) -> None:
    """A sample and its reference come, which others in the graph are told farther ahead."""
    node.at_host.join.put(SIGNALS, joint_state(now_ns, names, values))
    ahead = np.tile([0.0, 0.04, 0.03], (HORIZON + 21, 1))
    node.at_host.join.put(REFERENCE, trajectory(now_ns, PERIOD_NS, "xzy", ahead))


def test_signals_go_to_the_model_by_name(node, published):
    bridge = node()
    commands, predicted = published(bridge.command), published(bridge.predicted)
    take(bridge, FIRST_NS)
    assert bridge.session.last("sample") == [(0, 1.0, 2.0)]
    assert list(commands[0].name) == ["a", "b"] and list(commands[0].position) == [0.1, 0.2]
    assert to_ns(predicted[0].header.stamp) == FIRST_NS + bridge.period_ns
    assert dict(zip(predicted[0].name, predicted[0].position, strict=True)) == {
        "y": 0.01,
        "z": 0.02,
    }
    ((command, position, ahead, choices),) = bridge.session.last("arm")
    assert command == [0.0, 0.5] and ahead == [[0.03, 0.04]] * HORIZON
    assert list(position) == [0.0, 0.0]
    # In lockstep no silence counts and no message is old.
    assert choices == UNTETHERED | {
        "clock": Clock.SAMPLES,
        "host_timeout_ms": 0,
        "age_max_ms": 0,
    }


def test_how_sure_an_observer_is_goes_to_whoever_looks_on(node, published):
    bridge = node()
    bridge.session.uncertainty = (1e-4, 2e-4)
    diagnoses = published(bridge.solver)
    take(bridge, FIRST_NS)
    said = {one.key: one.value for one in diagnoses[0].status[0].values}
    assert said["uncertainty_y"] == "0.0001" and said["uncertainty_z"] == "0.0002"


def test_samples_count_while_it_is_active(node):
    bridge = node(clock="realtime", sample_age_max=0.0, autostart=False)
    take(bridge, FIRST_NS)
    bridge.trigger_configure()
    take(bridge, FIRST_NS)
    assert bridge.session.asked == []
    for k in range(2):
        bridge.trigger_activate()
        take(bridge, FIRST_NS + k * PERIOD_NS)
        bridge.trigger_deactivate()
        take(bridge, FIRST_NS + k * PERIOD_NS)
    # It begins anew each time, from the neutral command.
    asked = [what for what, *_ in bridge.session.asked]
    assert asked == ["forget_trajectory", "arm", "sample"] * 2
    assert [k for k, *_ in bridge.session.last("sample")] == [0, 0]


def test_a_signal_that_the_model_needs_and_nobody_sends_is_named(node):
    with pytest.raises(ValueError, match="/signals/calibrated lacks right"):
        take(node(), FIRST_NS, ("left", "wrong"), (1.0, 2.0))


def test_in_lockstep_every_sample_counts_one(node):
    bridge = node(tethered=True)
    for k in (0, 1, 5):
        take(bridge, FIRST_NS + k * PERIOD_NS)
        bridge.at_host.on_outputs(joint_state(FIRST_NS + k * PERIOD_NS, "xyz", [0.0, 0.1, 0.2]))
    assert [k for k, *_ in bridge.session.last("sample")] == [0, 1, 2]
    assert bridge.session.last("measurement")[2] == (2, 0.1, 0.2)


def test_in_realtime_samples_that_never_came_are_bridged(node):
    """The firmware then knows how long its command was held, and is told the reference again; a
    sample that is merely late is none that is missing."""
    bridge = node(clock="realtime", host_timeout_ms=300)
    bridge.is_too_old = lambda *_: False  # stamps of the test's own
    for k in (0, 1, 2.7, 3, 7, 1000):
        take(bridge, FIRST_NS + round(k * bridge.period_ns))
    samples = [k for k, *_ in bridge.session.last("sample")]
    assert samples == [0, 1, 2, 3, 7, 8 + GAP_MAX]
    assert bridge.session.last("preload") == [(8, HORIZON - 1), (9 + GAP_MAX, HORIZON - 1)]
    choices = bridge.session.last("arm")[0][-1]
    assert choices == UNTETHERED | {
        "clock": Clock.TIMER,
        "host_timeout_ms": 300,
        "age_max_ms": 17,
    }


def test_in_realtime_the_tracker_has_a_clock_of_its_own(node):
    """Its stamps are never those of the signals: what was seen within a period counts."""
    bridge = node(clock="realtime", sample_age_max=0.0, tethered=True)
    bridge.at_host.on_outputs(joint_state(FIRST_NS + 1_000_000, "zyx", [0.2, 0.1, 0.0]))
    take(bridge, FIRST_NS)
    take(bridge, FIRST_NS + 3 * PERIOD_NS)  # by now nobody knows where the tip is
    assert bridge.session.last("measurement") == [(0, 0.1, 0.2)]


def test_the_longest_gap_is_the_firmwares():
    from soft_control.paths import share

    header = (share() / "firmware" / "src" / "loop" / "reference.h").read_text()
    assert f"#define GAP_MAX {GAP_MAX}u" in header


def test_after_a_pause_the_firmware_has_its_reference_again(make_node, published, tendon):
    """With the real firmware: it bridges the gap and misses points of the reference once only."""
    bridge = make_node(
        mcu.Mcu,
        target="sil",
        firmware=str(tendon.firmware),
        clock="realtime",
        sample_age_max=0.0,
        host_timeout_ms=0,
        command_names=["servo_0", "servo_1"],
        command_neutral=[-0.17, -0.35],
        output_names=["x", "y", "z"],
        signal_names=tendon.card.signal_names or [""],
        peers=["mcu", "nobody"],
    )
    diagnoses = published(bridge.solver)
    horizon = bridge.session.info.horizon
    for k in (0, 1, 5, 6, 7):
        now_ns = FIRST_NS + k * bridge.period_ns
        names = tendon.card.signal_names
        bridge.at_host.join.put(SIGNALS, joint_state(now_ns, names, [0.5] * len(names)))
        ahead = np.zeros((horizon + 1, 3))
        bridge.at_host.join.put(REFERENCE, trajectory(now_ns, bridge.period_ns, "xyz", ahead))
    found = [int({v.key: v.value for v in m.status[0].values}["supervisor"]) for m in diagnoses]
    interrupted = Supervisor.GAP | Supervisor.LOST_POINT
    assert [Supervisor(flags) & interrupted for flags in found] == [0, 0, interrupted, 0, 0]
