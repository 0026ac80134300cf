"""Addresses to listen on."""

from __future__ import annotations

import pytest

from tallystick.errors import ConfigurationError
from tallystick.listening import is_loopback, loopback_address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:9464", ("127.0.0.1", 9464)),
        (":0", ("127.0.0.1", 0)),
        ("localhost:80", ("127.0.0.1", 80)),
        ("[::1]:80", ("::1", 80)),
    ],
)
def test_an_address_of_this_machine_is_taken(text: str, address: tuple[str, int]) -> None:
    assert loopback_address(text, option="--listen", why="it asks nobody") == address


@pytest.mark.parametrize("text", ["0.0.0.0:80", "10.0.0.1:80", "example.org:80", "[::]:80"])
def test_an_address_that_others_can_reach_is_refused_with_the_reason(text: str) -> None:
    with pytest.raises(ConfigurationError, match="can be reached by others, and it asks nobody"):
        loopback_address(text, option="--listen", why="it asks nobody")


@pytest.mark.parametrize("text", ["", "9464", "127.0.0.1:", "127.0.0.1:port", "127.0.0.1:65536", "127.0.0.1:-1"])
def test_what_is_no_address_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"(?s)not host:port.*127\.0\.0\.1:9464"):
        loopback_address(text, option="--listen", why="it asks nobody")


def test_a_name_counts_as_reachable() -> None:
    assert not is_loopback("localhost.example.org")
    assert is_loopback("127.8.9.10")
