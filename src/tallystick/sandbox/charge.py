"""A charge: what was asked, what became of it, what it cost.

Owns: the request's validation, the fee, the charge's document. Pure. Must not know: keys, faults, HTTP.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final
from urllib.parse import parse_qsl

FEE_BASIS_POINTS: Final = 290
FEE_FIXED_MINOR: Final = 30
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
    """A valid request; amounts in minor units of the currency."""

    amount_minor: int
    currency: str
    reference: str
    customer: str

    def fingerprint(self) -> str:
        """The parameters' hash: the same key with another fingerprint is an error. Field order does not count."""
        return hashlib.blake2b(json.dumps(asdict(self), sort_keys=True).encode(), digest_size=16).hexdigest()


@dataclass(frozen=True, slots=True)
class Charge:
    """One object of the provider. ``status``: succeeded or failed; a failed one moved no money and has no fee."""

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

    def document(self) -> dict[str, Any]:
        """As the API shows it. The idempotency key is not shown, as with Stripe."""
        failed = self.status == "failed"
        return {
            "id": self.id,
            "object": "charge",
            "amount": self.amount_minor,
            "currency": self.currency,
            "fee": self.fee_minor,
            "reference": self.reference,
            "customer": self.customer,
            "status": self.status,
            "failure_code": "card_declined" if failed else None,
            "balance_transaction": None if failed else self.balance_transaction_id,
            "created": self.created_ms // 1000,
            "created_ms": self.created_ms,
        }


def fee_of(amount_minor: int) -> int:
    """2.9 % + 30 minor units; the percentage is rounded half up to a whole minor unit."""
    return (amount_minor * FEE_BASIS_POINTS + 5_000) // 10_000 + FEE_FIXED_MINOR


def parse_parameters(body: bytes, content_type: str) -> ChargeParameters:
    """The parameters of a form or JSON body; ``BadRequest`` names the first that is wrong."""
    fields = _fields(body, content_type)
    unknown = fields.keys() - {"amount", "currency", "reference", "customer"}
    if unknown:
        raise BadRequest(f"Received unknown parameter: {min(unknown)}", param=min(unknown))
    return ChargeParameters(
        amount_minor=_amount(fields.get("amount")),
        currency=_currency(fields.get("currency")),
        reference=_text(fields, "reference"),
        customer=_text(fields, "customer"),
    )


def _fields(body: bytes, content_type: str) -> Mapping[str, Any]:
    try:
        if content_type.startswith("application/json"):
            document = json.loads(body)
            if not isinstance(document, dict):
                raise BadRequest("The body is no JSON object", param="body")
            return document
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, strict_parsing=True, max_num_fields=20)
    except ValueError:
        raise BadRequest("The body cannot be read", param="body") from None
    if len({name for name, _ in pairs}) != len(pairs):
        raise BadRequest("A parameter appears twice", param="body")
    return dict(pairs)


def _amount(value: Any) -> int:
    text = str(value) if isinstance(value, (int, str)) and not isinstance(value, bool) else ""
    if not (text.isascii() and text.isdecimal()) or not 0 < int(text) <= MAX_AMOUNT_MINOR:
        raise BadRequest(f"Invalid amount: {value!r}; whole minor units, 1 to {MAX_AMOUNT_MINOR}", param="amount")
    return int(text)


def _currency(value: Any) -> str:
    if not isinstance(value, str) or not _CURRENCY.fullmatch(value.lower()):
        raise BadRequest(f"Invalid currency: {value!r}", param="currency")
    return value.lower()


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= _TEXT_LIMIT:
        raise BadRequest(f"Missing or overlong parameter: {name}", param=name)
    return value
