"""A simulated arm of five joints with two bellows each, and GRUs that learn it from a recording.

The arm is made up: five joints, one after the other, each pulled by the difference of two
pressures. Pressure follows its command with a lag, the bellows creep and have hysteresis, so that
what comes next depends on more than the angles and pressures of now: that is what a state is good
for.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

JOINTS = 5
RATE_HZ = 20.0
SUBSTEPS = 10
COMMANDS, OUTPUTS, UNITS = 2 * JOINTS, JOINTS, 59

PRESSURE_S = 0.12
"""Time constant of pressure after its command."""
CREEP_S = 1.5
STIFFNESS, STIFFENING = 40.0, 25.0
"""1/s^2 of a joint without pressure, and what the sum of its two pressures adds."""
DAMPING = 9.0
"""1/s"""
PULL = 30.0
"""1/s^2, of a difference of pressures of 1."""
WEIGHT = 6.0
"""1/s^2, of all that hangs below a joint."""
HYSTERESIS, HYSTERESIS_RAD = 5.0, 0.08
"""1/s^2 of friction in the bellows, and the way in which it turns round (Bouc and Wen's form)."""


class Arm:
    """Angles (5,) in rad under pressures (10,) within -1 and 1 of their middle."""

    def __init__(self) -> None:
        self.angle = np.zeros(JOINTS)
        self._speed = np.zeros(JOINTS)
        self._pressure = np.zeros(COMMANDS)
        self._creep = np.zeros(JOINTS)
        self._friction = np.zeros(JOINTS)

    def step(self, command: np.ndarray) -> np.ndarray:
        """Angles one sample of 1/20 s later."""
        dt = 1.0 / (RATE_HZ * SUBSTEPS)
        below = WEIGHT * np.arange(JOINTS, 0, -1) / JOINTS
        for _ in range(SUBSTEPS):
            self._pressure += dt / PRESSURE_S * (command - self._pressure)
            left, right = self._pressure[::2], self._pressure[1::2]
            stiffness = STIFFNESS + STIFFENING * (0.5 + 0.25 * (left + right))
            hangs = below * np.sin(np.cumsum(self.angle))
            pull = PULL * np.tanh(left - right) + PULL / 4 * self._creep
            torque = pull - hangs - stiffness * self.angle - HYSTERESIS * self._friction
            self._speed += dt * (torque - DAMPING * self._speed)
            self.angle = self.angle + dt * self._speed
            self._creep += dt / CREEP_S * (np.tanh(left - right) - self._creep)
            turn = self._speed - np.abs(self._speed) * self._friction
            self._friction += dt / HYSTERESIS_RAD * turn
        return self.angle


def recording(samples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Commands (samples, 10), and the angles (samples + 1, 5) before the first and after each:
    straight ways from one random command to the next, each channel in its own time."""
    rng = np.random.default_rng(seed)
    commands = np.empty((samples, COMMANDS))
    for c in range(COMMANDS):
        knots, k = [(0, 0.0)], 0
        while k < samples:
            k += int(rng.integers(4, 30))
            knots.append((k, rng.uniform(-1.0, 1.0)))
        commands[:, c] = np.interp(np.arange(samples), *zip(*knots, strict=True))
    arm = Arm()
    angles = [arm.angle, *(arm.step(command) for command in commands)]
    return commands, np.array(angles)


SCALE_RAD = 0.5
"""Of an angle that counts as 1 to the network."""
SEQUENCE, BATCH = 40, 64
WARM_UP = 10
"""Samples of a sequence, from a state of zeros, whose errors do not count."""


def train(folder: Path, layers: int, minutes: float, epochs: int) -> tuple[Path, float]:
    """A GRU of 59 units (`layers` of them) on [10 commands, 5 outputs], saved as FOLDER/fk.keras;
    and its RMSE in rad, one sample ahead, on two minutes that it has not seen."""
    import keras

    keras.utils.set_random_seed(layers)
    x = keras.Input((None, COMMANDS + OUTPUTS), name="x")
    h = x
    for layer in range(layers):
        h = keras.layers.GRU(UNITS, return_sequences=True, name=f"gru_{layer + 1}")(h)
    model = keras.Model(x, keras.layers.Dense(OUTPUTS, name="angles")(h))

    def late(wanted, found):
        return keras.ops.mean(keras.ops.square(wanted - found)[:, WARM_UP:])

    schedule = keras.optimizers.schedules.CosineDecay
    inputs, wanted = _sequences(*recording(int(60 * minutes * RATE_HZ), seed=1))
    rate = schedule(4e-3, epochs * -(-len(inputs) // BATCH))
    model.compile(keras.optimizers.Adam(rate), loss=late)
    model.fit(inputs, wanted, batch_size=BATCH, epochs=epochs, verbose=0)
    inputs, wanted = _sequences(*recording(int(120 * RATE_HZ), seed=2))
    error = model.evaluate(inputs, wanted, verbose=0)
    # A model for a robot makes one output, at the end of a sequence.
    h = x
    for layer in range(layers):
        more = layer < layers - 1
        h = keras.layers.GRU(UNITS, return_sequences=more, name=f"gru_{layer + 1}")(h)
    saved = keras.Model(x, keras.layers.Dense(OUTPUTS, name="angles")(h))
    saved.set_weights(model.get_weights())
    folder.mkdir(parents=True, exist_ok=True)
    saved.save(folder / "fk.keras")
    return folder / "fk.keras", SCALE_RAD * float(np.sqrt(error))


def _sequences(commands: np.ndarray, angles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Inputs (sequences, 40, 15) and the outputs that follow (sequences, 40, 5)."""
    count = len(commands) // SEQUENCE * SEQUENCE
    x = np.hstack([commands, angles[:-1] / SCALE_RAD])[:count]
    y = angles[1 : count + 1] / SCALE_RAD
    shape = (-1, SEQUENCE)
    return x.reshape(*shape, x.shape[1]), y.reshape(*shape, y.shape[1])
