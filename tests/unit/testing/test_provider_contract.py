"""Our own adapters keep the contract that users run on theirs."""

from __future__ import annotations

import json
from typing import ClassVar

from tallystick.boundary import Provider, StripeLike
from tallystick.boundary.providers.adyen_like import AdyenLike
from tallystick.boundary.providers.exchange import NewTransport
from tallystick.testing.provider_contract import Answer, ProviderContract


def stripe_error(kind: str, **more: str) -> bytes:
    return json.dumps({"error": {"type": kind, "message": "m", **more}}).encode()


CHARGE = {"id": "ch_1", "amount": 100, "currency": "usd", "fee": 33, "status": "succeeded", "failure_code": None}


class TestStripeV1(ProviderContract):
    version: ClassVar[str] = "v1"
    success = Answer(200, json.dumps(CHARGE).encode())
    pending = Answer(200, json.dumps({**CHARGE, "status": "pending"}).encode())
    decline = Answer(402, stripe_error("card_error", code="card_declined", charge="ch_1"))
    in_flight = Answer(409, stripe_error("idempotency_error_in_progress"))
    rate_limited = Answer(429, stripe_error("rate_limit_error"), {"Retry-After": "2"})
    key_reused = Answer(400, stripe_error("idempotency_error"))
    unauthorised = Answer(401, stripe_error("invalid_request_error"))

    def new_provider(self, transport: NewTransport, *, timeout_ms: int) -> Provider:
        return StripeLike("http://x", version=self.version, transport=transport, timeout_ms=timeout_ms)  # type: ignore[arg-type]


class TestStripeV2(TestStripeV1):
    version = "v2"


class TestStripeRefunds(TestStripeV1):
    operation = "refund"


def adyen(result: str) -> bytes:
    amount = {"value": 100, "currency": "EUR"}
    return json.dumps({"pspReference": "PSP1", "resultCode": result, "amount": amount}).encode()


def adyen_error(code: str) -> bytes:
    return json.dumps({"status": 422, "errorCode": code, "message": "m", "errorType": "validation"}).encode()


class TestAdyen(ProviderContract):
    success = Answer(200, adyen("Authorised"))
    pending = Answer(200, adyen("RedirectShopper"))
    decline = Answer(200, adyen("Refused"))
    in_flight = Answer(422, adyen_error("704"), {"transient-error": "true"})
    rate_limited = Answer(429, b"{}", {"Retry-After": "2"})
    key_reused = Answer(422, adyen_error("708"))
    unauthorised = Answer(401, adyen_error("000"))

    def new_provider(self, transport: NewTransport, *, timeout_ms: int) -> Provider:
        return AdyenLike("http://x", merchant_account="Shop", transport=transport, timeout_ms=timeout_ms)
