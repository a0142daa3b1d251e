"""softctl: from a rig to firmware in the loop."""

from __future__ import annotations

import json
import signal
import sys
import warnings
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.panel import Panel
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

from soft_control.bringup import Experiment

app = typer.Typer(
    help=__doc__
    + """

The way: collect (record the rig) -> train (learn its forward kinematics) -> build (network and
controller become firmware) -> run (track a reference with it) -> report. `replay` checks the
firmware against recorded runs; `codegen` gives the network's C alone.""",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
)
console = Console()
errors = Console(stderr=True)


def main() -> None:
    """Entry point: what a user got wrong is one line and exit code 2, a failed run exit code 1."""
    from soft_control.runner import RunFailed

    warnings.showwarning = show_warning
    # A shell that starts a job in the background makes it deaf to SIGINT, and Python leaves it so.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        app()
    except (ValueError, RuntimeError, OSError) as error:
        said = invalid(error) if isinstance(error, ValidationError) else str(error)
        errors.print(f"error: {said}", style="red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(1 if isinstance(error, RunFailed) else 2)


def invalid(error: ValidationError) -> str:
    """The first thing wrong with an option or setting, as one line."""
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc']))} = {first['input']!r}: {first['msg']}"


def show_warning(message: Warning | str, *_: object) -> None:
    """A warning is a sentence for the user; where in our code it was raised is not."""
    errors.print(f"warning: {message}", style="yellow", markup=False, highlight=False)


def described(field: str, **options: object) -> typer.models.OptionInfo:
    """An option that is a field of Experiment, with the field's description."""
    return typer.Option(help=Experiment.model_fields[field].description, **options)


@app.command()
def collect(
    out: Annotated[Path, typer.Option(help="Directory for the recorded runs.")] = Path(
        "data/tendon"
    ),
    rig: Annotated[str, described("rig")] = "tendon",
    runs: Annotated[
        int, typer.Option(min=1, help="How many runs; each has a seed of its own.")
    ] = 4,
    duration_s: Annotated[float, typer.Option(min=1, help="Length of each run.")] = 60.0,
    rate_hz: Annotated[float, described("rate_hz")] = 120.0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the first run; then one up.")] = 100,
) -> None:
    """Record a rig under open-loop commands: one rosbag2 bag a run, in OUT/run_<seed>."""
    for i in range(runs):
        experiment = Experiment(
            rig=rig,
            controller="excitation",
            rate_hz=rate_hz,
            duration_s=duration_s,
            seed=seed + i,
            out=out / f"run_{seed + i}",
        )
        carry_out(experiment, f"recording {i + 1} of {runs}")
        console.print(f"recorded {experiment.out}/bag", highlight=False)


@app.command()
def train(
    recordings: Annotated[
        list[Path],
        typer.Argument(help="Bags of `collect` (or directories of them) and CSV files."),
    ],
    out: Annotated[Path, typer.Option(help="Directory for the model.")] = Path("models/tendon"),
    validation: Annotated[
        list[Path] | None,
        typer.Option(help="Runs to choose the best network by; default: the last recording."),
    ] = None,
    rig: Annotated[str, described("rig")] = "tendon",
    rate_hz: Annotated[float, described("rate_hz")] = 120.0,
    settings: Annotated[
        str, typer.Option(help="More training settings as JSON, e.g. '{\"hidden\": [16, 16]}'.")
    ] = "{}",
) -> None:
    """Learn a rig's forward kinematics; prints errors in mm and writes fk.keras and fk.json."""
    from soft_control.dataset import read_recording
    from soft_control.training import TrainingSettings
    from soft_control.training import train as fit

    try:
        more = json.loads(settings)
    except json.JSONDecodeError as error:
        raise ValueError(f"--settings {settings!r} is no JSON: {error}") from None
    chosen = TrainingSettings(rig=rig, rate_hz=rate_hz, **more)
    training = [read_recording(path) for path in recording_paths(recordings)]
    held_out = [read_recording(path) for path in recording_paths(validation or [])]
    if not held_out and len(training) > 1:
        held_out = [training.pop()]
    with progress_bar("{task.fields[note]}") as bar:
        task = bar.add_task("training", note="")

        def show(state) -> None:
            note = f"{state.stage}, loss {state.loss:.2e}"
            if state.free_run_mm is not None:
                note += f", free run {state.free_run_mm:.2f} mm"
            bar.update(task, completed=state.update, total=state.updates, note=note)

        card = fit(training, held_out, chosen, out, show)
    rows = Table("error, mm", "", title=f"on {', '.join(card.evaluated_on)}", title_justify="left")
    for name, value in card.metrics.items():
        rows.add_row(name.replace("_", " "), f"{value:.3f}")
    console.print(rows)
    console.print(f"model {card.model_hash} in {out}", highlight=False)


@app.command()
def codegen(
    model: Annotated[Path, typer.Argument(help="Directory of `train`.")] = Path("models/tendon"),
    out: Annotated[Path, typer.Option(help="Directory for the C files.")] = Path("build/fk"),
) -> None:
    """The network's C alone: step and Jacobian, as `nn4mc compile` writes them."""
    from nn4mc_codegen import compile_model
    from soft_control.evaluation import NETWORK_FILE, load_card
    from soft_control.firmware import jacobian_inputs

    result = compile_model(
        model / NETWORK_FILE, out, name="fk", jacobian=jacobian_inputs(load_card(model))
    )
    for path in result.files:
        console.print(path, highlight=False)


@app.command()
def build(
    model: Annotated[Path, typer.Argument(help="Directory of `train`.")] = Path("models/tendon"),
    out: Annotated[Path, typer.Option(help="Directory for the firmware.")] = Path("build/tendon"),
) -> None:
    """Network and controller become firmware, for the Cortex-M4F (pil, hil) and for the host (sil).

    Horizons, weights and bounds come from config/mcu.yaml.
    """
    from soft_control.bringup import mpc_settings
    from soft_control.evaluation import load_card
    from soft_control.firmware import build as make

    with console.status("compiling"):
        built = make(model, mpc_settings(load_card(model).rig), out)
    console.print(
        f"firmware {built.build_id}: flash {built.flash_bytes:,} B ({built.flash_percent:.2f} % of "
        f"1 MiB), RAM {built.ram_bytes:,} B, in {out}",
        highlight=False,
    )


@app.command()
def run(
    rig: Annotated[str, described("rig")] = "tendon",
    controller: Annotated[str, described("controller")] = "mpc",
    target: Annotated[str, described("target")] = "pil",
    reference: Annotated[str, described("reference")] = "figure_eight",
    clock: Annotated[str, described("clock")] = "lockstep",
    rate_hz: Annotated[float, described("rate_hz")] = 120.0,
    duration_s: Annotated[float, described("duration_s")] = 20.0,
    seed: Annotated[int, described("seed")] = 0,
    model: Annotated[Path, described("model")] = Path("models/tendon"),
    firmware: Annotated[Path, described("firmware")] = Path("build/tendon"),
    port: Annotated[str, described("port")] = "",
    out: Annotated[Path, described("out")] = Path("runs/latest"),
) -> None:
    """Track a reference over ROS 2 and record it: a bag, its parameters, logs and summary.json."""
    from soft_control.report import read_entries, table

    experiment = Experiment(
        rig=rig,
        controller=controller,
        target=target,
        reference=reference,
        clock=clock,
        rate_hz=rate_hz,
        duration_s=duration_s,
        seed=seed,
        model=model,
        firmware=firmware,
        port=port,
        out=out,
    )
    title = f"{controller} on {target}" if controller == "mpc" else controller
    carry_out(experiment, title)
    rows = Table(show_header=False, title=f"{title}, {out}", title_justify="left")
    for name, values in table(read_entries([out])):
        rows.add_row(name, *values)
    console.print(rows)


@app.command()
def replay(
    recording: Annotated[Path, typer.Argument(help="A bag or a CSV file of a recorded run.")],
    model: Annotated[Path, described("model")] = Path("models/tendon"),
    firmware: Annotated[Path, described("firmware")] = Path("build/tendon"),
    target: Annotated[str, described("target")] = "pil",
    port: Annotated[str, described("port")] = "",
    baseline: Annotated[
        list[Path] | None,
        typer.Option(help="Training runs: also print what least squares learns from them."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Directory for summary.json.")] = None,
) -> None:
    """Feed a recorded run's commands and signals through the firmware and compare its prediction.

    The firmware predicts free-running: it never sees a measured position after the first.
    """
    from soft_control.dataset import read_recording, resample
    from soft_control.evaluation import free_run, least_squares_baseline, load_model, rmse_mm
    from soft_control.link.session import open_session
    from soft_control.replay import replay as feed
    from soft_control.replay import summary
    from soft_control.summary import write_json

    network = load_model(model)
    run = resample(read_recording(recording), network.card.rate_hz)
    with open_session(target, firmware, port) as session, progress_bar() as bar:
        task = bar.add_task(f"replay on {target}", total=len(run) - 1)
        answer = feed(session, network.card, run, lambda k: bar.update(task, completed=k))
        figures = summary(session, network.card, run, answer, target)
    rows = Table("free run against the measured position", "RMSE, mm", title=run.source)
    rows.add_row(f"firmware on {target}", f"{figures['free_run_rmse_mm']:.3f}")
    in_keras = rmse_mm(free_run(network, run) - run.position)
    rows.add_row("network in float64", f"{in_keras:.3f}")
    if baseline:
        runs = [read_recording(path) for path in recording_paths(baseline)]
        fitted = least_squares_baseline(runs, run, network.card.rate_hz)
        rows.add_row("least squares on lagged commands", f"{rmse_mm(fitted - run.position):.3f}")
    console.print(rows)
    if out:
        out.mkdir(parents=True, exist_ok=True)
        write_json(out / "summary.json", figures)


@app.command()
def tune(
    rig: Annotated[str, described("rig")] = "tendon",
    reference: Annotated[str, described("reference")] = "figure_eight",
    model: Annotated[Path, described("model")] = Path("models/tendon"),
    duration_s: Annotated[float, typer.Option(min=4, help="Length of each trial.")] = 12.0,
    generations: Annotated[int, typer.Option(min=1, help="Of the differential evolution.")] = 12,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    out: Annotated[Path, typer.Option(help="Parameter file to write.")] = Path("config/pid.yaml"),
) -> None:
    """Find the PID's gains on a simulated rig and write them, for a fair baseline.

    The optimiser sees the nominal rig and two whose gain is a fifth lower and a quarter higher, so
    that the gains it finds do not cycle on the first rig that differs; and a step besides the
    reference, so that they do not cycle after one.
    """
    from soft_control.bringup import reference_curve
    from soft_control.evaluation import load_card
    from soft_control.references import Reference
    from soft_control.tuning import TUNING_GAINS, tune_pid, write_parameters

    card = load_card(model)
    curve = reference_curve(Experiment(rig=rig, reference=reference), card)
    with console.status("tuning") as status:
        parameters, rmse_mm = tune_pid(
            rig,
            Reference(**curve),
            card.rate_hz,
            duration_s,
            generations,
            seed,
            lambda best: status.update(f"tuning: best mean RMSE so far {best:.3f} mm"),
        )
    gains = ", ".join(f"{gain:g}" for gain in TUNING_GAINS)
    write_parameters(
        out,
        "pid",
        parameters,
        [
            f"Written by `softctl tune` for the {rig} rig, {reference} and a step, "
            f"{card.rate_hz:g} Hz:",
            f"mean RMSE {rmse_mm:.3f} mm over rigs whose gain is {gains} times the nominal one.",
            "decoupling: (commands x 3) in rad/m; kp: 1; ki: 1/s; kd: s.",
        ],
    )
    console.print(f"gains in {out}: mean RMSE {rmse_mm:.3f} mm over the tuning rigs")


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(help="Run directories to compare.")],
    out: Annotated[Path, typer.Option(help="The page to write.")] = Path("runs/report.html"),
) -> None:
    """Figures of one or more runs as one self-contained HTML page, and the verdict."""
    from soft_control.report import read_entries, table, verdict, write_report

    entries = read_entries(runs)
    write_report(entries, out)
    rows = Table("", *(entry.label for entry in entries))
    for name, values in table(entries):
        rows.add_row(name, *values)
    console.print(rows)
    console.print(Panel(verdict(entries), title="verdict"))
    console.print(f"report: {out}", highlight=False)


def recording_paths(given: list[Path]) -> list[Path]:
    """Bags and CSV files; a directory of runs stands for all of its bags."""
    found = []
    for path in given:
        bags = sorted(meta.parent for meta in path.rglob("metadata.yaml")) if path.is_dir() else []
        found += bags or [path]
    return found


def carry_out(experiment: Experiment, title: str) -> None:
    """Runs an experiment with a live view on the terminal."""
    from soft_control.bringup import prepare
    from soft_control.runner import RunFailed, ros_domain
    from soft_control.runner import run as run_nodes

    nodes = prepare(experiment)
    with ros_domain():
        from soft_control.live import Live

        with Live() as live, progress_bar("{task.fields[note]}") as bar:
            task = bar.add_task(title, total=experiment.duration_s, note="waiting for all nodes")

            def poll() -> None:
                view = live.poll()
                if view.t_s > 0:
                    note = f"{view.t_s:5.1f} s"
                    if experiment.controller != "excitation":
                        note += f"  error {view.error_mm:.2f} mm  RMSE {view.rmse_mm:.2f} mm"
                    note += f"  {view.step_cost}"
                    bar.update(task, completed=view.t_s, note=note)

            try:
                run_nodes(nodes, experiment.out.absolute(), poll)
            except KeyboardInterrupt:
                bar.stop()
                errors.print(f"stopped; what was recorded until then is in {experiment.out}")
                raise typer.Exit(130) from None
            except RunFailed as failure:
                raise RunFailed(
                    f"{failure}; what was recorded until then is in {experiment.out}"
                ) from None
            bar.update(task, completed=experiment.duration_s)


def progress_bar(*columns: str) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        *(TextColumn(c) for c in columns),
        console=console,
    )


if __name__ == "__main__":
    main()
