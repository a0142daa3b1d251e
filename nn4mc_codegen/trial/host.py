"""Generated C on this machine: built with cc under strict warnings, called with NumPy arrays."""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nn4mc_codegen.trial.interface import TYPES, macros, make_samples, read_function

STRICT_FLAGS = (
    "-std=c99 -Wall -Wextra -Wpedantic -Wconversion -Wdouble-promotion -Werror -ffp-contract=off"
).split()


class HostError(RuntimeError):
    """The host's C compiler is missing or refuses the generated C; one line."""


class HostCode:
    """A network of a shared library, by its header: `HostCode(folder / "fk.so", folder / "fk.h")`.

    Every array that the C shall write is filled with NaN first (int8: -1), so that an element which
    it forgets is found.
    """

    def __init__(self, library: Path, header: Path):
        self._library = ctypes.CDLL(str(library))
        self._name = header.stem
        self._header = header.read_text(encoding="utf-8")

    def run(
        self,
        x: np.ndarray,
        function: str = "step",
        *,
        resets: Sequence[bool] | None = None,
        state: np.ndarray | None = None,
        **others: np.ndarray,
    ) -> dict[str, np.ndarray]:
        """What NAME_`function` writes, (samples, elements) by the names in the header.

        Arguments are those of `qemu.measure`, and so are the results: of a recurrent network also
        `state` after each call.
        """
        called = read_function(self._header, self._name, function)
        samples = make_samples(called, {"x": x, **others}, resets, state)
        c_function = getattr(self._library, called.name)
        outputs = {a.name: _unwritten(len(samples), a) for a in called.outputs}
        carried = np.zeros(called.states, TYPES[called.state_type])
        states = np.empty((len(samples), called.states), carried.dtype)
        for i in range(len(samples)):
            if called.states and samples.state is not None:
                carried[:] = samples.state[i]
            elif called.states and samples.resets[i]:
                getattr(self._library, f"{self._name}_reset")(_pointer(carried))
            arrays = {n: v[i] for n, v in (*samples.inputs.items(), *outputs.items())}
            c_function(
                *(
                    ctypes.c_int(arrays[a.name][0])
                    if a.is_single
                    else _pointer(carried if a.is_state else arrays[a.name])
                    for a in called.arguments
                )
            )
            states[i] = carried
        return {**outputs, "state": states} if called.states else outputs

    def sequence(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """NAME_run on x (steps, inputs) from a reset state: y (outputs,), state (states,)."""
        sizes = macros(self._header)
        prefix = self._name.upper()
        x = np.ascontiguousarray(x, np.float32)
        if x.shape[1:] != (sizes[f"{prefix}_INPUTS"],):
            raise ValueError(f"input has shape {x.shape}")
        y = np.full(sizes[f"{prefix}_OUTPUTS"], np.nan, np.float32)
        kind = TYPES[read_function(self._header, self._name, "step").state_type]
        state = np.full(sizes[f"{prefix}_STATES"], -1, kind)
        getattr(self._library, f"{self._name}_reset")(_pointer(state))
        getattr(self._library, f"{self._name}_run")(
            _pointer(state), _pointer(x), ctypes.c_int(len(x)), _pointer(y)
        )
        return y, state

    def step(self, x: np.ndarray) -> np.ndarray:
        """y (outputs,) for one x (inputs,); a recurrent network's from a reset state."""
        return self.run(x)["y"][0]

    def jacobian(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """y (outputs,) and the Jacobian (rows, columns) for one x (inputs,)."""
        found = self.run(x, "jacobian")
        columns = macros(self._header)[f"{self._name.upper()}_JACOBIAN_COLUMNS"]
        return found["y"][0], found["jacobian"][0].reshape(-1, columns)


def build_library(sources: Sequence[Path], library: Path, optimise: str = "-O1") -> None:
    """Compile C files into one shared library; raises `HostError`."""
    command = ["cc", *STRICT_FLAGS, optimise, "-fPIC", "-shared", "-o", str(library)]
    try:
        done = subprocess.run(
            [*command, *map(str, sources), "-lm"], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        raise HostError("no C compiler: install one that is called cc (apt install gcc)") from None
    if done.returncode:
        lines = done.stderr.splitlines()
        first = next((line for line in lines if "error" in line), "no message")
        raise HostError(f"the C compiler refuses the generated C: {first}")


def _unwritten(samples: int, argument) -> np.ndarray:
    nothing = np.nan if argument.type == "float" else -1
    return np.full((samples, argument.size), nothing, TYPES[argument.type])


def _pointer(array: np.ndarray) -> ctypes.c_void_p:
    return array.ctypes.data_as(ctypes.c_void_p)
