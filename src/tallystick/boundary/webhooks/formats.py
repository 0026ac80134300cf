"""What a provider's webhook says: the events in one request, and the notice in each.

Owns: the port ``WebhookFormat``, and Stripe's and Adyen's shapes. Must not know: SQL, deliveries.

An event that says nothing about an attempt (a dispute, a payout) is stored all the same: its notice is None, and the
application's own handler reads it from the store.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from tallystick.boundary.effect_ledger.notices import Notice
from tallystick.boundary.provider import Outcome, OutcomeKind
from tallystick.boundary.webhooks.signatures import TOLERANCE_MS, BadSignature, adyen_key, verify_adyen, verify_stripe
from tallystick.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class WebhookEvent:
    """One event. ``event_id`` is the same in every delivery of it, and in no other event of the provider."""

    provider: str
    event_id: str
    event_type: str
    body: bytes


class WebhookFormat(Protocol):
    """How one provider's webhooks are checked and read. Write one for any API that sends events."""

    @property
    def provider(self) -> str:
        """The provider's name in the effect ledger."""
        ...

    @property
    def accepted(self) -> bytes:
        """The body of the answer once everything is stored."""
        ...

    def verify(self, body: bytes, headers: Mapping[str, str], *, now_ms: int) -> Sequence[WebhookEvent]:
        """The events in a request. ``BadSignature`` if it is not the provider's; header names are in lower case."""
        ...

    def notice(self, event: WebhookEvent) -> Notice | None:
        """What a stored event says about an attempt, if anything. ``ValueError`` if it cannot be read."""
        ...


class StripeWebhook:
    """Stripe's events: one in each request, signed in the header ``Stripe-Signature``."""

    accepted: Final = b"{}"

    def __init__(self, *, secrets: Sequence[str], provider: str = "stripe", tolerance_ms: int = TOLERANCE_MS) -> None:
        """``secrets``: of the endpoint; two while one is changed for the other."""
        if not secrets or not all(secrets):
            raise ConfigurationError("a webhook endpoint without a secret would believe anybody")
        self.provider = provider
        self._secrets = tuple(secrets)
        self._tolerance_ms = tolerance_ms

    def verify(self, body: bytes, headers: Mapping[str, str], *, now_ms: int) -> Sequence[WebhookEvent]:
        header = headers.get("stripe-signature", "")
        verify_stripe(body, header, self._secrets, now_ms=now_ms, tolerance_ms=self._tolerance_ms)
        document = _object(json.loads(body))
        return (WebhookEvent(self.provider, _text(document, "id"), _text(document, "type"), body),)

    def notice(self, event: WebhookEvent) -> Notice | None:
        kind = _STRIPE_KINDS.get(event.event_type)
        if kind is None:
            return None
        document = _object(json.loads(event.body))
        item = _object(_object(document["data"])["object"])
        request = document.get("request")
        key = request.get("idempotency_key") if isinstance(request, Mapping) else None
        amount, fee = item.get("amount"), item.get("fee")
        outcome = Outcome(
            kind,
            provider_object_id=_text(item, "id"),
            amount_minor=amount if isinstance(amount, int) else None,
            fee_minor=fee if isinstance(fee, int) else None,
            currency=str(item.get("currency", "")).upper(),
            code=item.get("failure_code") if isinstance(item.get("failure_code"), str) else None,
            response=event.body,
        )
        reference = item.get("reference")
        return Notice(
            self.provider,
            outcome,
            provider_key=key if isinstance(key, str) else None,
            reference=reference if isinstance(reference, str) else None,
            operation=event.event_type.partition(".")[0],
        )


_STRIPE_KINDS: Final = {
    "charge.succeeded": OutcomeKind.SUCCEEDED,
    "charge.failed": OutcomeKind.DECLINED,
    "charge.expired": OutcomeKind.DECLINED,
    "charge.pending": OutcomeKind.PENDING_ACTION,
    "refund.created": OutcomeKind.SUCCEEDED,
    "refund.failed": OutcomeKind.DECLINED,
}


class AdyenWebhook:
    """Adyen's standard notifications: several items in a request, each signed by itself.

    Adyen names neither the idempotency key nor an event id. An event is its psp reference, its code and its success;
    an attempt is found by its psp reference, or by the merchant reference if only one attempt can be meant.
    """

    accepted: Final = b"[accepted]"

    def __init__(self, *, hmac_keys: Sequence[str], provider: str = "adyen") -> None:
        """``hmac_keys``: in hexadecimal, as Adyen shows them; two while one is changed for the other."""
        if not hmac_keys:
            raise ConfigurationError("a webhook endpoint without a key would believe anybody")
        for key in hmac_keys:
            adyen_key(key)
        self.provider = provider
        self._keys = tuple(hmac_keys)

    def verify(self, body: bytes, headers: Mapping[str, str], *, now_ms: int) -> Sequence[WebhookEvent]:  # noqa: ARG002
        entries = _object(json.loads(body)).get("notificationItems")
        if not isinstance(entries, list) or not entries:
            raise BadSignature("there is no notification item")
        items = [_object(_object(entry)["NotificationRequestItem"]) for entry in entries]
        for item in items:
            verify_adyen(item, self._keys)
        return tuple(self._event(item) for item in items)

    def _event(self, item: Mapping[str, Any]) -> WebhookEvent:
        code = _text(item, "eventCode")
        event_id = ":".join((_text(item, "pspReference"), code, str(item.get("success"))))
        return WebhookEvent(self.provider, event_id, code, json.dumps(item, separators=(",", ":")).encode())

    def notice(self, event: WebhookEvent) -> Notice | None:
        item = _object(json.loads(event.body))
        succeeded = str(item.get("success")).lower() == "true"
        if event.event_type not in _ADYEN_CODES:
            return None
        amount = item.get("amount")
        amount = amount if isinstance(amount, Mapping) else {}
        kind = OutcomeKind.SUCCEEDED if succeeded else OutcomeKind.DECLINED
        if event.event_type in _ADYEN_ENDED:
            kind = OutcomeKind.DECLINED
        outcome = Outcome(
            kind,
            provider_object_id=_text(
                item, "originalReference" if event.event_type == "CANCELLATION" else "pspReference"
            ),
            amount_minor=amount.get("value") if isinstance(amount.get("value"), int) else None,
            currency=str(amount.get("currency", "")).upper(),
            code=None if succeeded else str(item.get("reason") or "refused"),
            response=event.body,
        )
        reference = item.get("merchantReference")
        return Notice(
            self.provider,
            outcome,
            reference=reference if isinstance(reference, str) else None,
            operation="refund" if event.event_type == "REFUND" else "charge",
        )


_ADYEN_CODES: Final = frozenset({"AUTHORISATION", "REFUND", "OFFER_CLOSED", "CANCELLATION"})
_ADYEN_ENDED: Final = frozenset({"OFFER_CLOSED", "CANCELLATION"})
"""The payment will not come any more."""


def _object(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("a webhook's body is no JSON object")  # noqa: TRY004  what cannot be read is a ValueError
    return value


def _text(document: Mapping[str, Any], name: str) -> str:
    value = document.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= 200:
        raise ValueError(f"a webhook's {name} is missing, or no text of 1 to 200 characters")
    return value
