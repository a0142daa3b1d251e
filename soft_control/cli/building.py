"""softctl codegen and build: a trained network becomes C, and C becomes firmware."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from soft_control.cli.options import folder_option
from soft_control.cli.terminal import progress_bar, say


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
) -> None:
    """Network and controller become firmware, for the Cortex-M4F (pil, hil) and for the host (sil).

    Horizons, weights and bounds come from config/mcu.yaml, over it what the robot's description has
    below nodes for the node mcu, over that what `softctl tune` found. The model keeps the
    description that it was trained with; --robot takes a changed one without another training.

    \b
    softctl build models/tendon --out build/tendon
    softctl build models/trunk --robot trunk.yaml --out build/trunk
    """
    from soft_control import robots
    from soft_control.experiment.node_parameters import model_settings
    from soft_control.firmware_build import build as make

    with progress_bar() as bar:
        bar.add_task("compiling", total=None)
        settings = model_settings(model, robots.load(robot) if robot else None)
        built = make(model, settings, out, ("host", board) if board else None)
    say(
        f"firmware {built.build_id}: flash {built.flash_bytes:,} B ({built.flash_percent:.2f} %), "
        f"RAM {built.ram_bytes:,} B, in {out}"
    )
