"""The command line: nn4mc compile, verify, inspect."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from nn4mc_codegen.check import ModelError
from nn4mc_codegen.compile import Layer, compile_model, describe
from nn4mc_codegen.importers import read_model
from nn4mc_codegen.verify import VerifyError, verify_model

app = typer.Typer(
    name="nn4mc",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help=(
        "Turn a trained Keras network into C99 for a microcontroller: no heap, no double, no "
        "state, and the exact Jacobian where you ask for it.\n\n"
        "Begin with: nn4mc inspect model.keras"
    ),
)

Model = Annotated[Path, typer.Argument(help="Keras model: .keras, or legacy .h5 / .hdf5.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
JACOBIAN_HELP = (
    "Inputs whose derivatives are wanted: names of the model's inputs separated by commas, a "
    "number of leading elements of the flat input, or all."
)


@app.command("compile")
def compile_command(
    model: Model,
    out_dir: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for the two files; made if missing.")
    ],
    name: Annotated[
        str, typer.Option(help="Prefix of every C name, and name of the files.")
    ] = "fk",
    jacobian: Annotated[str | None, typer.Option(help=JACOBIAN_HELP)] = None,
    as_json: Json = False,
) -> None:
    """Write NAME.h and NAME.c. The same model and options give the same bytes.

    Example: nn4mc compile fk.keras -o firmware --name fk --jacobian commands,output
    """
    with _errors():
        result = compile_model(model, out_dir, name, jacobian)
    if as_json:
        _print_json({**asdict(result), "files": [str(f) for f in result.files]})
        return
    console = Console()
    for file in result.files:
        console.print(f"{file}", highlight=False, soft_wrap=True)
    text = f"{result.parameters} weights ({4 * result.parameters} B), {result.macs} MACs a step"
    if result.jacobian_columns:
        text += (
            f"; Jacobian {result.outputs} × {len(result.jacobian_columns)}: "
            f"{result.jacobian_macs} MACs more, {result.jacobian_mode} mode"
        )
    console.print(text, highlight=False, soft_wrap=True)


@app.command()
def verify(
    model: Model,
    jacobian: Annotated[str, typer.Option(help=JACOBIAN_HELP)] = "all",
    samples: Annotated[int, typer.Option(min=1, help="How many random inputs.")] = 300,
    seed: Annotated[int, typer.Option(help="Of the random inputs.")] = 0,
    as_json: Json = False,
) -> None:
    """Build the C for this machine and compare it with the network in float64, on random inputs.

    Exit code 1 if it differs by more than float32 rounding explains.
    """
    with _errors():
        verdict = verify_model(model, jacobian, samples, seed)
    if as_json:
        _print_json({**asdict(verdict), "passed": verdict.passed})
    else:
        word = "same" if verdict.passed else "DIFFERENT"
        print(
            f"{word}: {verdict.samples} inputs, largest error of an output "
            f"{verdict.step_error:.1e}, of the Jacobian {verdict.jacobian_error:.1e} of its "
            "largest entry"
        )
    raise typer.Exit(0 if verdict.passed else 1)


@app.command()
def inspect(model: Model, as_json: Json = False) -> None:
    """Show layers, shapes, weights and multiply-accumulates (MACs) of a model."""
    with _errors():
        graph, model_hash = read_model(model)
    layers = describe(graph)
    inputs = {t.name: t.shape for t in graph.inputs}
    if as_json:
        _print_json(
            {
                "model_hash": model_hash,
                "inputs": inputs,
                "layers": [asdict(layer) for layer in layers],
                "parameters": graph.parameters,
                "macs": graph.macs,
            }
        )
    else:
        title = f"{model.name} ({model_hash}), {graph.parameters} weights, {graph.macs} MACs"
        Console().print(_layer_table(title, inputs, layers))


def _layer_table(
    title: str, inputs: dict[str, tuple[int, ...]], layers: tuple[Layer, ...]
) -> Table:
    table = Table(title=Text(title), title_justify="left")
    table.add_column("layer")
    table.add_column("operator")
    table.add_column("shape")
    table.add_column("weights", justify="right")
    table.add_column("MACs", justify="right")
    table.add_column("formula")
    rows = [(name, "input", shape, "", "", "") for name, shape in inputs.items()]
    rows += [(x.name, x.kind, x.shape, x.parameters, x.macs, x.formula) for x in layers]
    for name, kind, shape, *rest in rows:
        cells = (name, kind, "×".join(map(str, shape)), *map(str, rest))
        table.add_row(*map(Text, cells))  # names and formulas are not markup
    return table


@contextmanager
def _errors() -> Iterator[None]:
    """A user's error is one line on stderr and exit code 2."""
    try:
        yield
    except (ModelError, VerifyError, OSError) as error:
        print(f"nn4mc: {error}", file=sys.stderr)
        raise typer.Exit(2) from None


def _print_json(value: dict) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))


def main() -> None:
    app()


if __name__ == "__main__":
    main()
