"""Webhooks in, on each database: stored first, processed until done, harmless however they come (rule 35)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from sqlalchemy import Connection, Engine
from starlette.applications import Starlette
from starlette.routing import Route
from tests.support.boundary import POLICY, create_intents

from tallystick.boundary import Attempt, EffectLedger, Outcome, State, create_tables, open_database
from tallystick.boundary.webhooks import (
    AdyenWebhook,
    StripeWebhook,
    WebhookEndpoint,
    WebhookEvent,
    WebhookProcessor,
    WebhookStore,
)
from tallystick.boundary.webhooks.endpoint import MAX_BODY_BYTES
from tallystick.boundary.webhooks.signatures import sign_adyen, sign_stripe
from tallystick.boundary.webhooks.store import Progress
from tallystick.clock import ManualClock

SECRET = "whsec_test"
KEY = "00112233445566778899aabbccddeeff"
NOW_MS = 1_700_000_000_000


@dataclass
class Shop:
    """A ledger with one attempt in flight, an endpoint and a processor."""

    engine: Engine
    clock: ManualClock = field(default_factory=lambda: ManualClock(start_ms=NOW_MS))
    told: list[State] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)
    failing: bool = False

    def __post_init__(self) -> None:
        self.ledger = EffectLedger(self.engine, clock=self.clock, draw=lambda: 1.0)
        self.store = WebhookStore(self.engine, clock=self.clock)
        self.stripe = StripeWebhook(secrets=[SECRET])
        self.endpoint = WebhookEndpoint(self.store, self.stripe, clock=self.clock)
        self.processor = WebhookProcessor(
            self.engine,
            self.ledger,
            [self.stripe, AdyenWebhook(hmac_keys=[KEY])],
            self.book,
            store=self.store,
            on_event=self.see,
            draw=lambda: 1.0,
        )
        create_intents(self.engine, self.ledger, 1)
        claimed = self.ledger.claim(provider="stripe", owner="a", limit=1, lease_ms=4_000)
        (self.attempt,) = self.ledger.mark_sent(claimed, policy=POLICY, lease_ms=4_000)

    def book(self, connection: Connection, attempt: Attempt, outcome: Outcome) -> None:
        if self.failing:
            raise ValueError("the books are closed")
        self.told.append(attempt.state)

    def see(self, connection: Connection, event: WebhookEvent) -> None:
        self.seen.append(event.event_type)

    def event(self, kind: str = "charge.succeeded", *, event_id: str = "evt_1", amount: int = 100) -> bytes:
        item = {"id": "ch_1", "amount": amount, "currency": "usd", "reference": self.attempt.reference}
        key = {"idempotency_key": self.attempt.provider_key}
        return json.dumps({"id": event_id, "type": kind, "request": key, "data": {"object": item}}).encode()

    def deliver(self, body: bytes, *, signature: str | None = None) -> int:
        given = sign_stripe(body, SECRET, at_ms=self.clock.now_ms()) if signature is None else signature
        return asyncio.run(self._post(body, given))

    async def _post(self, body: bytes, signature: str) -> int:
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "POST", "headers": [(b"Stripe-Signature", signature.encode())]}
        await self.endpoint(scope, receive, send)
        return int(sent[0]["status"])

    @property
    def state(self) -> State:
        return self.ledger.attempts()[0].state


@pytest.fixture
def shop(database_url: str) -> Iterator[Shop]:
    opened = open_database(database_url)
    create_tables(opened)
    yield Shop(opened)
    opened.dispose()


def test_a_webhook_is_stored_before_it_is_accepted_and_processed_after(shop: Shop) -> None:
    assert shop.deliver(shop.event()) == 200
    assert [(entry.state, entry.tries) for entry in shop.store.entries()] == [(Progress.RECEIVED, 0)]
    assert shop.state is State.SENT
    assert shop.processor.run_once() == 1
    assert (shop.state, shop.told) == (State.SUCCEEDED, [State.SUCCEEDED])
    assert [(entry.state, entry.result) for entry in shop.store.entries()] == [(Progress.DONE, "settled")]


def test_it_is_mounted_in_an_application_and_takes_nothing_but_posts_of_a_bearable_size(shop: Shop) -> None:
    application = Starlette(routes=[Route("/hooks", shop.endpoint)])

    async def ask() -> list[int]:
        transport = httpx.ASGITransport(application)
        async with httpx.AsyncClient(transport=transport, base_url="http://us") as client:
            body = shop.event()
            signed = {"Stripe-Signature": sign_stripe(body, SECRET, at_ms=shop.clock.now_ms())}
            accepted = await client.post("/hooks", content=body, headers=signed)
            shown = await client.get("/hooks")
            large = await client.post("/hooks", content=b"x" * (MAX_BODY_BYTES + 1), headers=signed)
            return [accepted.status_code, shown.status_code, large.status_code]

    assert asyncio.run(ask()) == [200, 405, 413]


def test_a_delivery_that_comes_again_is_counted_and_does_nothing(shop: Shop) -> None:
    for _ in range(3):
        assert shop.deliver(shop.event()) == 200
        shop.processor.run_once()
    assert shop.deliver(shop.event(event_id="evt_2")) == 200
    shop.processor.run_once()
    assert shop.told == [State.SUCCEEDED]
    assert [(each.deliveries, each.result) for each in shop.store.entries()] == [(3, "settled"), (1, "repeated")]


@pytest.mark.parametrize("signature", ["", "t=1,v1=00"])
def test_nothing_is_stored_of_who_cannot_sign(shop: Shop, signature: str) -> None:
    assert shop.deliver(shop.event(), signature=signature) == 400
    assert shop.store.entries() == ()


def test_what_cannot_be_stored_is_not_accepted(shop: Shop) -> None:
    with shop.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE tallystick_webhook_in RENAME TO elsewhere")
    assert shop.deliver(shop.event()) == 503


def test_a_webhook_that_failed_is_processed_again_until_done_though_it_is_delivered_again(shop: Shop) -> None:
    shop.failing = True
    shop.deliver(shop.event())
    assert shop.processor.run_once() == 0
    assert shop.deliver(shop.event()) == 200, "the provider delivers it again meanwhile"
    assert shop.state is State.SENT, "rolled back whole"
    (entry,) = shop.store.entries()
    assert (entry.state, entry.tries, entry.last_error) == (Progress.RECEIVED, 1, "ValueError('the books are closed')")
    shop.failing = False
    assert shop.processor.run_once() == 0, "not before the pause is over"
    shop.clock.advance(by_ms=1_000)
    assert shop.processor.run_once() == 1
    assert (shop.state, shop.told) == (State.SUCCEEDED, [State.SUCCEEDED])


def test_the_pause_after_failures_is_bounded_and_there_is_no_last_try(shop: Shop) -> None:
    shop.failing = True
    shop.deliver(shop.event())
    for _ in range(30):
        shop.processor.run_once()
        shop.clock.advance(by_ms=600_000)
    assert [entry.tries for entry in shop.store.entries()] == [30]
    shop.failing = False
    assert shop.processor.run_once() == 1


def test_one_that_cannot_be_read_holds_up_no_other(shop: Shop) -> None:
    shop.store.keep([WebhookEvent("stripe", "evt_0", "charge.succeeded", b"no json")])
    shop.deliver(shop.event())
    assert shop.processor.run_once() == 1
    assert shop.store.waiting() == 1


def test_an_event_about_something_else_is_the_applications(shop: Shop) -> None:
    shop.deliver(shop.event("charge.dispute.created"))
    assert shop.processor.run_once() == 1
    assert shop.seen == ["charge.dispute.created"]
    assert (shop.state, shop.store.entries()[0].result) == (State.SENT, "no-outcome")


def test_an_amount_that_was_not_asked_for_stays_visible_and_settles_nothing(shop: Shop) -> None:
    shop.deliver(shop.event(amount=101))
    assert shop.processor.run_once() == 0
    (entry,) = shop.store.entries()
    assert "asked for (100, 'USD')" in str(entry.last_error)
    assert shop.state is State.SENT


def adyen(shop: Shop, **fields: Any) -> bytes:
    item = {
        "pspReference": "PSP1",
        "merchantAccountCode": "Shop",
        "merchantReference": shop.attempt.reference,
        "amount": {"value": 100, "currency": "USD"},
        "eventCode": "AUTHORISATION",
        "success": "true",
        **fields,
    }
    item["additionalData"] = {"hmacSignature": sign_adyen(item, KEY)}
    return json.dumps({"live": "false", "notificationItems": [{"NotificationRequestItem": item}]}).encode()


@pytest.mark.parametrize(("success", "expected"), [("true", State.SUCCEEDED), ("false", State.DECLINED)])
def test_adyens_notifications_settle_by_reference(shop: Shop, success: str, expected: State) -> None:
    reader = AdyenWebhook(hmac_keys=[KEY], provider="stripe")
    events = reader.verify(adyen(shop, success=success), {}, now_ms=NOW_MS)
    shop.store.keep([*events, *events])
    processor = WebhookProcessor(shop.engine, shop.ledger, [reader], shop.book, store=shop.store)
    assert processor.run_once() == 1
    assert shop.state is expected
