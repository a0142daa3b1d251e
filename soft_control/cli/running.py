"""softctl run, replay, tune and report: a controller on a rig, and what came of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from soft_control.cli.options import (
    described,
    file_option,
    folder_option,
    option,
    seed_option,
)
from soft_control.cli.terminal import (
    INTERRUPTED,
    progress_bar,
    say,
    show_panel,
    show_table,
    warn,
)
from soft_control.control.controllers import CONTROLLERS
from soft_control.experiment.settings import Experiment

SENSOR_PORT = "--sensor-port", "--lace-port"
ACTUATOR_PORT = "--actuator-port", "--servo-port"
TUNED = [name for name, entry in CONTROLLERS.items() if entry.tuner]


def run(
    rig: Annotated[str, described("rig")] = "tendon",
    sim: Annotated[bool, described("sim")] = True,
    sensor_port: Annotated[str, described("sensor_port", None, *SENSOR_PORT)] = "",
    actuator_port: Annotated[str, described("actuator_port", None, *ACTUATOR_PORT)] = "",
    tracker: Annotated[bool, described("tracker")] = False,
    robot: Annotated[str, described("robot")] = "",
    controller: Annotated[str, described("controller")] = "mpc",
    standby: Annotated[str, described("standby")] = "",
    target: Annotated[str, described("target")] = "pil",
    wiring: Annotated[str, described("wiring")] = "host",
    host_lost: Annotated[str, described("host_lost")] = "continue",
    cut: Annotated[str, described("cut")] = "",
    reference: Annotated[str, described("reference")] = "figure_eight",
    clock: Annotated[str, described("clock")] = "lockstep",
    rate_hz: Annotated[float | None, described("rate_hz")] = None,
    duration_s: Annotated[float, described("duration_s")] = 20.0,
    calibrate_s: Annotated[float, described("calibrate_s")] = 0.0,
    adaptation: Annotated[str, described("adaptation")] = "",
    seed: Annotated[int, described("seed")] = 0,
    load: Annotated[str, described("load")] = "",
    model: Annotated[Path, described("model")] = Path("models/tendon"),
    firmware: Annotated[Path, described("firmware")] = Path("build/tendon"),
    port: Annotated[str, described("port")] = "",
    namespace: Annotated[str, described("namespace")] = "",
    visual: Annotated[bool, described("visual")] = False,
    params_file: Annotated[str, described("params_file")] = "",
    out: Annotated[Path, described("out")] = Path("runs/latest"),
) -> None:
    """Track a reference over ROS 2 and record it: a bag, its parameters, logs and summary.json.

    All that must fit is compared before anything starts: rig, model, firmware, rate, port. A run
    never overwrites another.

    \b
    softctl run --controller mpc --target pil --out runs/mpc
    softctl run --wiring mcu --cut 4@8 --out runs/alone
    softctl run --controller pid --reference swirl --duration-s 40 --out runs/pid
    softctl run --target hil --port /dev/ttyACM0 --clock realtime --out runs/board
    softctl run --target sil --load 0,0,-2@10 --out runs/loaded
    softctl run --calibrate-s 20 --out runs/today
    softctl run --adaptation runs/today --reference swirl --out runs/today_swirl
    softctl run --no-sim --lace-port /dev/ttyUSB0 --servo-port /dev/ttyUSB1 --out runs/robot
    softctl run --rig twins/trunk --model models/trunk --firmware build/trunk --out runs/trunk
    """
    from soft_control.experiment.outcome import in_a_line, off_rate
    from soft_control.experiment.report import read_result, table

    chosen = Experiment(
        rig=rig,
        sim=sim,
        sensor_port=sensor_port,
        actuator_port=actuator_port,
        tracker=tracker,
        robot=robot,
        controller=controller,
        standby=standby,
        target=target,
        wiring=wiring,
        host_lost=host_lost,
        cut=cut,
        reference=reference,
        clock=clock,
        rate_hz=rate_hz,
        duration_s=duration_s,
        calibrate_s=calibrate_s,
        adaptation=adaptation,
        seed=seed,
        load=load,
        model=model,
        firmware=firmware,
        port=port,
        namespace=namespace,
        visual=visual,
        params_file=params_file,
        out=out,
    )
    title = CONTROLLERS[controller].on(target)
    carry_out(chosen, title)
    result = read_result(out)
    if CONTROLLERS[controller].tracks:
        rows = [(name, *values) for name, values in table([result])]
        show_table(rows=rows, title=f"{title}, {out}")
    say(in_a_line(result.summary, title, out))
    if doubt := off_rate(result.summary):
        warn(doubt)


def carry_out(chosen: Experiment, title: str) -> None:
    """Runs an experiment with a live view on the terminal."""
    from soft_control.experiment.attended import watch
    from soft_control.experiment.bringup import prepare
    from soft_control.experiment.fork_server import fork_server

    fork_server()  # gets ready while the run is prepared
    # Which imports ROS: only where there is something to check with it.
    parameters_of = None
    if chosen.params_file:
        from soft_control.nodes._given import parameters_of
    nodes = prepare(chosen, parameters_of)
    with progress_bar("{task.fields[note]}") as bar:
        task = bar.add_task(title, total=chosen.length_s, note="waiting for all nodes")
        try:
            watch(
                nodes,
                chosen.out,
                lambda view: bar.update(task, completed=view.t_s, note=view.note()),
            )
        except KeyboardInterrupt:
            bar.stop()
            warn(f"stopped; what was recorded until then is in {chosen.out}")
            raise typer.Exit(INTERRUPTED) from None
        bar.update(task, completed=chosen.length_s)


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
    calibrate_s: Annotated[
        float,
        option(
            "So long, s, measured outputs teach the firmware what the robot of that day is like; "
            "errors count from then on.",
            min=0,
        ),
    ] = 0.0,
    out: Annotated[Path | None, folder_option("Directory for summary.json.")] = None,
) -> None:
    """Feed a recorded run's commands and signals through the firmware and compare its prediction.

    The firmware predicts free-running: it never sees a measured position after the first. Nothing
    moves, so this is how a firmware is tried before it drives a robot.

    \b
    softctl replay friday.csv --target sil
    softctl replay friday.csv --model models/week --firmware build/week --baseline monday.csv
    softctl replay friday.csv --calibrate-s 20 --target sil
    """
    from soft_control.experiment.outcome import RunFailed
    from soft_control.experiment.replay import counted_from, summary
    from soft_control.experiment.replay import replay as feed
    from soft_control.experiment.summary import write_json
    from soft_control.firmware_files import read_build
    from soft_control.learning.dataset import read_recording, read_recordings
    from soft_control.learning.errors import rmse
    from soft_control.learning.model import free_run, least_squares_baseline, load_model
    from soft_control.learning.suitability import suited
    from soft_control.link.opening import open_session
    from soft_control.link.session import LinkError

    network, built = load_model(model), read_build(firmware)
    robot = network.card.robot
    recorded = suited(network.card, read_recording(recording, robot))
    first = counted_from(recorded, calibrate_s)
    try:
        with open_session(target, built, port) as session, progress_bar() as bar:
            task = bar.add_task(f"replay on {target}", total=len(recorded) - 1)
            answer = feed(
                session,
                network.card,
                recorded,
                lambda k: bar.update(task, completed=k),
                calibrate_s,
            )
            figures = summary(session, network.card, recorded, answer, target, calibrate_s)
    except LinkError as failure:
        raise RunFailed(str(failure)) from None
    predictions = {
        f"firmware on {target}": answer.predicted,
        "its network alone": answer.network,
        "network in float64": free_run(network, recorded),
    }
    if baseline:
        training = read_recordings(baseline, robot)
        predictions["least squares on lagged commands"] = least_squares_baseline(
            training, recorded, network.card.rate_hz
        )
    rows = [
        (name, *(f"{value:.3f}" for value in rmse(robot, (predicted - recorded.outputs)[first:])))
        for name, predicted in predictions.items()
    ]
    columns = [f"{group.name}, RMSE, {group.unit}" for group in robot.groups]
    show_table("free run against what was measured", *columns, rows=rows, title=recorded.source)
    if out:
        out.mkdir(parents=True, exist_ok=True)
        write_json(out / "summary.json", figures)
    for name, samples in answer.doubted.items():
        warn(f"{name} was not believed in {samples} of {len(recorded)} samples: docs/adaptation.md")
    errors = (f"{e['group']} RMSE {e['rmse']:.3g} {e['unit']}" for e in figures["free_run"])
    say(f"firmware on {target}: {'; '.join(errors)}; {len(recorded)} samples of {recorded.source}")


def tune(
    controller: Annotated[str, typer.Option(help=f"Which one: {', '.join(TUNED)}.")] = "mpc",
    reference: Annotated[str, described("reference")] = "figure_eight",
    model: Annotated[Path, described("model")] = Path("models/tendon"),
    rig: Annotated[
        str | None, described("rig", "Rig or directory of a twin; default: the rig of the model.")
    ] = None,
    robot: Annotated[
        str | None, described("robot", "A later description of the rig's robot, by file or name.")
    ] = None,
    duration_s: Annotated[float, option("Length of each run, s.", min=4)] = 12.0,
    trials: Annotated[int, typer.Option(min=1, help="Points to try, each on several runs.")] = 60,
    seed: Annotated[int, seed_option("Of search and noise: the same seed finds the same.")] = 0,
    out: Annotated[
        Path | None,
        file_option("Parameter file; default: config/tuned/RIG_NODE.yaml, in use from then on."),
    ] = None,
) -> None:
    """Find the MPC's weights or a PID's gains and lead on a simulated rig or a twin and write them.

    The optimiser (optuna's CMA-ES) minimises the mean tracking error over the nominal rig and two
    whose gain is a fifth lower and a quarter higher, so that what it finds does not cycle on the
    first rig that differs (an MPC that never sees a measured position, and the static inverse: the
    nominal one alone); and over a step besides the reference, so that it does not cycle after one.
    All runs are in process, the MPC as sil. `softctl build` and `softctl run` then use what
    config/tuned/ holds. What stands below nodes in the description, such as the size of the
    reference, is the rig's own, or that of --robot.

    \b
    softctl tune --controller pid --model models/tendon --trials 300
    softctl tune --controller pid_feedforward --model models/tendon --trials 300
    softctl tune --controller mpc --model models/tendon --out weights.yaml
    softctl tune --controller mpc --model models/trunk --rig twins/trunk --robot trunk.yaml
    """
    from soft_control.experiment.tuning import tune as find

    with progress_bar("{task.fields[note]}") as bar:
        task = bar.add_task(f"tuning {controller}", total=trials, note="")

        def show(made: int, best: float) -> None:
            bar.update(task, completed=made, note=f"best mean RMSE so far {best:.3f}")

        found, path = find(
            controller, model, reference, duration_s, trials, seed, out, show, rig, robot
        )
    rows = [(name.replace("_", " "), f"{value:.4g}") for name, value in found.values.items()]
    show_table("found", "", rows=rows, title=f"mean RMSE {found.score:.3f}{found.unit}")
    say(f"written to {path}")


def report(
    runs: Annotated[list[Path], typer.Argument(help="Run directories to compare.")],
    out: Annotated[Path, file_option("The page to write.")] = Path("runs/report.html"),
) -> None:
    """Figures of one or more runs as one self-contained HTML page, and the verdict.

    \b
    softctl report runs/mpc runs/pid --out runs/report.html
    """
    from soft_control.experiment.report import read_entries, table, verdict, write_report

    entries = read_entries(runs)
    write_report(entries, out)
    rows = [(name, *values) for name, values in table(entries)]
    show_table("", *(entry.label for entry in entries), rows=rows)
    show_panel(verdict(entries), title="verdict")
    say(f"report: {out}")
