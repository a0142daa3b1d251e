"""softctl codegen and build: a trained network becomes C, and C becomes firmware."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from soft_control.cli.terminal import console, say


def codegen(
    model: Annotated[Path, typer.Argument(help="Directory of `train`.")] = Path("models/tendon"),
    out: Annotated[Path, typer.Option(help="Directory for the C files.")] = Path("build/fk"),
) -> None:
    """The network's C alone: step and Jacobian, as `nn4mc compile` writes them."""
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
    out: Annotated[Path, typer.Option(help="Directory for the firmware.")] = Path("build/tendon"),
) -> None:
    """Network and controller become firmware, for the Cortex-M4F (pil, hil) and for the host (sil).

    Horizons, weights and bounds come from config/mcu.yaml.
    """
    from soft_control.experiment.bringup import mpc_settings
    from soft_control.firmware_build import build as make
    from soft_control.learning.model import load_card

    with console.status("compiling"):
        built = make(model, mpc_settings(load_card(model).rig), out)
    say(
        f"firmware {built.build_id}: flash {built.flash_bytes:,} B ({built.flash_percent:.2f} % of "
        f"1 MiB), RAM {built.ram_bytes:,} B, in {out}"
    )
