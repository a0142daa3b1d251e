"""What goes wrong on the link, in words: silence, refusals, another firmware than expected."""

from __future__ import annotations

from soft_control.link import messages
from soft_control.link.codes import Cause, ErrorCode, ResetCause, in_words
from soft_control.link.messages import Boot, Error, Info


class LinkError(RuntimeError):
    """The microcontroller is silent, gone, or has refused a frame."""


class Gone(LinkError):
    """It is silent, its port is gone, or it has started again and knows nothing of the run: there
    is nobody to go on with, but there may be again."""


class TooLate(LinkError):
    """What was sent had become too old on its way: it was not acted on, and the next may be."""


class ModelMismatch(RuntimeError):
    """The microcontroller runs another model or build than the host expects."""


def check_identity(info: Info, model_hash: str | None, build_id: str | None) -> None:
    """Raises ModelMismatch where the microcontroller is not of the expected model and build, or
    refuses its own image."""
    if info.cause in (Cause.IMAGE_DAMAGED, Cause.IMAGE_OF_OTHER_BOARD):
        what = in_words(Cause, info.cause)
        raise ModelMismatch(f"the microcontroller runs nothing: {what}: flash a build for it")
    advice = "flash this build, or point to the build that is flashed"
    if model_hash is not None and info.model_hash != model_hash:
        raise ModelMismatch(
            f"the microcontroller runs model {info.model_hash}, not {model_hash}: {advice}"
        )
    if build_id is not None and info.build_id != build_id:
        raise ModelMismatch(
            f"the microcontroller runs build {info.build_id}, not {build_id}: {advice}"
        )


def refusal(error: Error) -> str:
    """What the microcontroller did not take, and why, in words."""
    known = messages.MESSAGES.get(error.type)
    what = known.title() if known else f"message type 0x{error.type:02x}"
    return f"the microcontroller refused {what}: {in_words(ErrorCode, error.code)}"


def restarted(boot: Boot, crash_record: bytes) -> str:
    """Why the microcontroller has begun anew, in words; crash_record: empty where none was kept."""
    where = ""
    if crash_record:
        where = f"; where it was says `softctl crash BUILD --record {crash_record.hex()}`"
    cause = in_words(ResetCause, boot.reset_cause)
    return f"the microcontroller has started again (cause: {cause}){where}"
