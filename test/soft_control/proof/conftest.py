"""Small C functions built for the emulated Cortex-M4F, which counts what a call takes; a card."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from nn4mc_codegen.printing.c import TEMPLATES
from nn4mc_codegen.trial.qemu import COMPILER, EMULATOR, FLAGS, LINK_FLAGS, missing_tools
from soft_control.learning.card import ModelCard, Trained
from soft_control.paths import share
from soft_control.proof.annotations import bounds_of, read_notes
from soft_control.proof.execution import Executor
from soft_control.proof.findings import Result
from soft_control.proof.image import read_image
from soft_control.proof.state import SP, State
from soft_control.robots.description import Command, Output, RobotDescription, Signal

HERE = Path(__file__).parent
INPUTS = 16
"""Words that a function is given."""


@dataclass
class Cases:
    """A program of functions `uint32_t f(const int32_t *in)`."""

    folder: Path
    names: Sequence[str]

    def measured(self, calls: Sequence[tuple[str, Sequence[int]]]) -> list[int]:
        """Instructions of each call: a function's name and up to INPUTS numbers."""
        records = np.zeros((len(calls), 1 + INPUTS), np.int32)
        for record, (name, numbers) in zip(records, calls, strict=True):
            record[0] = list(self.names).index(name)
            record[1 : 1 + len(numbers)] = numbers
        (self.folder / "in").write_bytes(records.tobytes())
        board = [EMULATOR, "-M", "netduinoplus2", "-display", "none", "-monitor", "none"]
        board += ["-serial", "none", "-semihosting-config", "enable=on,target=native"]
        board += ["-icount", "shift=0", "-kernel", "program.elf"]
        subprocess.run(board, cwd=self.folder, check=True, timeout=60)
        return np.fromfile(self.folder / "out", np.uint32).tolist()

    def bound(self, name: str, executor: Executor | None = None) -> Result:
        """By the machine code alone, of any words in `in`."""
        executor = executor or self.executor()
        state = State()
        state.registers[SP] = executor.image.symbols["stack_top"][0] - 64
        state.registers[0] = executor.image.symbols["asked"][0] + 4
        return executor.run(name, state)

    def executor(self) -> Executor:
        image = read_image(self.folder / "program.elf")
        executor = Executor(image)
        graphs = [executor.graph(function) for function in image.functions]
        notes = bounds_of(image, graphs, read_notes(image.notes))
        executor.bounds = {head: note.most for head, note in notes.items()}
        return executor


@pytest.fixture(scope="session")
def build_cases(tmp_path_factory) -> Callable[..., Cases]:
    """(C source of the functions, their names, level of optimisation) -> the program."""
    if problem := missing_tools():
        pytest.skip(problem)

    def built(source: str, names: Sequence[str], level: str = "-O2") -> Cases:
        folder = tmp_path_factory.mktemp("cases")
        declared = "\n".join(f"uint32_t {name}(const int32_t *in);" for name in names)
        (folder / "cases.h").write_text(
            f"#include <stdint.h>\n#define INPUTS {INPUTS}\n"
            "typedef uint32_t (*function_t)(const int32_t *in);\n"
            f"{declared}\n#define CASES {', '.join(names)}\n"
        )
        (folder / "cases.c").write_text(source)
        notes = ".loop_bounds 0 (INFO) : { KEEP(*(.loop_bounds)) }"
        script = (TEMPLATES / "cortex_m4f.ld").read_text()
        (folder / "program.ld").write_text(script.replace("/DISCARD/", f"{notes}\n    /DISCARD/"))
        words = [COMPILER, *FLAGS, *LINK_FLAGS, level, "-g", f"-I{folder}", f"-I{TEMPLATES}"]
        words += [f"-I{share() / 'firmware' / 'src'}", "-T", str(folder / "program.ld")]
        words += [str(folder / "cases.c"), str(HERE / "measure.c"), str(TEMPLATES / "cortex_m4f.c")]
        undefined = [f"-Wl,--undefined={name}" for name in names]
        subprocess.run([*words, *undefined, "-lm", "-o", "program.elf"], cwd=folder, check=True)
        return Cases(folder, names)

    return built


@pytest.fixture(scope="session")
def hand_made_card() -> ModelCard:
    """Of an arm of two commands, of which one may jump, three outputs and two signals."""
    robot = RobotDescription(
        name="arm",
        commands=(
            Command(name="left", unit="Pa", display_unit="kPa", min=0.0, max=2e5, speed_max=8e5),
            Command(name="right", unit="rad", display_unit="deg", min=-1.0, max=1.0),
        ),
        outputs=(
            Output(name="x", unit="m", display_unit="mm", axis="x", point="tip"),
            Output(name="z", unit="m", display_unit="mm", axis="z", point="tip"),
            Output(name="push", unit="N"),
        ),
        signals=(Signal(name="bend", unit="rad", display_unit="deg"), Signal(name="still")),
        rate_hz=50.0,
    )
    return ModelCard(
        robot=robot, rate_hz=50.0, input_lags=2, output_lags=3, input_delay=1,
        command_names=robot.command_names, command_offset=[1e5, 0.0], command_scale=[1e5, 1.0],
        output_names=robot.output_names, output_offset=[0.0, 0.01, 0.0],
        output_scale=[0.02, 0.02, 3.0], signal_names=["bend", "still"],
        signal_offset=[0.0, 0.5], signal_scale=[0.3, 0.1], surface=None, metrics=[],
        evaluated_on=[], recordings=[], model_hash="",
        trained=Trained(
            commands=[(0.0, 2e5), (-1.0, 1.0)],
            outputs=[(-0.03, 0.02), (0.0, 0.02), (-4.0, 4.0)],
            signals=[(-0.5, 0.5), (0.2, 0.7)],
        ),
    )  # fmt: skip
