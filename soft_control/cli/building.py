"""softctl codegen and build: a trained network becomes C, and C becomes firmware."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from soft_control.cli.options import folder_option
from soft_control.cli.terminal import progress_bar, say, warn

if TYPE_CHECKING:
    from soft_control.firmware_files import FirmwareBuild


def codegen(
    model: Annotated[Path, typer.Argument(help="Directory of `train`.")] = Path("models/tendon"),
    out: Annotated[Path, folder_option("Directory for the C files.")] = Path("build/fk"),
) -> None:
    """The network's C alone: step and Jacobian, as `nn4mc compile` writes them.

    For a controller of your own around the network; `build` makes the whole firmware.

    \b
    softctl codegen models/tendon --out build/fk
    """
    from nn4mc_codegen import compile_model
    from soft_control.firmware_build import jacobian_inputs
    from soft_control.learning.model import NETWORK_FILE, load_card

    result = compile_model(
        model / NETWORK_FILE, out, name="fk", jacobian=jacobian_inputs(load_card(model))
    )
    for path in result.files:
        say(path)


def build(
    model: Annotated[Path, typer.Argument(help="Directory of `train`.")] = Path("models/tendon"),
    out: Annotated[Path, folder_option("Directory for the firmware.")] = Path("build/tendon"),
    robot: Annotated[
        str | None,
        typer.Option(
            help="A later description of the same robot, by file or name; default: the one that "
            "it was trained with."
        ),
    ] = None,
    board: Annotated[
        str | None,
        typer.Option(
            help="A folder of firmware/boards, built beside the host's; default: stm32f405."
        ),
    ] = None,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify",
            help="Run the firmware in sil and pil, and keep it only if it predicts as its model.",
        ),
    ] = False,
    recordings: Annotated[
        list[Path] | None,
        typer.Option(
            "--recording",
            help="Bags or CSV files to verify by; default: some seconds of the robot's rig.",
        ),
    ] = None,
) -> None:
    """Network and controller become firmware, for the Cortex-M4F (pil, hil) and for the host (sil).

    Horizons, weights and bounds come from config/mcu.yaml, over it what the robot's description has
    below nodes for the node mcu, over that what `softctl tune` found. The model keeps the
    description that it was trained with; --robot takes a changed one without another training.
    A build that fails leaves what was there; one that succeeds takes its place in one step. One
    whose longest step or deepest stack would not suffice fails (`softctl prove` says more).

    \b
    softctl build models/tendon --out build/tendon
    softctl build models/tendon --out build/tendon --verify
    softctl build models/trunk --robot trunk.yaml --out build/trunk
    """
    from soft_control.experiment.firmware_job import Request
    from soft_control.experiment.regeneration import regenerate

    if recordings and not verify:
        raise typer.BadParameter("--recording says what to verify by: give --verify too")
    request = Request(
        model=model,
        firmware=out,
        robot=robot or "",
        board=board or "",
        verify=["sil", "pil"] if verify else [],
        recordings=recordings or [],
    )
    with progress_bar("{task.fields[note]}") as bar:
        task = bar.add_task("building", note="")
        outcome = regenerate(
            request,
            lambda said: bar.update(task, completed=said.percent, note=said.message),
            _suffices,
        )
    say(outcome.line())


def _suffices(built: FirmwareBuild) -> None:
    """Raises BuildError where stack or control period would not suffice. What cannot be bounded is
    only told."""
    from soft_control.firmware_files import BuildError
    from soft_control.proof.prove import prove

    if built.machine is None:  # no ELF
        return
    try:
        proof = prove(built)
    except ValueError as error:
        warn(f"nothing is known of the longest step: {error}")
        return
    # Further iterations are begun only while there is time for them.
    ends_in_time = built.mpc is not None and built.mpc.iterations > 1
    for line in proof.shortfalls():
        if line.startswith("a sample") and ends_in_time:
            warn(f"{line}; iterations that have no time are left out")
        else:
            raise BuildError(line)
    for line in proof.unbounded():
        warn(f"not bounded: {line}")
