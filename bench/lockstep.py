"""How much faster than real time a lockstep run goes whose instruments are at the microcontroller.

`make lockstep` runs it on the demo's model and firmware. This reads a clock, so its numbers are of
the machine and of what else runs on it; no test looks at them. Three places:

    sil         the firmware and the rig in one process
    pil         the ELF under QEMU, the rig at its second and third serial line
    graph, pil  the same as `softctl run` does it: with ROS nodes, a bag and the live view
"""

from __future__ import annotations

import argparse
import os
import select
import tempfile
import time
import tty
from pathlib import Path

import numpy as np
from rich.console import Console

from soft_control.control.sampled_reference import SampledReference
from soft_control.experiment.attended import watch
from soft_control.experiment.bringup import prepare
from soft_control.experiment.rig_device import RigDevice
from soft_control.experiment.settings import Experiment
from soft_control.experiment.setup import reference_curve
from soft_control.experiment.trajectory import ToldReference, tabulate
from soft_control.firmware_files import read_build
from soft_control.learning.card import ModelCard, load_card
from soft_control.link.codes import Wiring
from soft_control.link.session import McuSession
from soft_control.link.transport import PilTransport, Port, SilTransport
from soft_control.rigs import make_rig

LEAST = {"sil": 30.0, "pil": 1.5, "graph, pil": 1.5}
"""What is wanted, in times of real time on two quiet cores."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=Path("models/tendon"))
    parser.add_argument("--firmware", type=Path, default=Path("build/tendon"))
    parser.add_argument("--duration-s", type=float, default=20.0)
    given = parser.parse_args()
    card = load_card(given.model)
    samples = round(given.duration_s * card.rate_hz)
    experiment = Experiment(model=given.model, firmware=given.firmware)
    curve = reference_curve(experiment, card)
    table = tabulate(curve, card.rate_hz, samples, read_build(given.firmware).trajectory_points)
    commands, speeds = {}, {}
    for place, go in {"sil": in_process, "pil": on_lines}.items():
        commands[place], took_s = go(given.firmware, card, table, samples)
        speeds[place] = given.duration_s / took_s
    speeds["graph, pil"] = of_graph(given.model, given.firmware, given.duration_s)
    console = Console()
    for place, speed in speeds.items():
        console.print(f"{place:10}  {speed:5.1f} times real time (wanted: {LEAST[place]:g})")
    same = np.array_equal(commands["sil"], commands["pil"])
    console.print(f"sil and pil: {'the same commands' if same else 'OTHER COMMANDS'}, bit for bit")


def armed(session: McuSession, card: ModelCard, table: SampledReference) -> McuSession:
    rest = card.robot.output_rest
    ToldReference(session, table, card.rate_hz, rest)
    session.arm(card.robot.command_neutral, rest, wiring=Wiring.MCU)
    return session


def in_process(
    firmware: Path, card: ModelCard, table: SampledReference, samples: int
) -> tuple[np.ndarray, float]:
    """Commands (T, m) and the time that they took, s."""
    transport = SilTransport(read_build(firmware).library)
    session = armed(McuSession(transport), card, table)
    device = RigDevice(make_rig(card.rig, seed=0))
    commands = []
    start_s = time.perf_counter()
    for _ in range(samples):
        transport.write_to(Port.SENSOR, device.sample()[1])
        answers = device.drive(transport.read_from(Port.ACTUATOR))
        transport.write_to(Port.ACTUATOR, answers)
        commands.append(session.telemetry(0.0).command)
        device.step(1 / card.rate_hz)
    return np.array(commands), time.perf_counter() - start_s


def on_lines(
    firmware: Path, card: ModelCard, table: SampledReference, samples: int
) -> tuple[np.ndarray, float]:
    """The same."""
    lines = [os.openpty() for _ in range(2)]
    for _, terminal in lines:
        tty.setraw(terminal)
    (sensor, _), (actuators, _) = lines
    build = read_build(firmware)
    ports = [Path(os.ttyname(terminal)) for _, terminal in lines]
    transport = PilTransport(build.elf, machine=build.machine, sensor=ports[0], actuator=ports[1])
    with armed(McuSession(transport), card, table) as session:
        device = RigDevice(make_rig(card.rig, seed=0))
        commands = []
        start_s = time.perf_counter()
        for k in range(samples):
            os.write(sensor, device.sample()[1])
            while device.completed <= k:
                select.select([actuators], [], [])
                os.write(actuators, device.drive(os.read(actuators, 4096)))
            told = session.telemetry(1.0)
            commands.append(told.command)
            device.step(1 / card.rate_hz)
        took_s = time.perf_counter() - start_s
    for ends in lines:
        for end in ends:
            os.close(end)
    return np.array(commands), took_s


def of_graph(model: Path, firmware: Path, duration_s: float) -> float:
    """Times of real time, from the first sample seen to the last one."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        nodes = prepare(
            Experiment(model=model, firmware=firmware, wiring="mcu", duration_s=duration_s, out=out)
        )
        seen: list[tuple[float, float]] = []
        watch(nodes, out, lambda view: seen.append((time.perf_counter(), view.t_s)))
    (first_s, from_s), (last_s, to_s) = seen[0], next(s for s in seen if s[1] == seen[-1][1])
    return (to_s - from_s) / (last_s - first_s)


if __name__ == "__main__":
    main()
