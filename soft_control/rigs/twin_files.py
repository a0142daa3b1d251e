"""A twin's directory: twin.json says what the twin is, twin.npy holds its networks' numbers.

Whoever learned it, the files are data: read as JSON that is checked by field and as one vector of
32-bit floats, of the length that twin.json asks for.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field, ValidationError, model_validator

from soft_control.plain_text import first_fault, printable
from soft_control.rigs.parameters import NotNegative, Positive, Strict
from soft_control.robots.description import RobotDescription
from soft_control.small_files import read_small

CARD_FILE = "twin.json"
NETWORK_FILE = "twin.npy"
CARD_BYTES_MAX = 2**24
NUMBERS_MAX = 2**24
"""In all networks together: 64 MiB of them."""
REST_TOLERANCE = 1e-3
"""Normalised: a state that one sample moves farther than that is not at rest."""

Number = Annotated[float, Field()]
Lags = Annotated[int, Field(ge=1, le=1000)]
Units = Annotated[int, Field(ge=1, le=4096)]
Layers = list[tuple[np.ndarray, np.ndarray]]
"""Kernels (K, inputs, units) and biases (K, 1, units) of K networks, layer by layer."""


class FreeRun(Strict):
    """Of a group of outputs over the recording held out, in its unit on paper."""

    group: str
    """The point or the output."""
    unit: str
    """Of both values."""
    error: NotNegative
    """RMSE of the twin, which sees the commands alone."""
    spread: NotNegative
    """RMS distance of the recorded outputs from their mean."""


class TwinCard(Strict):
    """What a twin is. Its state z holds the outputs, and after them the signals that move; all
    vectors of it are of that length, normalised = (physical - offset) / scale."""

    robot: RobotDescription
    """The robot that it stands in for; its signals' full scales are those of the twin's line."""
    rate_hz: Annotated[float, Field(gt=0.0, le=1e5)]
    """Samples a second of its networks."""
    input_lags: Lags
    """nd: commands that the networks see, u(k-d) … u(k-d-nd+1)."""
    state_lags: Lags
    """dd: states that they see, z(k) … z(k-dd+1)."""
    input_delay: Annotated[int, Field(ge=0, le=1000)]
    """d: whole samples of transport delay, as measured."""
    command_offset: list[Number]
    """(m,)"""
    command_scale: list[Positive]
    """(m,)"""
    moving: list[str]
    """Names of the signals in the state; the others stand still."""
    still: dict[str, Number]
    """Value of each of those."""
    state_offset: list[Number]
    """(z,)"""
    state_scale: list[Positive]
    """(z,)"""
    noise: list[NotNegative]
    """(z,) standard deviation of each output and moving signal, in its unit, as measured."""
    hidden: Annotated[list[Units], Field(min_length=1, max_length=16)]
    """Units of the hidden layers, all tanh; the last layer is linear and gives the increment."""
    rest: Annotated[list[list[Number]], Field(min_length=1, max_length=32)]
    """Of each network the normalised state at rest under mid-range commands."""
    recordings: list[str]
    """What it was learned from."""
    held_out: str
    """The recording that it was not learned from."""
    free_run: list[FreeRun]
    """Over that one, a row for each group of the robot's outputs."""
    network_hash: Annotated[str, Field(pattern="^[0-9a-f]{16}$")]
    """First 16 hex digits of the SHA-256 of twin.npy."""

    @model_validator(mode="after")
    def _whole(self) -> TwinCard:
        signals = self.robot.signal_names
        if sorted([*self.moving, *self.still]) != sorted(signals):
            raise ValueError(
                f"moving and still together must be the robot's signals, {', '.join(signals)}"
            )
        commands, size = len(self.robot.commands), self.size
        for field, length in (
            ("command_offset", commands),
            ("command_scale", commands),
            ("state_offset", size),
            ("state_scale", size),
            ("noise", size),
        ):
            if len(getattr(self, field)) != length:
                raise ValueError(f"{field}: {len(getattr(self, field))} values instead of {length}")
        for i, state in enumerate(self.rest):
            if len(state) != size:
                raise ValueError(f"rest.{i}: {len(state)} values instead of {size}")
        if self.numbers > NUMBERS_MAX:
            raise ValueError(f"hidden: networks of {self.numbers} numbers, at most {NUMBERS_MAX}")
        return self

    @property
    def size(self) -> int:
        """Length of the state."""
        return len(self.robot.outputs) + len(self.moving)

    @property
    def at_rest(self) -> np.ndarray:
        """(z,) state at rest under mid-range commands, in units."""
        return np.mean(self.rest, axis=0) * self.state_scale + self.state_offset

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """Of the kernels, layer by layer."""
        inputs = self.input_lags * len(self.robot.commands) + self.state_lags * self.size
        sizes = [inputs, *self.hidden, self.size]
        return list(zip(sizes, sizes[1:], strict=False))

    @property
    def numbers(self) -> int:
        """In all networks together."""
        return len(self.rest) * sum((inputs + 1) * units for inputs, units in self.shapes)


def is_twin(name: str) -> bool:
    """Whether `name` is the directory of a twin."""
    return bool(name) and "\0" not in name and (Path(name) / CARD_FILE).is_file()


def read_card(directory: str | Path) -> TwinCard:
    """DIR/twin.json. Raises ValueError in one line naming file and field."""
    path = Path(directory) / CARD_FILE
    try:
        if path.stat().st_size > CARD_BYTES_MAX:
            raise ValueError(f"{printable(path)}: larger than {CARD_BYTES_MAX} bytes")
        return TwinCard.model_validate_json(read_small(path))
    except ValidationError as error:
        raise ValueError(f"{printable(path)}: {first_fault(error)}") from None
    except OSError as error:
        raise ValueError(
            f"{printable(path)}: {error.strerror}: not a twin's directory of softctl twin"
        ) from None


def read_layers(directory: str | Path, card: TwinCard) -> Layers:
    """The networks in DIR/twin.npy. Raises ValueError in one line naming the file."""
    path = Path(directory) / NETWORK_FILE
    shown = printable(path)
    try:
        # A map of the file: a header that promises more than the file has is found by its length.
        numbers = np.load(path, mmap_mode="r", allow_pickle=False)
        if not isinstance(numbers, np.ndarray):
            raise ValueError("no array")
    except OSError as error:
        raise ValueError(f"{shown}: {error.strerror or error}") from None
    except Exception as error:  # numpy parses the header with whatever errors Python has
        raise ValueError(f"{shown}: no .npy file of numbers: {printable(error)}") from None
    if numbers.dtype != np.dtype("<f4") or numbers.shape != (card.numbers,):
        raise ValueError(
            f"{shown}: {numbers.dtype} of shape {numbers.shape}, but {CARD_FILE} asks for "
            f"{card.numbers} numbers of 32 bits"
        )
    numbers = np.array(numbers, dtype=float)
    if not np.all(np.isfinite(numbers)):
        raise ValueError(f"{shown}: a number is not finite")
    if file_hash(path) != card.network_hash:
        raise ValueError(f"{shown}: its hash is not that of {CARD_FILE}, {card.network_hash}")
    return split(numbers, card)


def split(numbers: np.ndarray, card: TwinCard) -> Layers:
    """The networks from their numbers: one network after the other, of each layer the kernel row by
    row and the bias."""
    rows = numbers.reshape(len(card.rest), -1)
    layers, at = [], 0
    for inputs, units in card.shapes:
        kernel = rows[:, at : at + inputs * units].reshape(-1, inputs, units)
        at += inputs * units
        bias = rows[:, None, at : at + units]
        at += units
        layers.append((kernel, bias))
    return layers


def file_hash(path: Path) -> str:
    """First 16 hex digits of the SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def write_network(directory: Path, networks: list[Layers]) -> str:
    """Writes twin.npy from kernels (inputs, units) and biases (units,) of each network.

    Returns its hash."""
    numbers = [np.concatenate([w.ravel(), b.ravel()]) for layers in networks for w, b in layers]
    np.save(directory / NETWORK_FILE, np.concatenate(numbers).astype("<f4"), allow_pickle=False)
    return file_hash(directory / NETWORK_FILE)


def write_card(directory: Path, card: TwinCard) -> None:
    """Writes twin.json."""
    text = card.model_dump_json(indent=2, exclude_defaults=True)
    (directory / CARD_FILE).write_text(text + "\n", encoding="utf-8")
