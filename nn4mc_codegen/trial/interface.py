"""The functions that a generated header declares, and samples for them as arrays.

Host and emulated microcontroller are called by what the header says, so that a new function of the
generated C needs no new code here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

TYPES = {"float": np.float32, "int8_t": np.int8, "int16_t": np.int16, "int": np.int32}


class InterfaceError(ValueError):
    """The header declares no such function, or an array does not fit; one line."""


@dataclass(frozen=True)
class Argument:
    """One parameter of a generated function."""

    type: str
    """float, int8_t, NAME_state, or int: a single number, all others are arrays"""
    name: str
    size: int
    """elements; of a state, its values"""
    const: bool
    default: int | None = None
    """of a single number, for who does not give it"""

    @property
    def is_single(self) -> bool:
        return self.type == "int"

    @property
    def is_state(self) -> bool:
        return self.type.endswith("_state")

    @property
    def declaration(self) -> str:
        if self.is_single:
            return f"{self.type} {self.name}"
        return f"{'const ' if self.const else ''}{self.type} *{self.name}"


@dataclass(frozen=True)
class Function:
    """A generated function: what it reads, what it writes, how many states it has."""

    name: str
    arguments: tuple[Argument, ...]
    state_type: str = "float"
    """of a state's values: float, or int16_t of an int8 network"""

    @property
    def inputs(self) -> tuple[Argument, ...]:
        return tuple(a for a in self.arguments if a.const and not a.is_state)

    @property
    def outputs(self) -> tuple[Argument, ...]:
        return tuple(a for a in self.arguments if not a.const and not a.is_state)

    @property
    def states(self) -> int:
        return next((a.size for a in self.arguments if a.is_state), 0)

    @property
    def advances(self) -> bool:
        """Whether it takes the state one step on; if not, it only reads it."""
        return any(a.is_state and not a.const for a in self.arguments)


@dataclass(frozen=True)
class Samples:
    """Arguments of one call after the other, (samples, elements) each, in the types of C."""

    inputs: dict[str, np.ndarray]
    resets: np.ndarray
    """(samples,) whether the state is reset before a sample"""
    state: np.ndarray | None
    """(samples, states) what it is set to before each instead; None: it is carried on"""

    def __len__(self) -> int:
        return len(self.resets)


def macros(header: str) -> dict[str, int]:
    """The header's macros that are whole numbers."""
    return {m: int(v) for m, v in re.findall(r"^#define\s+(\w+)\s+(-?\d+)\s*$", header, re.M)}


def functions(header: str, name: str) -> tuple[str, ...]:
    """The functions that take one sample: step, jacobian, vjp, …, without their prefix."""
    found = re.findall(rf"\bvoid\s+{name}_(\w+)\(([^)]*)\);", _without_comments(header))
    sample = _parameter(name)
    return tuple(
        function
        for function, arguments in found
        if "[" in arguments and all(map(sample.fullmatch, arguments.split(",")))
    )


def read_function(header: str, name: str, function: str) -> Function:
    """`name`_`function` as the text of the generated header declares it.

    Raises `InterfaceError`.
    """
    values = macros(header)
    pattern = rf"\bvoid\s+{name}_{function}\(([^)]*)\);"
    found = re.search(pattern, _without_comments(header))
    if found is None:
        raise InterfaceError(f"{name}.h declares no {name}_{function}")
    arguments = []
    for text in found.group(1).split(","):
        words = _parameter(name).fullmatch(text)
        if words is None:
            raise InterfaceError(f"{name}_{function}: parameter '{text.strip()}' is not supported")
        const, kind, state, array, extent, single = words.groups()
        if single:
            last = "JACOBIAN_COLUMNS" if single == "past" else "PUSH_STRIDE"
            default = 0 if single == "first" else values[f"{name.upper()}_{last}"]
            arguments.append(Argument("int", single, 1, True, default))
            continue
        factors = [f.strip() for f in (extent or f"{name.upper()}_STATES").split("*")]
        size = int(np.prod([values[f] if f in values else int(f) for f in factors]))
        arguments.append(Argument(kind, state or array, size, bool(const)))
    state_type = re.search(rf"\b(\w+)\s+value\[{name.upper()}_STATES\]", header)
    more = (state_type.group(1),) if state_type else ()
    return Function(f"{name}_{function}", tuple(arguments), *more)


def make_samples(
    function: Function,
    values: Mapping[str, np.ndarray],
    resets: Sequence[bool] | None,
    state: np.ndarray | None,
) -> Samples:
    """Arrays by the names of the parameters, a sample a row or one sample as a vector.

    Columns or directions that are not given are all of them. The state is reset before the first
    sample, unless `state` sets it. Raises `InterfaceError`.
    """
    wanted = [a.name for a in function.inputs]
    defaults = {a.name: a.default for a in function.inputs if a.default is not None}
    values = {**defaults, **values}
    if set(wanted) != set(values):
        raise InterfaceError(
            f"{function.name} takes {', '.join(wanted)}; given {', '.join(values)}"
        )
    rows = {a.name: _rows(a, values[a.name]) for a in function.inputs}
    count = max(map(len, rows.values()))
    for a in function.inputs:
        if rows[a.name].shape not in ((count, a.size), (1, a.size)):
            raise InterfaceError(
                f"{function.name}: {a.name} has shape {rows[a.name].shape}, not ({count}, {a.size})"
            )
    first = np.arange(count) == 0
    if state is not None:
        state = np.asarray(state, TYPES[function.state_type])
        state = np.broadcast_to(state, (count, function.states))
    return Samples(
        inputs={
            a.name: np.ascontiguousarray(
                np.broadcast_to(rows[a.name], (count, a.size)), TYPES[a.type]
            )
            for a in function.inputs
        },
        resets=first if resets is None else first | np.asarray(resets, bool),
        state=state,
    )


def _rows(argument: Argument, values: np.ndarray) -> np.ndarray:
    values = np.asarray(values)
    return values.reshape(-1, 1) if argument.is_single else np.atleast_2d(values)


def _parameter(name: str) -> re.Pattern:
    array = rf"(const )?(float|int8_t|{name}_state) (?:\*(state)|(\w+)\[([^]]+)\])"
    return re.compile(rf"\s*(?:{array}|int (first|past|directions|carried))\s*")


def _without_comments(header: str) -> str:
    return re.sub(r"/\*.*?\*/", "", header, flags=re.DOTALL)
