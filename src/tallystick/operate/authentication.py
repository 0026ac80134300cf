"""SASL on the client's side: PLAIN (RFC 4616) and SCRAM (RFC 5802, RFC 7677), as the tokens of an exchange.

Owns: what is said to prove who one is, and the check that the server knows the password too. Must not know: sockets.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Generator
from typing import Final

from tallystick.errors import FatalError

_DIGESTS: Final = {"SCRAM-SHA-256": "sha256", "SCRAM-SHA-512": "sha512"}
_MOST_ITERATIONS: Final = 1_000_000
"""A server that asks for more would only keep us busy."""

Exchange = Generator[bytes, bytes, None]
"""Yields the token to send, is sent the server's answer, and ends when the exchange is over."""


class AuthenticationFailed(FatalError):
    """The broker does not take our credentials, or does not know them itself."""


def exchange(mechanism: str, username: str, password: str, *, nonce: str | None = None) -> Exchange:
    """The exchange of a mechanism that ``ClientSettings`` allows. ``nonce`` is for tests; else it is random."""
    if mechanism == "PLAIN":
        return _plain(username, password)
    return _scram(_DIGESTS[mechanism], username, password, nonce or secrets.token_urlsafe(24))


def _plain(username: str, password: str) -> Exchange:
    yield f"\0{username}\0{password}".encode()


def _scram(digest: str, username: str, password: str, nonce: str) -> Exchange:
    name = username.replace("=", "=3D").replace(",", "=2C")
    first_bare = f"n={name},r={nonce}"
    challenge = (yield f"n,,{first_bare}".encode()).decode()
    given = _attributes(challenge)
    try:
        server_nonce, salt, iterations = given["r"], base64.b64decode(given["s"], validate=True), int(given["i"])
    except (KeyError, ValueError):
        raise AuthenticationFailed("the broker's SCRAM challenge is malformed") from None
    if not server_nonce.startswith(nonce) or not 0 < iterations <= _MOST_ITERATIONS:
        raise AuthenticationFailed("the broker's SCRAM challenge is not an answer to ours")
    salted = hashlib.pbkdf2_hmac(digest, password.encode(), salt, iterations)
    final_bare = f"c={base64.b64encode(b'n,,').decode()},r={server_nonce}"
    signed = f"{first_bare},{challenge},{final_bare}".encode()
    client_key = hmac.digest(salted, b"Client Key", digest)
    signature = hmac.digest(hashlib.new(digest, client_key).digest(), signed, digest)
    proof = bytes(left ^ right for left, right in zip(client_key, signature, strict=True))
    verdict = _attributes((yield f"{final_bare},p={base64.b64encode(proof).decode()}".encode()).decode())
    expected = hmac.digest(hmac.digest(salted, b"Server Key", digest), signed, digest)
    if not hmac.compare_digest(verdict.get("v", ""), base64.b64encode(expected).decode()):
        raise AuthenticationFailed("the broker could not prove that it knows the password")


def _attributes(message: str) -> dict[str, str]:
    return {part[0]: part[2:] for part in message.split(",") if part[1:2] == "="}
