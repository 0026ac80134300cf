"""Is this webhook from the provider, and is it fresh?

Owns: the two schemes. Pure: time comes in. Must not know: what the webhook says. Comparisons take the same time
whatever differs.

Sources: Stripe, "Verify webhook signatures" (header ``Stripe-Signature: t=<seconds>,v1=<hex>``, HMAC-SHA256 over
``<t>.<body>``, several ``v1`` while a secret is changed, five minutes of tolerance); Adyen, "Verify HMAC signatures"
(``additionalData.hmacSignature``, base64 of HMAC-SHA256 over eight fields joined by colons, the key in hexadecimal).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from typing import Any, Final

from tallystick.errors import ConfigurationError, TallystickError

TOLERANCE_MS: Final = 300_000
_MAX_SIGNATURES: Final = 10


class BadSignature(TallystickError):
    """Nobody who knows the secret sent this, or it was sent long ago. It is not stored."""


def sign_stripe(body: bytes, secret: str, *, at_ms: int) -> str:
    """The value of ``Stripe-Signature`` for a body."""
    seconds = at_ms // 1000
    return f"t={seconds},v1={_stripe_digest(body, secret, str(seconds))}"


def verify_stripe(
    body: bytes, header: str, secrets: Sequence[str], *, now_ms: int, tolerance_ms: int = TOLERANCE_MS
) -> None:
    """``BadSignature`` unless one of the ``secrets`` made one of the header's signatures, not longer ago than that."""
    pairs = [part.strip().partition("=") for part in header.split(",")]
    times = [value for name, _, value in pairs if name == "t"]
    signatures = [value for name, _, value in pairs if name == "v1"][:_MAX_SIGNATURES]
    if len(times) != 1 or not (times[0].isascii() and times[0].isdecimal()) or len(times[0]) > 12 or not signatures:
        raise BadSignature("the header Stripe-Signature is missing or malformed")
    expected = [_stripe_digest(body, secret, times[0]) for secret in secrets]
    matches = [_same(wanted, given) for wanted in expected for given in signatures]
    if not any(matches):
        raise BadSignature("no signature in Stripe-Signature fits the body")
    if abs(now_ms - int(times[0]) * 1000) > tolerance_ms:
        raise BadSignature(
            f"the signature is {abs(now_ms - int(times[0]) * 1000)} ms away from now: too old, or replayed"
        )


def sign_adyen(item: Mapping[str, Any], key_hex: str) -> str:
    """The ``hmacSignature`` of one notification item."""
    digest = hmac.new(adyen_key(key_hex), _adyen_payload(item).encode(), hashlib.sha256).digest()
    return base64.b64encode(digest).decode("ascii")


def verify_adyen(item: Mapping[str, Any], keys_hex: Sequence[str]) -> None:
    """``BadSignature`` unless one of the keys made the item's signature. Adyen signs no time."""
    additional = item.get("additionalData")
    given = additional.get("hmacSignature") if isinstance(additional, Mapping) else None
    if not isinstance(given, str):
        raise BadSignature("the notification has no additionalData.hmacSignature")
    matches = [_same(sign_adyen(item, key), given) for key in keys_hex]
    if not any(matches):
        raise BadSignature("additionalData.hmacSignature does not fit the notification")


def adyen_key(key_hex: str) -> bytes:
    try:
        key = bytes.fromhex(key_hex)
    except ValueError as error:
        raise ConfigurationError("Adyen's HMAC key is hexadecimal digits") from error
    if len(key) < 16:
        raise ConfigurationError("Adyen's HMAC key has at least 16 bytes")
    return key


def _stripe_digest(body: bytes, secret: str, seconds: str) -> str:
    return hmac.new(secret.encode(), seconds.encode() + b"." + body, hashlib.sha256).hexdigest()


def _adyen_payload(item: Mapping[str, Any]) -> str:
    amount = item.get("amount")
    amount = amount if isinstance(amount, Mapping) else {}
    fields = (
        item.get("pspReference"),
        item.get("originalReference"),
        item.get("merchantAccountCode"),
        item.get("merchantReference"),
        amount.get("value"),
        amount.get("currency"),
        item.get("eventCode"),
        item.get("success"),
    )
    return ":".join("" if field is None else str(field) for field in fields)


def _same(expected: str, given: str) -> bool:
    return hmac.compare_digest(expected.encode(), given.encode())
