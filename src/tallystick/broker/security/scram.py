"""SCRAM on the server's side (RFC 5802, RFC 7677), as pure values: credentials, and the two messages of an exchange.

Owns: the key derivation, the grammar of the messages, the comparison of proofs. Must not know: where credentials are
kept, the protocol's requests.

The password itself is never stored: a salt, an iteration count, and two keys from which neither the password nor the
client's key can be computed. Without channel binding, as in Apache Kafka.
"""

from __future__ import annotations

import base64
import binascii
import enum
import hashlib
import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from tallystick.broker.security.mechanism import AuthenticationFailed, Step
from tallystick.broker.security.principal import user

MIN_ITERATIONS: Final = 4096
MAX_ITERATIONS: Final = 16384
"""Both as Apache Kafka has them."""
MAX_MESSAGE_BYTES: Final = 8192
NONCE_BYTES: Final = 24
SALT_BYTES: Final = 24

_GS2_HEADER: Final = re.compile(r"(?P<binding>[ny]|p=[^,]*),(?:a=(?P<authzid>[^,]+))?,")
_FIRST: Final = re.compile(r"(?:m=[^,]*,)?n=(?P<name>[^,]+),r=(?P<nonce>[\x21-\x2b\x2d-\x7e]+)(?P<extensions>(?:,.*)?)")
_FINAL: Final = re.compile(r"c=(?P<binding>[^,]+),r=(?P<nonce>[^,]+)(?:,.*)?,p=(?P<proof>[^,]+)")


class ScramMechanism(enum.Enum):
    """A mechanism: its name, its number in Kafka's requests, its hash function."""

    SCRAM_SHA_256 = ("SCRAM-SHA-256", 1, "sha256")
    SCRAM_SHA_512 = ("SCRAM-SHA-512", 2, "sha512")

    def __init__(self, mechanism_name: str, number: int, digest: str) -> None:
        self.mechanism_name = mechanism_name
        self.number = number
        self.digest = digest

    def hmac(self, key: bytes, message: bytes) -> bytes:
        return hmac.digest(key, message, self.digest)

    def hash(self, data: bytes) -> bytes:
        return hashlib.new(self.digest, data).digest()

    def salted_password(self, password: str, salt: bytes, iterations: int) -> bytes:
        """RFC 5802's ``Hi``. Slow on purpose: about a millisecond for 4,096 iterations."""
        return hashlib.pbkdf2_hmac(self.digest, password.encode(), salt, iterations)


BY_NAME: Final = {mechanism.mechanism_name: mechanism for mechanism in ScramMechanism}
BY_NUMBER: Final = {mechanism.number: mechanism for mechanism in ScramMechanism}


@dataclass(frozen=True, slots=True)
class ScramCredential:
    """What is kept of a password. The keys verify a proof; they are no password, and still nobody's business."""

    salt: bytes = field(repr=False)
    stored_key: bytes = field(repr=False)
    server_key: bytes = field(repr=False)
    iterations: int = MIN_ITERATIONS


def credential_of(
    mechanism: ScramMechanism, salted_password: bytes, *, salt: bytes, iterations: int
) -> ScramCredential:
    """The credential of a password that is salted and hashed already, as AlterUserScramCredentials sends it."""
    client_key = mechanism.hmac(salted_password, b"Client Key")
    return ScramCredential(
        salt=salt,
        stored_key=mechanism.hash(client_key),
        server_key=mechanism.hmac(salted_password, b"Server Key"),
        iterations=iterations,
    )


def derive(mechanism: ScramMechanism, password: str, *, salt: bytes, iterations: int) -> ScramCredential:
    """The credential of a password."""
    salted = mechanism.salted_password(password, salt, iterations)
    return credential_of(mechanism, salted, salt=salt, iterations=iterations)


def is_password(mechanism: ScramMechanism, credential: ScramCredential, password: str) -> bool:
    """Whether this is the password: how PLAIN is checked against what is kept for SCRAM."""
    made = derive(mechanism, password, salt=credential.salt, iterations=credential.iterations)
    return hmac.compare_digest(made.stored_key, credential.stored_key)


_NOBODYS: Final = ScramCredential(salt=b"", stored_key=b"", server_key=b"")
"""Is calculated with for a name that does not exist, so that it takes as long, and fits no proof."""

FindCredential = Callable[[str], ScramCredential | None]


class ScramServer:
    """One exchange: ``step`` takes the client's first and final message and gives the server's.

    ``nonce`` is this server's part of it, fresh and random. ``decoy_key`` makes the salt that is told for a name that
    does not exist, always the same one for the same name, so that nobody can find out which names there are; its length
    and the iterations are those of ``like``, a credential that there is.
    """

    def __init__(
        self,
        mechanism: ScramMechanism,
        find: FindCredential,
        *,
        nonce: str,
        decoy_key: bytes,
        like: FindCredential = lambda _: None,
    ) -> None:
        self._mechanism = mechanism
        self._find = find
        self._server_nonce = nonce
        self._decoy_key = decoy_key
        self._like = like
        self._name = ""
        self._nonce = ""
        self._gs2_header = ""
        self._signed = ""
        self._credential: ScramCredential | None = None

    def step(self, token: bytes) -> Step:
        """The server's answer to a message; ``AuthenticationFailed`` ends the exchange."""
        if len(token) > MAX_MESSAGE_BYTES:
            raise AuthenticationFailed("the SCRAM message is too long")
        try:
            text = token.decode()
        except UnicodeDecodeError:
            raise AuthenticationFailed("the SCRAM message is not UTF-8") from None
        return self._final(text) if self._signed else self._first(text)

    def _first(self, text: str) -> Step:
        header = _GS2_HEADER.match(text)
        first = _FIRST.fullmatch(text, header.end()) if header else None
        if header is None or first is None:
            raise AuthenticationFailed("the first SCRAM message is malformed")
        if header["binding"].startswith("p"):
            raise AuthenticationFailed("channel binding is not supported")
        if text[header.end() :].startswith("m="):
            raise AuthenticationFailed("a mandatory SCRAM extension is not supported")
        if "tokenauth=true" in first["extensions"].split(","):
            raise AuthenticationFailed("delegation tokens are not supported")
        self._name = _unescaped(first["name"])
        if header["authzid"] is not None and _unescaped(header["authzid"]) != self._name:
            raise AuthenticationFailed("acting for another user is not supported")
        self._credential = self._find(self._name)
        if self._credential is None:
            salt, iterations = self._decoy()
        else:
            salt, iterations = self._credential.salt, self._credential.iterations
        self._nonce = first["nonce"] + self._server_nonce
        self._gs2_header = header[0]
        reply = f"r={self._nonce},s={base64.b64encode(salt).decode()},i={iterations}"
        self._signed = f"{text[header.end() :]},{reply}"
        return Step(reply.encode())

    def _decoy(self) -> tuple[bytes, int]:
        like = self._like(self._name)
        size, iterations = (SALT_BYTES, MIN_ITERATIONS) if like is None else (len(like.salt), like.iterations)
        salt = hmac.digest(self._decoy_key, self._name.encode(), "sha512")
        return (salt * (size // len(salt) + 1))[:size], iterations

    def _final(self, text: str) -> Step:
        final = _FINAL.fullmatch(text)
        if final is None:
            raise AuthenticationFailed("the final SCRAM message is malformed")
        if not hmac.compare_digest(final["nonce"].encode(), self._nonce.encode()):
            raise AuthenticationFailed("the SCRAM nonce is not the one of this exchange")
        if _base64(final["binding"]) != self._gs2_header.encode():
            raise AuthenticationFailed("the SCRAM channel binding is not the one of the first message")
        credential, mechanism = self._credential or _NOBODYS, self._mechanism
        signed = f"{self._signed},{text[: text.rindex(',p=')]}".encode()
        signature = mechanism.hmac(credential.stored_key, signed)
        proof = _base64(final["proof"])
        if len(proof) != len(signature):
            raise AuthenticationFailed
        client_key = bytes(left ^ right for left, right in zip(proof, signature, strict=True))
        if not hmac.compare_digest(mechanism.hash(client_key), credential.stored_key) or self._credential is None:
            raise AuthenticationFailed
        verifier = base64.b64encode(mechanism.hmac(credential.server_key, signed)).decode()
        return Step(f"v={verifier}".encode(), principal=user(self._name))


def _unescaped(name: str) -> str:
    """RFC 5802's ``saslname``: a comma is ``=2C``, an equals sign ``=3D``, and nothing else has one."""
    if re.search(r"=(?!2C|3D)", name):
        raise AuthenticationFailed("the SCRAM user name is malformed")
    return name.replace("=2C", ",").replace("=3D", "=")


def _base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise AuthenticationFailed("the SCRAM message has malformed base64") from None
