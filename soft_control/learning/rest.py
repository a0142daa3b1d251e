"""A robot at rest, as its network sees it: equal lags, and the signals that go with the commands.

There the network's output is its newest input, so its increment is zero:

    g(u, y) = increment(u … u, y … y, s(u)) = 0

Equal lags share one set of weights, the sums over the lags of a kernel: a small network of
commands, outputs and signals, which is all that whoever inverts the rest needs to know.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from soft_control.learning.card import ModelCard, ModelError, RestSignals
from soft_control.learning.recording import Recording
from soft_control.learning.surface import DEGREE_OF_MANY, DEGREES, exponents, terms
from soft_control.plain_text import first_fault, printable
from soft_control.small_files import read_small

if TYPE_CHECKING:  # it knows the compiler, which no node shall import
    from soft_control.learning.model import Model

REST_BYTES_MAX = 2**24
"""Of a file; the networks of robots have some 10 kB."""


def fit_rest_signals(
    card: ModelCard, training: Sequence[Recording], held_out: Sequence[Recording]
) -> RestSignals | None:
    """Least squares over the runs that the card's normalisation comes from, judged by those held
    out; None for a network without signals.

    Recordings move, and what a signal trails its command by is noise here. Signals follow from
    commands alone, although those of most robots feel the bending, hence the outputs: at rest one
    says the other, and a signal that follows from the outputs feeds the network's own error back to
    it. Measured on the rigs, distance of the network's rest from the rig's after 20 s, RMSE over
    commands in the inner 0.7 (tendon) and 0.8 (HASEL) of their range, mm:

        signals held at their mean               tendon 8.8    HASEL 5.0
        degree in the commands 1, 2              3.2, 2.4      1.77, 1.79
                               3, 4              1.8, 1.1      1.82, 1.91
                               5, 6              1.2, 1.3
        degree in the outputs 1; 2, 3            3.6; some commands never settle
        degree in both 1; 2, 3                   3.2; some commands never settle
    """
    if not card.signal_names:
        return None

    def both(runs: Sequence[Recording]) -> tuple[np.ndarray, np.ndarray]:
        # The oldest command that the network sees is the nearest to one at rest.
        lag = card.input_delay + card.input_lags
        segments = [part for run in runs for part in run.segments() if len(part) > lag]
        commands = np.vstack([part.command(card.command_names)[:-lag] for part in segments])
        signals = np.vstack([part.signal(card.signal_names)[lag:] for part in segments])
        found = terms(card.normalised_command(commands), degree)
        return found, card.normalised_signal(signals)

    degree = DEGREES.get(len(card.command_names), DEGREE_OF_MANY)
    weights = np.linalg.lstsq(*both(training), rcond=None)[0]
    found, signals = both(held_out)
    residual = np.sqrt(np.mean((found @ weights - signals) ** 2, axis=0))
    return RestSignals(degree=degree, coefficients=weights.T.tolist(), residual=residual.tolist())


class Layer(BaseModel):
    """Dense: tanh, or linear where it is the last one."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    kernel: list[list[float]] = Field(min_length=1)
    """A row an input."""
    bias: list[float] = Field(min_length=1)


class RestingNetwork(BaseModel):
    """g(u, y), on normalised = (physical - offset) / scale. Its JSON is what a run tells nodes."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    command_offset: list[float] = Field(min_length=1)
    """One a command, in its unit."""
    command_scale: list[float]
    output_offset: list[float] = Field(min_length=1)
    """One an output, in its unit."""
    output_scale: list[float]
    output_weight: list[float]
    """By which normalised errors are multiplied before they are compared: `model.error_weights`."""
    degree: int = Field(ge=0, le=12)
    """Of the signals in the commands."""
    signals: list[list[float]]
    """As RestSignals.coefficients; none for a network without signals."""
    layers: list[Layer] = Field(min_length=1)
    """Inputs: commands, outputs, signals; what comes out is the increment of the outputs."""

    @model_validator(mode="after")
    def _fits(self) -> RestingNetwork:
        commands, outputs = len(self.command_offset), len(self.output_offset)
        if len(self.command_scale) != commands:
            raise ValueError("command_scale: not one value a command")
        if not len(self.output_scale) == len(self.output_weight) == outputs:
            raise ValueError("output_scale, output_weight: not one value an output")
        if min(self.command_scale) <= 0 or min(self.output_scale) <= 0:
            raise ValueError("command_scale, output_scale: not above 0")
        wanted = len(exponents(commands, self.degree))
        if any(len(row) != wanted for row in self.signals):
            raise ValueError(f"signals: not {wanted} values in each row")
        size = commands + outputs + len(self.signals)
        for i, layer in enumerate(self.layers):
            units = len(layer.bias)
            if len(layer.kernel) != size or any(len(row) != units for row in layer.kernel):
                raise ValueError(f"layers.{i}: its kernel is not {size} x {units}")
            size = units
        if size != outputs:
            raise ValueError(f"layers: the last one gives {size} values for {outputs} outputs")
        return self

    @cached_property
    def numbers(self) -> dict[str, np.ndarray]:
        """Offsets, scales and weights as vectors, by name."""
        names = ("command_offset", "command_scale", "output_offset", "output_scale")
        return {name: np.array(getattr(self, name)) for name in (*names, "output_weight")}

    @cached_property
    def _layers(self) -> list[tuple[np.ndarray, np.ndarray]]:
        return [(np.array(layer.kernel), np.array(layer.bias)) for layer in self.layers]

    @cached_property
    def _polynomial(self) -> tuple[np.ndarray, np.ndarray]:
        """Powers (T, m) of the terms, and coefficients (T, p)."""
        powers = np.array(exponents(len(self.command_offset), self.degree))
        return powers, np.reshape(self.signals, (-1, len(powers))).T

    @cached_property
    def _slopes(self) -> tuple[np.ndarray, np.ndarray]:
        """Of the terms: by each command (m, T, m) powers, and (m, T) factors."""
        powers, _ = self._polynomial
        lowered = powers - np.eye(powers.shape[1], dtype=int)[:, None, :]
        return np.maximum(lowered, 0), powers.T

    def at_rest(self, commands: np.ndarray) -> np.ndarray:
        """Normalised signals (…, p) under normalised commands (…, m)."""
        powers, coefficients = self._polynomial
        return np.prod(commands[..., None, :] ** powers, axis=-1) @ coefficients

    def increment(
        self, commands: np.ndarray, outputs: np.ndarray, signals: np.ndarray | None = None
    ) -> np.ndarray:
        """Normalised commands (…, m) and outputs (…, n) -> what a sample moves these by, (…, n);
        `signals` are those of `at_rest`, for whoever has them."""
        signals = self.at_rest(commands) if signals is None else signals
        a = np.concatenate([commands, outputs, signals], axis=-1)
        for kernel, bias in self._layers[:-1]:
            a = np.tanh(a @ kernel + bias)
        kernel, bias = self._layers[-1]
        return a @ kernel + bias

    def jacobian(
        self, command: np.ndarray, outputs: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Normalised (m,) and (n,) -> the increment (n,), and its derivatives by the commands,
        (n, m), and by the outputs, (n, n)."""
        m, n = len(command), len(outputs)
        powers, coefficients = self._polynomial
        lowered, factors = self._slopes
        table = command[:, None] ** np.arange(self.degree + 1)
        columns = np.arange(m)
        signals = np.prod(table[columns, powers], axis=-1) @ coefficients
        slopes = (factors * np.prod(table[columns, lowered], axis=-1)) @ coefficients
        a = np.concatenate([command, outputs, signals])
        kernel, bias = self._layers[0]
        by_command = kernel[:m] + slopes @ kernel[m + n :]
        chain = np.vstack([by_command, kernel[m : m + n]]).T
        a = a @ kernel + bias
        for kernel, bias in self._layers[1:]:
            a = np.tanh(a)
            chain = kernel.T @ ((1.0 - a * a)[:, None] * chain)
            a = a @ kernel + bias
        return a, chain[:, :m], chain[:, m:]


def resting_network(model: Model) -> RestingNetwork:
    """Of a model. Raises ModelError for one that sees signals and whose card does not say what they
    are at rest: it is of an earlier `softctl train`."""
    from soft_control.learning.model import error_weights

    card = model.card
    rest = card.rest_signals
    if card.signal_names and rest is None:
        raise ModelError(
            f"the model {card.model_hash} does not say what its signals are where the robot rests: "
            "train it again"
        )
    m, n = len(card.command_names), len(card.output_names)
    (kernel, bias), *others = model.network.layers
    commands = kernel[: card.command_columns].reshape(-1, m, len(bias)).sum(axis=0)
    end = card.command_columns + card.output_columns
    outputs = kernel[card.command_columns : end].reshape(-1, n, len(bias)).sum(axis=0)
    # At rest a slow mean of the commands is the command.
    signals, memory = np.split(kernel[end:], [len(card.signal_names)])
    commands = commands + memory.reshape(-1, m, len(bias)).sum(axis=0)
    layers = [(np.vstack([commands, outputs, signals]), bias), *others]
    return RestingNetwork(
        command_offset=card.command_offset,
        command_scale=card.command_scale,
        output_offset=card.output_offset,
        output_scale=card.output_scale,
        output_weight=error_weights(card).tolist(),
        degree=rest.degree if rest else 0,
        signals=rest.coefficients if rest else [],
        layers=[Layer(kernel=w.tolist(), bias=b.tolist()) for w, b in layers],
    )


def read_rest(path: str | Path) -> RestingNetwork:
    """What a run wrote. Raises ModelError where it cannot be used."""
    path = Path(path)
    try:
        if path.stat().st_size > REST_BYTES_MAX:
            raise ModelError(f"{printable(path)}: too large for a network at rest")
        return RestingNetwork.model_validate_json(read_small(path), strict=True)
    except OSError as error:
        raise ModelError(f"{printable(path)}: {error.strerror}") from None
    except ValidationError as error:
        raise ModelError(f"{printable(path)}: {first_fault(error)}") from None
