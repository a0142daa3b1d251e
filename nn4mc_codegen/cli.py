"""The command line: nn4mc compile, verify, inspect."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from nn4mc_codegen.compile import compile_with
from nn4mc_codegen.graph.check import ModelError, printable
from nn4mc_codegen.graph.options import CHOICES, Options
from nn4mc_codegen.inspection import Inspection, inspect_model
from nn4mc_codegen.terminal import plain_where_needed
from nn4mc_codegen.trial.host import HostError
from nn4mc_codegen.trial.qemu import QemuError
from nn4mc_codegen.verify import Verdict, verify_model

app = typer.Typer(
    name="nn4mc",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="""Turn a trained Keras, TensorFlow Lite or ONNX network into C99 for a microcontroller: no
heap, no double, static memory, recurrent state that you can save and restore, exact derivatives
where you ask for them.

\b
  nn4mc inspect fk.keras                       what is in it, and what each layer costs
  nn4mc compile fk.keras -o out --name fk      writes out/fk.h and out/fk.c
  nn4mc verify fk.keras --jacobian all         is the C right, and what does it need?""",
)

Model = Annotated[
    Path, typer.Argument(help="Model file: .keras, legacy .h5 or .hdf5, .tflite or .onnx.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]


def _choice(what: str) -> Any:
    return Annotated[str, typer.Option(help=what)]


def _columns(what: str) -> Any:
    return Annotated[str | None, typer.Option(help=what)]


# What the compiler can be asked for on the command line: a field of `Options`, its default there.
OPTIONS: dict[str, Any] = {
    "name": _choice("Prefix of every C name, and name of the files."),
    "jacobian": _columns(
        "Columns of the exact Jacobian, NAME_jacobian: names of inputs separated by commas, a "
        "number of leading elements of the flat input, or all; of a recurrent network also state "
        "or state:NAME. Numbers separated by commas are elements, and 0+6 is the sum of the "
        "columns of elements 0 and 6."
    ),
    "jacobian_range": Annotated[
        bool,
        typer.Option(
            "--jacobian-range",
            help="NAME_jacobian takes the columns that are wanted, int first, int past.",
        ),
    ],
    "vjp": _columns("The same for g = J'v, NAME_vjp."),
    "jvp": _columns("The same for dy = J t, NAME_jvp."),
    "hvp": _columns("The same for the second-order product, NAME_hvp."),
    "push": Annotated[
        int,
        typer.Option(
            min=0,
            help="Most directions of NAME_push: how outputs and state move along many directions "
            "at once, without the Jacobian; 0: no such function.",
        ),
    ],
    "fold": _columns("Inputs that stay constant over many steps: their share is computed once."),
    "optimize": _choice(
        f"{', '.join(CHOICES['optimize'])}: straight-line code, blocks of rows, or loops."
    ),
    "weights": _choice("flash, or ram: copied there by the start-up code, no wait states."),
    "activations": _choice(
        "What lies between layers: stack, static (calls must not overlap), or auto: static where "
        "a float32 network has more than 4 KiB."
    ),
    "dtype": _choice("float32, or int8: quantised by the ranges of --representative."),
    "representative": Annotated[
        Path | None,
        typer.Option(
            help="Typical inputs for int8: .npy, .npz or .csv, a sample a row; of a recurrent "
            "network the steps of one sequence, or an array (sequences, steps, inputs)."
        ),
    ],
    "layout": _choice(
        "plain: two files. cmake: with a CMakeLists.txt. arduino: a library folder with "
        "an example. single-file: one header, NAME_IMPLEMENTATION in one C file."
    ),
    "self_test": Annotated[
        int,
        typer.Option(
            min=0, help="Samples of a self-test for your board, NAME_selftest(); 0: none."
        ),
    ],
}


def takes_options(*left_out: str) -> Callable[[Callable], Callable]:
    """Gives a command the options of the table in place of its parameter `options`."""
    chosen = [field for field in fields(Options) if field.name not in left_out]

    def decorate(command: Callable) -> Callable:
        def run(**given: Any) -> None:
            with _errors():
                options = Options(**{field.name: given.pop(field.name) for field in chosen})
                command(options=options, **given)

        hints = get_type_hints(command, include_extras=True)
        parameters = []
        for name, own in signature(command).parameters.items():
            if name != "options":
                expanded = [(name, own.default, hints[name])]
            else:
                expanded = [(f.name, f.default, OPTIONS[f.name]) for f in chosen]
            parameters += [
                Parameter(n, Parameter.KEYWORD_ONLY, default=default, annotation=hint)
                for n, default, hint in expanded
            ]
        run.__signature__ = Signature(parameters)
        run.__annotations__ = {p.name: p.annotation for p in parameters}
        run.__name__, run.__doc__ = command.__name__, command.__doc__
        return run

    return decorate


@app.command("compile")
@takes_options()
def compile_command(
    model: Model,
    out_dir: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for the files; made if missing.")
    ],
    options: Options,
    as_json: Json = False,
) -> None:
    """Write the C of a network. The same model and options give the same bytes.

    \b
    Examples:
      nn4mc compile fk.keras -o firmware --name fk --jacobian commands,output
      nn4mc compile gru.h5 -o gru --name gru --jacobian all,state --hvp commands
      nn4mc compile fk.keras -o ~/Arduino/libraries/fk --layout arduino --self-test 5
      nn4mc compile fk.keras -o small --dtype int8 --representative inputs.csv
    """
    result = compile_with(model, out_dir, options)
    if as_json:
        _print_json({**asdict(result), "files": [str(f) for f in result.files]})
        return
    for file in result.files:
        print(file)
    text = f"{result.parameters} weights, {result.macs} MACs a step"
    if result.jacobian_columns:
        text += (
            f"; Jacobian of {len(result.jacobian_columns)} columns: "
            f"{result.jacobian_macs} MACs more, {result.jacobian_mode} mode"
        )
    print(f"{text}; working arrays of at most {result.memory_bytes} B")
    if result.accuracy:
        print(result.accuracy)


@app.command()
@takes_options("layout", "self_test")
def verify(
    model: Model,
    options: Options,
    samples: Annotated[int, typer.Option(min=2, help="Random inputs; steps if recurrent.")] = 300,
    seed: Annotated[int, typer.Option(min=0, help="Of the random inputs.")] = 0,
    as_json: Json = False,
) -> None:
    """Compare source model, meaning in float64, C on this machine and C on a Cortex-M4F.

    The source model is run by its own framework, Keras, the TensorFlow Lite interpreter or
    onnxruntime, as this program has read it: no framework opens the file, and nothing in it is
    executed.

    Every function and every layer is compared, a recurrent network along a sequence with a reset
    midway. The Cortex-M4F is emulated by QEMU; it also gives flash, RAM, stack and exact
    instruction counts. What is not installed is skipped, and the verdict says so. Exit code 1 where
    anything differs by more than rounding explains.

    \b
    Example: nn4mc verify fk.keras --jacobian all --optimize size
    """
    with Console(stderr=True).status("") as status:
        verdict = verify_model(
            model, options, samples, seed, lambda what: status.update(Text(what))
        )
    if as_json:
        _print_json(
            {
                **asdict(verdict),
                "passed": verdict.passed,
                "largest_error": verdict.largest_error,
                "stack_bytes": verdict.stack_bytes,
                "verdict": verdict.line,
            }
        )
    else:
        _tables().print(_verdict_table(verdict))
        print(verdict.line)
    raise typer.Exit(0 if verdict.passed else 1)


@app.command()
def inspect(
    model: Model,
    measure: Annotated[
        bool,
        typer.Option(help="Count instructions on an emulated Cortex-M4F, where it is installed."),
    ] = True,
    as_json: Json = False,
) -> None:
    """Show the layers of a model: shapes, weights, multiply-accumulates (MACs), instructions.

    \b
    Example: nn4mc inspect fk.keras --json
    """
    console = Console(stderr=True)
    with _errors(), console.status("") as status:
        found = inspect_model(model, measure, lambda what: status.update(Text(what)))
    if as_json:
        _print_json(asdict(found))
        return
    _tables().print(_layer_table(model, found))
    how = "counted on an emulated Cortex-M4F" if found.measured else f"estimated: {found.reason}"
    print(f"instructions of a step: {found.instructions}, {how}")


def _layer_table(model: Path, found: Inspection) -> Table:
    title = f"{model.name} ({found.model_hash}), {found.parameters} weights, {found.macs} MACs"
    table = Table(title=Text(title), title_justify="left", box=box.SIMPLE)
    for column in ("layer", "operator", "shape"):
        table.add_column(column)
    for column in ("weights", "MACs", "instructions"):
        table.add_column(column, justify="right")
    table.add_column("formula")
    rows = [(n, "input", shape, "", "", "", "") for n, shape in found.inputs.items()]
    rows += [(n, "state", (size,), "", "", "", "") for n, size in found.states.items()]
    rows += [
        (x.name, x.kind, x.shape, x.parameters, x.macs, cost, x.formula)
        for x, cost in zip(found.layers, found.layer_instructions, strict=True)
    ]
    for name, kind, shape, *rest in rows:
        cells = (name, kind, "×".join(map(str, shape)), *map(str, rest))
        table.add_row(*map(Text, cells))  # names and formulas are not markup
    return table


def _verdict_table(verdict: Verdict) -> Table:
    table = Table(box=box.SIMPLE)
    table.add_column("")
    for column in ("error, host", "error, Cortex-M4F", "instructions", "cycles", "stack"):
        table.add_column(column, justify="right")
    for f in verdict.functions:
        costs = (f.instructions, f.cycles, f.stack_bytes)
        table.add_row(Text(f.name), *_errors_of(f), *("" if c is None else str(c) for c in costs))
    for layer in verdict.layers:
        table.add_row(Text(f"layer {layer.name}"), *_errors_of(layer), "", "", "")
    return table


def _errors_of(part) -> tuple[str, str]:
    arm = "" if part.arm_error is None else f"{part.arm_error:.1e}"
    return f"{part.host_error:.1e}", arm if part.passed else f"{arm} DIFFERENT".strip()


def _tables() -> Console:
    """As wide as the terminal; a file or a pipe has room for every formula."""
    return Console() if sys.stdout.isatty() else Console(width=200)


@contextmanager
def _errors() -> Iterator[None]:
    """A user's error is one line on stderr and exit code 2."""
    try:
        yield
    except (ModelError, HostError, QemuError, OSError) as error:
        print(f"nn4mc: {printable(str(error))}", file=sys.stderr)
        raise typer.Exit(2) from None


def _print_json(value: dict) -> None:
    unicode = (sys.stdout.encoding or "").lower().startswith("utf")
    print(json.dumps(value, indent=2, ensure_ascii=not unicode))


def main() -> None:
    plain_where_needed()
    app()


if __name__ == "__main__":
    main()
