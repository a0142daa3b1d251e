"""What a robot with fewer commands than outputs can reach: some outputs lead, the others follow.

The outputs that follow are polynomials in the leading ones, fitted to recorded outputs. Two servos
that move a point in space reach a surface: there y and z lead, and x(y, z) follows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations_with_replacement

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from soft_control.learning.fields import Name

DEGREES = {1: 6, 2: 4}
"""Degree of the polynomial by the number of outputs that lead; more lead in a quadratic. Over the
whole range of the tendon rig a quadratic misses its reachable surface by 0.5 mm RMS, a quartic by
0.1 mm."""
DEGREE_OF_MANY = 2


class Surface(BaseModel):
    """Outputs that lead and, for each that follows, the coefficients of its polynomial."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    leading: tuple[Name, ...] = Field(min_length=1)
    """Outputs that can be chosen freely, by name."""
    factors: tuple[float, ...]
    """By which the leading outputs are multiplied before they are raised to powers, one each: all
    terms are then of one size."""
    degree: int = Field(ge=0, le=12)
    """Of the polynomials."""
    following: dict[Name, tuple[float, ...]]
    """By output, in its unit: the coefficients of `terms`."""

    @model_validator(mode="after")
    def _whole(self) -> Surface:
        if len(self.factors) != len(self.leading):
            raise ValueError(f"factors: {len(self.factors)}, but {len(self.leading)} outputs lead")
        wanted = math.comb(len(self.leading) + self.degree, self.degree)
        for name, coefficients in self.following.items():
            if name in self.leading:
                raise ValueError(f"{name} leads and follows")
            if len(coefficients) != wanted:
                raise ValueError(
                    f"following.{name}: {len(coefficients)} coefficients, but a polynomial of "
                    f"degree {self.degree} in {', '.join(self.leading)} has {wanted}"
                )
        return self

    def follow(self, led: np.ndarray) -> dict[str, np.ndarray]:
        """(T,) values of each output that follows, from those that lead, (T, leading)."""
        found = terms(led * np.array(self.factors), self.degree)
        return {name: found @ np.array(each) for name, each in self.following.items()}


def exponents(columns: int, degree: int) -> list[tuple[int, ...]]:
    """Of the products that `terms` makes of so many columns, in its order."""
    found = []
    for total in range(degree + 1):
        for factors in combinations_with_replacement(range(columns), total):
            found.append(tuple(factors.count(column) for column in range(columns)))
    return sorted(found)


def terms(values: np.ndarray, degree: int) -> np.ndarray:
    """All products of powers of the columns of `values` (T, k) up to `degree`, (T, …).

    Two columns a, b to degree 2: 1, b, b², a, ab, a².
    """
    return np.column_stack(
        [
            math.prod(column**power for column, power in zip(values.T, each, strict=True))
            for each in exponents(values.shape[1], degree)
        ]
    )


def fit_surface(
    outputs: np.ndarray, names: Sequence[str], commands: int, scale: np.ndarray | float = 1.0
) -> Surface | None:
    """Least-squares surface through `outputs` (T, n), in their units; `commands` of them lead.
    `scale` (n,) makes outputs of different units comparable.

    Those lead that span the recording's motion best: the first that a QR decomposition with column
    pivoting takes. None where no output has to follow.
    """
    from scipy.linalg import qr  # slow to import, and few who read a surface fit one

    spread = (outputs - outputs.mean(axis=0)) / scale
    moving = np.flatnonzero(np.any(spread, axis=0))
    if len(moving) <= commands:
        return None
    _, _, order = qr(spread[:, moving], mode="economic", pivoting=True)
    leading = sorted(moving[order[:commands]].tolist())
    factors = 1.0 / np.abs(outputs[:, leading]).max(axis=0)
    degree = DEGREES.get(commands, DEGREE_OF_MANY)
    design = terms(outputs[:, leading] * factors, degree)
    rest = [i for i in range(outputs.shape[1]) if i not in leading]
    fitted = np.linalg.lstsq(design, outputs[:, rest], rcond=None)[0]
    return Surface(
        leading=tuple(names[i] for i in leading),
        factors=tuple(factors.tolist()),
        degree=degree,
        following={names[i]: tuple(each) for i, each in zip(rest, fitted.T.tolist(), strict=True)},
    )
