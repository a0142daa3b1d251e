"""A parameter as a form shows it: choices, limits, a label for each element; knows no ROS."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from soft_control.plain_text import printable

ONE_OF = re.compile(r"one of:? ([^;.]+)", re.IGNORECASE)
ELEMENTS_MAX = 64
TEXT_MAX = 400
TYPES = {bool: "bool", int: "integer", float: "double", str: "string"}


def told(descriptor: Any, value: Any, siblings: Mapping[str, Any]) -> dict[str, Any]:
    """What `wire` says of a parameter; `descriptor` has the fields of ParameterDescriptor, and
    `siblings` are all values of its node."""
    constraints = descriptor.additional_constraints
    low, high = _limits(descriptor)
    shown = value[:ELEMENTS_MAX] if isinstance(value, list) else value
    return {
        "name": printable(descriptor.name),
        "type": type_of(value),
        "value": _finite(shown),
        "description": printable(descriptor.description, TEXT_MAX),
        "constraints": printable(constraints, TEXT_MAX),
        "choices": choices(constraints) if isinstance(value, str) else [],
        "minimum": low,
        "maximum": high,
        "labels": labels(descriptor.name, value, siblings, descriptor.description),
    }


def type_of(value: Any) -> str:
    """bool, integer, double, string, the same with _array behind it, or unset."""
    if isinstance(value, list):
        return f"{TYPES.get(type(value[0]), 'double')}_array" if value else "double_array"
    return TYPES.get(type(value), "unset")


def choices(constraints: str) -> list[str]:
    """Of a text such as `one of mpc, pid, hold`."""
    found = ONE_OF.search(constraints)
    if not found:
        return []
    listed = re.split(r",\s*|\s+or\s+|\s*\|\s*", found[1])
    return [printable(choice.strip(" '\"")) for choice in listed if choice.strip(" '\"")]


def labels(name: str, value: Any, siblings: Mapping[str, Any], description: str = "") -> list[str]:
    """A name for each element of an array, out of the siblings called `…_names`: of the one that is
    as long; of several that one which the parameter's name begins like, as output_weight, or which
    its description names, as "Of each command"; of none, pairs of the commands and the outputs.
    An empty array may be filled: it has the labels that its name or description says."""
    if not isinstance(value, list):
        return []
    known = {
        key.removesuffix("_names"): names
        for key, names in siblings.items()
        if key.endswith("_names") and isinstance(names, list)
    }
    fit = {stem: names for stem, names in known.items() if len(names) == len(value) or not value}
    named = [stem for stem in fit if name.startswith(f"{stem}_")]
    named = named or [stem for stem in fit if stem in description.lower()]
    pairs = [f"{c}/{o}" for c in known.get("command", []) for o in known.get("output", [])]
    found: Iterable[Any] = range(len(value))
    if len(named) == 1 or (len(fit) == 1 and value):
        found = fit[named[0] if named else next(iter(fit))]
    elif not fit and len(pairs) == len(value):
        found = pairs
    return [printable(label) for label in found][:ELEMENTS_MAX]


def fitting(value: Any, current: Any) -> Any:
    """`value`, which came as JSON, as the type that the parameter has now: 1 becomes 1.0 where it
    is a float. Raises ValueError in one line where it is none such."""
    if isinstance(current, list):
        if not isinstance(value, list) or len(value) > ELEMENTS_MAX:
            raise ValueError(f"wanted a list of at most {ELEMENTS_MAX} values")
        return [fitting(item, current[0] if current else 0.0) for item in value]
    if isinstance(current, bool):
        if not isinstance(value, bool):
            raise ValueError("wanted true or false")
        return value
    if isinstance(current, (int, float)):
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ValueError("wanted a number")
        if not math.isfinite(value):
            raise ValueError("wanted a finite number")
        if isinstance(current, float):
            return float(value)
        if value != int(value):
            raise ValueError("wanted a whole number")
        return int(value)
    if isinstance(current, str) and not isinstance(value, str):
        raise ValueError("wanted text")
    if not isinstance(value, (bool, int, float, str)):
        raise ValueError("wanted a value")
    return value


def _limits(descriptor: Any) -> tuple[float | None, float | None]:
    for ranges in (descriptor.floating_point_range, descriptor.integer_range):
        for one in ranges:
            return _bound(one.from_value), _bound(one.to_value)
    return None, None


def _bound(value: float) -> float | None:
    """None for what bounds nothing."""
    return value if math.isfinite(value) and abs(value) < 2**53 else None


def _finite(value: Any) -> Any:
    """What JSON has no number for is null."""
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
