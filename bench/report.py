"""From the benchmark's results to docs/benchmarks.md and docs/benchmarks.svg."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

OWN = "this compiler"
COLUMNS = {
    "instructions": "instructions",
    "cycles": "cycles (estimated)",
    "flash_bytes": "flash B",
    "ram_bytes": "RAM B",
    "stack_bytes": "stack B",
    "max_abs_error": "error",
}
HEAD = """# Benchmarks

Written by `make bench` from `bench/results.json`; do not edit.

One step of each network, on the same emulated Cortex-M4F, built with the same compiler and flags:
`-std=c99 -O2 -ffp-contract=off -fno-math-errno -mcpu=cortex-m4 -mfpu=fpv4-sp-d16
-mfloat-abi=hard`, unused sections removed, newlib-nano.

- **instructions**: exact, the most of 50 random inputs (of one sequence of 50 steps where the
  network is recurrent), from the first instruction of the step to its return.
- **cycles**: an estimate, of the first input. The model (`nn4mc_codegen/cycles.py`) uses the
  timings of Arm's Cortex-M4 Technical Reference Manual and memory without wait states; no silicon
  was used.
- **flash**: everything loaded beyond an empty program: code, constants, the C library that it
  pulls in. **RAM**: static variables beyond an empty program. **Stack**: how deep a painted stack
  was used.
- **error**: largest difference from the network computed in float64, of outputs of order 1.

Peers are those that install from PyPI, unpatched; what fails is a row. emlearn also gets the flags
that suit it best, and for its sake a Flatten that does nothing is left out of the HASEL network.
int8 is post-training quantisation by the same 50 inputs, through `fk_step`, which takes and gives
float32.
"""
TAIL = """
## Not run here

onnx2c and TensorFlow Lite Micro are not to be had from PyPI as C. Measured by hand with the same
toolchain, on a dense 36-10-5-3: onnx2c 3056 instructions and 3896 B of flash, TensorFlow Lite Micro
(float32) 4307 instructions and 33.6 kB.
"""


def write(results: dict, root: Path) -> None:
    text = json.dumps(results, indent=1, ensure_ascii=False) + "\n"
    (root / "bench" / "results.json").write_text(text, encoding="utf-8")
    (root / "docs" / "benchmarks.md").write_text(markdown(results), encoding="utf-8")
    plot(results, root / "docs" / "benchmarks.svg")


def markdown(results: dict) -> str:
    parts = [HEAD, f"\nToolchain: {'; '.join(results['toolchain'])}.\n"]
    parts.append("\n![Instructions and flash of each tool](benchmarks.svg)\n")
    for name, description in results["networks"].items():
        parts.append(f"\n## {description[0].upper()}{description[1:]}\n\n")
        parts.append(f"| tool | mode | {' | '.join(COLUMNS.values())} |\n")
        parts.append(f"|---|---|{'---:|' * len(COLUMNS)}\n")
        failures = []
        for row in results["rows"]:
            if row["model"] != name:
                continue
            if row["failure"]:
                failures.append(f"- {_tool(row)}, {row['mode']}: {_cell(row['failure'])}\n")
            else:
                cells = " | ".join(_number(row[column]) for column in COLUMNS)
                parts.append(f"| {_tool(row)} | {row['mode']} | {cells} |\n")
        if failures:
            parts += ["\nNot possible:\n\n", *failures]
    return "".join([*parts, TAIL])


def summary(row: dict) -> str:
    """A row as one line for the terminal."""
    name = f"{row['model']}: {_tool(row)} {row['mode']}"
    if row["failure"]:
        return f"{name}: {row['failure']}"
    return f"{name}: " + ", ".join(f"{COLUMNS[c]} {_number(row[c])}" for c in COLUMNS)


def digest(results: dict) -> str:
    """Of the results; the plot carries it, so that a stale one is found."""
    return hashlib.sha256(json.dumps(results, sort_keys=True).encode()).hexdigest()[:16]


def plot(results: dict, path: Path) -> None:
    """Instructions and flash as bars, a group a network that any peer can run."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import NullFormatter

    matplotlib.rcParams["svg.hashsalt"] = "benchmarks"
    done = [row for row in results["rows"] if not row["failure"]]
    labels = list(dict.fromkeys(_label(row) for row in done))
    networks = [name for name in results["networks"] if any(r["model"] == name for r in done)]
    figure, axes = plt.subplots(1, 2, figsize=(11, 0.5 + 0.2 * len(done)), layout="constrained")
    # Blues are this compiler's, the rest the peers'.
    own = sum(label.startswith(OWN) for label in labels)
    shades = [plt.get_cmap("Blues")(0.9 - 0.2 * i) for i in range(own)]
    shades += [plt.get_cmap("Oranges")(0.7 - 0.25 * i) for i in range(len(labels) - own)]
    colours = dict(zip(labels, shades, strict=True))
    for axis, column in zip(axes, ("instructions", "flash_bytes"), strict=True):
        place, ticks = 0.0, []
        for name in networks:
            rows = [row for row in done if row["model"] == name]
            for number, row in enumerate(rows):
                axis.barh(place + number, row[column], color=colours[_label(row)])
                axis.text(row[column], place + number, f" {row[column]}", va="center", fontsize=7)
            ticks.append((place + (len(rows) - 1) / 2, name))
            place += len(rows) + 1
        axis.set_yticks([t for t, _ in ticks], [name for _, name in ticks])
        axis.invert_yaxis()
        axis.set_xscale("log")
        axis.set_xlim(left=500)
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.set_title(f"{COLUMNS[column]} of one step" if axis is axes[0] else "flash, bytes")
        axis.spines[["top", "right"]].set_visible(False)
    handles = [plt.Rectangle((0, 0), 1, 1, color=colours[label]) for label in labels]
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    figure.savefig(path, metadata={"Date": None, "Description": digest(results)})
    plt.close(figure)


def _tool(row: dict) -> str:
    return f"{row['tool']} {row['version']}".strip()


def _label(row: dict) -> str:
    return f"{row['tool']}, {row['mode']}"


def _number(value: float) -> str:
    return f"{value:.1e}" if isinstance(value, float) else str(value)


def _cell(text: str) -> str:
    """Text of a tool's message that does not become markup."""
    return "`" + " ".join(text.replace("`", "'").split()) + "`"
