"""The networks of the benchmark, written by Keras 2, which every tool reads: FOLDER/NAME.h5.

Runs in build/bench. Weights are random, but always the same.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import tf_keras

L = tf_keras.layers
NETWORKS = {
    "dense": [
        L.Input((36,)),
        L.Dense(10, activation="tanh"),
        L.Dense(5, activation="tanh"),
        L.Dense(3, activation="tanh"),
    ],
    "narrow": [L.Input((16,)), L.Dense(16, activation="relu"), L.Dense(16)],
    "wide": [L.Input((64,)), L.Dense(64, activation="relu"), L.Dense(64)],
    "gru": [L.Input((None, 21)), L.GRU(10), L.Dense(3)],
    "lstm": [L.Input((None, 21)), L.LSTM(5), L.Dense(3)],
    "lstm32": [L.Input((None, 16)), L.LSTM(32), L.Dense(3)],
    "conv1d": [
        L.Input((64, 4)),
        L.Conv1D(16, 5, activation="relu"),
        L.MaxPooling1D(2),
        L.Conv1D(32, 3, activation="relu"),
        L.GlobalAveragePooling1D(),
        L.Dense(4),
    ],
}


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, layers in NETWORKS.items():
        random = np.random.default_rng(0)
        model = tf_keras.Sequential(layers, name=name)
        model.set_weights(
            [
                random.normal(0.0, np.prod(w.shape[:-1]) ** -0.5 if w.ndim > 1 else 0.1, w.shape)
                for w in model.get_weights()
            ]
        )
        model.save(folder / f"{name}.h5")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
