"""softctl prove: what a firmware needs at the worst, from its machine code."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from soft_control.cli.terminal import FAILED, progress_bar, say, say_json, show_table, warn

if TYPE_CHECKING:
    from soft_control.learning.model import Model
    from soft_control.proof.report import NetworkBound, Proof


def prove(
    build: Annotated[Path, typer.Argument(help="Directory of `build`.")] = Path("build/tendon"),
    model: Annotated[
        Path | None,
        typer.Option(
            help="Directory of `train` that it was built from, for the bounds of its derivatives; "
            "default: models/NAME for a build/NAME, where that is the one."
        ),
    ] = None,
    samples: Annotated[
        int,
        typer.Option(
            min=0,
            max=10_000_000,
            help="Of the emulated board, which look for the longest step and the deepest stack, to "
            "compare the bounds with; 0: none.",
        ),
    ] = 20_000,
    as_json: Annotated[bool, typer.Option("--json", help="The whole record as JSON.")] = False,
) -> None:
    """Bound a firmware's longest step and deepest stack by its ELF: do they suffice?

    Instructions and modelled cycles of a step and of a whole sample by executing the machine code
    on values of which only some are known; the stack by what each function pushes and whom it
    calls, interrupts included. Exit code 1 where something cannot be bounded, where stack or
    control period do not suffice, or where a bound is wrong or too far above the worst that samples
    find. docs/proof.md says how it works and what it rests on.

    \b
    softctl prove build/tendon
    softctl prove build/tendon --samples 0 --json > proof.json
    """
    from nn4mc_codegen.trial.qemu import EMULATOR
    from soft_control.firmware_files import read_build
    from soft_control.proof.prove import prove as find

    made = read_build(build)
    learned = _model_of(build, model, made.model_hash)
    if samples > 0 and shutil.which(EMULATOR) is None:
        warn(f"{EMULATOR} is not installed: the bounds are compared with nothing")
        samples = 0
    with progress_bar("{task.fields[note]}") as bar:
        bar.add_task("proving", note=f"{build}")
        proof = find(made, samples, learned)
    failures = proof.failures()
    if as_json:
        say_json(proof.model_dump(mode="json") | {"failures": failures})
    else:
        _show(proof)
        for line in failures:
            warn(line)
        say(f"{build}: {'bounded' if not failures else 'NOT proved'}")
    if failures:
        raise typer.Exit(FAILED)


def _model_of(build: Path, model: Path | None, wanted: str) -> Model | None:
    from soft_control.learning.model import ModelError, RecurrentModel, load_model

    try:
        found = load_model(model or Path("models") / build.name)
    except (ModelError, OSError):
        if model is not None:
            raise
        return None
    if model is None and found.card.model_hash != wanted:
        return None
    if isinstance(found, RecurrentModel):
        warn(f"the model {wanted} is recurrent: its derivatives are not bounded")
        return None
    return found


def _show(proof: Proof) -> None:
    seen = proof.seen
    works = [proof.step] if proof.step else []
    works += [proof.sample, proof.sample_after_gap, *proof.interrupts]
    rows = [
        (
            work.name, f"{work.instructions:,}", f"{work.cycles:,}",
            _over(work.instructions, seen.step_instructions if seen else 0)
            if work is proof.step else "",
        )
        for work in works
    ]  # fmt: skip
    show_table("the most of a", "instructions", "modelled cycles", "worst seen", rows=rows)
    has = f"{proof.period_cycles:,}" if proof.period_cycles else "of a clock that is not known"
    say(
        f"control period: {has} cycles, at most {proof.needed_cycles:,} needed, interrupts "
        f"included; with what wait states are assumed to cost {proof.needed_with_waits:,}"
    )
    used = _over(proof.stack_bytes, seen.stack_bytes if seen else 0)
    used = f", seen {used}" if used else ""
    say(f"stack: {proof.stack_bytes:,} of {proof.stack_reserved:,} bytes{used}")
    say("  " + " > ".join(f"{piece.name} {piece.bytes}" for piece in proof.stack))
    most = list(proof.by_function.items())[:8]
    say("longest step: " + ", ".join(f"{name} {count:,}" for name, count in most))
    said = [f"{loop.place} {loop.turns}" for loop in proof.loops if loop.said]
    say(
        f"loops: {len(proof.loops)}, all but {len(said)} bounded by the machine code alone; "
        "LOOP_BOUND says: " + ", ".join(said)
    )
    if proof.blind_stores:
        say(
            f"{len(proof.blind_stores)} stores at addresses that are not known, taken to leave "
            "alone what the compiler keeps on the stack: "
            + ", ".join(dict.fromkeys(proof.blind_stores))
        )
    if proof.network is not None:
        _show_network(proof.network)


def _over(bound: int, seen: int) -> str:
    return f"{seen:,}: {bound / seen:.2f} times" if seen else ""


def _show_network(network: NetworkBound) -> None:
    gains = ", ".join(
        f"{gain:.3g} {unit}"
        for row, units in zip(network.command_gain, network.units, strict=True)
        for gain, unit in zip(row, units, strict=True)
    )
    say(f"network, over its box of inputs: next output by a command held, at most {gains}")
    say(
        f"  all commands together, normalised: {network.loop_gain:.3g}; the MPC's own gain at most "
        f"{network.mpc_gain:.3g}; so that of the loop in one sample at most "
        f"{network.loop_gain * network.mpc_gain:.3g}"
    )
    say(f"  Lipschitz constant of the next output by all lags, normalised: {network.lipschitz:.3g}")
