"""Webhooks that the provider sends: signed, delayed, repeated, out of order, lost, and tried again until 2xx.

Owns: what an event looks like in each API, and the plan of its deliveries. Pure but for its own queue: time comes in,
and whoever holds it does the sending. Must not know: sockets.

Deliveries are planned from the seed, the event and the number of the try, so that the same seed gives the same ones.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

from tallystick.errors import ConfigurationError
from tallystick.sandbox.charge import Charge
from tallystick.sandbox.faults import FaultPlan, share
from tallystick.sandbox.stripe import document_of

Api = Literal["stripe", "adyen"]
MAX_TRIES: Final = 20
MAX_PAUSE_MS: Final = 3_600_000
_STRIPE_TYPES: Final = {
    ("charge", "succeeded"): "charge.succeeded",
    ("charge", "failed"): "charge.failed",
    ("charge", "pending"): "charge.pending",
    ("charge", "canceled"): "charge.expired",
    ("refund", "succeeded"): "refund.created",
    ("dispute", "succeeded"): "charge.dispute.created",
}
_ADYEN_CODES: Final = {
    ("charge", "succeeded"): ("AUTHORISATION", "true"),
    ("charge", "failed"): ("AUTHORISATION", "false"),
    ("charge", "canceled"): ("OFFER_CLOSED", "true"),
    ("refund", "succeeded"): ("REFUND", "true"),
    ("dispute", "succeeded"): ("CHARGEBACK", "true"),
}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where webhooks of one API go. ``secret``: Stripe's ``whsec_...`` text, or Adyen's key in hexadecimal."""

    url: str
    api: Api
    secret: str


@dataclass(frozen=True, slots=True)
class Delivery:
    """One POST to come."""

    endpoint: Endpoint
    event_id: str
    body: bytes
    due_ms: int
    tries: int = 0

    def headers(self, *, now_ms: int) -> dict[str, str]:
        """Signed now: an old signature would be refused as a replay."""
        headers = {"Content-Type": "application/json"}
        if self.endpoint.api == "stripe":
            headers["Stripe-Signature"] = _stripe_signature(self.body, self.endpoint.secret, now_ms // 1000)
        return headers


@dataclass(slots=True)
class WebhookQueue:
    """The deliveries to come, for every endpoint."""

    seed: int
    endpoints: list[Endpoint] = field(default_factory=list)
    waiting: list[Delivery] = field(default_factory=list)
    given_up: int = 0

    def changed(self, charge: Charge, plan: FaultPlan, *, now_ms: int) -> None:
        """Plan the deliveries of what a charge's change is called."""
        for endpoint in self.endpoints:
            made = _event(charge, endpoint, self.seed)
            if made is None or share(self.seed, "webhook-lost", made[0]) < plan.webhook_losses:
                continue
            copies = 2 if share(self.seed, "webhook-twice", made[0]) < plan.webhook_duplicates else 1
            for copy in range(copies):
                delay_ms = int(share(self.seed, "webhook-delay", made[0], str(copy)) * (plan.webhook_delay_ms + 1))
                self.waiting.append(Delivery(endpoint, *made, due_ms=now_ms + delay_ms))

    def take_due(self, now_ms: int) -> list[Delivery]:
        """Deliveries whose time has come, in the order of their times; each comes back by ``refused`` or is done."""
        due = sorted((each for each in self.waiting if each.due_ms <= now_ms), key=lambda each: each.due_ms)
        self.waiting = [each for each in self.waiting if each.due_ms > now_ms]
        return due

    def refused(self, delivery: Delivery, *, now_ms: int) -> None:
        """No 2xx: again, after a pause that doubles, up to ``MAX_TRIES`` times."""
        tries = delivery.tries + 1
        if tries >= MAX_TRIES:
            self.given_up += 1
            return
        pause_ms = min(MAX_PAUSE_MS, 500 << tries)
        self.waiting.append(replace(delivery, tries=tries, due_ms=now_ms + pause_ms))


def endpoints_from(entries: Iterable[Any]) -> list[Endpoint]:
    """Endpoints from JSON: ``url``, ``api`` and ``secret`` each."""
    return [_endpoint(entry) for entry in entries]


def _endpoint(entry: Any) -> Endpoint:
    if not isinstance(entry, dict) or entry.keys() != {"url", "api", "secret"}:
        raise ConfigurationError(f"a webhook endpoint has url, api and secret, not {entry!r}")
    endpoint = Endpoint(**{name: str(value) for name, value in entry.items()})  # type: ignore[arg-type]
    if endpoint.api not in ("stripe", "adyen") or not endpoint.url.startswith("http://") or not endpoint.secret:
        raise ConfigurationError(f"a webhook endpoint of stripe or adyen at http://..., not {entry!r}")
    if endpoint.api == "adyen":
        try:
            bytes.fromhex(endpoint.secret)
        except ValueError as wrong:
            raise ConfigurationError("Adyen's HMAC key is hexadecimal digits") from wrong
    return endpoint


def _event(charge: Charge, endpoint: Endpoint, seed: int) -> tuple[str, bytes] | None:
    if charge.api != endpoint.api:
        return None
    event_id = "evt_" + hashlib.blake2b(f"{seed}:{charge.id}:{charge.status}".encode(), digest_size=12).hexdigest()
    if endpoint.api == "stripe":
        kind = _STRIPE_TYPES.get((charge.kind, charge.status))
        return None if kind is None else (event_id, _stripe_event(event_id, kind, charge))
    code = _ADYEN_CODES.get((charge.kind, charge.status))
    return None if code is None else (event_id, _adyen_event(*code, charge, endpoint.secret))


def _stripe_event(event_id: str, kind: str, charge: Charge) -> bytes:
    return json.dumps(
        {
            "id": event_id,
            "object": "event",
            "type": kind,
            "created": charge.changed_ms // 1000,
            "request": {"id": None, "idempotency_key": charge.idempotency_key or None},
            "data": {"object": document_of(charge)},
        },
        separators=(",", ":"),
    ).encode()


def _adyen_event(code: str, success: str, charge: Charge, key_hex: str) -> bytes:
    item: dict[str, Any] = {
        "pspReference": charge.id,
        "originalReference": charge.parent_id or None,
        "merchantAccountCode": "Sandbox",
        "merchantReference": charge.reference,
        "amount": {"value": charge.amount_minor, "currency": charge.currency.upper()},
        "eventCode": code,
        "success": success,
        "reason": "Refused" if success == "false" else "",
    }
    values = (
        item["pspReference"],
        item["originalReference"] or "",
        item["merchantAccountCode"],
        item["merchantReference"],
        item["amount"]["value"],
        item["amount"]["currency"],
        code,
        success,
    )
    digest = hmac.new(bytes.fromhex(key_hex), ":".join(map(str, values)).encode(), hashlib.sha256).digest()
    item["additionalData"] = {"hmacSignature": base64.b64encode(digest).decode("ascii")}
    return json.dumps(
        {"live": "false", "notificationItems": [{"NotificationRequestItem": item}]}, separators=(",", ":")
    ).encode()


def _stripe_signature(body: bytes, secret: str, seconds: int) -> str:
    digest = hmac.new(secret.encode(), str(seconds).encode() + b"." + body, hashlib.sha256).hexdigest()
    return f"t={seconds},v1={digest}"
