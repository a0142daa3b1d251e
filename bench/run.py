"""The same networks through this compiler and its peers: instructions, flash, RAM, stack, error.

`make bench` runs it. Everything is built with the same flags and runs on the same emulated
Cortex-M4F (nn4mc_codegen/trial/qemu.py); errors are against the network's meaning in float64. Where
a tool fails, the failure is its row. Writes its part of bench/results.json, docs/benchmarks.md and
docs/benchmarks.svg.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import report
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from nn4mc_codegen import compile_model
from nn4mc_codegen.graph.check import ModelError
from nn4mc_codegen.importers import read_model
from nn4mc_codegen.int8.quantize import QuantGraph
from nn4mc_codegen.trial.programs import run_bounded
from nn4mc_codegen.trial.qemu import QemuError, measure, missing_tools, versions

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build" / "bench"
MODELS = BUILD / "models"
PUBLISHED = ROOT.parent / "shared" / "data" / "published_models"
CASES = ROOT.parent / "shared" / "cases" / "models"
NETWORKS = {
    "dense": ("dense 36-10-5-3, tanh", MODELS / "dense.h5"),
    "hasel": (
        "published HASEL network, dense 36-10-5-3, relu and tanh",
        PUBLISHED / "hasel_dense_2022-06-06.hdf5",
    ),
    "narrow": ("dense 16-16-16, relu", MODELS / "narrow.h5"),
    "wide": ("dense 64-64-64, relu", MODELS / "wide.h5"),
    "gru": ("GRU10 of 21 inputs, Dense 3", MODELS / "gru.h5"),
    "lstm": ("LSTM5 of 21 inputs, Dense 3", MODELS / "lstm.h5"),
    "tendon": ("published tendon network, GRU", PUBLISHED / "tendon_gru.hdf5"),
    "lstm32": ("LSTM32 of 16 inputs, Dense 3", MODELS / "lstm32.h5"),
    "conv1d": ("Conv1D 16 and 32 over 64 steps of 4 inputs", MODELS / "conv1d.h5"),
    "lenet": ("LeNet, 28×28 pixels", CASES / "lenet.h5"),
    "dscnn": ("DS-CNN, 24×24 pixels", CASES / "dscnn.h5"),
    "kws": ("keyword spotting of MLPerf Tiny, int8", CASES / "kws_mlperf_int8.tflite"),
    "micro_speech": ("micro_speech, int8", CASES / "micro_speech_int8.tflite"),
}
OWN_MODES = ("speed", "balanced", "size", "int8")
# Version and modes, with flags that suit the peer best: they come after the common ones, and win.
PEERS = {
    "emlearn": ("0.23.2", ("loadable", "loadable -O3 -ffast-math -ffp-contract=fast", "inline")),
    "nn4mc": ("0.3.0", ("c_standard",)),
    "keras2c": ("2.0", ("default",)),
}
COSTS = ("instructions", "cycles", "flash_bytes", "ram_bytes", "stack_bytes", "max_abs_error")
SAMPLES = 50
# Of files that are int8 already: their networks are large, and take the same number of instructions
# for any input.
SAMPLES_OF_FILES = 2
# A peer that has not written its C by then never does.
PEER_TIMEOUT_S = 120


def main() -> None:
    console = Console()
    if problem := missing_tools():
        raise SystemExit(problem)
    combinations = list(all_combinations())
    rows = []
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("making the networks", total=len(combinations))
        run_peer_python("networks.py", str(MODELS))
        for model, tool, mode in combinations:
            progress.update(task, description=f"{model}: {tool} {mode}")
            rows.append(row_of(model, tool, mode))
            progress.advance(task)
    results = report.read(ROOT) | {
        "toolchain": versions(),
        "networks": {name: description for name, (description, _) in NETWORKS.items()},
        "rows": rows,
    }
    report.write(results, ROOT)
    for row in rows:
        console.print(report.summary(row), highlight=False, soft_wrap=True, markup=False)


def all_combinations() -> Iterator[tuple[str, str, str]]:
    for model, (_, path) in NETWORKS.items():
        quantised = path.suffix == ".tflite"
        for mode in OWN_MODES[-1:] if quantised else OWN_MODES:
            yield model, report.OWN, mode
        for tool, (_, modes) in () if quantised else PEERS.items():
            for mode in modes:
                yield model, tool, mode


def row_of(model: str, tool: str, mode: str) -> dict:
    """One row: all costs, or why there are none."""
    row = {"model": model, "tool": tool, "mode": mode, "version": PEERS.get(tool, ("",))[0]}
    row |= {**dict.fromkeys(COSTS), "failure": None}
    path = NETWORKS[model][1]
    if not path.exists():
        return row | {"failure": f"skipped: {path.name} is not in ../shared"}
    try:
        with tempfile.TemporaryDirectory() as folder:
            costs = measure_own if tool == report.OWN else measure_peer
            return row | costs(Path(folder), path, tool, mode)
    except (ModelError, QemuError, PeerError) as error:
        return row | {"failure": str(error)}


def measure_own(folder: Path, path: Path, tool: str, mode: str) -> dict:
    graph, x, y = meaning(path)
    options = {"optimize": mode} if mode != "int8" else {}
    if mode == "int8" and not isinstance(graph, QuantGraph):
        np.save(folder / "representative.npy", x)
        options = {"dtype": "int8", "representative": folder / "representative.npy"}
    compile_model(path, folder, "fk", **options)
    return costs_of(measure(folder, "fk", x, cycles=True), y)


def measure_peer(folder: Path, path: Path, tool: str, mode: str) -> dict:
    _, x, y = meaning(path)
    strategy, *flags = mode.split()
    printed = run_peer_python("peers.py", tool, strategy, str(path), str(folder))
    made = json.loads(printed.splitlines()[-1])
    try:
        found = measure(
            folder,
            "peer",
            x,
            cycles=True,
            sources=[folder / source for source in made["sources"]],
            flags=[*flags, *(f"-I{include}" for include in made["include"])],
        )
    except QemuError as error:
        raise PeerError(f"its C does not build: {without_paths(str(error))}") from None
    return costs_of(found, y)


def meaning(path: Path):
    """Graph, inputs (samples, inputs) and the outputs that they mean, in float64."""
    graph, _ = read_model(path)
    samples = SAMPLES_OF_FILES if isinstance(graph, QuantGraph) else SAMPLES
    x = np.random.default_rng(1).normal(size=(samples, graph.input_size)).astype(np.float32)
    return graph, x, graph.run(x)[0] if graph.states else np.array([graph.evaluate(r) for r in x])


def costs_of(found, y: np.ndarray) -> dict:
    error = float(np.max(np.abs(found.outputs["y"] - y)))
    return {
        "instructions": found.instructions,
        "cycles": found.cycles,
        "flash_bytes": found.flash_bytes,
        "ram_bytes": found.ram_bytes,
        "stack_bytes": found.stack_bytes,
        "max_abs_error": float(f"{error:.2e}"),
    }


class PeerError(RuntimeError):
    """A peer did not write C, or C that does not build; one line."""


def run_peer_python(script: str, *words: str) -> str:
    """Run a script of this folder in build/bench, with Keras 2, which the peers know."""
    command = [str(BUILD / "bin" / "python"), str(ROOT / "bench" / script), *words]
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_USE_LEGACY_KERAS": "1"}
    # emlearn leaves files where it runs.
    how = {"cwd": BUILD, "env": environment, "text": True}
    done = run_bounded(command, PEER_TIMEOUT_S, PeerError, "no C", **how)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise PeerError(f"writes no C: {without_paths(lines[-1] if lines else 'no message')}")
    return done.stdout


def without_paths(text: str) -> str:
    """Folders of this machine taken out, names of files left."""
    return re.sub(r"(?<![\w.])(?:/[\w.+-]+)+/", "", text)


if __name__ == "__main__":
    main()
