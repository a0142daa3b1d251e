"""Who may speak to the server: pages that it served itself, under a name of the loopback.

A page of another site can make a browser connect to 127.0.0.1. It cannot choose the headers: its
origin is in `Origin`, and where its own name was made to lead to 127.0.0.1 (DNS rebinding), that
name is in `Host`. A parameter that is set moves a robot, so both are looked at.
"""

from __future__ import annotations

from urllib.parse import urlsplit

LOOPBACK = {"127.0.0.1", "localhost", "::1"}
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Of every answer: nothing is loaded from elsewhere, and nobody frames the page."""


def refusal(host: str | None, origin: str | None, is_socket: bool) -> str | None:
    """Why a request with these headers is refused; None: it is not.

    The port is not compared with our own, for it may have been forwarded; but a socket's `Origin`
    must be the very `Host` that it connects to, so that a page of another port is a stranger too.
    """
    if host is None or _name(host) not in LOOPBACK:
        return f"the host {host!r} is no name of the loopback: use 127.0.0.1 or localhost"
    if origin is None:
        return "a socket needs the header Origin" if is_socket else None
    if origin.lower() != f"http://{host.lower()}":
        return f"a page of {origin!r} has no business here"
    return None


def _name(host: str) -> str | None:
    """The name in a Host header, without its port."""
    if any(character in host for character in "/\\@?#"):
        return None
    try:
        parts = urlsplit(f"//{host}")
        parts.port  # noqa: B018  raises ValueError for what is no port
        return parts.hostname
    except ValueError:
        return None
