"""softctl: from a rig to firmware in the loop."""

from __future__ import annotations

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

from soft_control.experiment.bringup import Experiment

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
    from soft_control.experiment.runner import RunFailed

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
    rig: Annotated[
        str | None,
        typer.Option(help="Name of the rig; default: the one that the bags' runs name."),
    ] = None,
    rate_hz: Annotated[float | None, typer.Option(help="Control rate; default: 120.")] = None,
    settings: Annotated[
        str, typer.Option(help="More training settings as JSON, e.g. '{\"hidden\": [16, 16]}'.")
    ] = "{}",
) -> None:
    """Learn a rig's forward kinematics; prints errors in mm and writes fk.keras and fk.json."""
    from soft_control.learning.dataset import read_recording
    from soft_control.learning.training import train as fit
    from soft_control.learning.training import training_settings

    chosen = training_settings(settings, rig=rig, rate_hz=rate_hz)
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
    from soft_control.firmware_build import jacobian_inputs
    from soft_control.learning.model import NETWORK_FILE, load_card

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
    from soft_control.experiment.bringup import mpc_settings
    from soft_control.firmware_build import build as make
    from soft_control.learning.model import load_card

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
    load: Annotated[str, described("load")] = "",
    model: Annotated[Path, described("model")] = Path("models/tendon"),
    firmware: Annotated[Path, described("firmware")] = Path("build/tendon"),
    port: Annotated[str, described("port")] = "",
    out: Annotated[Path, described("out")] = Path("runs/latest"),
) -> None:
    """Track a reference over ROS 2 and record it: a bag, its parameters, logs and summary.json."""
    from soft_control.experiment.report import read_entries, table

    experiment = Experiment(
        rig=rig,
        controller=controller,
        target=target,
        reference=reference,
        clock=clock,
        rate_hz=rate_hz,
        duration_s=duration_s,
        seed=seed,
        load=load,
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
    from soft_control.experiment.replay import replay as feed
    from soft_control.experiment.replay import summary
    from soft_control.experiment.summary import write_json
    from soft_control.learning.dataset import read_recording
    from soft_control.learning.model import free_run, least_squares_baseline, load_model, rmse_mm
    from soft_control.learning.suitability import suited
    from soft_control.link.session import open_session

    network = load_model(model)
    run = suited(network.card, read_recording(recording))
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
    controller: Annotated[
        str, typer.Option(help="mpc: weights of the firmware; pid: gains of the baseline.")
    ] = "mpc",
    reference: Annotated[str, described("reference")] = "figure_eight",
    model: Annotated[Path, described("model")] = Path("models/tendon"),
    duration_s: Annotated[float, typer.Option(min=4, help="Length of each run.")] = 12.0,
    trials: Annotated[int, typer.Option(min=1, help="Points to try, each on several runs.")] = 60,
    seed: Annotated[
        int, typer.Option(min=0, help="Of search and noise: the same seed finds the same.")
    ] = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Parameter file; default: config/tuned/<rig>_<node>.yaml, in use from then on."
        ),
    ] = None,
) -> None:
    """Find the MPC's weights or the PID's gains on the model's simulated rig and write them.

    The optimiser (optuna's CMA-ES) minimises the mean tracking error over the nominal rig and two
    whose gain is a fifth lower and a quarter higher, so that what it finds does not cycle on the
    first rig that differs (an MPC that never sees a measured position: the nominal one alone); and
    over a step besides the reference, so that it does not cycle after one. All runs are in process,
    the MPC as sil. `softctl build` and `softctl run` then use what config/tuned/ holds.
    """
    from soft_control import paths
    from soft_control.control.references import Reference
    from soft_control.experiment.bringup import reference_curve
    from soft_control.experiment.tuning import (
        STEP_REFERENCE,
        TUNING_GAINS,
        mpc_tuning_gains,
        tune_mpc,
        tune_pid,
        write_parameters,
    )
    from soft_control.learning.model import load_card

    if controller not in ("mpc", "pid"):
        raise ValueError(f"controller '{controller}': choose mpc or pid")
    card = load_card(model)
    curves = [
        Reference(**reference_curve(Experiment(rig=card.rig, reference=shape), card)).position
        for shape in (reference, STEP_REFERENCE)
    ]
    followed = [(curve, duration_s) for curve in curves]
    with progress_bar("{task.fields[note]}") as bar:
        task = bar.add_task(f"tuning {controller}", total=trials, note="")

        def show(made: int, best: float) -> None:
            bar.update(task, completed=made, note=f"best mean RMSE so far {best:.3f} mm")

        if controller == "pid":
            parameters, found = tune_pid(
                card.rig, followed, card.rate_hz, trials, seed, progress=show
            )
        else:
            parameters, found = tune_mpc(model, followed, trials, seed, progress=show)
    node = {"pid": "pid", "mpc": "mcu"}[controller]
    path = out or paths.tuned(card.rig, node)
    tuned_on = TUNING_GAINS if controller == "pid" else mpc_tuning_gains(card.rig)
    gains = ", ".join(f"{gain:g}" for gain in tuned_on)
    comment = [
        f"Written by `softctl tune` for the {card.rig} rig, {reference} and a step, "
        f"{card.rate_hz:g} Hz, seed {seed}, {trials} trials:",
        f"mean RMSE {found.score:.3f} mm over rigs whose gain is {gains} times the nominal one.",
    ]
    if controller == "pid":
        comment.append(
            "decoupling: (commands x 3) in rad/m or the rig's unit/m; kp: 1; ki: 1/s; kd: s."
        )
    write_parameters(path, node, parameters, comment)
    rows = Table("found", "", title=f"mean RMSE {found.score:.3f} mm", title_justify="left")
    for name, value in found.values.items():
        rows.add_row(name.replace("_", " "), f"{value:.4g}")
    console.print(rows)
    console.print(f"written to {path}", highlight=False)


@app.command("check-model")
def check_model(
    model: Annotated[Path, typer.Argument(help="Directory of `train`.")] = Path("models/tendon"),
    recordings: Annotated[
        list[Path] | None,
        typer.Option(
            "--recording",
            help="Bags or CSV files that it was not trained on; default: half a minute of the "
            "simulated rig.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of what is drawn at random.")] = 900,
    as_json: Annotated[bool, typer.Option("--json", help="The whole report as JSON.")] = False,
) -> None:
    """Is a network fit for the MPC? Says so before it is let near a rig; exit code 1 if it is not.

    Compares the compiled C and its derivatives with the network's meaning, looks for units that do
    nothing, measures the prediction error by horizon with live and with held signals, the free run
    and its spectral radius, and whether the gains have the signs that the recordings show.
    """
    from soft_control.learning.dataset import read_recording
    from soft_control.learning.model import load_card
    from soft_control.learning.model_check import check

    if recordings:
        runs = [read_recording(path) for path in recording_paths(recordings)]
    else:
        from soft_control.experiment.closed_loop import record

        card = load_card(model)
        runs = [record(card.rig, seed, 30.0, card.rate_hz)]
    found = check(model, runs, seed)
    if as_json:
        print(found.model_dump_json(indent=2))
    else:
        show_model_report(found)
    if not found.fit:
        raise typer.Exit(1)


def show_model_report(found) -> None:
    rows = Table("prediction error, RMSE, mm", "signals live", "held", "standing still")
    for r in found.rollouts:
        name = f"{r.samples} sample{'s' if r.samples > 1 else ''} ahead"
        rows.add_row(name, f"{r.live_mm:.3f}", f"{r.held_mm:.3f}", f"{r.standing_still_mm:.3f}")
    rows.add_row("free run, whole recording", f"{found.free_run_mm:.3f}", "", "")
    console.print(rows)
    facts = Table(show_header=False)
    facts.add_row("C against network: outputs", f"{found.step_error:.1e}")
    facts.add_row("C against network: derivatives", f"{found.jacobian_error:.1e}")
    for layer in found.layers:
        facts.add_row(
            f"idle {layer.activation} units of {layer.layer}", f"{len(layer.idle)} of {layer.units}"
        )
    facts.add_row(
        "spectral radius of the free run, median / max",
        f"{found.spectral_radius_median:.3f} / {found.spectral_radius_max:.3f}",
    )
    facts.add_row("gains of the right sign", f"{100 * found.gain_signs_agree:.0f} %")
    console.print(facts)
    verdict = "fit for the MPC" if found.fit else "UNFIT: " + "; ".join(found.unfit)
    console.print(f"model {found.model_hash}: {verdict}", highlight=False)


benchmark = typer.Typer(
    help="Comparisons that anyone can repeat; each writes a page and, where it helps, a figure.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(benchmark, name="benchmark")


@benchmark.command()
def msd(
    out: Annotated[Path, typer.Option(help="Directory of the page and its figure.")] = Path("docs"),
    parameters: Annotated[
        Path | None, typer.Option(help="Parameters; default: config/msd_benchmark.yaml.")
    ] = None,
) -> None:
    """MPC against an optimiser-tuned PID on the mass-spring-damper: step and multi-level reference.

    Records the rig, learns it, tunes both controllers with the same optimiser and score, and
    measures rise time, overshoot, RMSE and effort within the same bounds. Takes some minutes.
    Exit code 1 if the MPC without preview, which knows no more than the PID, does not win in RMSE,
    rise time and overshoot on both references.
    """
    import tempfile

    from soft_control.benchmarks.mass_spring_damper import carry_out as carry_out_benchmark
    from soft_control.benchmarks.mass_spring_damper import load_benchmark

    with tempfile.TemporaryDirectory() as work, progress_bar() as bar:
        tasks: dict[str, int] = {}

        def show(what: str, done: int, total: int) -> None:
            stage = what.partition(",")[0]
            if stage not in tasks:
                tasks[stage] = bar.add_task(what, total=total)
            bar.update(tasks[stage], description=what, completed=done, total=total)

        result = carry_out_benchmark(load_benchmark(parameters), Path(work), out, show)
    rows = Table("", "RMSE, mm", "rise, ms", "overshoot, %", "RMS force, N")
    for shape, by_name in result.figures.items():
        for name, f in by_name.items():
            rows.add_row(
                f"{shape.replace('_', ' ')}, {name}",
                f"{f['rmse_mm']:.2f}",
                f"{1e3 * f['rise_s']:.0f}",
                f"{f['overshoot_percent']:.1f}",
                f"{f['effort']:.2f}",
            )
    console.print(rows)
    won = result.mpc_wins()
    console.print(
        "The MPC is better than the tuned PID in RMSE, rise time and overshoot on both references."
        if won
        else "The MPC does not win in everything: see the table."
    )
    console.print(f"written to {out}/msd_benchmark.md", highlight=False)
    if not won:
        raise typer.Exit(1)


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(help="Run directories to compare.")],
    out: Annotated[Path, typer.Option(help="The page to write.")] = Path("runs/report.html"),
) -> None:
    """Figures of one or more runs as one self-contained HTML page, and the verdict."""
    from soft_control.experiment.report import read_entries, table, verdict, write_report

    entries = read_entries(runs)
    write_report(entries, out)
    rows = Table("", *(entry.label for entry in entries))
    for name, values in table(entries):
        rows.add_row(name, *values)
    console.print(rows)
    console.print(Panel(verdict(entries), title="verdict"))
    console.print(f"report: {out}", highlight=False)


@benchmark.command()
def ipopt(
    models: Annotated[
        list[Path] | None, typer.Argument(help="Directories of `train`: their networks take part.")
    ] = None,
    published: Annotated[
        Path | None,
        typer.Option(help="Folder with the authors' hasel_dense_2022-06-06.hdf5: takes part too."),
    ] = None,
    problems: Annotated[int, typer.Option(min=2, help="Of each network at each N and Nc.")] = 300,
    seed: Annotated[int, typer.Option(min=0, help="Of the problems.")] = 0,
    out: Annotated[Path, typer.Option(help="Directory of the page.")] = Path("docs"),
) -> None:
    """The C solver against CasADi with IPOPT: derivatives, gap to the optimum, local optima.

    Builds the solver for this machine with each network at N/Nc 5/2, 5/5, 10/2 and 10/5 and solves
    random problems both ways. Some minutes for 300 problems each.
    """
    import tempfile

    from soft_control.benchmarks.pages import write_page
    from soft_control.benchmarks.solver_comparison import SETTINGS, STARTS, cells, compare, subjects

    chosen = subjects(published, models or [])
    if not chosen:
        raise ValueError("nothing to compare: name model directories or --published")
    found = {}
    with tempfile.TemporaryDirectory() as work, progress_bar() as bar:
        for subject in chosen:
            for horizon, control_horizon in SETTINGS:
                task = bar.add_task(f"{subject.name} {horizon}/{control_horizon}", total=problems)
                found[subject.name, horizon, control_horizon] = compare(
                    subject,
                    horizon,
                    control_horizon,
                    problems,
                    seed,
                    Path(work),
                    progress=lambda n, task=task: bar.update(task, completed=n),
                )
    rows = Table("network, N/Nc", "IPOPT converged", "gap, 1 iteration", "gap, 5", "cost rose")
    for name, setting, _, converged, *_, first, fifth, rose, _ in cells(found):
        rows.add_row(f"{name} {setting}", converged, first, fifth, rose)
    console.print(rows)
    path = write_page(out, "solver_comparison", rows=cells(found), starts=STARTS)
    console.print(f"written to {path}", highlight=False)


@benchmark.command("closed-loop")
def closed_loop(
    models: Annotated[
        list[Path], typer.Argument(help="Directories of `train`: each runs on its own rig.")
    ],
    reference: Annotated[str, described("reference")] = "figure_eight",
    duration_s: Annotated[float, typer.Option(min=4, help="Length of each run.")] = 12.0,
    seed: Annotated[int, described("seed")] = 0,
    out: Annotated[Path, typer.Option(help="Directory of the page.")] = Path("docs"),
) -> None:
    """The C solver in a closed loop against IPOPT, converged at every sample, on the same rig.

    It also measures what the delay compensation and the offset estimate are worth when a constant
    load comes on in mid-run. Exit code 1 if the C solver's total cost is more than 5 % above
    IPOPT's on any rig.
    """
    import tempfile

    from soft_control.benchmarks.closed_loops import (
        EXCESS_MAX,
        SPEEDS,
        against_ipopt,
        worth_of_parts,
    )
    from soft_control.benchmarks.pages import write_page

    against, worth = [], []
    with tempfile.TemporaryDirectory() as work, progress_bar() as bar:
        tasks: dict[str, int] = {}

        def show(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=total)
            bar.update(tasks[what], completed=done)

        for i, model in enumerate(models):
            folder = Path(work) / str(i)
            against.append(against_ipopt(model, folder, reference, duration_s, seed, show))
            worth += [
                worth_of_parts(model, folder, reference, 2 * duration_s, seed, speed, show)
                for speed in SPEEDS
            ]
    rows = Table("", "cost above IPOPT's", "RMSE, mm", "IPOPT, mm", "IPOPT unconverged")
    for a in against:
        rows.add_row(
            a.rig,
            f"{100 * a.excess:+.2f} %",
            f"{a.rmse_mm:.2f}",
            f"{a.ipopt_rmse_mm:.2f}",
            f"{a.ipopt_unconverged} of {a.samples}",
        )
    console.print(rows)
    for w in worth:
        title = f"{w.rig}, speed x{w.speed:g}"
        rows = Table(
            "delay compensated", "offset from", "RMSE before load, mm", "after", title=title
        )
        for v in w.variants:
            delay = "yes" if v.delay else "no"
            rows.add_row(delay, v.estimate, f"{v.before_mm:.2f}", f"{v.after_mm:.2f}")
        console.print(rows)
    path = write_page(out, "closed_loop", seed=seed, against=against, worth=worth)
    console.print(f"written to {path}", highlight=False)
    if any(a.excess > EXCESS_MAX for a in against):
        raise typer.Exit(1)


def recording_paths(given: list[Path]) -> list[Path]:
    """Bags and CSV files; a directory of runs stands for all of its bags."""
    found = []
    for path in given:
        bags = sorted(meta.parent for meta in path.rglob("metadata.yaml")) if path.is_dir() else []
        found += bags or [path]
    return found


def carry_out(experiment: Experiment, title: str) -> None:
    """Runs an experiment with a live view on the terminal."""
    from soft_control.experiment.bringup import prepare
    from soft_control.experiment.runner import RunFailed, ros_domain
    from soft_control.experiment.runner import run as run_nodes

    nodes = prepare(experiment)
    with ros_domain():
        from soft_control.experiment.live import Live

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
