"""A self-test for the user's own board: inputs, expected outputs, and C that compares."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nn4mc_codegen.printing.c import c_float, template_environment
from nn4mc_codegen.trial.interface import TYPES
from nn4mc_codegen.trial.oracle import Case


def selftest_texts(name: str, cases: Sequence[Case]) -> dict[str, str]:
    """NAME_selftest.h and NAME_selftest.c, by their names.

    `int NAME_selftest(void)` runs each case's function on its samples and returns how many of the
    arrays that it writes are further from the expected one than the tolerance. A function that
    reads what only another one writes is left out.
    """
    cases = [c for c in cases if all(a.name in c.inputs for a in c.function.inputs)]
    arrays = _Arrays(name)
    for case in cases:
        for a in case.function.inputs:
            arrays.add(case, a, a.name, case.inputs[a.name])
        for a in case.function.outputs:
            arrays.add(case, a, a.name, case.expected[a.name])
    environment = template_environment()
    types = {a.type for case in cases for a in case.function.outputs}
    fill = {
        "name": name,
        "macro": name.upper(),
        "cases": cases,
        "samples": len(cases[0].resets),
        "resets": [int(i) for i in np.flatnonzero(cases[0].resets)],
        "arrays": arrays,
        "has_float": "float" in types,
        "has_int8": "int8_t" in types,
        "literal": _literal,
    }
    return {
        f"{name}_selftest.{suffix}": environment.get_template(f"selftest.{suffix}.j2").render(fill)
        for suffix in ("h", "c")
    }


class _Arrays:
    """The constants, each once: most functions read the same x."""

    def __init__(self, name: str):
        self._prefix = f"{name}_selftest"
        self._names: dict[tuple, str] = {}
        self._by_use: dict[tuple[str, str], str] = {}
        self.definitions: list[str] = []

    def add(self, case: Case, argument, name: str, values: np.ndarray) -> None:
        rows = values.astype(TYPES[argument.type])
        key = (argument.type, rows.shape, rows.tobytes())
        if key not in self._names:
            number = sum(n.startswith(f"{self._prefix}_{name}") for n in self._names.values())
            self._names[key] = f"{self._prefix}_{name}" + (str(number) if number else "")
            lines = ",\n".join("    {" + ", ".join(map(_literal, row)) + "}" for row in rows)
            self.definitions.append(
                f"static const {argument.type} {self._names[key]}"
                f"[{rows.shape[0]}][{rows.shape[1]}] = {{\n{lines},\n}};"
            )
        self._by_use[case.short_name, name] = self._names[key]

    def of(self, case: Case, name: str) -> str:
        return self._by_use[case.short_name, name]


def _literal(value: float | np.integer) -> str:
    """A C literal that reads back as the same float32 or int8."""
    if isinstance(value, np.integer):
        return str(value)
    return c_float(value)
