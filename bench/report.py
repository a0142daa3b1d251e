"""From the benchmarks' results to docs/benchmarks.md and its plots.

bench/results.json has "rows" of run.py and "solver" of solver.py; either may be missing.
bench/by_hand.json has the rows of peers that `make bench` does not run, and stays as it is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

BY_HAND = Path(__file__).with_name("by_hand.json")
OWN = "this compiler"
COLUMNS = {
    "instructions": "instructions",
    "cycles": "cycles (estimated)",
    "flash_bytes": "flash B",
    "ram_bytes": "RAM B",
    "stack_bytes": "stack B",
    "max_abs_error": "error",
}
OWN_SOLVER, CASADI = "this solver", "CasADi"
SOLVER_COSTS = {
    "instructions": "instructions",
    "instructions_median": "median",
    "instructions_all_trials": "all trials",
    "cycles": "cycles (estimated)",
    "flash_bytes": "flash B",
    "ram_bytes": "RAM B",
    "trials": "problems by trials, 0 to 4",
    "parts": "parts",
}
PARTS = {
    "network": "network, values",
    "derivatives": "network, linearised",
    "assembly": "sensitivities and assembly",
    "factorisation": "factorisation",
    "step": "bounds and step",
    "plan": "plan and cost",
    "rest": "rest",
}
HEAD = """# Benchmarks

Written by `make bench` from `bench/results.json`; do not edit.

One step of each network, on the same emulated Cortex-M4F, built with the same compiler and flags:
`-std=c99 -O2 -ffp-contract=off -fno-math-errno -mcpu=cortex-m4 -mfpu=fpv4-sp-d16
-mfloat-abi=hard`, unused sections removed, newlib-nano.

- **instructions**: exact, the most of 50 random inputs (of one sequence of 50 steps where the
  network is recurrent, of 2 inputs of a file that is int8 already), from the first instruction of
  the step to its return.
- **cycles**: an estimate, of the first input. The model (`nn4mc_codegen/trial/cycles.py`) uses the
  timings of Arm's Cortex-M4 Technical Reference Manual and memory without wait states; no silicon
  was used.
- **flash**: everything loaded beyond an empty program: code, constants, the C library that it
  pulls in. **RAM**: static variables beyond an empty program. **Stack**: how deep a painted stack
  was used.
- **error**: largest difference from the network computed in float64, of outputs of order 1; of a
  file that is int8 already, from what the file means.

Peers are those that install from PyPI, unpatched; what fails is a row. emlearn also gets the flags
that suit it best, and for its sake a Flatten that does nothing is left out of the HASEL network.
int8 is post-training quantisation by the same 50 inputs, through `fk_step`, which takes and gives
float32. Networks of other projects' tests are looked for in `../shared`. Rows **by hand** are of
peers that PyPI does not have; [how they were measured](#measured-by-hand) stands at the end.
"""
SOLVER_HEAD = """
## The solver: one Gauss-Newton iteration

One call of `mpc_step` with a single iteration, built and counted as above: roll-out, Jacobians,
assembly, bounds, factorisation, line search. It starts from the last command held, with nothing
known from a sample before, on 200 random problems (`soft_control/benchmarks/solver_comparison.py`),
every second one with tight bounds. The robot is as it was recorded: one of today, which the
firmware has learned, takes 1,270 instructions more with the HASEL network at 5/2, 510 with the
tendon network. Read a row so:

- **instructions**: exact, the most of all problems on which the first trial of the line search is
  accepted, which is an iteration's work, or none is needed; **limit** is the project's own.
  **Median** is of those with one trial. **All trials** is the most of any problem: at most four
  trials, each another roll-out; the last column tells how many problems took how many.
- **cycles**: estimated, of the problem that takes the most instructions.
- **flash**, **RAM**: of solver and network together, as above; RAM with the stack. The project's
  limits are {flash_bytes} B and {ram_bytes} B, at N/Nc 5/2.
- **CasADi** generates the Gauss-Newton step alone, with a symbolic Cholesky factorisation, as
  straight code: no bounds, no line search, and so much the same work on every problem.
  At 10/5 of the HASEL network it writes 2.3 MB of C, over which gcc works for more than ten
  minutes to make a megabyte of code; that is left out.
"""
PARTS_HEAD = """
The same worst problem by part, in instructions. The network's two are by its generated functions:
values, for each trial, and linearised, `fk_jacobian…` with all that is inlined there, small layers
of its own forward pass among it. The others are the C files `quadratic.c`, `linsolve.c`,
`bounded_step.c` and `plan.c`, with what the compiler inlines there; the rest is `mpc.c`, which
tries plans, checks for values that are not finite, and the C library.

![Instructions of one iteration by part](benchmarks_solver.svg)
"""
FIRMWARE_HEAD = """
Whole firmware for the STM32F405, with link, supervisor and all settings, N/Nc 5/2, for networks in
the shape of `softctl train` (tanh, named inputs, increment added to the newest output). RAM counts
the reserved stack.

| rig | network | flash B | limit | RAM B |
|---|---|---:|---:|---:|
"""
TAIL = """
## Measured by hand

onnx2c and TensorFlow Lite Micro (TFLM) are not to be had from PyPI as C. On 29 November 2026 they
were built unpatched and measured with the toolchain, the emulator and the counting of this page, on
the same inputs; `make bench` does not repeat it. Nor does it run emlearn on networks that are
`.tflite` files, which emlearn does not read: what it says is of the same layers in Keras.

- **onnx2c**, commit ea045cc of 15 April 2026. Its ONNX files have the networks' weights, channels
  first as ONNX has them, and each agrees with onnxruntime 1.32.0. Inputs come in that layout, so
  that nothing is transposed, and dense layers are the form of Gemm that takes it the fewest
  instructions. The second row has the flags that its README advises. The state of the LSTM goes in
  and out. Of keyword spotting and micro_speech, whose files are int8, it computes the same layers
  in float32 with the weights that the int8 ones mean; the error is from onnxruntime.
- **TFLM**, commit 90b983c of 20 August 2026, with what its makefile names: CMSIS-NN 4ab83cc (33
  commits after 7.0.0), CMSIS 5782d6f (17 after 6.1.0), FlatBuffers 25.9.23, gemmlowp 719139c, ruy
  d371283. Built with its makefile's flags for `cortex_m_generic`, cortex-m4+fp, `cmsis_nn` and
  release: kernels and CMSIS-NN with `-O2`, the rest with `-Os`. CMSIS-NN's own default, `-Ofast`,
  changes the instructions by -1.3 to +2.6 %.
    - Instructions and cycles are of one `Invoke()` alone: int8 goes in and comes out, while this
      compiler's step converts from float32 and back.
    - Flash has the interpreter, the operators of this one network, for int8 alone where TFLM has
      them so, and the file. RAM has the arena, as small as it will go to within 256 B.
    - The files are TensorFlow 2.21.0's, int8 by the same 50 inputs; in int8 DS-CNN, LeNet, keyword
      spotting and micro_speech are files of `../shared`, the last two on 2 inputs.
    - The LSTM in float32 takes one step and keeps its state; in int8 it takes whole sequences only.
"""


def read(root: Path) -> dict:
    """What there is so far."""
    path = root / "bench" / "results.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def write(results: dict, root: Path) -> None:
    text = json.dumps(results, indent=1, ensure_ascii=False) + "\n"
    (root / "bench" / "results.json").write_text(text, encoding="utf-8")
    (root / "docs" / "benchmarks.md").write_text(markdown(results), encoding="utf-8")
    if "rows" in results:
        plot(results, root / "docs" / "benchmarks.svg")
    if "solver" in results:
        plot_solver(results, root / "docs" / "benchmarks_solver.svg")


def markdown(results: dict) -> str:
    parts = [HEAD, f"\nToolchain: {'; '.join(results['toolchain'])}.\n"]
    if "rows" in results:
        parts += _compiler_parts(results)
    if "solver" in results:
        parts += _solver_parts(results["solver"])
    return "".join([*parts, TAIL])


def by_hand() -> list[dict]:
    """Rows as in bench/results.json."""
    return json.loads(BY_HAND.read_text(encoding="utf-8"))


def _compiler_parts(results: dict) -> list[str]:
    parts = ["\n![Instructions and flash of each tool](benchmarks.svg)\n"]
    for name, description in results["networks"].items():
        parts.append(f"\n## {description[0].upper()}{description[1:]}\n\n")
        parts.append(f"| tool | mode | {' | '.join(COLUMNS.values())} |\n")
        parts.append(f"|---|---|{'---:|' * len(COLUMNS)}\n")
        rows = [r for r in (*results["rows"], *by_hand()) if r["model"] == name]
        for row in rows:
            if not row["failure"]:
                cells = " | ".join(_number(row[column]) for column in COLUMNS)
                parts.append(f"| {_tool(row)} | {row['mode']} | {cells} |\n")
        failed = [row for row in rows if row["failure"]]
        if failed:
            parts.append("\nNot possible:\n\n")
        parts += [f"- {_tool(r)}, {r['mode']}: {_cell(r['failure'])}\n" for r in failed]
    return parts


def _solver_parts(found: dict) -> list[str]:
    parts = [SOLVER_HEAD.format(**found["limits"]), "\nNetworks:\n\n"]
    parts += [f"- {_name({'network': key})}: {text}.\n" for key, text in found["networks"].items()]
    heads = [h for key, h in SOLVER_COSTS.items() if key != "parts"]
    columns = ["network", "N/Nc", "solver", heads[0], "limit", *heads[1:]]
    parts.append(f"\n| {' | '.join(columns)} |\n")
    parts.append(f"|---|---|---|{'---:|' * (len(columns) - 3)}\n")
    for row in found["rows"]:
        named = [_name(row), _setting(row), _tool(row)]
        if row["failure"]:
            cells = [_cell(row["failure"]), *[""] * (len(columns) - 4)]
        else:
            own = row["tool"] == OWN_SOLVER
            costs = [row[key] for key in SOLVER_COSTS if key not in ("parts", "trials")]
            cells = [costs[0], row["limit"] if own else "", *costs[1:]]
            cells = ["" if cell is None else str(cell) for cell in cells]
            cells.append(" ".join(map(str, row["trials"])) if own else "")
        parts.append(f"| {' | '.join([*named, *cells])} |\n")
    parts.append(PARTS_HEAD)
    parts.append(f"\n| network | N/Nc | {' | '.join(PARTS.values())} | sum |\n")
    parts.append(f"|---|---|{'---:|' * (len(PARTS) + 1)}\n")
    for row in _split_rows(found):
        cells = [_name(row), _setting(row)]
        cells += [str(row["parts"][part]) for part in PARTS] + [str(row["instructions"])]
        parts.append(f"| {' | '.join(cells)} |\n")
    parts.append(FIRMWARE_HEAD)
    for row in found["firmwares"]:
        cells = (row[key] for key in ("rig", "network", "flash_bytes", "limit", "ram_bytes"))
        parts.append(f"| {' | '.join(map(str, cells))} |\n")
    return parts


def summary(row: dict) -> str:
    """A row as one line for the terminal."""
    name = f"{row['model']}: {_tool(row)} {row['mode']}"
    if row["failure"]:
        return f"{name}: {row['failure']}"
    return f"{name}: " + ", ".join(f"{COLUMNS[c]} {_number(row[c])}" for c in COLUMNS)


def solver_summary(row: dict) -> str:
    """A solver's row as one line for the terminal."""
    name = f"{_name(row)} {_setting(row)}: {_tool(row)}"
    if row["failure"]:
        return f"{name}: {row['failure']}"
    costs = (f"{SOLVER_COSTS[c]} {row[c]}" for c in SOLVER_COSTS if row[c] is not None)
    return f"{name}: limit {row['limit']}, " + ", ".join(costs)


def firmware_summary(row: dict) -> str:
    return (
        f"firmware, {row['rig']} {row['network']}: flash {row['flash_bytes']} B, "
        f"limit {row['limit']} B, RAM {row['ram_bytes']} B"
    )


def digest(results: dict) -> str:
    """Of the results; the plot carries it, so that a stale one is found."""
    return hashlib.sha256(json.dumps(results, sort_keys=True).encode()).hexdigest()[:16]


def plot(results: dict, path: Path) -> None:
    """Instructions and flash as bars, a group a network that any peer can run."""
    plt = _pyplot()
    from matplotlib.ticker import NullFormatter

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


def plot_solver(results: dict, path: Path) -> None:
    """Instructions of one iteration, stacked by part, with the limit of each as a mark."""
    plt = _pyplot()
    rows = list(_split_rows(results["solver"]))
    figure, axis = plt.subplots(figsize=(9, 1.5 + 0.45 * len(rows)), layout="constrained")
    for place, row in enumerate(rows):
        left = 0
        for number, part in enumerate(PARTS):
            axis.barh(place, row["parts"][part], left=left, color=f"C{number}")
            left += row["parts"][part]
        axis.text(max(left, row["limit"]), place, f"  {left}", va="center", fontsize=8)
        axis.plot([row["limit"]] * 2, [place - 0.45, place + 0.45], color="black")
    axis.set_yticks(range(len(rows)), [f"{_name(r)} {_setting(r)}" for r in rows])
    axis.invert_yaxis()
    axis.set_title("instructions of one iteration, worst problem; black: limit")
    axis.spines[["top", "right"]].set_visible(False)
    handles = [plt.Rectangle((0, 0), 1, 1, color=f"C{i}") for i in range(len(PARTS))]
    figure.legend(handles, PARTS.values(), loc="outside lower center", ncols=4, frameon=False)
    figure.savefig(path, metadata={"Date": None, "Description": digest(results)})
    plt.close(figure)


def _pyplot():
    """Draws SVG with the same names in it each time."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "benchmarks"
    import matplotlib.pyplot as plt

    return plt


def _split_rows(found: dict) -> Iterator[dict]:
    return (row for row in found["rows"] if row["parts"])


def _name(row: dict) -> str:
    return row["network"].replace("_", " ")


def _setting(row: dict) -> str:
    return f"{row['horizon']}/{row['control_horizon']}"


def _tool(row: dict) -> str:
    return f"{row['tool']} {row['version']}".strip()


def _label(row: dict) -> str:
    return f"{row['tool']}, {row['mode']}"


def _number(value: float | None) -> str:
    if value is None:
        return "not measured"
    return f"{value:.1e}" if isinstance(value, float) else str(value)


def _cell(text: str) -> str:
    """Text of a tool's message that does not become markup."""
    return "`" + " ".join(text.replace("`", "'").split()) + "`"
