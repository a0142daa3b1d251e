"""Samples that look for the longest control step: what a host and sensors could bring at the worst.

Each episode has settings of its own: weights over twelve decades, bounds of outputs that the robot
cannot keep, narrow moves; within it references jump, signals are noise or stuck, outputs are
measured that do not fit, and now and then somebody else commands. Which step is longest is in the
hands of the solver: where a bound of an output lies between the plan and the step, its line search
goes all the way.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from soft_control.control.mpc_settings import physical_settings
from soft_control.firmware_files import FirmwareBuild
from soft_control.link.messages import Telemetry
from soft_control.link.session import McuSession

EPISODE = 60
"""Samples with the same settings."""
OBSERVED = 0.03
"""Share of the samples whose command somebody else has chosen."""
EXPLORED, HELD = 200, 20
"""Samples in which it finds out how far outputs go, and for how many a command stays."""
DECADES = 6.0
"""Weights are those of the build times 10 to the power of up to so much, either way."""


@dataclass
class Adversary:
    """Brings a session samples of its choice; the same seed brings the same ones."""

    session: McuSession
    build: FirmwareBuild
    seed: int = 0

    def __post_init__(self) -> None:
        robot = self.build.robot
        if robot is None or self.build.mpc is None:
            raise ValueError(f"{self.build.directory}: an old build; build the firmware again")
        self._random = np.random.default_rng(self.seed)
        self._robot = robot
        self._built = physical_settings(self.build.mpc, robot)
        self._span = np.array(robot.command_max) - np.array(robot.command_min)

    def steps(self, count: int) -> Iterator[Telemetry]:
        """`count` answers of the firmware, those of finding out how far outputs go aside."""
        reach = self._reach()
        done = 0
        while done < count:
            self._configure(reach)
            for answer in self._episode(min(EPISODE, count - done), reach):
                yield answer
                done += 1
        self.session.stop()

    def _reach(self) -> np.ndarray:
        """(n,): how far from rest the network takes the outputs, by commands that each stay for a
        while."""
        session, robot = self.session, self._robot
        rest = np.array(robot.output_rest)
        session.arm(robot.command_neutral, rest, [rest] * session.info.horizon)
        low, far = np.array(robot.command_min), np.zeros(rest.size)
        for k in range(EXPLORED):
            if k % HELD == 0:
                command = low + self._span * self._random.random(self._span.size)
            answer = session.observe(k, [0.5] * session.info.signals, command)
            far = np.maximum(far, np.abs(np.array(answer.predicted) - rest))
        session.stop()
        return far

    def _configure(self, reach: np.ndarray) -> None:
        random, built = self._random, self._built
        settings = dict(built)
        for name in ("move_weight", "command_weight", "output_weight", "terminal_weight"):
            tens = random.uniform(-DECADES, DECADES, len(built[name]))
            settings[name] = list(np.asarray(built[name]) * 10.0**tens)
        if random.random() < 0.7:
            middle = reach * random.uniform(-1.0, 1.0, reach.size)
            width = reach * 10.0 ** random.uniform(-4.0, 0.0, reach.size)
            settings["output_min"] = list(middle - width)
            settings["output_max"] = list(middle + width)
            settings["bound_weight"] = list(10.0 ** random.uniform(0.0, 9.0, reach.size))
        if random.random() < 0.5:
            settings["move_max"] = list(
                np.asarray(built["move_max"]) * 10.0 ** random.uniform(-3.0, 0.0, self._span.size)
            )
        self.session.configure(settings)

    def _episode(self, samples: int, reach: np.ndarray) -> Iterator[Telemetry]:
        random, session, robot = self._random, self.session, self._robot
        info = session.info
        low = np.array(robot.command_min)
        start = low + self._span * random.random(self._span.size)
        at = reach * random.uniform(-1.0, 1.0, reach.size)
        far = 10.0 ** random.uniform(-2.0, 1.0)
        first = [far * reach * random.uniform(-1, 1, reach.size) for _ in range(info.horizon)]
        session.arm(start, at, first, adapts=bool(random.random() < 0.3))
        loud = random.choice((0.0, 0.1, 1.0, 10.0))
        jumps = random.random() < 0.5
        wanted = at
        for k in range(samples):
            signals = 0.5 + loud * random.standard_normal(info.signals)
            if jumps or random.random() < 0.1:
                wanted = far * reach * random.uniform(-1.0, 1.0, reach.size)
            if random.random() < 0.2:
                session.measurement(k, at + far * reach * random.standard_normal(reach.size))
            if random.random() < OBSERVED:
                yield session.observe(k, signals, low + self._span * random.random(low.size))
            else:
                yield session.sample(k, signals, wanted)
        session.stop()
