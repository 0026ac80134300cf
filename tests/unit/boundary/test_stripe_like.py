"""How HTTP answers become outcomes, and what a listing proves."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable

import pytest
from tests.support.boundary import success

from tallystick.boundary import (
    ChargeRequest,
    KeyReuseError,
    LookUp,
    LookUpRequest,
    Outcome,
    OutcomeKind,
    ProviderPolicy,
    ProviderRefusedError,
    StripeLike,
    charge_body,
)
from tallystick.boundary.dispatcher import judge
from tallystick.boundary.providers.stripe_like import outcome_of
from tallystick.errors import ConfigurationError
from tallystick.pipeline import Idempotent

CHARGE = {"id": "ch_1", "amount": 100, "currency": "usd", "fee": 33, "status": "succeeded", "failure_code": None}


def error(kind: str, **more: str) -> bytes:
    return json.dumps({"error": {"type": kind, "message": "m", **more}}).encode()


def test_a_charge_is_a_success_with_amount_and_fee() -> None:
    outcome = outcome_of(200, {}, json.dumps(CHARGE).encode())
    assert (outcome.kind, outcome.provider_object_id) == (OutcomeKind.SUCCEEDED, "ch_1")
    assert (outcome.amount_minor, outcome.fee_minor, outcome.currency) == (100, 33, "USD")


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (200, json.dumps({**CHARGE, "status": "pending"}).encode(), OutcomeKind.PENDING_ACTION),
        (200, json.dumps({**CHARGE, "status": "failed"}).encode(), OutcomeKind.DECLINED),
        (200, json.dumps({**CHARGE, "status": "new word"}).encode(), OutcomeKind.UNKNOWN),
        (200, b'{"id": "ch_', OutcomeKind.UNKNOWN),
        (200, b"<html>", OutcomeKind.UNKNOWN),
        (302, b"", OutcomeKind.UNKNOWN),
        (402, error("card_error", code="card_declined"), OutcomeKind.DECLINED),
        (400, error("invalid_request_error"), OutcomeKind.DECLINED),
        (400, b"Bad Request", OutcomeKind.UNKNOWN),
        (409, b"", OutcomeKind.LATER),
        (429, b"", OutcomeKind.LATER),
        (500, error("api_error"), OutcomeKind.UNKNOWN),
        (502, b"<html>", OutcomeKind.UNKNOWN),
        (503, b"", OutcomeKind.UNKNOWN),
        (504, b"", OutcomeKind.UNKNOWN),
    ],
)
def test_what_an_answer_says(status: int, body: bytes, kind: OutcomeKind) -> None:
    assert outcome_of(status, {}, body).kind is kind


def test_a_replayed_500_says_that_sending_again_is_useless() -> None:
    assert outcome_of(500, {"Idempotent-Replayed": "true"}, b"").replayed_failure
    assert not outcome_of(500, {}, b"").replayed_failure


def test_retry_after_is_kept_in_milliseconds() -> None:
    assert outcome_of(429, {"Retry-After": "2"}, b"").retry_after_ms == 2_000


def test_other_parameters_under_the_same_key_stop() -> None:
    with pytest.raises(KeyReuseError):
        outcome_of(400, {}, error("idempotency_error"))


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_provider_that_does_not_know_us_stops(status: int) -> None:
    with pytest.raises(ProviderRefusedError):
        outcome_of(status, {}, error("invalid_request_error"))


def test_the_body_is_the_same_bytes_for_the_same_arguments() -> None:
    body = charge_body(amount_minor=1999, currency="USD", reference="r&1", customer="Zoë")
    assert body == b"amount=1999&currency=usd&reference=r%261&customer=Zo%C3%AB"


def test_a_margin_below_the_timeout_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="rule 31"):
        ProviderPolicy(
            name="p", window_ms=10_000, margin_ms=500, timeout_ms=1_000, quiet_ms=0, repetition=Idempotent.BY_KEY
        )


def test_an_address_that_is_no_url_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="no http address"):
        StripeLike("localhost:1")


def test_judge_believes_no_incomplete_listing() -> None:
    assert judge(LookUp((success(100),), complete=False))[0].kind is OutcomeKind.UNKNOWN


def test_judge_takes_the_oldest_success_and_hands_back_the_others() -> None:
    declined = Outcome(OutcomeKind.DECLINED, provider_object_id="ch_0")
    newer, older = success(100, object_id="ch_2"), success(100, object_id="ch_1")
    assert judge(LookUp((declined, newer, older), complete=True)) == (older, (newer,))


def test_judge_finds_absence_only_in_an_empty_listing() -> None:
    assert judge(LookUp((), complete=True))[0].kind is OutcomeKind.ABSENT
    assert judge(LookUp((Outcome(OutcomeKind.UNKNOWN),), complete=True))[0].kind is OutcomeKind.UNKNOWN
    assert judge(LookUp((Outcome(OutcomeKind.DECLINED),), complete=True))[0].kind is OutcomeKind.DECLINED


# -- over a socket

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def against(serve: Serve, ask: Callable[[StripeLike], Awaitable[object]], *, timeout_ms: int = 5_000) -> object:
    async def run() -> object:
        served: list[asyncio.Event] = []

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            ended = asyncio.Event()
            served.append(ended)
            try:
                await serve(reader, writer)
            finally:
                writer.transport.abort()
                await asyncio.sleep(0)
                ended.set()

        async with await asyncio.start_server(handle, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            provider = StripeLike(f"http://127.0.0.1:{port}", timeout_ms=timeout_ms)
            try:
                return await ask(provider)
            finally:
                await provider.close()
                for ended in served:
                    await asyncio.wait_for(ended.wait(), 5)

    return asyncio.run(run())


def charge(provider: StripeLike) -> Awaitable[Outcome]:
    return provider.charge(ChargeRequest("key-1", b"amount=1"))


def test_a_connection_cut_without_answer_is_unknown() -> None:
    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    assert against(cut, charge) == Outcome(OutcomeKind.UNKNOWN, code="RemoteProtocolError")


def test_half_an_answer_is_unknown() -> None:
    async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"id":')
        await writer.drain()
        writer.close()

    outcome = against(half, charge)
    assert isinstance(outcome, Outcome)
    assert outcome.kind is OutcomeKind.UNKNOWN


def test_an_answer_that_drips_ends_at_the_timeout() -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        try:
            while True:
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.05)
        except ConnectionError:
            pass
        finally:
            writer.close()

    outcome = against(drip, charge, timeout_ms=300)
    assert isinstance(outcome, Outcome)
    assert outcome.kind is OutcomeKind.UNKNOWN


def test_nobody_listening_is_unknown() -> None:
    async def run() -> Outcome:
        async with await asyncio.start_server(lambda _r, _w: None, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
        provider = StripeLike(f"http://127.0.0.1:{port}")
        try:
            return await charge(provider)
        finally:
            await provider.close()

    assert asyncio.run(run()) == Outcome(OutcomeKind.UNKNOWN, code="ConnectError")


def test_a_listing_reads_every_page_and_leaves_out_known_objects() -> None:
    seen: list[str] = []

    async def pages(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
            except asyncio.IncompleteReadError:
                writer.close()
                return
            seen.append(head.split(" ", 2)[1])
            last = "starting_after=ch_2" in head
            names = ["ch_3"] if last else ["ch_1", "ch_2"]
            page = {"data": [{**CHARGE, "id": name} for name in names], "has_more": not last}
            body = json.dumps(page).encode()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            await writer.drain()

    found = against(pages, lambda provider: provider.look_up(LookUpRequest("ref", 600_000, frozenset({"ch_1"}))))
    assert isinstance(found, LookUp)
    assert found.complete
    assert [outcome.provider_object_id for outcome in found.outcomes] == ["ch_2", "ch_3"]
    assert len(seen) == 2
    assert "reference=ref" in seen[0]
    assert "created%5Bgte%5D=300" in seen[0]
