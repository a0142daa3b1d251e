"""What a control step of a trained model costs on the Cortex-M4F: instructions and modelled cycles.

The problems are moments of a recorded run: what was commanded and measured until then, and as the
reference what was measured afterwards.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import numpy as np
from solver import OWN, write_header

from nn4mc_codegen.trial.qemu import measure
from soft_control.benchmarks.host_solver import compile_network, sizes_of, weights_of, write_config
from soft_control.control.mpc_settings import MpcSettings
from soft_control.learning.card import NETWORK_FILE, load_card
from soft_control.learning.recording import Recording
from soft_control.paths import share

MOMENTS = 12


def step_cycles(model: Path, settings: MpcSettings, run: Recording) -> dict[str, int]:
    """Instructions and modelled cycles (`nn4mc_codegen.trial.cycles`) of `mpc_step` at the one of
    `MOMENTS` moments of a run, on the control grid, that takes most."""
    card = load_card(model)
    sizes, weights = sizes_of(card, settings), weights_of(card, settings)
    commands = card.normalised_command(run.command(card.command_names))
    outputs = card.normalised_output(run.output(card.output_names))
    past = sizes.input_delay + sizes.input_lags
    first, last = past, len(run) - sizes.horizon - 1
    problems = []
    for k in np.linspace(first, last, MOMENTS).astype(int):
        parts = (
            *vars(weights).values(),
            commands[k - 1 : k - 1 - past : -1] if k > past else commands[k - past : k][::-1],
            outputs[k : k - sizes.output_lags : -1],
            np.zeros(1),  # an unused slot: signals stand still, and these networks see none
            np.tile(commands[k - 1], sizes.control_horizon),
            outputs[k + 1 : k + 1 + sizes.horizon],
        )
        problems.append(np.concatenate([np.ravel(part) for part in parts]))
    x = np.array(problems)
    source = share() / "firmware" / "src"
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        compile_network(model / NETWORK_FILE, folder, sizes)
        write_config(folder, sizes, settings.iterations)
        config = folder / "controller_config.h"
        trials = f"LINE_SEARCH_TRIALS {settings.line_search_trials}"
        config.write_text(re.sub(r"LINE_SEARCH_TRIALS \d+", trials, config.read_text()))
        write_header(folder, x.shape[1], 1 + sizes.commands * sizes.control_horizon)
        (folder / "solver.c").write_text(OWN)
        sources = [folder / "solver.c", folder / "fk.c", *sorted((source / "solver").glob("*.c"))]
        flags = [f"-I{source}"]
        counted = measure(folder, "solver", x, sources=sources, flags=flags).instructions_each
        worst = int(np.argmax(counted))
        traced = measure(folder, "solver", x[[worst]], cycles=True, sources=sources, flags=flags)
    return {"instructions": int(counted[worst]), "cycles": int(traced.cycles)}
