"""Aligned sessions: a made-up robot whose maps from day to day are known, and the recorded one."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from soft_control import robots
from soft_control.learning import sessions
from soft_control.learning.card import ModelCard, ModelError, load_card
from soft_control.learning.dataset import (
    Recording,
    RecordingError,
    hold_out,
    read_recording,
    read_recordings,
    resample,
)
from soft_control.learning.excitation import excitation
from soft_control.learning.model import evaluate, free_run, load_model
from soft_control.learning.settings import TrainingSettings
from soft_control.learning.training import train

RATE_HZ = 50.0
SMALL = TrainingSettings(
    rig="tendon", rate_hz=RATE_HZ, input_lags=1, output_lags=1, input_delay=0, signals=False,
    hidden=(16,), updates=1500, warm_start_updates=200, batch=32, rollout_samples=20,
    difference_gain=0.0, learning_rate=1e-2, sessions="aligned",
)  # fmt: skip
# No affine map of the outputs stands in for one of the commands: the robot bends as sines do.
COMMAND_GAIN, COMMAND_OFFSET = np.array([1.15, 0.9]), np.array([0.1, -0.15])
OUTPUT_GAIN = np.array([[0.9, 0.1, 0.0], [0.0, 1.1, -0.1], [0.1, 0.0, 1.0]])
OUTPUT_OFFSET = np.array([0.004, -0.003, 0.002])


def bent(commands: np.ndarray) -> np.ndarray:
    """(T, 2) rad -> where the robot of the reference rests, (T, 3) m."""
    u, v = commands.T
    return 0.02 * np.column_stack([np.sin(2 * u), np.sin(3 * v), np.sin(2 * u + 1) * np.sin(v + 1)])


def day(seed: int, other: bool, samples: int = 1500) -> Recording:
    """A run of the reference's session, or of that of another day."""
    limit = np.array([0.8, 0.5])
    commands = excitation(samples / RATE_HZ, RATE_HZ, -limit, limit, 0.2 * limit, seed)
    rest = bent(COMMAND_GAIN * commands + COMMAND_OFFSET if other else commands)
    outputs = np.zeros((samples, 3))
    for k in range(samples - 1):
        outputs[k + 1] = outputs[k] + 0.2 * (rest[k] - outputs[k])
    if other:
        outputs = outputs @ OUTPUT_GAIN.T + OUTPUT_OFFSET
    return Recording(
        source=f"run {seed}",
        t_s=np.arange(samples) / RATE_HZ,
        commands=commands,
        outputs=outputs,
        signals=np.zeros((samples, 0)),
        reference=None,
        command_names=("servo_0", "servo_1"),
        output_names=("x", "y", "z"),
        signal_names=(),
        session="other" if other else "reference",
    )


if __name__=="__main__":
    import sys,time
    t=time.time()
    runs=[day(1,False),day(2,True)]
    card = train(runs, [], SMALL, "/tmp/w/hs/m/syn")
    m=load_model("/tmp/w/hs/m/syn"); al=sessions.told(card)
    print(time.time()-t,card.metrics[0].free_run, card.sessions[1])
    for r in (day(3,False),day(4,True)):
        j=sessions.judged(m,al,[r]); print(evaluate(j.models,j.runs)[0].free_run, evaluate(m,r)[0].free_run)
    o=np.array(card.command_offset); mm=card.sessions[1]
    print("offset at 0", np.array(mm.command_offset)+o-mm.command_gain*o)
    card = train(runs, [], SMALL.model_copy(update={"sessions":"pooled"}), "/tmp/w/hs/m/synp"); m=load_model("/tmp/w/hs/m/synp")
    for r in (day(3,False),day(4,True)): print("pooled", evaluate(m,r)[0].free_run)
