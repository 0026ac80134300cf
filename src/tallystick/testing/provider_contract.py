"""What every adapter to a provider must keep, as tests that a user runs on his own.

Owns: the tests. Must not know: any one provider. Subclass ``ProviderContract`` in a test module, say how the adapter is
made and what the provider answers, and pytest runs the rest:

    class TestOurBank(ProviderContract):
        def new_provider(self, transport, *, timeout_ms):
            return OurBank("http://bank", transport=transport, timeout_ms=timeout_ms)

        success = Answer(200, b'{"id": "p-1", "state": "done", "cents": 500, "currency": "EUR"}')
        ...

They are about rule 31: what is not certain is UNKNOWN, nothing is sent twice by the adapter itself, and the bytes and
the key leave as they are in the ledger.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, TypeVar

import httpx
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
    ProviderRefusedError,
)

__all__ = ["Answer", "ProviderContract"]

_T = TypeVar("_T")
NewTransport = Callable[[], httpx.AsyncBaseTransport]
KEY: Final = "0123456789abcdef" * 4
_ERRORS: Final = (
    httpx.ConnectError("refused"),
    httpx.ConnectTimeout("no answer"),
    httpx.ReadTimeout("no answer"),
    httpx.ReadError("reset"),
    httpx.WriteError("reset"),
    httpx.RemoteProtocolError("closed"),
)


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of the provider."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


class _Transport(httpx.AsyncBaseTransport):
    """Answers every request alike, and keeps what was asked."""

    def __init__(self, answer: Answer | Exception | None) -> None:
        self._answer = answer
        self.requests: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        self.requests.append(request)
        if self._answer is None:
            await asyncio.sleep(3_600)
        if isinstance(self._answer, Exception):
            raise self._answer
        assert self._answer is not None
        return httpx.Response(self._answer.status, headers=dict(self._answer.headers), content=self._answer.body)


class ProviderContract:
    """Set ``new_provider`` and the answers; leave an answer None where the provider has nothing like it."""

    request: ClassVar[bytes] = b"the bytes of a request"
    operation: ClassVar[str] = "charge"
    success: ClassVar[Answer]
    decline: ClassVar[Answer | None] = None
    pending: ClassVar[Answer | None] = None
    in_flight: ClassVar[Answer | None] = None
    rate_limited: ClassVar[Answer | None] = None
    key_reused: ClassVar[Answer | None] = None
    unauthorised: ClassVar[Answer | None] = None

    def new_provider(self, transport: NewTransport, *, timeout_ms: int) -> Provider:
        """The adapter over a transport that the tests make."""
        raise NotImplementedError

    # -- what the tests use

    def _using(self, answer: Answer | Exception | None, work: Callable[[Provider], Awaitable[_T]]) -> tuple[_T, Any]:
        transport = _Transport(answer)

        async def session() -> _T:
            provider = self.new_provider(lambda: transport, timeout_ms=1_000 if answer is not None else 50)
            try:
                return await work(provider)
            finally:
                await provider.close()
                await provider.close()

        return asyncio.run(session()), transport.requests

    def _charge(self, answer: Answer | Exception | None) -> tuple[Outcome, list[httpx.Request]]:
        asked = ChargeRequest(KEY, self.request, operation=self.operation)
        return self._using(answer, lambda provider: provider.charge(asked))

    def _look_up(self, answer: Answer | Exception | None) -> LookUp:
        asked = LookUpRequest("r-1", 1_700_000_000_000, operation=self.operation, until_ms=1_700_000_000_000)
        return self._using(answer, lambda provider: provider.look_up(asked))[0]

    def _expects(self, answer: Answer | None, kind: OutcomeKind) -> Outcome:
        if answer is None:
            pytest.skip("the provider has no such answer")
        outcome, requests = self._charge(answer)
        assert outcome.kind is kind, f"{answer} became {outcome.kind}"
        assert len(requests) == 1, "the adapter itself sent again"
        return outcome

    # -- the tests

    def test_a_success_has_its_object_amount_and_currency(self) -> None:
        outcome = self._expects(self.success, OutcomeKind.SUCCEEDED)
        assert outcome.provider_object_id, "without an id nothing can be reconciled"
        assert outcome.amount_minor is not None
        assert len(outcome.currency or "") == 3
        assert (outcome.currency or "").isupper()

    def test_a_decline_is_one(self) -> None:
        self._expects(self.decline, OutcomeKind.DECLINED)

    def test_a_payment_that_waits_for_its_customer_has_its_object(self) -> None:
        assert self._expects(self.pending, OutcomeKind.PENDING_ACTION).provider_object_id

    def test_a_key_in_flight_is_asked_again_later(self) -> None:
        self._expects(self.in_flight, OutcomeKind.LATER)

    def test_too_many_requests_is_asked_again_later_with_the_pause_that_was_asked_for(self) -> None:
        outcome = self._expects(self.rate_limited, OutcomeKind.LATER)
        assert outcome.status == 429
        if self.rate_limited is not None and "Retry-After" in self.rate_limited.headers:
            assert outcome.retry_after_ms == 1_000 * int(self.rate_limited.headers["Retry-After"])

    def test_a_key_that_was_used_for_something_else_stops_everything(self) -> None:
        if self.key_reused is None:
            pytest.skip("the provider does not say so")
        with pytest.raises(KeyReuseError):
            self._charge(self.key_reused)

    def test_a_provider_that_does_not_know_us_stops_everything(self) -> None:
        if self.unauthorised is None:
            pytest.skip("the provider has no such answer")
        with pytest.raises(ProviderRefusedError):
            self._charge(self.unauthorised)

    @pytest.mark.parametrize("status", [500, 502, 503, 504])
    def test_whatever_a_5xx_says_it_is_unknown(self, status: int) -> None:
        bodies = (b"", b"<html>", self.success.body, self.decline.body if self.decline is not None else b"{}")
        for body in bodies:
            self._expects(Answer(status, body), OutcomeKind.UNKNOWN)

    def test_half_an_answer_and_a_page_of_a_proxy_are_unknown(self) -> None:
        for body in (self.success.body[: len(self.success.body) // 2], b"<html>welcome</html>", b"", b"[]", b"null"):
            self._expects(Answer(self.success.status, body), OutcomeKind.UNKNOWN)

    def test_a_redirect_is_unknown_and_not_followed(self) -> None:
        self._expects(Answer(307, b"", {"Location": "http://elsewhere/"}), OutcomeKind.UNKNOWN)

    @pytest.mark.parametrize("error", _ERRORS, ids=lambda error: type(error).__name__)
    def test_a_network_error_is_unknown_and_nothing_is_sent_again(self, error: Exception) -> None:
        outcome, requests = self._charge(error)
        assert outcome.kind is OutcomeKind.UNKNOWN
        assert len(requests) == 1, "the adapter itself sent again"

    def test_no_answer_is_unknown_when_the_time_is_over(self) -> None:
        assert self._charge(None)[0].kind is OutcomeKind.UNKNOWN

    def test_bytes_and_key_leave_as_they_are_every_time(self) -> None:
        sends = [self._charge(self.success)[1][0] for _ in range(2)]
        for sent in sends:
            assert sent.content == self.request
            assert [value for _, value in sent.headers.multi_items()].count(KEY) == 1, "the key is in one header"
        assert sends[0].url == sends[1].url

    def test_a_listing_that_failed_is_incomplete_and_raises_nothing(self) -> None:
        answers = (Answer(500), Answer(200, b"<html>"), Answer(404), Answer(307, b"", {"Location": "http://x/"}))
        for answer in (*answers, *_ERRORS, None):
            assert not self._look_up(answer).complete, answer

    def test_a_cancellation_that_failed_is_unknown(self) -> None:
        asked = CancelRequest("p-1", KEY, operation=self.operation)
        for answer in (Answer(500), Answer(503, self.success.body), *_ERRORS, None):
            outcome, _ = self._using(answer, lambda provider: provider.cancel(asked))
            assert outcome.kind is OutcomeKind.UNKNOWN, answer
