"""A build of firmware in a process of its own: what is asked of it, what it says, and how it ends.

Whoever watches one imports neither the compiler nor h5py: `regeneration` does the work.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from soft_control.plain_text import one_line
from soft_control.processes import die_with_parent

MODULE = "soft_control.experiment.regeneration"
READ_SIZE = 65536
PATIENCE_S = 3.0
"""A job has so long to end, and to clear away what it has begun."""

Target = Literal["sil", "pil"]
Stage = Literal["starting", "reading", "building", "verifying", "publishing"]


class _Said(BaseModel):
    model_config = ConfigDict(
        use_attribute_docstrings=True, ser_json_inf_nan="constants", extra="forbid"
    )


class Request(_Said):
    """What is to be built, and where to."""

    model: Path
    """Directory of `softctl train`."""
    firmware: Path
    """Directory that the firmware is put into."""
    robot: str = ""
    """A later description of the same robot, by file or name; empty: the model's."""
    board: str = ""
    """A folder of firmware/boards; empty: all that are not on request only."""
    verify: list[Target] = []
    """Where the firmware is run and compared with its model; nowhere: it is not compared."""
    recordings: list[Path] = []
    """Bags or CSV files to compare by; none: some seconds of the robot's own rig, or made-up
    commands."""


class Progress(_Said):
    """What a job is doing."""

    stage: Stage
    percent: float
    """Of the whole job."""
    message: str


class Prediction(_Said):
    """Of a group of outputs: the firmware's free run against what was recorded."""

    group: str
    unit: str
    rmse: float
    worst: float
    """Largest distance."""


class Verified(_Said):
    """What a comparison of a firmware with its model has found."""

    recordings: list[str]
    samples: int
    targets: list[Target]
    difference: float
    """Largest, of the firmware's free run from the model's, in units of the output's scale."""
    c_error: float
    """Largest of the functions of the generated C, derivatives among them (FunctionVerdict)."""
    instructions: int | None = None
    """Most that a sample of the whole prediction takes in pil; None where it was not run there."""
    same_bits: bool
    """Whether sil and pil, and the C here and on the Cortex-M4F, gave the same bits."""
    prediction: list[Prediction]
    """One a group; none where nobody knows what the robot did."""
    wrong: list[str]
    """Why the firmware is not what its model means, one sentence each."""

    def line(self) -> str:
        """The errors in half a line."""
        said = f"{' and '.join(self.targets)} within {self.difference:.1e} of the model"
        for one in self.prediction:
            unit = "" if one.unit == "1" else f" {one.unit}"
            said += f", {one.group} errs by {one.rmse:.2f}{unit}, at worst {one.worst:.2f}{unit}"
        return said


class Outcome(_Said):
    """How a job has ended."""

    error: str = ""
    """Why there is no new firmware, in one sentence; empty: there is."""
    firmware: Path = Path()
    build_id: str = ""
    model_hash: str = ""
    flash_bytes: int | None = None
    flash_percent: float | None = None
    ram_bytes: int | None = None
    changed: bool = False
    """Whether it is another than was there before."""
    verified: Verified | None = None

    def line(self) -> str:
        """All of it in one line."""
        if self.error:
            return self.error
        size = ""
        if self.flash_bytes is not None:
            size = f": flash {self.flash_bytes:,} B ({self.flash_percent:.2f} %), RAM "
            size += f"{self.ram_bytes:,} B"
        checked = f"; {self.verified.line()}" if self.verified else ""
        same = "" if self.changed else ", as before"
        return f"firmware {self.build_id}{size}{checked}; in {self.firmware}{same}"

    def numbers(self) -> dict[str, object]:
        """All that was measured, by name."""
        found: dict[str, object] = self.model_dump(
            include={
                *("build_id", "model_hash", "flash_bytes", "flash_percent", "ram_bytes", "changed")
            }
        )
        if verified := self.verified:
            found |= {"verified": " ".join(verified.targets)}
            found |= verified.model_dump(
                include={"difference", "c_error", "instructions", "same_bits"}
            )
            for one in verified.prediction:
                unit = "" if one.unit == "1" else f"_{one.unit}"
                found |= {f"{one.group}_rmse{unit}": one.rmse}
                found |= {f"{one.group}_worst{unit}": one.worst}
        return found


class _Line(BaseModel):
    """Of a job's stdout: one of the two."""

    model_config = ConfigDict(extra="forbid")

    progress: Progress | None = None
    outcome: Outcome | None = None


def tell(said: Progress | Outcome) -> None:
    """Of a job, to whoever watches it: a line on stdout."""
    kind = "progress" if isinstance(said, Progress) else "outcome"
    print(_Line(**{kind: said}).model_dump_json(exclude_none=True), flush=True)


class Job:
    """One that runs; `poll` now and then, from the thread that started it. It ends with its
    parent, however that ends."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.progress = Progress(stage="starting", percent=0.0, message="starting")
        self.outcome: Outcome | None = None
        self._told: Outcome | None = None
        self._kill_s = math.inf
        self._rest = b""
        self._errors = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            [sys.executable, "-m", MODULE, request.model_dump_json()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            start_new_session=True,  # Ctrl-C is for us, and its compilers go with it
            preexec_fn=die_with_parent(signal.SIGTERM),
        )
        os.set_blocking(self._process.stdout.fileno(), False)

    def poll(self) -> list[Progress]:
        """What has been said since the last call; never waits. At the end there is an outcome."""
        if self.outcome is not None:
            return []
        if time.monotonic() > self._kill_s:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        ended = self._process.poll() is not None  # before what it has said is read to its end
        found: list[Progress] = []
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self._process.stdout.fileno(), READ_SIZE):
                self._rest += data
        *lines, self._rest = self._rest.split(b"\n")
        for line in lines:
            try:
                said = _Line.model_validate_json(line)
            except ValidationError:
                continue  # of a library that prints
            self._told = said.outcome or self._told
            if said.progress:
                found.append(said.progress)
                self.progress = said.progress
        if ended:
            self.outcome = self._told or Outcome(error=self._broken_off())
            self._let_go()
        return found

    def cancel(self) -> None:
        """Asks the job to end, and to clear away; what it was to replace stays. `poll` says when it
        has, and ends it by force where it does not."""
        if self.outcome is None and self._kill_s == math.inf:
            self._process.send_signal(signal.SIGTERM)
            self._kill_s = time.monotonic() + PATIENCE_S

    def end(self) -> None:
        """The same, and waits until it has ended."""
        self.cancel()
        while self.outcome is None:
            time.sleep(0.01)
            self.poll()

    def _broken_off(self) -> str:
        """Why there is no outcome."""
        code = self._process.returncode
        if self._kill_s < math.inf:
            return f"cancelled while {self.progress.stage}; what was there before stays"
        self._errors.seek(0)
        words = self._errors.read().decode(errors="replace").strip().splitlines()
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        return one_line(f"the build ended with {how}" + (f": {words[-1]}" if words else ""))

    def _let_go(self) -> None:
        self._process.stdout.close()
        self._errors.close()
