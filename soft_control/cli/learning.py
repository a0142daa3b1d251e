"""softctl train, adopt, twin and check-model: recordings and networks, which are judged."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from soft_control.cli.options import described, folder_option, from_json, seed_option
from soft_control.cli.terminal import FAILED, progress_bar, say, say_json, show_table, warn
from soft_control.robots.description import RobotDescription


def train(
    recordings: Annotated[
        list[Path],
        typer.Argument(help="Bags of `collect` (or directories of them) and CSV files."),
    ],
    out: Annotated[Path, folder_option("Directory for the model.")] = Path("models/tendon"),
    validation: Annotated[
        list[Path] | None,
        typer.Option(
            help="Runs to choose the best network by; default: the last recording, or the end of "
            "one that is alone."
        ),
    ] = None,
    rig: Annotated[
        str | None,
        typer.Option(help="Robot that was recorded; default: the one that the bags' runs name."),
    ] = None,
    robot: Annotated[
        Path | None,
        typer.Option(help="The same by the file that describes it, such as `describe` writes."),
    ] = None,
    rate_hz: Annotated[
        float | None, described("rate_hz", "Control rate, Hz; default: the robot's.")
    ] = None,
    settings: Annotated[
        str, typer.Option(help="More training settings as JSON, e.g. '{\"hidden\": [16, 16]}'.")
    ] = "{}",
) -> None:
    """Learn a robot's forward kinematics; prints errors and writes fk.keras and fk.json.

    The errors are those of runs that the network was not trained on: where --validation names none
    the last recording, or of one that is alone the last tenth (setting held_out_share). --settings
    takes every field of TrainingSettings, see docs/reference/configuration.md, and goes over what
    the robot's description has below training. With the setting sessions "aligned", each argument
    is a day of its own with maps of its own: docs/adaptation.md.

    \b
    softctl train data/tendon --out models/tendon
    softctl train observations_1.csv --validation observations_2.csv --robot trunk.yaml --out m
    softctl train monday.csv tuesday.csv --validation friday.csv --rig tendon --out models/week \\
      --settings '{"signals": false, "hidden": [24]}'
    """
    from soft_control import robots
    from soft_control.learning.dataset import hold_out, read_recordings
    from soft_control.learning.settings import TrainingSettings, described_settings
    from soft_control.learning.training import train as fit
    from soft_control.rigs import describe

    if rig and robot:
        raise typer.BadParameter("--rig and --robot both name the robot: give one of them")
    from_json(TrainingSettings, settings, "--settings", rig=rig, rate_hz=rate_hz or 120.0)
    description = robots.load(robot.resolve()) if robot else describe(rig) if rig else None
    training = read_recordings(recordings, description)
    held_out = read_recordings(validation or [], description)
    recorded = description or next((run.robot for run in training if run.robot), None)
    base = {}
    if recorded:
        asked = described_settings(recorded, str(robot or robots.said_in(recorded)))
        base, rate_hz = recorded.training, rate_hz or asked.rate_hz
        warn_of_nodes(recorded, rate_hz)
    chosen = from_json(
        TrainingSettings, settings, "--settings", base, rig=rig, rate_hz=rate_hz or 120.0
    )
    if not held_out:
        training, held_out = hold_out(
            training, chosen.held_out_share, of_each=chosen.sessions == "aligned"
        )
    with progress_bar("{task.fields[note]}") as bar:
        task = bar.add_task("training", note="")

        def show(state) -> None:
            note = f"{state.stage}, loss {state.loss:.2e}"
            if state.free_run:
                note += f", free run {state.free_run}"
            bar.update(task, completed=state.update, total=state.updates, note=note)

        card = fit(training, held_out, chosen, out, show)
    values = [errors.model_dump(exclude={"group", "unit"}) for errors in card.metrics]
    rows = [
        (name.replace("_", " "), *(f"{errors[name]:.3f}" for errors in values))
        for name in values[0]
    ]
    columns = [f"{errors.group}, {errors.unit}" for errors in card.metrics]
    show_table("error", *columns, rows=rows, title=f"on {', '.join(card.evaluated_on)}")
    if len(card.sessions) > 1:
        show_sessions(card)
    say(f"model {card.model_hash} in {out}")


def warn_of_nodes(robot: RobotDescription, rate_hz: float) -> None:
    """A network needs nothing of what the description asks of the MPC, but who has waited for it
    would hear only from `softctl build` that something is misspelt there."""
    from soft_control.experiment.node_parameters import mpc_settings

    try:
        mpc_settings(robot, rate_hz)
    except ValueError as fault:
        warn(f"{fault}; a firmware will need it, the network does not")


def show_sessions(card) -> None:
    """What each session differs by from the first one. Gains of an output by another one of its
    point are in the model card alone."""
    others = card.sessions[1:]
    rows = []
    for i, q in enumerate(card.robot.commands):
        rows.append((q, [(one.command_offset[i], one.command_gain[i]) for one in others]))
    for i, q in enumerate(card.robot.outputs):
        rows.append((q, [(one.output_offset[i], one.output_gain[i][i]) for one in others]))
    show_table(
        "offset (gain)",
        *(one.session for one in others),
        rows=[
            (q.title, *(f"{q.factor * offset:.3g} ({gain:.3f})" for offset, gain in maps))
            for q, maps in rows
        ],
        title=f"by what sessions differ from {card.sessions[0].session}",
    )


def adopt(
    network: Annotated[
        Path, typer.Argument(help="Model file: ONNX of PyTorch and others, Keras or TFLite.")
    ],
    recordings: Annotated[
        list[Path] | None,
        typer.Option(
            "--recording",
            help="Bags or CSV files of the robot, from which scales and ranges come; at least one.",
        ),
    ] = None,
    out: Annotated[Path, folder_option("Directory for the model.")] = Path("models/adopted"),
    validation: Annotated[
        list[Path] | None,
        typer.Option(
            help="Runs to judge the network by; default: the last recording, or the end of one "
            "that is alone."
        ),
    ] = None,
    robot: Annotated[
        Path | None,
        typer.Option(help="File that describes the robot, such as `describe` writes."),
    ] = None,
    rig: Annotated[
        str | None,
        typer.Option(help="Robot by its name; default: the one that the bags' runs name."),
    ] = None,
    settings: Annotated[
        str, typer.Option(help="Lags and the like as JSON, e.g. '{\"input_lags\": 2}'.")
    ] = "{}",
) -> None:
    """Take a network that was trained elsewhere; writes fk.keras and fk.json if it is fit.

    Its input is [commands, output, past outputs, signals], newest first, as one vector or as named
    inputs, its output the next outputs, all in the units of the robot's description: y(k) + f(x),
    where f is made of linear layers with tanh between them and of scales. A recurrent network (RNN,
    GRU, LSTM, with dense layers after them) takes one time step after the other, mostly with one
    lag of each, '{"input_lags": 1, "output_lags": 1}', and may leave y(k) out. Lags, delay and
    whether it sees signals are those of --settings and of the description, as for `train`. What it
    becomes predicts what it predicts, or is refused; then it is checked as by `check-model`, and
    what is unfit is not written: exit code 1.

    \b
    softctl adopt arm.onnx --robot arm.yaml --recording monday.csv --recording friday.csv --out m
    """
    from soft_control import robots
    from soft_control.learning.adopting import adopt as take
    from soft_control.learning.dataset import hold_out, read_recordings
    from soft_control.learning.settings import TrainingSettings, described_settings
    from soft_control.rigs import describe

    if rig and robot:
        raise typer.BadParameter("--rig and --robot both name the robot: give one of them")
    if not recordings:
        raise typer.BadParameter("name runs of the robot by --recording: scales come from them")
    description = robots.load(robot.resolve()) if robot else describe(rig) if rig else None
    runs = read_recordings(recordings, description)
    judged = read_recordings(validation or [], description)
    known = description or next((run.robot for run in runs if run.robot), None)
    base, rate_hz = {}, 120.0
    if known:
        asked = described_settings(known, str(robot or robots.said_in(known)))
        base, rate_hz = known.training, asked.rate_hz
        warn_of_nodes(known, rate_hz)
    chosen = from_json(TrainingSettings, settings, "--settings", base, rig=rig, rate_hz=rate_hz)
    if not judged:
        runs, judged = hold_out(runs, chosen.held_out_share)
    card, report = take(network, runs, judged, chosen, out)
    show_model_report(report)
    if not report.fit:
        say("nothing written")
        raise typer.Exit(FAILED)
    say(f"model {card.model_hash} in {out}")


def twin(
    recordings: Annotated[
        list[Path],
        typer.Argument(help="Bags (or directories of them) and CSV files."),
    ],
    robot: Annotated[
        Path | None,
        typer.Option(
            help="File that describes the robot, such as `describe` writes; default: what the "
            "bags' runs say of theirs."
        ),
    ] = None,
    out: Annotated[Path, folder_option("Directory for the twin.")] = Path("twins/robot"),
    validation: Annotated[
        Path | None,
        typer.Option(
            help="Run to judge the twin by; default: the last recording, of a lone one its end."
        ),
    ] = None,
    rate_hz: Annotated[
        float | None, described("rate_hz", "Rate of the twin, Hz; default: the robot's.")
    ] = None,
    settings: Annotated[
        str, typer.Option(help="More settings as JSON, e.g. '{\"networks\": 8}'.")
    ] = "{}",
) -> None:
    """Learn a simulated rig from recordings, to rehearse on before anything moves.

    Several networks, larger than a controller's and from seeds of their own, predict outputs and
    signals; transport delay and noise are measured. Its directory may stand wherever a rig's name
    is taken. Nothing is chosen on the run that it is judged by. --settings takes every field of
    TwinSettings, see docs/reference/configuration.md.

    \b
    softctl twin observations_1.csv --robot trunk.yaml --out twins/trunk
    softctl twin data/arm --validation friday --out twins/arm --settings '{"networks": 8}'
    """
    from soft_control import robots
    from soft_control.learning.dataset import hold_out, read_recording, read_recordings
    from soft_control.learning.settings import HELD_OUT_SHARE
    from soft_control.learning.twin import TwinSettings, learn

    chosen = from_json(TwinSettings, settings, "--settings")
    description = robots.load(robot.resolve()) if robot else None
    runs = read_recordings(recordings, description)
    if validation:
        judged = read_recording(validation, description)
    else:
        runs, (judged,) = hold_out(runs, HELD_OUT_SHARE)
    with progress_bar("{task.fields[note]}") as bar:
        task = bar.add_task("learning a twin", note="")

        def show(state) -> None:
            note = f"{state.stage}, loss {state.loss:.2e}" if state.loss == state.loss else ""
            bar.update(task, completed=state.update, total=state.updates, note=note or state.stage)

        card = learn(runs, judged, chosen, rate_hz, out, show)
    show_twin(card)
    say(f"twin of {card.robot.name} in {out}; to rehearse on it:")
    say(f"softctl run --rig {out} --model MODEL --firmware BUILD --rate-hz {card.rate_hz:g}")


def show_twin(card) -> None:
    show_table(
        "free run, RMSE",
        "twin",
        "spread of what was measured",
        rows=[
            (
                f"{e.group}{'' if e.unit == '1' else f', {e.unit}'}",
                f"{e.error:.3f}",
                f"{e.spread:.3f}",
            )
            for e in card.free_run
        ],
        title=f"on {card.held_out}",
    )
    robot = card.robot
    felt = {signal.name: signal for signal in robot.signals}
    quantities = [*robot.outputs, *(felt[name] for name in card.moving)]
    show_table(
        "quantity",
        "at rest",
        "noise",
        rows=[
            (q.title, f"{q.factor * at_rest:.5g}", f"{q.factor * noise:.2g}")
            for q, at_rest, noise in zip(quantities, card.at_rest, card.noise, strict=True)
        ],
    )
    delay_ms = 1e3 * card.input_delay / card.rate_hz
    say(f"transport delay {card.input_delay} samples, {delay_ms:.0f} ms")


def check_model(
    model: Annotated[Path, typer.Argument(help="Directory of `train`.")] = Path("models/tendon"),
    recordings: Annotated[
        list[Path] | None,
        typer.Option(
            "--recording",
            help="Bags or CSV files that it was not trained on; default: half a minute of a rig.",
        ),
    ] = None,
    rig: Annotated[
        str | None,
        described(
            "rig", "Rig or directory of a twin to take that from; default: the model's own rig."
        ),
    ] = None,
    seed: Annotated[int, seed_option("Of what is drawn at random.")] = 900,
    as_json: Annotated[bool, typer.Option("--json", help="The whole report as JSON.")] = False,
) -> None:
    """Is a network fit for the MPC? Says so before it is let near a rig; exit code 1 if it is not.

    Compares the compiled C and its derivatives with the network's meaning, looks for units that do
    nothing, measures the prediction error by horizon with live and with held signals, the free run
    and its spectral radius, and whether the gains have the signs that the recordings show.

    \b
    softctl check-model models/tendon --recording friday.csv
    softctl check-model models/tendon --json > report.json
    softctl check-model models/trunk --rig twins/trunk
    """
    from soft_control.learning.dataset import read_recordings
    from soft_control.learning.model import load_card
    from soft_control.learning.model_check import check

    card = load_card(model)
    if recordings and rig:
        raise typer.BadParameter("--recording and --rig both say what to check by: give one")
    if recordings:
        runs = read_recordings(recordings, card.robot)
    else:
        from soft_control.experiment.checks import rig_for
        from soft_control.experiment.closed_loop import record

        runs = [record(rig_for(card, model, rig), seed, 30.0, card.rate_hz)]
    found = check(model, runs, seed)
    if as_json:
        say_json(found.model_dump(mode="json"))
    else:
        show_model_report(found)
    if not found.fit:
        raise typer.Exit(FAILED)


def show_model_report(found) -> None:
    rows = [
        (
            f"{r.group}, {r.unit}: {r.samples} sample{'s' if r.samples > 1 else ''} ahead",
            f"{r.live:.3f}",
            f"{r.held:.3f}",
            f"{r.standing_still:.3f}",
        )
        for r in found.rollouts
    ]
    rows += [
        (f"{f.group}, {f.unit}: free run, whole recording", f"{f.error:.3f}", "", "")
        for f in found.free_runs
    ]
    show_table("prediction error, RMSE", "signals live", "held", "standing still", rows=rows)
    facts = [
        ("C against network: outputs", f"{found.step_error:.1e}"),
        ("C against network: derivatives", f"{found.jacobian_error:.1e}"),
        *(
            (
                f"idle {layer.activation} units of {layer.layer}",
                f"{len(layer.idle)} of {layer.units}",
            )
            for layer in found.layers
        ),
        (
            "spectral radius of the free run, median / max",
            f"{found.spectral_radius_median:.3f} / {found.spectral_radius_max:.3f}",
        ),
        ("gains of the right sign", f"{100 * found.gain_signs_agree:.0f} %"),
    ]
    show_table(rows=facts)
    verdict = "fit for the MPC" if found.fit else "UNFIT: " + "; ".join(found.unfit)
    say(f"model {found.model_hash}: {verdict}")
