"""Who may speak to the server."""

from __future__ import annotations

import pytest

from soft_control.monitor.guard import refusal

OWN = "127.0.0.1:8710"


@pytest.mark.parametrize("host", [OWN, "localhost:8710", "LOCALHOST:9", "[::1]:8710", "127.0.0.1"])
def test_names_of_the_loopback_are_let_in(host):
    assert refusal(host, None, is_socket=False) is None
    assert refusal(host, f"http://{host}", is_socket=True) is None


@pytest.mark.parametrize(
    "host",
    [
        None, "", "evil.example", "evil.example:8710", "127.0.0.1.evil.example", "127.0.0.2:8710",
        "evil.example@127.0.0.1", "127.0.0.1@evil.example", "127.0.0.1:port", "[::1", "0.0.0.0",
        "localhost.evil.example:8710", "127.0.0.1/..", "127.0.0.1\\@evil.example",
    ],
)  # fmt: skip
def test_a_name_that_was_bent_to_the_loopback_is_not(host):
    assert refusal(host, None, is_socket=False)
    assert refusal(host, f"http://{host}", is_socket=True)


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example", "null", "", "http://localhost:8710", "http://127.0.0.1:8888",
        "https://127.0.0.1:8710", "http://127.0.0.1", "file://",
    ],
)  # fmt: skip
def test_a_page_of_somebody_else_is_not_let_in(origin):
    assert refusal(OWN, origin, is_socket=True)
    assert refusal(OWN, origin, is_socket=False)


def test_a_socket_must_say_who_it_is_and_a_typed_address_need_not():
    assert refusal(OWN, None, is_socket=True)
    assert refusal(OWN, None, is_socket=False) is None
