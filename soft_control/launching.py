"""A run under `ros2 launch`: the graph that `softctl run` starts, watched over in the same way.

Only launch files import this: the launch tools come with ROS 2, not with its wheels.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from weakref import WeakKeyDictionary

import launch.logging
from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    ExecuteProcess,
    OpaqueFunction,
    RegisterEventHandler,
    TimerAction,
)
from launch.event_handlers import OnProcessIO, OnShutdown
from launch.events import Shutdown, matches_action
from launch.events.process import ProcessExited, ProcessIO, ShutdownProcess
from launch_ros.actions import Node
from pydantic import ValidationError

from launch import Action, LaunchContext
from soft_control.control.controllers import CONTROLLERS
from soft_control.experiment.bringup import NodeSpec, prepare
from soft_control.experiment.launch_words import as_arguments
from soft_control.experiment.outcome import broken_off, ending_node, failure, in_a_line
from soft_control.experiment.runner import (
    WRITING_LIMIT_S,
    reserve_domain,
    write_parameters,
)
from soft_control.experiment.settings import Experiment, choices
from soft_control.experiment.summary import finish
from soft_control.network import keep_to_loopback
from soft_control.nodes._given import parameters_of
from soft_control.plain_text import first_fault
from soft_control.processes import PARENT
from soft_control.security.enclaves import enclave_words
from soft_control.shared_memory import SETTLED_S, clear_shared_memory

DOMAIN = "ROS_DOMAIN_ID"
LAST_WORDS_S = 0.2
"""What a process has written may come a moment after the news of its end."""

_logger = launch.logging.get_logger("soft_control")


class _Launch:
    """What all runs of one `ros2 launch` share."""

    def __init__(self) -> None:
        self.under_way = 0
        self.failures: list[str] = []
        self.domain: tuple[int, socket.socket] | None = None


_launches: WeakKeyDictionary[LaunchContext, _Launch] = WeakKeyDictionary()


SYNONYMS = {"lace_port": "sensor_port", "servo_port": "actuator_port"}
"""Argument -> field of Experiment: as the tendon rig's instruments are called."""


def arguments(*left_out: str, **defaults: object) -> list[Action]:
    """The arguments of a launch file: fields of Experiment, but for some, with defaults of its
    own."""
    names = [name for name in Experiment.model_fields if name not in left_out]
    synonyms = [
        DeclareLaunchArgument(name, default_value="", description=f"The same as {field}.")
        for name, field in SYNONYMS.items()
    ]
    return [*arguments_of(*names, **defaults), *synonyms]


def arguments_of(*names: str, **defaults: object) -> list[Action]:
    """Fields of Experiment as arguments."""
    declared: list[Action] = []
    for name in names:
        field = Experiment.model_fields[name]
        default = defaults.get(name, field.default)
        declared.append(
            DeclareLaunchArgument(
                name,
                default_value="" if default is None else str(default),
                description=field.description,
                choices=choices(name),
            )
        )
    return declared


def experiment(context: LaunchContext, **fixed: object) -> Experiment:
    """What the arguments of a launch file say, and what is fixed in it. Raises ValueError."""
    said = context.launch_configurations
    fields = {name: said[name] for name in Experiment.model_fields if name in said}
    for synonym, name in SYNONYMS.items():
        if said.get(synonym):
            if fields.get(name):
                raise ValueError(f"{synonym}:= and {name}:= are the same: use one of them")
            fields[name] = said[synonym]
    try:
        return Experiment.model_validate(fields | fixed)
    except ValidationError as error:
        raise ValueError(first_fault(error)) from None


def experiments(context: LaunchContext, runs: Iterable[Experiment]) -> list[Action]:
    """Starts these runs, one after the other. The launch ends when all runs that were started in it
    have ended, with an exit code other than 0 where one of them failed.

    Raises ValueError in the words of a launch file, before any process starts, for the first thing
    that does not fit.
    """
    with in_launch_words():
        shared = _launches.setdefault(context, _Launch())
        to_one_machine(context, shared)
        shared.under_way += 1
        left = iter(runs)
        return LaunchedRun(next(left), left, shared).start()


def to_one_machine(context: LaunchContext, shared: _Launch) -> None:
    """Processes talk on the loopback and in a ROS domain of their own, unless the environment says
    otherwise."""
    keep_to_loopback(context.environment)
    if DOMAIN in context.environment:
        return
    if shared.domain is None:
        shared.domain = reserve_domain()
    context.environment[DOMAIN] = str(shared.domain[0])
    _logger.info(f"to look at this from another terminal: export {DOMAIN}={shared.domain[0]}")


class LaunchedRun:
    """One run: its processes, and what is made of their ends."""

    def __init__(self, experiment: Experiment, left: Iterator[Experiment], shared: _Launch) -> None:
        """left: the runs that follow."""
        self.experiment, self.left, self.shared = experiment, left, shared
        self.run_dir = experiment.out.absolute()
        self.processes: dict[str, Node] = {}
        self.codes: dict[str, int] = {}
        self.first: list[str] = []
        self.stopped = False

    def start(self) -> list[Action]:
        """Raises ValueError where something does not fit."""
        nodes = prepare(self.experiment, parameters_of)
        (self.run_dir / "log").mkdir()
        self.ending = ending_node(nodes)
        self.needed = [node.name for node in nodes if not node.looks_on]
        self.processes = {node.name: self.process(node) for node in nodes}
        logs = (
            RegisterEventHandler(OnProcessIO(target_action=process, on_stdout=keep, on_stderr=keep))
            for process, keep in (
                (process, _keeper(self.run_dir / "log" / f"{name}.log"))
                for name, process in self.processes.items()
            )
        )
        watch = RegisterEventHandler(OnShutdown(on_shutdown=self.on_shutdown))
        return [watch, *logs, *self.processes.values()]

    def process(self, node: NodeSpec) -> Node:
        """Of a node. The logger may have much to write; launch would kill it after 10 s."""
        patience = str(WRITING_LIMIT_S)
        timeouts = {"sigterm_timeout": patience} if node.name == "logger" else {}
        return Node(
            package="soft_control",
            executable=node.name,  # which names itself; launch would miscount runs in a row
            namespace=node.namespace,
            parameters=[str(write_parameters(node, self.run_dir))],
            ros_arguments=enclave_words(node.name, node.namespace) or None,
            output="screen",
            on_exit=lambda event, context: self.on_exit(node.name, event),
            # launch leaves its processes behind where it is killed.
            additional_env={PARENT: str(os.getpid()), "PYTHONUNBUFFERED": "1"},
            **timeouts,
        )

    def on_shutdown(self, event: Shutdown, context: LaunchContext) -> None:
        """Somebody ends the launch. launch itself tells the processes so, but after Ctrl-C it
        leaves that to the terminal, which does not know who sent SIGINT to launch alone."""
        self.stopped = self.stopped or not self.first
        if not event.due_to_sigint:
            return
        for name, process in self.processes.items():
            pid = (process.process_details or {}).get("pid")
            if pid and name not in self.codes:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGINT)

    def on_exit(self, name: str, event: ProcessExited) -> list[Action]:
        """The first end is the run's; the logger is told last, so that it sees the others' last
        words."""
        self.codes[name] = event.returncode
        actions: list[Action] = []
        if name in self.needed and not self.first:
            self.first.append(name)
            actions += [self.end(other) for other in self.processes if other != "logger"]
        running = self.processes.keys() - self.codes.keys()
        if self.first and running <= {"logger"}:
            actions += [self.end(other) for other in running]
        if not running:
            # Not cancelled by a shutdown: that is when a run that was stopped is summed up.
            conclude = OpaqueFunction(function=self.conclude)
            # What a killed node leaves in shared memory may be too young to be cleared up.
            killed = any(code < 0 for code in self.codes.values())
            wait_s = LAST_WORDS_S + (SETTLED_S if killed else 0.0)
            actions.append(TimerAction(period=wait_s, actions=[conclude], cancel_on_shutdown=False))
        return actions

    def end(self, name: str) -> Action:
        """Tells a process, where it is still there."""
        process = self.processes[name]
        return EmitEvent(event=ShutdownProcess(process_matcher=matches_action(process)))

    def conclude(self, context: LaunchContext) -> list[Action]:
        """Sums the run up, and says in one line what came of it. Raises RuntimeError, which is how
        launch gets an exit code other than 0, where one of the runs failed."""
        out = self.experiment.out
        clear_shared_memory()
        summary = finish(self.run_dir)
        why = None
        if not self.stopped:
            needed = {name: self.codes[name] for name in self.needed}
            why = failure(needed, self.first, self.ending, self.run_dir)
            why = why or broken_off(summary, self.experiment.length_s)
        if self.stopped:
            _logger.info(f"stopped; what was recorded until then is in {out}")
        elif why:
            self.shared.failures.append(f"{why}; what was recorded until then is in {out}")
        else:
            entry = CONTROLLERS[self.experiment.controller]
            _logger.info(in_a_line(summary, entry.on(self.experiment.target), out))
            for following in self.left:
                with in_launch_words():
                    return LaunchedRun(following, self.left, self.shared).start()
        self.shared.under_way -= 1
        if self.shared.under_way:
            return []
        if self.shared.failures:
            raise RuntimeError(as_arguments("; ".join(self.shared.failures)))
        return [EmitEvent(event=Shutdown(reason="the run has ended"))]


def softctl(command: str, given: Sequence[str], options: Iterable[tuple[str, str]]) -> list[Action]:
    """A command of softctl, with which the launch ends; as it does not show how far it is, what it
    says last is the result, or why there is none."""
    said = [word for name, value in options for word in (f"--{name.replace('_', '-')}", value)]
    lines: list[str] = []

    def keep(event: ProcessIO) -> None:
        lines.extend(event.text.decode(errors="replace").splitlines())

    def conclude(context: LaunchContext, code: int) -> list[Action]:
        last = next((line for line in reversed(lines) if line.strip()), "it said nothing")
        if code:
            raise RuntimeError(as_arguments(last.removeprefix("error: ")))
        _logger.info(last)  # again: launch itself has said meanwhile that the process has ended
        return [EmitEvent(event=Shutdown(reason=f"{command} has ended"))]

    def on_exit(event: ProcessExited, context: LaunchContext) -> list[Action]:
        if context.is_shutdown:
            return []
        last = OpaqueFunction(function=conclude, args=[event.returncode])
        return [TimerAction(period=LAST_WORDS_S, actions=[last], cancel_on_shutdown=False)]

    process = ExecuteProcess(
        cmd=[sys.executable, "-m", "soft_control.cli", command, *said, "--", *given],
        name=command,
        output="screen",
        on_exit=on_exit,
        additional_env={PARENT: str(os.getpid()), "PYTHONUNBUFFERED": "1"},
    )
    watch = RegisterEventHandler(OnProcessIO(target_action=process, on_stdout=keep, on_stderr=keep))
    return [watch, process]


def _keeper(log: Path) -> Callable[[ProcessIO], None]:
    """Appends what a process says to a file, as `softctl run` keeps it."""
    log.touch()

    def keep(event: ProcessIO) -> None:
        with open(log, "ab") as file:
            file.write(event.text)

    return keep


@contextlib.contextmanager
def in_launch_words() -> Iterator[None]:
    """What is raised names arguments of a launch file."""
    try:
        yield
    except ValueError as error:
        raise ValueError(as_arguments(str(error))) from None
