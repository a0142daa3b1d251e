"""A guessed description as YAML, each line with the reason for what it says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from soft_control.learning.described_column import (
    COMMANDS,
    OTHERS,
    OUTPUTS,
    REFERENCES,
    SIGNALS,
    Column,
)
from soft_control.learning.described_files import Found, quoted
from soft_control.learning.recording import listed, natural
from soft_control.plain_text import printable
from soft_control.robots import units

MOVE_COST = 0.05
"""Of a move through all of a command's range, in errors as large as all of the outputs' span; with
the weights in config/robots it is 0.02 on the trunk."""


SHAPE_SHARE = 0.3
"""Of half of an output's span, the amplitude of a shape. On the trunk, whose tip spans 299 mm, that
is 45 mm, where 40 were chosen by hand."""


def written(found: Found, name: str, rest: Mapping[str, str] | None = None) -> str:
    """YAML that `robots.load` reads; `rest` are the outputs' values at rest, with their units."""
    commands = sorted(found.of(COMMANDS), key=lambda column: natural(column.name))
    outputs, signals = found.of(OUTPUTS), found.of(SIGNALS)
    sources = [printable(source, 60) for source in found.sources]
    lines = [
        f"# A first description of {printable(name)}, guessed from {listed('', sources)}.",
        "# Correct it: what stands behind a # says why each guess was made. All fields and units",
        "# are in docs/reference/robot.md; `softctl train RUNS --robot FILE` reads it.",
        f"name: {quoted(name)}",
        f"rate_hz: {1 / found.period_s:.4g}  # {found.rate_why}",
        "commands:  # limits and speeds are what was recorded: put in those of the actuators",
        *(_command(column, found) for column in commands if column.moves),
        *(_still(column) for column in commands if not column.moves),
        f"outputs:  # what is to follow a reference{_behind(found.rest_why)}",
        *(_output(column, rest or {}) for column in outputs),
    ]
    if signals:
        lines += [
            "# full_scale_counts: of what the sensor sends, so many counts are 1; here a count for",
            "# the last recorded digit: put in the sensor's own.",
            "signals:  # what a sensor tells; delete what is none",
            *map(_signal, signals),
        ]
    lines += [
        f"# left out: {printable(column.name, 60)}, {column.why}" for column in found.of(OTHERS)
    ]
    lines += ["recording:", *found.recording]
    quantities = [*(c for c in commands if c.moves), *outputs, *signals]
    differ = [c for c in quantities if c.name != c.base or c.unit != c.shown or c.full_scale]
    if differ and not found.is_bag:
        lines.append("  columns:  # where it is not the name and the unit on paper above")
        lines += [_place(column.base, column) for column in differ]
    references = {column.of: column for column in found.of(REFERENCES)}
    if outputs and all(output.base in references for output in outputs):
        lines.append("  reference:")
        lines += [_place(output.base, references[output.base]) for output in outputs]
    lines += _weights([c for c in commands if c.moves], outputs)
    return "\n".join(lines) + "\n"


def _weights(commands: Sequence[Column], outputs: Sequence[Column]) -> list[str]:
    """First weights of the MPC: of outputs by the span of their unit, of moves by their range.

    Errors in one unit weigh the same; the span of the first one's unit is what all are compared by:
    with 120 mm and a range of 180 deg, 1 per mm² and 0.05 (120 / 180)² = 0.022 per deg².
    """
    spans: dict[str, float] = {}
    for column in outputs:
        span = (column.high - column.low) * units.factor(column.unit, column.shown)
        spans[column.shown] = max(spans.get(column.shown, 0.0), span)
    first = spans[outputs[0].shown]

    def listed_numbers(values: Sequence[float]) -> str:
        return ", ".join(str(float(f"{value:.2g}")) for value in values)

    costs = [(first / spans[column.shown]) ** 2 for column in outputs]
    moves = [MOVE_COST * (first / (column.high - column.low)) ** 2 for column in commands]
    return [
        "nodes:",
        "  mcu:",
        "    mpc:  # first weights, per unit on paper squared; `softctl tune` finds better ones",
        f"      output_weight: [{listed_numbers(costs)}]  # by their spans",
        f"      move_weight: [{listed_numbers(moves)}]  # by their ranges",
        *_reference(outputs),
    ]


def _reference(outputs: Sequence[Column]) -> list[str]:
    """How large a shape is: the two outputs of the first one's unit that reach farthest make it,
    and what moves along their axes at other points; the others are to stay where they rest."""
    same = [column for column in outputs if column.shown == outputs[0].shown]
    spans: dict[str, float] = {}
    for column in same:
        along = column.axis or column.base
        spans[along] = max(spans.get(along, 0.0), column.high - column.low)
    largest = sorted(spans, key=lambda along: -spans[along])[:2]
    axes = [along for along in spans if along in largest]
    lines = ["  reference:", "    outputs:  # of a shape, such as figure_eight, about the rest"]
    for column in outputs:
        text, along = "{amplitude: 0.0}", column.axis or column.base
        if column.shown == outputs[0].shown and along in axes:
            size = f"{_amplitude(column):.2g}, component: {axes.index(along)}"
            text = f"{{amplitude: {size}}}  # {column.inside}; {SHAPE_SHARE:.0%} of half its span"
        lines.append(f"      {quoted(column.base)}: {text}")
    return lines


def _amplitude(column: Column) -> float:
    """In the unit inside the project."""
    share = SHAPE_SHARE * (column.high - column.low) / 2
    return share * units.factor(column.unit, column.inside)


def _behind(why: str) -> str:
    return f"; {why}" if why else ""


def _command(column: Column, found: Found) -> str:
    unit = "" if column.unit == column.inside else f" {column.unit}"
    per = f"{unit}/s" if unit else ""
    speed = f"{column.speed(found.periods_s, found.period_s):.4g}{per}"
    limits = f"min: {column.low:.6g}{unit}, max: {column.high:.6g}{unit}, speed_max: {speed}"
    return f"  - {{name: {quoted(column.base)}, {_units(column)}, {limits}}}  # {column.why}"


def _still(column: Column) -> str:
    return f"  # left out: {printable(column.name, 60)}, which stands still at {column.low:g}"


def _output(column: Column, rest: Mapping[str, str]) -> str:
    place = f", point: {quoted(column.point)}, axis: {quoted(column.axis)}" if column.axis else ""
    at_rest = f", rest: {rest[column.base]}" if column.base in rest else ""
    return f"  - {{name: {quoted(column.base)}, {_units(column)}{place}{at_rest}}}  # {column.why}"


def _signal(column: Column) -> str:
    counts = "" if column.counts == 1.0 else f", full_scale_counts: {column.counts:.6g}"
    still = "" if column.moves else "; it never moves: dead?"
    return f"  - {{name: {quoted(column.base)}, {_units(column)}{counts}}}  # {column.why}{still}"


def _units(column: Column) -> str:
    text = f"unit: {quoted(column.inside)}"
    return (
        text if column.shown == column.inside else f"{text}, display_unit: {quoted(column.shown)}"
    )


def _place(name: str, column: Column) -> str:
    named = f"column: {quoted(column.name)}, " if column.name != name else ""
    if column.full_scale:
        return f"    {quoted(name)}: {{{named}full_scale: {column.full_scale}}}"
    return f"    {quoted(name)}: {{{named}unit: {quoted(column.unit)}}}"
