"""Child processes: signals that wait, and what they have used."""

from __future__ import annotations

import signal
import subprocess
import sys

from soft_control.processes import cpu_seconds, interrupt_held

RELEASING = """
import signal, sys
from soft_control.processes import release_interrupt
caught = []
signal.signal(signal.SIGINT, lambda signum, frame: caught.append(signum))
sys.stdin.readline()
print(caught, flush=True)
release_interrupt()
print(caught == [signal.SIGINT], flush=True)
"""


def test_a_signal_to_a_child_waits_until_it_is_released():
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with interrupt_held():
        child = subprocess.Popen([sys.executable, "-c", RELEASING], **pipes)
    child.send_signal(signal.SIGINT)  # would raise KeyboardInterrupt in it
    assert child.communicate("\n", timeout=30)[0] == "[]\nTrue\n"


def test_the_parent_gets_its_signals_again():
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    with interrupt_held():
        assert signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before


def test_cpu_seconds_counts_what_a_process_uses():
    busy = [sys.executable, "-c", "import time\nwhile time.process_time() < 0.5: pass\ninput()"]
    with subprocess.Popen(busy, stdin=subprocess.PIPE) as child:
        while cpu_seconds(child.pid) < 0.3:
            assert child.poll() is None
        assert cpu_seconds(child.pid) < 3.0
        child.communicate(b"\n")
    assert cpu_seconds(child.pid) == 0.0
