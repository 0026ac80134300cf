"""The charging process hears from the provider what no answer told it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Engine
from tests.support.clients import eventually
from tests.unit.billing.test_whole_flow import World

from tallystick.billing.controls import run_checks
from tallystick.billing.webhooks_in import ENV_SECRETS, PATH, WebhookSettings, WebhooksIn
from tallystick.boundary.database import reading
from tallystick.boundary.effect_ledger import Attempt
from tallystick.boundary.effects import State
from tallystick.boundary.provider import OutcomeKind
from tallystick.boundary.webhooks.signatures import sign_stripe
from tallystick.errors import ConfigurationError

SECRET = "whsec_1234567890"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(f"sqlite:///{tmp_path / 'billing.sqlite3'}")
    yield made
    made.engine.dispose()
    made.billing.close()


@contextmanager
def running(webhooks: WebhooksIn) -> Iterator[str]:
    stop = threading.Event()
    threads = [threading.Thread(target=work, args=(stop,)) for work in (webhooks.serve, webhooks.process)]
    for thread in threads:
        thread.start()
    try:
        yield f"http://127.0.0.1:{webhooks.port}"
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def event_of(attempt: Attempt) -> bytes:
    item = {
        "id": "ch_told",
        "amount": attempt.amount_minor,
        "currency": attempt.currency.lower(),
        "reference": attempt.reference,
    }
    told = {"id": "evt_1", "type": "charge.succeeded", "request": {"idempotency_key": attempt.provider_key}}
    return json.dumps({**told, "data": {"object": item}}).encode()


def state_of(world: World, attempt: Attempt) -> State:
    found = world.provider.ledger.attempt(attempt.attempt_id)
    assert found is not None
    return found.state


def findings(engine: Engine) -> list[str]:
    with reading(engine) as connection:
        return [str(finding) for finding in run_checks(connection)]


def test_a_lost_answer_is_told_by_webhook_and_booked_once(world: World) -> None:
    world.until_invoiced()
    world.provider.dispatch(lambda _attempt: OutcomeKind.UNKNOWN)
    attempt = world.provider.ledger.list_unknown()[0]
    webhooks = WebhooksIn(world.engine, world.provider.ledger, WebhookSettings(("127.0.0.1", 0), (SECRET,)))
    body = event_of(attempt)
    signed = {"Stripe-Signature": sign_stripe(body, SECRET, at_ms=time.time_ns() // 1_000_000)}
    with running(webhooks) as url:
        assert httpx.post(url + PATH, content=body, headers={"Stripe-Signature": "t=1,v1=00"}).status_code == 400
        assert httpx.post(url + "/elsewhere", content=body, headers=signed).status_code == 404
        assert [httpx.post(url + PATH, content=body, headers=signed).status_code for _ in range(2)] == [200, 200]
        eventually(lambda: state_of(world, attempt) is State.SUCCEEDED)
    assert findings(world.engine) == []


def test_webhooks_need_a_secret_and_an_address_that_others_cannot_reach() -> None:
    with pytest.raises(ConfigurationError, match=ENV_SECRETS):
        WebhookSettings.of("127.0.0.1:0", {})
    with pytest.raises(ConfigurationError, match="can be reached by others"):
        WebhookSettings.of("0.0.0.0:80", {ENV_SECRETS: SECRET})
    settings = WebhookSettings.of("127.0.0.1:0", {ENV_SECRETS: "a,b"})
    assert settings.secrets == ("a", "b")
    assert "secrets" not in repr(settings)
