"""A movement of money at the provider: what was asked, what became of it, what it cost.

Owns: the value and the fee. Pure. Must not know: keys, faults, HTTP, the shapes that APIs give it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Self
from urllib.parse import parse_qsl

FEE_BASIS_POINTS: Final = 290
FEE_FIXED_MINOR: Final = 30
DISPUTE_FEE_MINOR: Final = 1_500
MAX_AMOUNT_MINOR: Final = 99_999_999

_CURRENCY: Final = re.compile(r"[a-z]{3}")
_TEXT_LIMIT: Final = 200


class BadRequest(Exception):
    """A parameter is missing or malformed; ``param`` names it."""

    def __init__(self, message: str, *, param: str) -> None:
        self.param = param
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class ChargeParameters:
    """A valid request; amounts in minor units of the currency. ``parent``: of a refund, the charge."""

    amount_minor: int
    currency: str
    reference: str
    customer: str
    parent: str = ""

    def fingerprint(self) -> str:
        """The parameters' hash: the same key with another fingerprint is an error. Field order does not count."""
        return hashlib.blake2b(json.dumps(asdict(self), sort_keys=True).encode(), digest_size=16).hexdigest()


@dataclass(frozen=True, slots=True)
class Naming:
    """What one provider's API calls a new object, and the key of the request that made it."""

    object_id: str
    balance_transaction_id: str
    key: str | None
    kind: str
    api: str


@dataclass(frozen=True, slots=True)
class Charge:
    """One object of the provider.

    ``kind``: charge, refund, dispute. ``status``: succeeded, failed, pending (waits for the customer) or canceled; only
    a succeeded one moved money and has a fee. ``parent_id`` is what a refund or a dispute is of.
    """

    id: str
    balance_transaction_id: str
    status: str
    amount_minor: int
    fee_minor: int
    currency: str
    reference: str
    customer: str
    idempotency_key: str
    created_ms: int
    kind: str = "charge"
    api: str = "stripe"
    parent_id: str = ""
    expires_ms: int = 0
    changed_ms: int = 0

    @classmethod
    def made(
        cls, parameters: ChargeParameters, *, naming: Naming, status: str, now_ms: int, action_window_ms: int
    ) -> Self:
        """What a request makes: a pending one expires after ``action_window_ms``, only a charge that moved money has a
        fee."""
        charged = status == "succeeded" and naming.kind == "charge"
        return cls(
            id=naming.object_id,
            balance_transaction_id=naming.balance_transaction_id,
            status=status,
            amount_minor=parameters.amount_minor,
            fee_minor=fee_of(parameters.amount_minor) if charged else 0,
            currency=parameters.currency,
            reference=parameters.reference,
            customer=parameters.customer,
            idempotency_key=naming.key or "",
            created_ms=now_ms,
            kind=naming.kind,
            api=naming.api,
            parent_id=parameters.parent,
            expires_ms=now_ms + action_window_ms if status == "pending" else 0,
            changed_ms=now_ms,
        )

    @property
    def moved_money(self) -> bool:
        return self.status == "succeeded"

    @property
    def signed_minor(self) -> int:
        """What it adds to our balance at the provider, before its fee."""
        return self.amount_minor if self.kind == "charge" else -self.amount_minor


def fee_of(amount_minor: int) -> int:
    """2.9 % + 30 minor units; the percentage is rounded half up to a whole minor unit."""
    return (amount_minor * FEE_BASIS_POINTS + 5_000) // 10_000 + FEE_FIXED_MINOR


def fields_of(body: bytes, content_type: str) -> Mapping[str, Any]:
    """The fields of a form or JSON body; ``BadRequest`` if it cannot be read."""
    try:
        if content_type.startswith("application/json"):
            document = json.loads(body or b"{}")
            if not isinstance(document, dict):
                raise BadRequest("The body is no JSON object", param="body")
            return document
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, strict_parsing=bool(body), max_num_fields=20)
    except ValueError:
        raise BadRequest("The body cannot be read", param="body") from None
    if len({name for name, _ in pairs}) != len(pairs):
        raise BadRequest("A parameter appears twice", param="body")
    return dict(pairs)


def known_only(fields: Mapping[str, Any], known: set[str]) -> None:
    unknown = fields.keys() - known
    if unknown:
        raise BadRequest(f"Received unknown parameter: {min(unknown)}", param=min(unknown))


def amount_of(value: Any, *, param: str = "amount") -> int:
    text = str(value) if isinstance(value, (int, str)) and not isinstance(value, bool) else ""
    if not (text.isascii() and text.isdecimal()) or not 0 < int(text) <= MAX_AMOUNT_MINOR:
        raise BadRequest(f"Invalid amount: {value!r}; whole minor units, 1 to {MAX_AMOUNT_MINOR}", param=param)
    return int(text)


def currency_of(value: Any, *, param: str = "currency") -> str:
    if not isinstance(value, str) or not _CURRENCY.fullmatch(value.lower()):
        raise BadRequest(f"Invalid currency: {value!r}", param=param)
    return value.lower()


def text_of(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= _TEXT_LIMIT:
        raise BadRequest(f"Missing or overlong parameter: {name}", param=name)
    return value
