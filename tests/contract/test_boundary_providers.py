"""The adapters against the sandbox, over real sockets: what each provider's answers become."""

from __future__ import annotations

import asyncio
import http.server
import json
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from tallystick.boundary import (
    CancelRequest,
    ChargeRequest,
    KeyReuseError,
    LookUp,
    LookUpRequest,
    Outcome,
    OutcomeKind,
    Provider,
    StripeLike,
    charge_body,
)
from tallystick.boundary.providers.adyen_like import AdyenLike, payment_body
from tallystick.boundary.webhooks.signatures import verify_adyen, verify_stripe
from tallystick.clock import SystemClock
from tallystick.errors import ConfigurationError
from tallystick.sandbox import InProcessSandbox

DAY_MS = 86_400_000
SHAPES = ("v1", "v2", "adyen")
HMAC_KEY = "00112233445566778899aabbccddeeff"


@pytest.fixture(scope="module")
def shared() -> Iterator[InProcessSandbox]:
    with InProcessSandbox(seed=3) as running:
        yield running


@pytest.fixture
def sandbox(shared: InProcessSandbox) -> InProcessSandbox:
    shared.set_faults({})
    return shared


@pytest.fixture(params=SHAPES)
def shape(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def adapter(sandbox: InProcessSandbox, shape: str, *, timeout_ms: int = 5_000) -> Provider:
    if shape == "adyen":
        return AdyenLike(sandbox.url, merchant_account="Shop", timeout_ms=timeout_ms)
    return StripeLike(sandbox.url, version=shape, timeout_ms=timeout_ms)  # type: ignore[arg-type]


def request(shape: str, name: str, *, amount: int = 500) -> ChargeRequest:
    key = f"{shape}-{name}"
    if shape == "adyen":
        body = payment_body(amount_minor=amount, currency="USD", reference=key, shopper="s", merchant_account="Shop")
    else:
        body = charge_body(amount_minor=amount, currency="USD", reference=key, customer="c", version=shape)  # type: ignore[arg-type]
    return ChargeRequest(key, body)


def using(provider: Callable[[], Provider], work: Callable[[Provider], Awaitable[Any]]) -> Any:
    async def session() -> Any:
        made = provider()
        try:
            return await work(made)
        finally:
            await made.close()

    return asyncio.run(session())


def charged(sandbox: InProcessSandbox, reference: str) -> int:
    charges = sandbox.truth()["charges"]
    return sum(each["reference"] == reference and each["status"] == "succeeded" for each in charges)


def test_a_charge_succeeds_with_object_and_amount_and_its_repeat_is_the_same(
    sandbox: InProcessSandbox, shape: str
) -> None:
    asked = request(shape, "plain")

    async def twice(provider: Provider) -> list[Outcome]:
        return [await provider.charge(asked), await provider.charge(asked)]

    first, again = using(lambda: adapter(sandbox, shape), twice)
    assert (first.kind, first.amount_minor, first.currency) == (OutcomeKind.SUCCEEDED, 500, "USD")
    assert (again.kind, again.provider_object_id) == (first.kind, first.provider_object_id)
    assert charged(sandbox, asked.provider_key) == 1


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("error_500_not_stored", OutcomeKind.UNKNOWN),
        ("error_500_stored", OutcomeKind.UNKNOWN),
        ("outage_503", OutcomeKind.UNKNOWN),
        ("rate_limit_429", OutcomeKind.LATER),
        ("in_flight_409", OutcomeKind.LATER),
        ("timeout_after_commit", OutcomeKind.UNKNOWN),
        ("timeout_before_commit", OutcomeKind.UNKNOWN),
        ("slow", OutcomeKind.UNKNOWN),
    ],
)
def test_what_goes_wrong_is_unknown_or_later_and_never_declined(
    sandbox: InProcessSandbox, shape: str, fault: str, kind: OutcomeKind
) -> None:
    asked = request(shape, fault)
    sandbox.set_faults({"slow_ms": 5_000, "rules": [{"fault": fault, "reference": asked.provider_key}]})
    patience_ms = 300 if fault.startswith(("timeout", "slow")) else 30_000  # the others are answered, if late
    outcome = using(lambda: adapter(sandbox, shape, timeout_ms=patience_ms), lambda provider: provider.charge(asked))
    assert outcome.kind is kind
    if fault == "rate_limit_429":
        assert (outcome.status, outcome.retry_after_ms) == (429, 0)


def test_only_version_1_says_that_a_500_is_replayed(sandbox: InProcessSandbox, shape: str) -> None:
    asked = request(shape, "stored")
    sandbox.set_faults({"rules": [{"fault": "error_500_stored", "reference": asked.provider_key}]})

    async def twice(provider: Provider) -> Outcome:
        await provider.charge(asked)
        return await provider.charge(asked)

    again = using(lambda: adapter(sandbox, shape), twice)
    assert again.replayed_failure is (shape == "v1")
    assert again.kind is (OutcomeKind.UNKNOWN if shape == "v1" else OutcomeKind.SUCCEEDED)


def test_the_same_key_with_other_parameters_stops(sandbox: InProcessSandbox, shape: str) -> None:
    async def twice(provider: Provider) -> None:
        await provider.charge(request(shape, "reused"))
        await provider.charge(request(shape, "reused", amount=501))

    with pytest.raises(KeyReuseError):
        using(lambda: adapter(sandbox, shape), twice)


def test_a_decline_is_one(sandbox: InProcessSandbox, shape: str) -> None:
    sandbox.set_faults({"declines": 1.0})
    outcome = using(lambda: adapter(sandbox, shape), lambda provider: provider.charge(request(shape, "declined")))
    assert outcome.kind is OutcomeKind.DECLINED
    assert outcome.provider_object_id is not None


def test_what_waits_for_its_customer_is_ended_or_found_to_be_paid(sandbox: InProcessSandbox, shape: str) -> None:
    sandbox.set_faults({"pending": 1.0})

    async def cancelled(provider: Provider, name: str, *, completes: bool) -> tuple[Outcome, Outcome]:
        asked = request(shape, name)
        waits = await provider.charge(asked)
        assert waits.provider_object_id is not None
        if completes:
            await asyncio.to_thread(sandbox.complete_action, waits.provider_object_id)
        return waits, await provider.cancel(CancelRequest(waits.provider_object_id, asked.provider_key))

    for name, completes in (("waits", False), ("faster", True)):
        waits, ended = using(
            lambda: adapter(sandbox, shape),
            lambda provider, name=name, completes=completes: cancelled(provider, name, completes=completes),  # type: ignore[misc]
        )
        assert waits.kind is OutcomeKind.PENDING_ACTION
        if shape == "adyen":
            assert ended.kind is OutcomeKind.UNKNOWN, "Adyen only says that it was asked"
        else:
            assert ended.kind is (OutcomeKind.SUCCEEDED if completes else OutcomeKind.DECLINED)
        assert charged(sandbox, request(shape, name).provider_key) == completes


def test_a_listing_finds_what_was_charged_and_nothing_else(shape: str) -> None:
    """Adyen has reports: none is complete before its day is over."""
    now_ms = SystemClock().now_ms()

    async def look(provider: Provider, reference: str) -> LookUp:
        return await provider.look_up(LookUpRequest(reference, now_ms, until_ms=now_ms))

    with InProcessSandbox(seed=4) as sandbox:
        asked = request(shape, "listed")
        using(lambda: adapter(sandbox, shape), lambda provider: provider.charge(asked))
        if shape == "adyen":
            early = using(lambda: adapter(sandbox, shape), lambda provider: look(provider, asked.provider_key))
            assert not early.complete
            sandbox.move_clock(by_ms=2 * DAY_MS)
        found = using(lambda: adapter(sandbox, shape), lambda provider: look(provider, asked.provider_key))
        other = using(lambda: adapter(sandbox, shape), lambda provider: look(provider, "nobody"))
        sandbox.set_faults({"outage_ms": 60_000})
        during = using(lambda: adapter(sandbox, shape), lambda provider: look(provider, asked.provider_key))
    assert [(each.kind, each.amount_minor, each.currency) for each in found.outcomes] == [
        (OutcomeKind.SUCCEEDED, 500, "USD")
    ]
    assert found.complete
    assert (other.outcomes, other.complete) == ((), True)
    assert not during.complete


def test_adyen_takes_no_longer_key(sandbox: InProcessSandbox) -> None:
    with pytest.raises(ConfigurationError, match="64"):
        using(lambda: adapter(sandbox, "adyen"), lambda provider: provider.charge(ChargeRequest("x" * 65, b"{}")))


# -- webhooks over sockets


class _Receiver(http.server.BaseHTTPRequestHandler):
    received: list[tuple[dict[str, str], bytes]]
    arrived: threading.Semaphore

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.received.append(({name.lower(): value for name, value in self.headers.items()}, body))
        refuse = len(self.received) == 1
        self.send_response(500 if refuse else 200)
        self.end_headers()
        self.arrived.release()

    def log_message(self, format: str, *_: object) -> None:  # noqa: A002  the base's signature
        return


@pytest.mark.parametrize("shape", ["v1", "adyen"])
def test_webhooks_arrive_signed_and_again_until_they_are_accepted(shape: str) -> None:
    received: list[tuple[dict[str, str], bytes]] = []
    arrived = threading.Semaphore(0)
    handler = type("Receiver", (_Receiver,), {"received": received, "arrived": arrived})
    with http.server.HTTPServer(("127.0.0.1", 0), handler) as server, InProcessSandbox(seed=5) as sandbox:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        secret = HMAC_KEY if shape == "adyen" else "whsec_1"
        url = f"http://127.0.0.1:{server.server_address[1]}/hooks"
        sandbox.send_webhooks({"url": url, "api": "adyen" if shape == "adyen" else "stripe", "secret": secret})
        using(lambda: adapter(sandbox, shape), lambda provider: provider.charge(request(shape, "told")))
        assert arrived.acquire(timeout=30)
        assert arrived.acquire(timeout=30)
        server.shutdown()
        thread.join()
    (_, first), (headers, second) = received
    assert first == second
    if shape == "adyen":
        verify_adyen(json.loads(second)["notificationItems"][0]["NotificationRequestItem"], [HMAC_KEY])
    else:
        verify_stripe(second, headers["stripe-signature"], ["whsec_1"], now_ms=SystemClock().now_ms())
