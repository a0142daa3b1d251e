"""A training run becomes firmware on request, in a process of its own: nothing waits for it.

~/build starts it and answers at once, ~/cancel ends it, ~/feedback says how far it is and how it
has ended. ~/apply, or the parameter `apply` after each build, restarts the node mcu with what was
built, or flashes a board by a command of the user's.
"""

from __future__ import annotations

import time
from typing import Annotated, Literal

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from pydantic import BeforeValidator, Field
from rclpy.duration import Duration
from rclpy.task import Future
from std_srvs.srv import Trigger

from soft_control.experiment.firmware_job import Job, Outcome, Progress, Request, Target
from soft_control.experiment.flashing import Flasher
from soft_control.experiment.ros_messages import LAST_SAID, to_stamp
from soft_control.firmware_files import read_build
from soft_control.nodes._node import LIVE, NodeParameters, RigNode
from soft_control.nodes._node import main as run
from soft_control.plain_text import one_line

CHECK_S = 0.1
ANSWER_S = 60.0
"""The node mcu restarts within so long, on a busy machine too."""


class CodegenParameters(NodeParameters):
    model: str = Field(
        min_length=1, description="Directory of `softctl train`.", json_schema_extra=LIVE
    )
    firmware: str = Field(
        min_length=1,
        description="Directory for the firmware; what is there stays until another is whole.",
        json_schema_extra=LIVE,
    )
    robot: str = Field(
        "",
        description="A later description of the same robot, by file or name; empty: the model's.",
        json_schema_extra=LIVE,
    )
    board: str = Field(
        "",
        description="A folder of firmware/boards, built beside the host's; empty: stm32f405.",
        json_schema_extra=LIVE,
    )
    verify: Annotated[list[Target], BeforeValidator(lambda v: [] if v == [""] else v)] = Field(
        ["sil", "pil"],
        description="Where the firmware is run and compared with its model; empty: it is not.",
        json_schema_extra=LIVE,
    )
    recordings: Annotated[list[str], BeforeValidator(lambda v: [] if v == [""] else v)] = Field(
        [],
        description="Bags or CSV files to compare by; empty: some seconds of the robot's rig.",
        json_schema_extra=LIVE,
    )
    apply: Literal["none", "restart", "flash"] = Field(
        "none",
        description="What follows a build: nothing, the node mcu restarts with it, or a board is "
        "flashed.",
        json_schema_extra=LIVE,
    )
    mcu: str = Field("mcu", min_length=1, description="Node that restarts.", json_schema_extra=LIVE)
    flash_by: Literal["swd", "dfu", "serial"] = Field(
        "swd", description="How `softctl flash` gets to the board.", json_schema_extra=LIVE
    )
    flash_port: str = Field(
        "",
        pattern=r"^(/dev/[\w-]+(/[\w-]+)*)?$",
        description="Its serial port, with flash_by serial.",
        json_schema_extra=LIVE,
    )
    flash_probe: str = Field(
        "",
        pattern=r"^[\w.-]*$",
        description="Serial number of probe or board, where there are several.",
        json_schema_extra=LIVE,
    )
    once: bool = Field(
        False, description="Builds at the start and ends: exit code 0, or 1 where that failed."
    )


class Codegen(RigNode):
    NAME = "codegen"
    Parameters = CodegenParameters

    def __init__(self) -> None:
        super().__init__()
        self.job: Job | None = None
        self.flasher: Flasher | None = None
        self.answer: Future | None = None
        self.asked_s = 0.0
        self.built: Outcome | None = None
        """Of the last build that succeeded."""
        self.feedback = self.publish_on(DiagnosticArray, "~/feedback", LAST_SAID)
        self.create_service(Trigger, "~/build", self.on_build)
        self.create_service(Trigger, "~/cancel", self.on_cancel)
        self.create_service(Trigger, "~/apply", self.on_apply)
        self.create_timer(CHECK_S, self.check)
        self.present()
        if self.parameters.once:
            self.build()

    # ------------------------------------------------------------------ asked for

    def on_build(self, request: Trigger.Request, answer: Trigger.Response) -> Trigger.Response:
        answer.success = not (busy := self.busy())
        answer.message = busy or f"started: {self.build()}"
        return answer

    def on_cancel(self, request: Trigger.Request, answer: Trigger.Response) -> Trigger.Response:
        running = self.job or self.flasher
        answer.success = running is not None
        answer.message = f"cancelling: {self.busy()}" if running else "nothing runs: none to cancel"
        if running:
            running.cancel()
        return answer

    def on_apply(self, request: Trigger.Request, answer: Trigger.Response) -> Trigger.Response:
        if busy := self.busy():
            answer.message = busy
            return answer
        try:
            answer.message = f"started: {self.apply()}"
            answer.success = True
        except (ValueError, RuntimeError, OSError) as error:
            answer.message = one_line(str(error))
        return answer

    def busy(self) -> str:
        """What is under way; empty: nothing."""
        if self.job:
            at, request = self.job.progress, self.job.request
            return f"a build of {request.model} is under way ({at.stage}, {at.percent:.0f} %)"
        if self.flasher:
            return "a board is being flashed"
        return f"{self.parameters.mcu} is being restarted" if self.answer else ""

    def build(self) -> str:
        """Starts a job; says what."""
        p: CodegenParameters = self.parameters
        request = Request(
            **p.model_dump(include={"model", "firmware", "robot", "board", "verify", "recordings"})
        )
        self.job = Job(request)
        self.tell_progress(self.job.progress)
        return one_line(f"{request.model} becomes {request.firmware}")

    def apply(self) -> str:
        """Begins to apply what is in the firmware's folder; says what. Raises ValueError,
        RuntimeError or OSError with what to do where that cannot be."""
        p: CodegenParameters = self.parameters
        if p.apply == "none":
            raise ValueError("the parameter apply is none: set it to restart or flash")
        build = read_build(p.firmware)
        if p.apply == "flash":
            self.flasher = Flasher(build, p.flash_by, p.flash_port, p.flash_probe)
            said = f"flashing {build.build_id} by {p.flash_by}"
        else:
            client = self.create_client(Trigger, f"{p.mcu}/restart")
            if not client.service_is_ready() and not client.wait_for_service(CHECK_S):
                name = client.service_name
                self.destroy_client(client)
                raise RuntimeError(f"nobody offers {name}: no node {p.mcu} runs that restarts")
            self.answer, self.asked_s = client.call_async(Trigger.Request()), time.monotonic()
            self.answer.add_done_callback(lambda _: self.destroy_client(client))
            said = f"{p.mcu} restarts with {build.build_id}"
        self.tell(one_line(said), {"state": p.apply, "build_id": build.build_id})
        return said

    # ------------------------------------------------------------------ how it goes

    def check(self) -> None:
        """Never waits. With `once` raises how it ended."""
        if self.job:
            for said in self.job.poll():
                self.tell_progress(said)
            if self.job and self.job.outcome:
                self.on_outcome(self.job.outcome)
        if self.flasher and (code := self.flasher.poll()) is not None:
            flasher, self.flasher = self.flasher, None
            said = "flashed" if code == 0 else f"flashing failed with exit code {code}"
            self.on_applied(code == 0, f"{said}: {flasher.last_words()}")
        if self.answer and self.answer.done():
            answer, self.answer = self.answer.result(), None
            self.on_applied(answer.success, answer.message)
        elif self.answer and time.monotonic() - self.asked_s > ANSWER_S:
            self.answer = None
            self.on_applied(False, f"{self.parameters.mcu} does not answer for {ANSWER_S:g} s")

    def on_outcome(self, outcome: Outcome) -> None:
        self.job = None
        p: CodegenParameters = self.parameters
        if outcome.error:
            self.tell(outcome.error, {"state": "failed"}, DiagnosticStatus.ERROR)
            self.end(False, outcome.error)
            return
        self.built = outcome
        self.tell(one_line(outcome.line()), {"state": "done", "percent": 100, **outcome.numbers()})
        if p.apply == "none":
            self.end(True, outcome.line())
            return
        try:
            self.apply()
        except (ValueError, RuntimeError, OSError) as error:
            self.on_applied(False, one_line(str(error)))

    def on_applied(self, well: bool, said: str) -> None:
        p: CodegenParameters = self.parameters
        known: dict[str, object] = {"state": "done" if well else "failed"}
        known |= self.built.numbers() if self.built else {}
        self.tell(said, known, DiagnosticStatus.OK if well else DiagnosticStatus.ERROR)
        before = f"{self.built.line()}; {p.apply}: " if well and self.built else f"{p.apply}: "
        self.end(well, before + said)

    def end(self, well: bool, said: str) -> None:
        """With `once`: what was said is delivered, and the node ends."""
        if not self.parameters.once:
            return
        self.feedback.wait_for_all_acked(Duration(seconds=2))
        if not well:
            raise RuntimeError(said)
        print(one_line(said), flush=True)
        raise SystemExit

    def tell_progress(self, said: Progress) -> None:
        level = DiagnosticStatus.OK
        if said.message.startswith("warning: "):
            level = DiagnosticStatus.WARN
        known = {"state": "running", "stage": said.stage, "percent": f"{said.percent:.0f}"}
        self.tell(one_line(said.message), known, level)

    def tell(self, said: str, known: dict, level: bytes = DiagnosticStatus.OK) -> None:
        """On ~/feedback, and in the log."""
        p: CodegenParameters = self.parameters
        request = self.job.request if self.job else Request(model=p.model, firmware=p.firmware)
        known = {"model": request.model, "firmware": request.firmware} | known
        status = DiagnosticStatus(
            level=level,
            name="codegen",
            hardware_id=one_line(str(request.model)),
            message=said,
            values=[KeyValue(key=key, value=one_line(str(value))) for key, value in known.items()],
        )
        message = DiagnosticArray(status=[status])
        message.header.stamp = to_stamp(self.get_clock().now().nanoseconds)
        self.feedback.publish(message)
        if p.once and known.get("state") in ("done", "failed"):
            return  # said last
        if level == DiagnosticStatus.ERROR:
            self.get_logger().error(said)
        else:
            self.get_logger().info(said)

    def close(self) -> None:
        if self.job:
            self.job.end()
        if self.flasher:
            self.flasher.end()


def main() -> None:
    run(Codegen)


if __name__ == "__main__":
    main()
