"""Whether the C does what the network means, on this machine and on an emulated Cortex-M4F.

    source model -> meaning of the graph in float64 -> C on this machine -> C on the Cortex-M4F

Every function of the generated C is compared, and the outputs of every layer: for that, the network
is compiled once more, with what all of its layers make as its output. What has no room on the
emulated chip is compared on this machine alone.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nn4mc_codegen.compile import emit_graph, load_graph
from nn4mc_codegen.graph.ir import Graph, Node, Tensor
from nn4mc_codegen.graph.ir import Rewire as FloatRewire
from nn4mc_codegen.graph.options import Options
from nn4mc_codegen.importers import read_model
from nn4mc_codegen.int8.operators import Rewire
from nn4mc_codegen.int8.quantize import Accuracy, QNode, QTensor, QuantGraph
from nn4mc_codegen.ops.concatenate import Concatenate
from nn4mc_codegen.ops.reshape import Reshape
from nn4mc_codegen.printing.emitted import Origin
from nn4mc_codegen.trial.host import HostCode, build_library
from nn4mc_codegen.trial.interface import functions
from nn4mc_codegen.trial.oracle import STEP_TOLERANCE, Case, make_cases, random_inputs
from nn4mc_codegen.trial.qemu import TooLarge, measure, missing_tools
from nn4mc_codegen.trial.reference import SourceVerdict, compare_with_source

# Layers that only put elements elsewhere, and compute nothing.
REWIRES = (FloatRewire, Rewire)
LAYERS = "layers"
"""Name of the network that gives out what all layers make."""
# Most numbers of it, over all samples, that are held at once: 128 MiB in float64.
MAX_NUMBERS = 1 << 24


@dataclass(frozen=True)
class FunctionVerdict:
    """One function of the C against the meaning."""

    name: str
    passed: bool
    host_error: float
    """largest |C - meaning| of what it writes; of outputs and states relative to the largest where
    that exceeds 1, of derivatives relative to the largest"""
    arm_error: float | None
    """the same on the Cortex-M4F; None where it was not run"""
    same_bits: bool | None
    """whether both machines gave the same bits"""
    instructions: int | None
    """on the Cortex-M4F, most of a sample"""
    cycles: int | None
    """estimated, of the first sample"""
    stack_bytes: int | None


@dataclass(frozen=True)
class LayerVerdict:
    """The network up to one layer against the meaning."""

    name: str
    passed: bool
    host_error: float
    arm_error: float | None


@dataclass(frozen=True)
class Verdict:
    samples: int
    source: SourceVerdict
    functions: tuple[FunctionVerdict, ...]
    layers: tuple[LayerVerdict, ...]
    arm_skipped: str | None
    """why nothing was run on the Cortex-M4F"""
    flash_bytes: int | None
    ram_bytes: int | None
    accuracy: Accuracy | None
    """of a network that was quantised here: what int8 costs"""

    @property
    def passed(self) -> bool:
        return self.source.passed and all(v.passed for v in (*self.functions, *self.layers))

    @property
    def stack_bytes(self) -> int | None:
        """Most of all functions."""
        return max(
            (f.stack_bytes for f in self.functions if f.stack_bytes is not None), default=None
        )

    @property
    def largest_error(self) -> float:
        """Of all functions; NaN where one gave NaN."""
        errors = [f.host_error for f in self.functions]
        errors += [f.arm_error for f in self.functions if f.arm_error is not None]
        return float(np.max(errors))

    @property
    def line(self) -> str:
        """The verdict in one line."""
        word = "same" if self.passed else "DIFFERENT"
        parts = [f"{word}: {self.samples} samples, largest error {self.largest_error:.1e}"]
        if self.source.error is None:
            parts.append(self.source.runner)
        else:
            parts.append(f"{self.source.runner} differs by {self.source.error:.1e}")
        if self.arm_skipped:
            parts.append(f"Cortex-M4F not run: {self.arm_skipped}")
        else:
            step = self.functions[0]
            bits = all(f.same_bits is not False for f in self.functions)
            parts.append(
                f"Cortex-M4F gives {'the same' if bits else 'other last'} bits as this host"
            )
            parts.append(
                f"flash {self.flash_bytes} B, RAM {self.ram_bytes} B, stack {self.stack_bytes} B"
            )
            parts.append(
                f"{step.instructions} instructions, about {step.cycles} cycles (estimated) a step"
            )
        if self.accuracy:
            parts.append(str(self.accuracy))
        return "; ".join(parts)


def verify_model(
    path: Path | str,
    options: Options,
    samples: int = 300,
    seed: int = 0,
    progress: Callable[[str], None] = lambda what: None,
) -> Verdict:
    """Compile a model file with `options` and compare all that can run it; see `Verdict`.

    A recurrent network runs along one sequence of `samples` steps, with a reset midway. `progress`
    is told what is being done. Raises `ModelError`, `HostError` or `QemuError`.
    """
    path = Path(path)
    progress("reading the model")
    graph, model_hash = load_graph(path, options)
    progress("running the source model")
    # The source of a network that is quantised here is the float32 one.
    source = compare_with_source(path, read_model(path)[0], min(samples, 30), seed)
    origin = Origin(path.name, model_hash, options.command_line(path.name))
    return verify_graph(graph, options, origin, source, samples, seed, progress)


def verify_graph(
    graph: Graph | QuantGraph,
    options: Options,
    origin: Origin,
    source: SourceVerdict,
    samples: int = 300,
    seed: int = 0,
    progress: Callable[[str], None] = lambda what: None,
) -> Verdict:
    """`verify_model` for a graph."""
    skipped = missing_tools()
    x = random_inputs(graph.input_size, samples, seed)
    resets = (samples // 2,)
    whole, parts = all_layers(graph)
    few = x[: max(2, min(samples, MAX_NUMBERS // whole.output.size))]
    plain = Options(name=LAYERS, optimize=options.optimize, weights=options.weights)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        progress("compiling for this machine")
        emitted = emit_graph(graph, options, origin)
        _write(folder, emitted.texts)
        _write(folder, emit_graph(whole, plain, origin).texts)
        build_library(sorted(folder.glob("*.c")), folder / "all.so")

        def cases_of(name: str, part: Graph | QuantGraph, columns: dict, x: np.ndarray) -> list:
            header = (folder / f"{name}.h").read_text(encoding="utf-8")
            return make_cases(part, header, name, columns, x, resets, seed)

        code = HostCode(folder / "all.so", folder / f"{options.name}.h")
        kept = functions(emitted.texts[f"{options.name}.h"], options.name)
        size, checked = None, []
        if skipped is None:
            try:
                size = measure(folder, options.name, x[:1], keep=kept)
            except TooLarge as error:
                skipped = str(error)
        for case in cases_of(options.name, graph, getattr(emitted, "columns", {}), x):
            progress(case.function.name)
            checked.append(check_function(folder, options.name, code, case, skipped is None))
        if graph.states:
            checked.append(_check_run(options.name, code, graph, x))
        progress("layers")
        code = HostCode(folder / "all.so", folder / f"{LAYERS}.h")
        case = cases_of(LAYERS, whole, {}, few)[-1 if isinstance(graph, QuantGraph) else 0]
        layers = _check_layers(folder, code, case, parts, skipped is None)
    return Verdict(
        samples=samples,
        source=source,
        functions=tuple(checked),
        layers=layers,
        arm_skipped=skipped,
        flash_bytes=size.flash_bytes if size else None,
        ram_bytes=size.ram_bytes if size else None,
        accuracy=getattr(graph, "accuracy", None),
    )


def prefix_graphs(graph: Graph | QuantGraph) -> list[Graph | QuantGraph]:
    """For each layer that computes something, the network up to there; the last is the whole."""
    found = []
    for last in graph.nodes:
        if isinstance(last.op, REWIRES):
            continue
        needed, nodes = {last.output}, []
        for node in reversed(graph.nodes):
            if node.output in needed:
                needed.update(node.inputs)
                nodes.append(node)
        found.append(type(graph)(graph.inputs, last.output, tuple(reversed(nodes))))
    return found


def all_layers(graph: Graph | QuantGraph) -> tuple[Graph | QuantGraph, dict[str, slice]]:
    """The network with what its layers make, one after the other, as its output, and where each
    of those that compute something stands there."""
    shown = [node for node in graph.nodes if not isinstance(node.op, REWIRES)]
    ends = np.cumsum([0, *(node.output.size for node in shown)])
    parts = {
        node.name: slice(int(start), int(end))
        for node, start, end in zip(shown, ends, ends[1:], strict=False)
    }
    outputs = tuple(node.output for node in shown)
    if isinstance(graph, QuantGraph):
        # Bytes as they are: each layer's have a scale of their own.
        joined = QTensor(LAYERS, (int(ends[-1]),), 1.0, 0)
        op = Rewire(np.arange(ends[-1]), 0, "y = all x")
        nodes = (*graph.nodes, QNode(LAYERS, op, outputs, joined))
        return QuantGraph(graph.inputs, joined, nodes), parts
    flat = [Tensor(f"{LAYERS}_{k}", (t.size,)) for k, t in enumerate(outputs)]
    rows = [Node(to.name, Reshape(to.shape), (t,), to) for t, to in zip(outputs, flat, strict=True)]
    joined = Tensor(LAYERS, (int(ends[-1]),))
    nodes = (*graph.nodes, *rows, Node(LAYERS, Concatenate(0), tuple(flat), joined))
    return Graph(graph.inputs, joined, nodes), parts


def _check_layers(
    folder: Path, code: HostCode, case: Case, parts: dict[str, slice], on_arm: bool
) -> tuple[LayerVerdict, ...]:
    """What each layer makes, in `parts` of y, against the meaning."""
    x, how = case.inputs["x"], {"resets": case.resets, "state": case.state}
    found = [code.run(x, case.short_name, **how)["y"]]
    if on_arm:
        try:
            found.append(measure(folder, LAYERS, x, case.short_name, **how).outputs["y"])
        except TooLarge:
            pass  # the network has room there, but not all that its layers make
    expected = case.expected["y"]
    tolerance = case.tolerance["y"] / case.scale["y"]
    verdicts = []
    for name, part in parts.items():
        meant = expected[:, part].astype(np.float64)
        is_exact = case.tolerance["y"] == 0.0
        scale = 1.0 if is_exact else max(1.0, float(np.max(np.abs(meant))))
        errors = [float(np.max(np.abs(y[:, part] - meant))) / scale for y in found]
        passed = all(error <= tolerance for error in errors)
        verdicts.append(LayerVerdict(name, passed, errors[0], errors[1] if errors[1:] else None))
    return tuple(verdicts)


def check_function(
    folder: Path, name: str, code: HostCode, case: Case, on_arm: bool, cycles: bool = True
) -> FunctionVerdict:
    """One function of the network NAME.c in FOLDER, of which `code` is the library, against its
    case; on the emulated Cortex-M4F too where `on_arm` says so. Raises QemuError."""
    inputs = dict(case.inputs)
    if any(a.name == "folded" for a in case.function.inputs):
        inputs["folded"] = code.run(inputs["x"], "fold")["folded"]
    x = inputs.pop("x")
    how = {"resets": case.resets, "state": case.state, **inputs}
    host = code.run(x, case.short_name, **how)
    passed, measured = case.passes(host), None
    if on_arm:
        measured = measure(folder, name, x, case.short_name, cycles=cycles, **how)
        passed = passed and case.passes(measured.outputs)
    return FunctionVerdict(
        name=case.function.name,
        passed=bool(passed),
        host_error=_largest(case.errors(host)),
        arm_error=_largest(case.errors(measured.outputs)) if measured else None,
        same_bits=_same_bits(host, measured.outputs) if measured else None,
        instructions=measured.instructions if measured else None,
        cycles=measured.cycles if measured else None,
        stack_bytes=measured.stack_bytes if measured else None,
    )


def _check_run(
    name: str, code: HostCode, graph: Graph | QuantGraph, x: np.ndarray
) -> FunctionVerdict:
    """The whole sequence at once, on this machine: no more than its steps, which the Cortex-M4F
    runs one by one."""
    tolerance = 0.0 if isinstance(graph, QuantGraph) else STEP_TOLERANCE
    y, state = code.sequence(x)
    meant = [values[-1] for values in graph.run(x)]
    errors = [
        np.max(np.abs(found - expected)) / max(1.0, np.max(np.abs(expected)))
        for found, expected in zip((y, state), meant, strict=True)
    ]
    error = float(np.max(errors))
    return FunctionVerdict(f"{name}_run", error <= tolerance, error, None, None, None, None, None)


def _largest(errors: dict[str, float]) -> float:
    return float(np.max(list(errors.values())))  # unlike max, it does not lose a NaN


def _same_bits(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return all(a[name].tobytes() == b[name].tobytes() for name in a)


def _write(folder: Path, texts: dict[str, str]) -> Sequence[Path]:
    for file_name, text in texts.items():
        (folder / file_name).write_text(text, encoding="utf-8")
