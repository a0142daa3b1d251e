"""What outlasts the power in a microcontroller: its settings in force and its map of the day."""

from __future__ import annotations

from soft_control.link import codes
from soft_control.link.errors import LinkError
from soft_control.link.messages import Keep, Kept
from soft_control.link.session import McuSession

PATIENCE_S = 12.0
"""The timeout of a session that stores or forgets: a board erases a page in up to 2 s, forgetting
erases both, and what was sent meanwhile is lost and sent again."""


def kept(session: McuSession) -> Kept:
    """Is there memory for it, and which number has the copy there? Raises LinkError."""
    return _ask(session, codes.Keep.ASK)


def store(session: McuSession) -> Kept:
    """From the next start on the microcontroller goes on with what is in force now. Only while it
    is idle. Raises LinkError, also where there is no memory for it: what was kept before stays."""
    return _ask(session, codes.Keep.STORE)


def forget(session: McuSession) -> Kept:
    """From the next start on all is as it was built. Only while it is idle. Raises LinkError."""
    return _ask(session, codes.Keep.FORGET)


def _ask(session: McuSession, wanted: codes.Keep) -> Kept:
    answer = session.request(Keep(wanted))
    if not isinstance(answer, Kept):  # never: the table of messages says so
        raise LinkError(f"KEEP was answered by {answer}")
    return answer
