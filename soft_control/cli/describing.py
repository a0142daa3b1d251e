"""softctl describe: recordings become a first description of their robot, to correct."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from soft_control.cli.options import file_option
from soft_control.cli.terminal import say
from soft_control.small_files import write_whole


def describe(
    files: Annotated[
        list[Path], typer.Argument(help="CSV files of one or of many runs, or a bag.")
    ],
    command: Annotated[
        list[str] | None, typer.Option(help="A column that is a command, where names do not tell.")
    ] = None,
    output: Annotated[
        list[str] | None, typer.Option(help="A column that is an output, where names do not tell.")
    ] = None,
    out: Annotated[
        Path, file_option("The YAML file to write; its name becomes the robot's.")
    ] = Path("robot.yaml"),
) -> None:
    """Guess a robot's description from recordings, to be corrected.

    Commands, outputs, signals, units and time by name and size; behind each guess stands why it was
    made. Files of one run find each other by their names, limits are those of all runs. What is
    printed is what is written. A bag of this project says itself what its robot is.

    \b
    softctl describe observations_1.csv control_inputs_1.csv --out trunk.yaml
    softctl describe *.csv --out trunk.yaml
    softctl describe run_1.csv --command p1_kPa --command p2_kPa --output bend_deg
    """
    import yaml

    from soft_control.learning.described_column import COMMANDS, OUTPUTS
    from soft_control.learning.first_description import first_description
    from soft_control.robots.description import described

    if out.exists():
        raise typer.BadParameter(f"{out} is there already: it may have been corrected")
    told = dict.fromkeys(command or [], COMMANDS) | dict.fromkeys(output or [], OUTPUTS)
    text = first_description(files, out.stem, told)
    described(yaml.safe_load(text), str(out))
    write_whole(out, text)
    for line in text.splitlines():
        say(line)
    say(f"written to {out}: correct it, then `softctl train RUNS --robot {out}`")


def parameters(
    node: Annotated[str, typer.Argument(help="A node, as `ros2 run soft_control NODE` has it.")],
    robot: Annotated[str, typer.Option(help="Description of the robot: a name or a file.")] = (
        "tendon"
    ),
    value: Annotated[
        list[str] | None,
        typer.Option("--set", help="NAME=VALUE, a value as in YAML; may be given several times."),
    ] = None,
    out: Annotated[Path, file_option("The parameter file to write.")] = Path("node.yaml"),
) -> None:
    """Write the parameters of a node that is to be started alone, with what each of them means.

    They come from config/ and from the robot's description; what neither knows, such as a port, is
    marked as wanted. A run needs no such file: it fills its nodes' parameters itself.

    \b
    softctl parameters dynamixel --robot tendon --set port=/dev/ttyUSB1 --out servos.yaml
    ros2 run soft_control dynamixel --ros-args --params-file servos.yaml
    """
    import yaml

    from soft_control import robots
    from soft_control.nodes._own_file import own_file

    if out.exists():
        raise typer.BadParameter(f"{out} is there already: it may have been corrected")
    given = {}
    for pair in value or []:
        name, equals, text = pair.partition("=")
        if not equals:
            raise typer.BadParameter(f"--set {pair}: wanted NAME=VALUE")
        given[name] = yaml.safe_load(text)
    try:
        text, wanted = own_file(node, robots.load(robot), given)
    except ModuleNotFoundError:
        raise ValueError(
            f"no node {node}: `ros2 pkg executables soft_control` lists them"
        ) from None
    write_whole(out, text)
    more = f"; fill in {', '.join(wanted)}, or say --set" if wanted else ""
    say(f"written to {out}{more}")
