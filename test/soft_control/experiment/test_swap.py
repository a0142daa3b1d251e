"""Controllers, gains, weights and references that change while a robot moves, in whole runs."""

from __future__ import annotations

import os
import shutil

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed: pip install soft_control[ros]")

from soft_control.experiment.ros_messages import to_ns  # noqa: E402
from soft_control.learning.dataset import read_topics  # noqa: E402
from soft_control.topics import (  # noqa: E402
    COMMAND,
    CONTROLLER,
    FIRST_NS,
    OUTPUTS,
    REFERENCE,
    SOLVER,
)

from .swapping import ROUND, Swapper, steps, swapped  # noqa: E402

RATE_HZ = 120.0
MOVE_MAX = {"mcu": 0.0506, "host": 6.1785 / RATE_HZ}
"""Of a sample, rad, at the gates of firmware and servos: config/robots/tendon.yaml."""
ARRIVED = 420
"""Samples in which a reference reaches a fixed point from anywhere: 30 mm at 10 mm/s, and 60."""
ROUNDING = 1.2e-7
"""Of a command in rad, in float32."""
PIL_ROUNDS = int(os.environ.get("SWAP_ROUNDS", "1"))
"""`make swap` asks for ten."""


def samples_of(messages: dict) -> np.ndarray:
    return np.round((np.array(sorted(messages)) - FIRST_NS) * 1e-9 * RATE_HZ).astype(int)


def assert_bumpless(swapper: Swapper, out, wiring: str = "host") -> dict:
    """Every choice was made and is in the bag, every sample has its one command, and no command is
    further from the one before than the robot bears. Returns the topics of the bag."""
    assert swapper.answers and all(done for done, _ in swapper.answers), swapper.answers
    topics, _ = read_topics(out / "bag", (COMMAND, CONTROLLER, SOLVER, OUTPUTS, REFERENCE))
    told = topics[CONTROLLER]
    names = [told[ns].name for ns in sorted(told)]
    assert list(zip(samples_of(told).tolist(), names, strict=True)) == swapper.chosen
    commands = topics[COMMAND]
    assert samples_of(commands).tolist() == list(range(round(swapper.duration_s * RATE_HZ)))
    values = np.array([commands[ns].position for ns in sorted(commands)])
    assert steps(values).max() <= MOVE_MAX[wiring] + ROUNDING
    assert np.ptp(values, axis=0).min() > 0.3
    edges = [*(k for k, _ in swapper.chosen), len(values)]
    solved = set(samples_of(topics[SOLVER]).tolist())
    for (k, name), end in zip(swapper.chosen, edges[1:], strict=True):
        turn = set(range(k, end))
        assert turn & solved == (turn if name == "mpc" else set()), name
        if name == "hold":
            assert steps(values[max(k - 1, 0) : end]).max() < ROUNDING
    return topics


def goes_round(tendon, out, rounds: int, duration_s: float, **options) -> None:
    """mpc -> pid -> open_loop -> hold -> mpc, half a second each."""
    swapper = swapped(
        ROUND * rounds,
        30,
        out,
        controller="mpc",
        standby="pid,open_loop",
        duration_s=duration_s,
        model=tendon.model,
        firmware=tendon.firmware,
        **options,
    )
    assert [name for _, name in swapper.chosen] == ["mpc", *ROUND * rounds]
    assert_bumpless(swapper, out, options["wiring"])


@pytest.mark.long
def test_ten_times_round_in_the_material(tendon, tmp_path):
    goes_round(tendon, tmp_path / "run", 10, 25.0, wiring="mcu", target="sil")


@pytest.mark.skipif(
    not (shutil.which("qemu-system-arm") and shutil.which("arm-none-eabi-gcc")),
    reason="pil needs qemu-system-arm and arm-none-eabi-gcc",
)
def test_round_on_the_emulated_microcontroller(tendon, tmp_path):
    duration_s = 4.0 + 2.5 * PIL_ROUNDS
    goes_round(tendon, tmp_path / "run", PIL_ROUNDS, duration_s, wiring="mcu", target="pil")


def test_round_where_the_host_has_the_instruments(tendon, tmp_path):
    """Each sample is answered once, though four may."""
    goes_round(tendon, tmp_path / "run", 2, 7.0, wiring="host", target="sil")


@pytest.mark.parametrize("wiring", ["host", "mcu"])
def test_those_who_look_ahead_take_turns(tendon, tmp_path, wiring):
    """Their reference reaches farther than the firmware's horizon, which takes its part of it."""
    turns = ["pid_feedforward", "static_inverse", "mpc", "static_inverse", "pid_feedforward", "mpc"]
    lead = ("static_inverse", {"lead_s": 0.05})
    swapper = swapped(
        [*turns[:2], lead, *turns[2:]],
        40,
        tmp_path / "run",
        standby="static_inverse,pid_feedforward",
        duration_s=8.0,
        model=tendon.model,
        firmware=tendon.firmware,
        wiring=wiring,
        target="sil",
    )
    assert [name for _, name in swapper.chosen] == ["mpc", *turns]
    assert_bumpless(swapper, tmp_path / "run", wiring)


def test_gains_and_reference_change_without_a_step(tendon, tmp_path):
    """The PID's own commands go at some 0.01 rad a sample; its integral gain is halved. The
    reference moves no faster than it ever does."""
    wanted = [
        "pid",
        ("pid", {"ki": [10.0, 10.0]}),
        ("reference", {"centre": [0.0, 0.004, 0.0]}),
        ("reference", {"angular_rate": 0.4}),
        "mpc",
        ("reference", {"shape": "fixed"}),
        ("mcu", {"move_weight": [0.2, 0.2]}),
    ]
    out = tmp_path / "run"
    swapper = swapped(
        wanted,
        60,
        out,
        standby="pid",
        duration_s=10.0,
        after=ARRIVED,
        model=tendon.model,
        firmware=tendon.firmware,
        target="sil",
    )
    assert [name for _, name in swapper.chosen] == ["mpc", "pid", "mpc"]
    topics = assert_bumpless(swapper, out)
    reference = topics[REFERENCE]
    points = np.array([reference[ns].points[0].positions for ns in sorted(reference)])
    moves = np.abs(np.diff(points[:, 1:], axis=0)).max(axis=0)
    usual = np.abs(np.diff(points[: swapper.chosen[1][0], 1:], axis=0)).max(axis=0)
    assert (moves <= 1.01 * usual).all()
    assert (points[-20:] == points[-1]).all() and points[-1, 1] > 0.01  # the fixed one, moved
    stamps = [to_ns(message.header.stamp) for message in reference.values()]
    assert samples_of(dict.fromkeys(stamps)).tolist() == list(range(len(points)))


def test_what_is_unsafe_or_unknown_is_refused_with_the_reason(tendon, tmp_path):
    """And the run goes on as if nothing had been asked."""
    wanted = [
        "pid",
        "crane",
        ("mcu", {"command_max": [9.0, 9.0]}),
        ("mcu", {"output_weight": [1.0]}),
        ("mcu", {"rate_hz": 100.0}),
        "hold",
        "mpc",
    ]
    out = tmp_path / "run"
    swapper = swapped(
        wanted,
        20,
        out,
        duration_s=4.0,
        model=tendon.model,
        firmware=tendon.firmware,
        wiring="mcu",
        target="sil",
    )
    reasons = [reason for done, reason in swapper.answers if not done]
    assert [done for done, _ in swapper.answers] == [False] * 5 + [True] * 2
    for reason, said in zip(
        reasons,
        (
            "controller pid: its node 'pid' is not in the graph: start the run with standby:=pid",
            "controller = 'crane'",
            "command_max = 9: above the 1.39626 that the firmware has",
            "output_weight = [1.0]: wanted 3 values, one for each of x, y, z",
            "read-only",
        ),
        strict=True,
    ):
        assert said in reason
    assert [name for _, name in swapper.chosen] == ["mpc", "hold", "mpc"]
