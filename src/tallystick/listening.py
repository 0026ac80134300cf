"""Addresses to listen on, and who can reach them.

Owns: reading ``host:port``, and the question whether it is loopback. Must not know: who listens there.
"""

from __future__ import annotations

import ipaddress
from typing import Final

from tallystick.errors import ConfigurationError

LOOPBACK: Final = "127.0.0.1"


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address; a name that is no address counts as reachable."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def loopback_address(text: str, *, option: str, why: str) -> tuple[str, int]:
    """``host:port`` as host and port; no host, and ``localhost``, are 127.0.0.1, and port 0 takes any.

    ``ConfigurationError`` if it is none, or if others can reach it: ``why`` says why they must not.
    """
    host, separator, port = text.rpartition(":")
    host = host.strip("[]")
    if host in ("", "localhost"):
        host = LOOPBACK
    if not separator or not port.isdecimal() or int(port) > 65_535:
        raise ConfigurationError(f"{option} {text!r} is not host:port", remedy=f"For example {LOOPBACK}:9464")
    if not is_loopback(host):
        raise ConfigurationError(
            f"{option} {text!r} can be reached by others, and {why}",
            remedy=f"Listen on {LOOPBACK}, and put a proxy that asks for a name in front of it",
        )
    return host, int(port)
