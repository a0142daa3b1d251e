"""The board's ELF under QEMU: the same bits as sil, and no way to be left hanging."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from soft_control.link.codes import StepCostUnit
from soft_control.link.messages import Telemetry
from soft_control.link.session import LinkError, McuSession
from soft_control.link.transport import PilTransport, TransportError

REST, ORIGIN = (-0.17, -0.4), (0.0, 0.0, 0.0)
SAMPLES = 300


def run(session: McuSession, samples: int = SAMPLES) -> list[Telemetry]:
    """A figure-eight on noisy signals; the last third only observes."""
    rng = np.random.default_rng(11)
    info = session.info

    def reference(k: int) -> np.ndarray:
        return np.array([0.0, 0.012 * np.sin(k / 20), 0.006 * np.sin(k / 10)])

    session.arm(REST, ORIGIN, [reference(k) for k in range(info.horizon)])
    answers = []
    for k in range(samples):
        values = 0.5 + 0.2 * rng.standard_normal(info.signals)
        if k < 2 * samples // 3:
            answers.append(session.sample(k, values, reference(k + info.horizon)))
        else:
            answers.append(session.observe(k, values, REST + 0.3 * rng.standard_normal(2)))
    return answers


def wire_bytes(session: McuSession, answers: list[Telemetry]) -> list[bytes]:
    """As they came, but for the step cost, which sil does not count, and the time."""
    sizes = session.info.sizes
    return [dataclasses.replace(answer, step_cost=0, time_us=0).encode(sizes) for answer in answers]


def is_running(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_pil_is_sil_bit_for_bit_and_repeats(open_target):
    sil, pil, again = open_target("sil"), open_target("pil"), open_target("pil")
    answers = run(pil)
    assert wire_bytes(pil, answers) == wire_bytes(sil, run(sil))
    # The step cost, too: not one instruction more or less.
    assert [dataclasses.replace(a, time_us=0) for a in run(again)] == [
        dataclasses.replace(a, time_us=0) for a in answers
    ]


def test_pil_is_sil_also_where_signals_move_the_offset(open_target, estimating):
    sil, pil, plain = (
        open_target("sil", estimating), open_target("pil", estimating), open_target("sil")
    )  # fmt: skip
    answers = run(pil)
    assert wire_bytes(pil, answers) == wire_bytes(sil, run(sil))
    moved = [a.predicted != b.predicted for a, b in zip(answers, run(plain), strict=True)]
    assert all(moved)


def test_pil_counts_its_instructions(open_target):
    session = open_target("pil")
    assert session.info.board == "stm32f405-qemu"
    assert session.info.step_cost_unit == StepCostUnit.INSTRUCTIONS
    costs = np.array([answer.step_cost for answer in run(session)])
    solved, observed = costs[:200], costs[200:]
    # A prediction has some 1300 multiply-adds; a solve has at least a Jacobian a stage beside it.
    assert 1300 < observed.min() <= observed.max() < 30_000
    assert solved.min() > 10 * observed.max()


def test_killed_qemu_is_an_error_at_once_and_leaves_nothing(open_target):
    session = open_target("pil")
    pid = session._transport.pid
    run(session, 3)
    os.kill(pid, signal.SIGKILL)
    started = time.monotonic()
    with pytest.raises(LinkError, match=r"pil: QEMU ended with signal SIGKILL \(.* sample 2\)"):
        for k in range(3, 10):
            session.sample(k, [0.5] * 4, ORIGIN)
    assert time.monotonic() - started < session._timeout_s
    session.close()
    assert not is_running(pid)


def test_silent_qemu_is_an_error_after_the_timeout(open_target, firmware):
    open_target("pil")  # skips where it cannot run
    with McuSession(PilTransport(firmware.elf), timeout_s=0.3) as session:
        pid = session._transport.pid
        run(session, 3)
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(LinkError, match=r"pil: no answer to sample 3 within 0.3 s: .*sample 2"):
            session.sample(3, [0.5] * 4, ORIGIN)
    assert not is_running(pid)


def test_qemu_dies_with_its_parent(open_target, firmware):
    open_target("pil")
    program = (
        "import sys, time\n"
        "from soft_control.link.transport import PilTransport\n"
        "print(PilTransport(sys.argv[1]).pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program, str(firmware.elf)], stdout=subprocess.PIPE, text=True
    )
    pid = int(parent.stdout.readline())
    assert is_running(pid)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 10
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not is_running(pid)


def test_what_qemu_says_is_in_the_error(open_target, tmp_path):
    open_target("pil")
    with pytest.raises(LinkError, match="pil: QEMU ended with exit code 1: .*unsupported machine"):
        # A program that starts QEMU wrongly: the simplest way to make it complain.
        wrapper = tmp_path / "qemu"
        wrapper.write_text("#!/bin/sh\nexec qemu-system-arm -M netduinoplus3\n")
        wrapper.chmod(0o755)
        elf = tmp_path / "some.elf"
        elf.touch()
        McuSession(PilTransport(elf, qemu=str(wrapper)))


def test_missing_parts_are_named(tmp_path):
    with pytest.raises(TransportError, match="no-such-qemu is not installed: apt install"):
        PilTransport(tmp_path / "firmware.elf", qemu="no-such-qemu")
    with pytest.raises(TransportError, match=r"firmware.elf is missing; build the firmware first"):
        PilTransport(tmp_path / "firmware.elf", qemu="true")
