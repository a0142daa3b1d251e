"""A training run becomes firmware: built aside, verified, and put in the old one's place at once.

`regenerate` does it here. Run as a module it does it in a process of its own, for `firmware_job`:
its argument is a Request as JSON, each line of its output says how far it is or how it has ended.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import os
import shutil
import signal
import socket
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

from nn4mc_codegen.trial.qemu import missing_tools
from soft_control import robots
from soft_control.experiment.firmware_job import Outcome, Progress, Request, Stage, tell
from soft_control.experiment.node_parameters import model_settings
from soft_control.experiment.verification import verify
from soft_control.firmware_build import LOG_FILE, build, network_options
from soft_control.firmware_files import BUILD_FILE, BuildError, FirmwareBuild, record_of
from soft_control.learning.card import load_card
from soft_control.learning.dataset import read_recordings
from soft_control.plain_text import one_line

RENAME_EXCHANGE = 2
"""Of renameat2(2)."""
AT_FDCWD = -100
BEGIN = {"reading": 0.0, "building": 5.0, "verifying": 50.0, "publishing": 95.0}
"""Percent of a job at which its stages begin: for the tendon rig on two cores."""

_libc = ctypes.CDLL(None, use_errno=True)


def regenerate(
    request: Request,
    progress: Callable[[Progress], None] = lambda said: None,
    check: Callable[[FirmwareBuild], None] = lambda built: None,
) -> Outcome:
    """Builds the request's model, compares the firmware with it where that is asked for, and puts
    it in the place of what was built there before, in one step; nobody ever sees half of it.

    check: raises BuildError for a build that shall not take that place.

    Raises ValueError, RuntimeError or OSError in one sentence where that fails: what was there
    stays, and beside it the compiler's log.
    """

    def at(stage: Stage, message: str, share: float = 0.0) -> None:
        ends = [*BEGIN.values(), 100.0]
        begin, end = (ends[list(BEGIN).index(stage) + i] for i in (0, 1))
        progress(Progress(stage=stage, percent=begin + share * (end - begin), message=message))

    at("reading", f"reading {request.model}")
    out = request.firmware.resolve()
    with _alone(out):
        _check_place(out)
        if "pil" in request.verify and (missing := missing_tools()):
            raise BuildError(f"{missing}; or verify in sil alone")
        card = load_card(request.model)
        robot = robots.load(request.robot) if request.robot else None
        settings = model_settings(request.model, robot)
        runs = read_recordings(request.recordings, card.robot)
        boards = dict.fromkeys(("host", request.board)) if request.board else None
        before = record_of(out).get("build_id")
        with _aside(out) as staging:
            at("building", f"building {card.rig} for {request.board or 'host and board'}")
            built = build(request.model, settings, staging, boards, log_dir=out)
            check(built)
            verified = None
            if request.verify:
                targets = [t for t in request.verify if t == "sil" or built.machine]
                if targets != request.verify:
                    at("verifying", f"nothing emulates the board {request.board}: no pil")
                verified = verify(
                    built,
                    request.model,
                    network_options(settings, card),
                    targets,
                    runs,
                    lambda share, what: at("verifying", what, share),
                )
                if verified.wrong:
                    raise BuildError(
                        f"the firmware of {request.model} is not what its model means: "
                        f"{'; '.join(verified.wrong)}"
                    )
            at("publishing", f"publishing in {request.firmware}")
            (staging / LOG_FILE).unlink(missing_ok=True)  # of a build that failed
            publish(staging, out)
    return Outcome(
        firmware=request.firmware,
        build_id=built.build_id,
        model_hash=built.model_hash,
        flash_bytes=built.flash_bytes,
        flash_percent=built.flash_percent,
        ram_bytes=built.ram_bytes,
        changed=built.build_id != before,
        verified=verified,
    )


def _check_place(out: Path) -> None:
    """Raises BuildError where something else than a build would be replaced."""
    if out.is_dir():
        others = [path.name for path in out.iterdir() if path.name != LOG_FILE]
        if others and not (out / BUILD_FILE).is_file():
            raise BuildError(
                f"{out} holds something else than a firmware ({others[0]}): choose another folder"
            )
    elif out.exists():
        raise BuildError(f"{out} is no folder: choose another one for the firmware")


@contextlib.contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Raises BuildError where another process is at work for the same folder. An abstract name is
    no file: nothing to leave behind, and it goes with the process."""
    name = hashlib.sha256(os.fsencode(out)).hexdigest()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as lock:
        try:
            lock.bind(f"\0soft_control/firmware/{name}")
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            raise BuildError(f"another build of {out} is under way: wait for it") from None
        yield


@contextlib.contextmanager
def _aside(out: Path) -> Iterator[Path]:
    """A folder beside OUT with all that is in OUT, by hard links: a build that finds its own files
    there does nothing twice, and what somebody else has put there stays. Gone at the end."""
    staging = out.with_name(f".{out.name}.new")
    shutil.rmtree(staging, ignore_errors=True)  # of a process that was killed
    try:
        if out.is_dir():
            shutil.copytree(out, staging, symlinks=True, copy_function=_link)
        else:
            staging.mkdir(parents=True)
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:  # a file system that has none
        shutil.copy2(source, target, follow_symlinks=False)


def publish(staging: Path, out: Path) -> None:
    """OUT becomes STAGING, and what was OUT is at STAGING then: in one step, where the system can
    exchange two folders. Raises OSError."""
    if not out.exists():
        staging.rename(out)
        return
    names = os.fsencode(staging), os.fsencode(out)
    if _libc.renameat2(AT_FDCWD, names[0], AT_FDCWD, names[1], RENAME_EXCHANGE) == 0:
        return
    code = ctypes.get_errno()
    if code not in (errno.ENOSYS, errno.EINVAL):
        raise OSError(code, os.strerror(code), str(out))
    old = out.with_name(f".{out.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    out.rename(old)
    try:
        staging.rename(out)
    except OSError:
        old.rename(out)
        raise
    old.rename(staging)


class _End:
    """Handler of SIGTERM: the compilers of this process's group end, too, and what was begun is
    cleared away."""

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if os.getpgrp() == os.getpid():
            os.killpg(0, signal.SIGTERM)
        raise SystemExit(128 + signum)


def main() -> None:
    """Does what the Request in the only argument says. Exit code 1 where that fails."""
    signal.signal(signal.SIGTERM, _End())
    last = Progress(stage="starting", percent=0.0, message="starting")

    def say(said: Progress) -> None:
        nonlocal last
        last = said
        tell(said)

    def warn(message: Warning | str, *_: object) -> None:
        say(last.model_copy(update={"message": one_line(f"warning: {message}")}))

    warnings.showwarning = warn
    warnings.filterwarnings("ignore", category=FutureWarning)
    try:
        outcome = regenerate(Request.model_validate_json(sys.argv[1]), say)
    except (ValueError, RuntimeError, OSError) as error:
        outcome = Outcome(error=one_line(str(error)))
    tell(outcome)
    sys.exit(1 if outcome.error else 0)


if __name__ == "__main__":
    main()
