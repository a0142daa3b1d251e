"""Is a firmware what its model means? Its generated C first, then the whole firmware on recordings.

model file -> meaning in float64 -> the build's fk.c, here and on an emulated Cortex-M4F
recording  -> free run of the model in float64 -> the same by the firmware, in sil and in pil
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from nn4mc_codegen.compile import emit_graph, load_graph
from nn4mc_codegen.graph.options import Options
from nn4mc_codegen.printing.emitted import Origin
from nn4mc_codegen.trial.chips import STM32F405
from nn4mc_codegen.trial.host import HostCode, build_library
from nn4mc_codegen.trial.oracle import make_cases
from nn4mc_codegen.verify import FunctionVerdict, check_function
from soft_control.experiment.closed_loop import record
from soft_control.experiment.firmware_job import Prediction, Target, Verified
from soft_control.experiment.replay import replay
from soft_control.firmware_build import NETWORK_NAME
from soft_control.firmware_files import FirmwareBuild
from soft_control.learning.card import NETWORK_FILE, ModelCard
from soft_control.learning.dataset import Recording
from soft_control.learning.errors import distances, rmse
from soft_control.learning.excitation import excitation
from soft_control.learning.model import (
    Model,
    card_windows,
    free_run,
    load_model,
    normalised_windows,
)
from soft_control.learning.suitability import suited
from soft_control.link.opening import open_session
from soft_control.rigs import RIGS

RECORDED_S = 10.0
"""Of each recording, of the robot's own rig, or of made-up commands: the emulator predicts the
tendon rig's in 2.7 s."""
SEED = 900
"""Of what is recorded or made up: that of `softctl check-model`, which no training has seen."""
INPUTS = 100
"""Of the recordings, on which the functions of the C are compared."""
ROUNDING = 5.0
"""Times what nn4mc allows for random inputs: nobody has chosen those of recordings, and the tanh of
each unit is good to a millionth."""
DIFFERENCE_MAX = 1e-4
"""Of a free run by the firmware from one in float64, in units of the output's scale. That of the
tendon rig's is 1.9e-6 after 10 s; a wrong lag or offset makes more than 1e-2."""
MOVE = 0.05
"""Of its range that a made-up command moves in a sample at most."""


def verify(
    build: FirmwareBuild,
    model_dir: Path,
    options: Options,
    targets: Sequence[Target],
    recordings: Sequence[Recording] = (),
    progress: Callable[[float, str], None] = lambda share, what: None,
) -> Verified:
    """Compares the build with the model that it was made from with the compiler's `options`.

    recordings: what the free runs follow, at most RECORDED_S of each; where there are none the
    robot's own rig is recorded, and for a robot that no rig simulates commands are made up within
    the ranges of the training. progress: the share done, and what is being done.

    Raises ModelError, RecordingError, LinkError, HostError and QemuError for what cannot be read,
    run or compiled.
    """
    progress(0.0, "recording")
    model = load_model(model_dir)
    card = model.card
    runs = [_beginning(suited(card, run), card) for run in recordings or [_own_recording(card)]]
    progress(0.1, "comparing the generated C with the network")
    functions = _functions(build, model_dir, options, _windows(card, runs), "pil" in targets)
    wrong = [f"{f.name} of the C errs by {_worst(f):.1e}" for f, passed in functions if not passed]
    same_bits = all(f.same_bits is not False for f, _ in functions)

    meant = [free_run(model, run) for run in runs]
    difference, costs = 0.0, np.zeros(0)
    first: list[np.ndarray] = []
    for number, target in enumerate(targets):
        progress(0.4 + 0.6 * number / len(targets), f"predicting in {target}")
        with open_session(target, build) as session:
            answers = [replay(session, card, run) for run in runs]
        predicted = [answer.predicted for answer in answers]
        first = first or predicted
        same_bits &= all(a.tobytes() == b.tobytes() for a, b in zip(first, predicted, strict=True))
        if target == "pil":
            costs = np.concatenate([answer.step_costs for answer in answers])
        away = _difference(model, [answer.network for answer in answers], meant)
        difference = float(np.maximum(difference, away))
        if not away <= DIFFERENCE_MAX:
            wrong.append(f"in {target} a prediction leaves the model's by {away:.1e} of its scale")
    return Verified(
        recordings=[run.source for run in runs],
        samples=sum(map(len, runs)),
        targets=list(targets),
        difference=difference,
        c_error=float(np.max([_worst(f) for f, _ in functions])),
        instructions=int(costs.max()) if len(costs) else None,
        same_bits=same_bits,
        prediction=_predictions(card, first, runs) if recordings or card.rig in RIGS else [],
        wrong=wrong,
    )


def _own_recording(card: ModelCard) -> Recording:
    """Of the rig that simulates the card's robot; else commands and signals without outputs."""
    if card.rig in RIGS:
        return record(card.rig, SEED, RECORDED_S, card.rate_hz)
    robot, trained = card.robot, card.trained
    moved = np.array(trained.commands).T if trained else [robot.command_min, robot.command_max]
    commands = _made_up(card, *moved)
    signals = np.zeros((len(commands), 0))
    if card.signal_names:
        middle, half = np.array(card.signal_offset), np.array(card.signal_scale)
        felt = np.array(trained.signals).T if trained else [middle - half, middle + half]
        signals = _made_up(card, *felt)
    return Recording(
        source="made up",
        t_s=np.arange(len(commands)) / card.rate_hz,
        commands=commands,
        outputs=np.tile(robot.output_rest, (len(commands), 1)),
        signals=signals,
        reference=None,
        command_names=tuple(card.command_names),
        output_names=tuple(card.output_names),
        signal_names=tuple(card.signal_names),
    )


def _made_up(card: ModelCard, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """(T, …) values that wander within their ranges; one that was always the same stays so."""
    span = np.maximum(high - low, 1e-9)
    return excitation(RECORDED_S, card.rate_hz, low, low + span, MOVE * span, SEED)


def _beginning(run: Recording, card: ModelCard) -> Recording:
    """Its first RECORDED_S."""
    samples = min(len(run), round(RECORDED_S * card.rate_hz))
    return run.rows(np.arange(samples), tuple(s for s in run.starts if s < samples))


def _windows(card: ModelCard, runs: Sequence[Recording]) -> np.ndarray:
    """(INPUTS, inputs) float32, the network's inputs at instants all over the recordings."""
    x = np.vstack([normalised_windows(card, card_windows(card, run)[0]) for run in runs])
    chosen = np.linspace(0, len(x) - 1, min(INPUTS, len(x))).astype(int)
    return x[chosen].astype(np.float32)


def _functions(
    build: FirmwareBuild, model_dir: Path, options: Options, x: np.ndarray, on_arm: bool
) -> list[tuple[FunctionVerdict, bool]]:
    """Each function of the build's C on inputs x (S, inputs), and whether it means the network."""
    graph, model_hash = load_graph(model_dir / NETWORK_FILE, options)
    columns = emit_graph(graph, options, Origin(NETWORK_FILE, model_hash, "")).columns
    header = build.directory / f"{NETWORK_NAME}.h"
    text = header.read_text(encoding="utf-8")
    found = []
    with tempfile.TemporaryDirectory() as scratch:
        library = Path(scratch) / "network.so"
        build_library([build.directory / f"{NETWORK_NAME}.c"], library)
        code = HostCode(library, header)
        for case in make_cases(graph, text, NETWORK_NAME, columns, x):
            chip = STM32F405 if on_arm else None
            verdict = check_function(build.directory, NETWORK_NAME, code, case, chip, cycles=False)
            allowed = max(case.tolerance[name] / case.scale[name] for name in case.expected)
            found.append((verdict, _worst(verdict) <= ROUNDING * allowed))
    return found


def _worst(verdict: FunctionVerdict) -> float:
    """Its error, here and on the Cortex-M4F; np.max, unlike max, does not lose a NaN."""
    return float(np.max([verdict.host_error, verdict.arm_error or 0.0]))


def _difference(
    model: Model, predicted: Sequence[np.ndarray], meant: Sequence[np.ndarray]
) -> float:
    """Largest of free runs (T, n) from those that are meant, in units of the output's scale."""
    apart = np.vstack(predicted) - np.vstack(meant)
    return float(np.max(np.abs(apart) / np.array(model.card.output_scale)))


def _predictions(
    card: ModelCard, predicted: Sequence[np.ndarray], runs: Sequence[Recording]
) -> list[Prediction]:
    if not predicted:
        return []
    error = np.vstack(predicted) - np.vstack([run.output(card.output_names) for run in runs])
    rows = zip(
        card.robot.groups, rmse(card.robot, error), distances(card.robot, error), strict=True
    )
    return [
        Prediction(group=g.name, unit=g.unit, rmse=value, worst=float(np.max(away)))
        for g, value, away in rows
    ]
