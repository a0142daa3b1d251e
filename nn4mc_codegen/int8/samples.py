"""Typical inputs of a network: from a file, and as sequences where the network has a state."""

from __future__ import annotations

import math
import zlib
from pathlib import Path
from zipfile import BadZipFile, ZipFile

import numpy as np

from nn4mc_codegen.graph.check import ModelError
from nn4mc_codegen.graph.ir import Graph

MAX_FILE_BYTES = 1 << 28
# Of more samples than this, evenly spread ones are taken: each is evaluated in float64, and
# calibration is to end soon whatever the file holds.
MAX_SAMPLES = 1000
# Of a recurrent network so many steps, in evenly spread whole sequences: states take their time to
# grow.
MAX_STEPS = 4000


def load_samples(path: Path, graph: Graph) -> np.ndarray:
    """(samples, inputs) from a file: .npy and .csv with a flat input a row, .npz with one such
    array or one for each input by its name. Raises `ModelError`.

    Of a recurrent network (sequences, steps, inputs): the rows of a table are the steps of one
    sequence; an array with an axis more has several.
    """
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ModelError(f"{path.name}: larger than {MAX_FILE_BYTES >> 20} MiB")
        rows = _read(path, graph)
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror or error}") from None
    except (ValueError, EOFError, KeyError, MemoryError, BadZipFile, zlib.error) as error:
        if isinstance(error, ModelError):
            raise
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"{path.name}: no table of numbers ({reason})") from None
    samples = _samples(rows, graph.input_size, bool(graph.states))
    if samples is None or not samples.size:
        raise ModelError(
            f"{path.name}: shape {rows.shape}, but a sample has {graph.input_size} numbers"
        )
    if not np.isfinite(samples).all():
        raise ModelError(f"{path.name}: some numbers are NaN or infinite")
    return samples.astype(np.float64)


def sequences_of(graph: Graph, samples: np.ndarray) -> np.ndarray:
    """(sequences, steps, inputs) of `load_samples`, no more than calibration takes. To a network
    without a state each sample is a sequence of its own."""
    samples = np.asarray(samples, np.float64)
    if not graph.states:
        return _spread(samples, MAX_SAMPLES)[:, None]
    if samples.ndim == 2:
        samples = samples[None]
    return _spread(samples, max(MAX_STEPS // samples.shape[1], 1))[:, :MAX_STEPS]


def _spread(rows: np.ndarray, most: int) -> np.ndarray:
    chosen = np.linspace(0, len(rows) - 1, min(len(rows), most)).astype(int)
    return rows[np.unique(chosen)]


def _samples(rows: np.ndarray, size: int, in_sequences: bool) -> np.ndarray | None:
    """An array with the axes of its samples and one more, of `size`; None where it has others."""
    if in_sequences and rows.ndim > 2 and math.prod(rows.shape[2:]) == size:
        return rows.reshape(*rows.shape[:2], size)
    if rows.ndim < 2 or math.prod(rows.shape[1:]) != size:
        return None
    rows = rows.reshape(len(rows), size)
    return rows[None] if in_sequences else rows


def _read(path: Path, graph: Graph) -> np.ndarray:
    if path.suffix == ".csv":
        with path.open(encoding="utf-8") as file:
            has_names = any(c.isalpha() and c not in "eE" for c in file.readline())
        return np.loadtxt(path, delimiter=",", skiprows=int(has_names), ndmin=2)
    if path.suffix == ".npy":
        return np.asarray(np.load(path, allow_pickle=False), np.float64)
    if path.suffix == ".npz":
        with ZipFile(path) as archive:
            if sum(member.file_size for member in archive.infolist()) > MAX_FILE_BYTES:
                raise ModelError(f"{path.name}: unpacks to more than {MAX_FILE_BYTES >> 20} MiB")
        with np.load(path, allow_pickle=False) as arrays:
            if len(arrays.files) == 1:
                return np.asarray(arrays[arrays.files[0]], np.float64)
            parts = [(t, np.asarray(arrays[t.name], np.float64)) for t in graph.inputs]
        each = [_samples(part, t.size, bool(graph.states)) for t, part in parts]
        wrong = [t.name for (t, _), part in zip(parts, each, strict=True) if part is None]
        if wrong:
            raise ModelError(f"{path.name}: '{wrong[0]}' has another shape than the input")
        return np.concatenate(each, axis=-1)
    raise ModelError(f"{path.name}: samples are read from .npy, .npz and .csv files")
