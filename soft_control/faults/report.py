"""What came of a campaign of faults: docs/faults.md, one line a fault, and a line of summary."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nn4mc_codegen.printing.c import template_environment
from soft_control.faults.fault import SAFE_MS, Fault
from soft_control.faults.outcome import Outcome
from soft_control.paths import TEMPLATES
from soft_control.plain_text import printable

TITLES = {
    "sil": "In simulated time, the firmware as a library",
    "pil": "The board's ELF under QEMU",
    "session": "The host's end of the wire",
    "graph": "All processes of `softctl run`",
}


def what(fault: Fault) -> str:
    """The fault in words and numbers: `drop every 67`."""
    settings = " ".join(
        f"{key} {' '.join(value) if isinstance(value, list) else value}"
        for key, value in fault.settings.items()
    )
    return f"{fault.what} {settings}".strip()


def where(fault: Fault) -> str:
    """The wire or process; and what of its run is not as usual."""
    run = fault.run.model_dump(exclude_defaults=True)
    changed = ", ".join(f"{key} {value}" for key, value in run.items())
    return "; ".join(filter(None, [fault.where, changed]))


def expected(fault: Fault) -> str:
    """What must follow, in words."""
    one = fault.expect
    words = []
    if fault.stand in ("sil", "pil"):
        words.append(one.state if one.cause == "none" else f"{one.state}: {one.cause}")
    if one.tolerated_ms is not None:
        words.append(f"safe within {one.tolerated_ms:g} + {SAFE_MS:g} ms")
    if one.same:
        words.append("the same commands")
    if one.exit_code is not None:
        words.append(f"exit code {one.exit_code}")
    if one.says:
        words.append(f"says {one.says!r}")
    return "; ".join(words)


def seen(outcome: Outcome) -> str:
    """What did follow, in words."""
    if not outcome.passed:
        return "**" + "; ".join(outcome.failures) + "**"
    if not outcome.state:
        return "as expected"
    return outcome.state if outcome.cause in ("", "none") else f"{outcome.state}: {outcome.cause}"


def safe(outcome: Outcome) -> str:
    """The time to the safe output, ms."""
    if outcome.safe_ms is None:
        return ""
    if outcome.by_the_wall:
        return "before BOOT"
    return f"{outcome.safe_ms:.1f}"


def losses(outcome: Outcome) -> str:
    """What was lost, and counted."""
    return ", ".join(f"{one.lost} {one.what}" for one in outcome.losses if one.lost)


def latest_ms(outcomes: Sequence[Outcome]) -> float | None:
    """The longest time to the safe output after what is tolerated had passed; None: none came."""
    times = [
        one.safe_ms - (one.fault.expect.tolerated_ms or 0.0)
        for one in outcomes
        if one.safe_ms is not None and not one.by_the_wall
    ]
    return max(times, default=None)


def in_a_line(outcomes: Sequence[Outcome], took_s: float) -> str:
    """The summary of a campaign that took so long."""
    wrong = sum(not one.passed for one in outcomes)
    lost = sum(loss.lost for one in outcomes for loss in one.losses)
    uncounted = sum(max(0, x.lost - x.counted) for one in outcomes for x in one.losses)
    latest = latest_ms(outcomes)
    parts = [
        f"{len(outcomes)} faults, {wrong or 'none'} not as expected",
        f"safe output at most {max(latest, 0.0):.1f} ms after what is tolerated"
        if latest is not None
        else "",
        f"{lost:,} samples, reports and frames lost, {uncounted or 'none'} uncounted",
        f"{took_s:.0f} s",
    ]
    return "; ".join(filter(None, parts))


def page(outcomes: Sequence[Outcome]) -> str:
    """docs/faults.md. What is seen in simulated time is the same on any machine."""
    words: dict[str, Any] = {
        "stands": [
            (TITLES[stand], [one for one in outcomes if one.fault.stand == stand])
            for stand in TITLES
            if any(one.fault.stand == stand for one in outcomes)
        ],
        "count": len(outcomes),
        "safe_limit_ms": SAFE_MS,
        "latest_ms": latest_ms(outcomes),
        **{each.__name__: each for each in (what, where, expected, seen, safe, losses)},
    }
    environment = template_environment(TEMPLATES)
    environment.filters["cell"] = cell
    return environment.get_template("faults.md").render(words)


def cell(text: object) -> str:
    """A text of others in a Markdown table."""
    return printable(str(text)).replace("|", "\\|")


def write_page(path: Path, outcomes: Sequence[Outcome]) -> None:
    """Writes the page to a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page(outcomes), encoding="utf-8")
