"""Does the C do what the network means? Builds it for this machine and compares with `ir.Graph`."""

from __future__ import annotations

import ctypes
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nn4mc_codegen.compile import chosen_elements, command_line
from nn4mc_codegen.emit import emit
from nn4mc_codegen.importers import read_model
from nn4mc_codegen.ir import Graph

STRICT_FLAGS = (
    "-std=c99 -Wall -Wextra -Wpedantic -Wconversion -Wdouble-promotion -Werror -ffp-contract=off"
).split()

# Rounding of float32 sums: outputs of trained networks are of order 1, and so is this generous.
STEP_TOLERANCE = 2e-6
JACOBIAN_TOLERANCE = 1e-5


class VerifyError(RuntimeError):
    """The host's C compiler is missing or refuses the generated C."""


@dataclass(frozen=True)
class Verdict:
    samples: int
    step_error: float
    """largest |C - meaning| of an output, relative to the largest output where that exceeds 1"""
    jacobian_error: float | None
    """largest |C - meaning| of an entry, relative to the largest entry of all Jacobians"""

    @property
    def passed(self) -> bool:
        return self.step_error <= STEP_TOLERANCE and (
            self.jacobian_error is None or self.jacobian_error <= JACOBIAN_TOLERANCE
        )


class HostCode:
    """Generated C, compiled for this machine and callable with NumPy arrays."""

    def __init__(self, library: Path, name: str, inputs: int, outputs: int, columns: int):
        self._library = ctypes.CDLL(str(library))
        self._name = name
        self._outputs = outputs
        self._columns = columns
        self._inputs = inputs

    def step(self, x: np.ndarray) -> np.ndarray:
        """y (n,) float32 for the flat input x (inputs,)."""
        y = np.full(self._outputs, np.nan, np.float32)
        self._call("step", self._input(x), y)
        return y

    def jacobian(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """y (n,) and the Jacobian (n, columns), float32."""
        y = np.full(self._outputs, np.nan, np.float32)
        # NaN, so that an entry that the C forgets is found.
        jacobian = np.full((self._outputs, self._columns), np.nan, np.float32)
        self._call("jacobian", self._input(x), y, jacobian)
        return y, jacobian

    def _input(self, x: np.ndarray) -> np.ndarray:
        x = np.ascontiguousarray(x, np.float32)
        if x.shape != (self._inputs,):
            raise ValueError(f"input has shape {x.shape}, the model takes ({self._inputs},)")
        return x

    def _call(self, function: str, *arrays: np.ndarray) -> None:
        pointers = (a.ctypes.data_as(ctypes.c_void_p) for a in arrays)
        getattr(self._library, f"{self._name}_{function}")(*pointers)


def build_library(sources: list[Path], library: Path, optimise: str = "-O1") -> None:
    """Compile C files into one shared library; raises `VerifyError`."""
    command = ["cc", *STRICT_FLAGS, optimise, "-fPIC", "-shared", "-o", str(library)]
    try:
        done = subprocess.run(
            [*command, *map(str, sources), "-lm"], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        raise VerifyError(
            "no C compiler: install one that is called cc (apt install gcc)"
        ) from None
    if done.returncode:
        lines = done.stderr.splitlines()
        first = next((line for line in lines if "error" in line), "no message")
        raise VerifyError(f"the C compiler refuses the generated C: {first}")


def compare(
    graph: Graph, code: HostCode, chosen: tuple[int, ...], samples: int, seed: int
) -> Verdict:
    """Compare on inputs drawn from normal distributions of scale 0.3, 1 and 3 in turn."""
    random = np.random.default_rng(seed)
    step_errors, jacobian_errors, largest = [], [0.0], [np.finfo(np.float64).tiny]
    for sample in range(samples):
        scale = (0.3, 1.0, 3.0)[sample % 3]
        x = random.normal(0.0, scale, graph.input_size).astype(np.float32)
        expected, y = graph.evaluate(x), code.step(x)
        step_errors.append(np.max(np.abs(y - expected)) / max(1.0, np.max(np.abs(expected))))
        if chosen:
            same_y, jacobian = code.jacobian(x)
            if not np.array_equal(same_y, y):
                step_errors.append(np.inf)  # both run the same code
            meant = graph.jacobian(x)[:, list(chosen)]
            largest.append(np.max(np.abs(meant)))
            jacobian_errors.append(np.max(np.abs(jacobian - meant)))
    # np.max, unlike max, does not lose a NaN.
    jacobian_error = float(np.max(jacobian_errors) / np.max(largest)) if chosen else None
    return Verdict(samples, float(np.max(step_errors)), jacobian_error)


def verify_model(
    path: Path | str, jacobian: str | int | None = "all", samples: int = 300, seed: int = 0
) -> Verdict:
    """Compile a model file to C, build it with cc, compare with the IR's meaning.

    Raises `ModelError` or `VerifyError`.
    """
    path = Path(path)
    graph, model_hash = read_model(path)
    chosen = chosen_elements(graph, jacobian)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        _, texts = emit(
            graph,
            "fk",
            chosen,
            model_file=path.name,
            model_hash=model_hash,
            command=command_line(path, "fk", jacobian),
        )
        for file_name, text in texts.items():
            (folder / file_name).write_text(text, encoding="utf-8")
        build_library([folder / "fk.c"], folder / "fk.so")
        code = HostCode(folder / "fk.so", "fk", graph.input_size, graph.output.size, len(chosen))
        return compare(graph, code, chosen, samples, seed)
