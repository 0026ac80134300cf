"""A provider that speaks Stripe's first API: form bodies, ``Idempotency-Key``, charges, lists with ``has_more``.

Owns: how HTTP answers become outcomes (rule 31). Must not know: SQL, who asks. Sources: Stripe API reference,
"Idempotent requests", "Errors", "Pagination".
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote, urlencode

import httpx
import msgspec

from tallystick.boundary.provider import (
    CancelRequest,
    ChargeRequest,
    KeyReuseError,
    LookUp,
    LookUpRequest,
    Outcome,
    OutcomeKind,
    ProviderPolicy,
    ProviderRefusedError,
)
from tallystick.errors import ConfigurationError

DAY_MS: Final = 86_400_000
MAX_PAGES: Final = 1_000
_PAGE_SIZE: Final = 100
_CLOCK_DIFFERENCE_S: Final = 300


def charge_body(*, amount_minor: int, currency: str, reference: str, customer: str) -> bytes:
    """The form body of a charge, the same bytes for the same arguments."""
    fields = (
        ("amount", str(amount_minor)),
        ("currency", currency.lower()),
        ("reference", reference),
        ("customer", customer),
    )
    return urlencode(fields).encode("ascii")


class StripeLike:
    """One provider at ``url``. Serves one event loop; made by a factory inside it (``EffectDispatcher`` does)."""

    def __init__(
        self,
        url: str,
        *,
        name: str = "stripe",
        api_key: str = "",
        timeout_ms: int = 10_000,
        window_ms: int = DAY_MS,
        margin_ms: int = 600_000,
        quiet_ms: int = 60_000,
        connections: int = 64,
    ) -> None:
        self._policy = ProviderPolicy(
            name=name, window_ms=window_ms, margin_ms=margin_ms, timeout_ms=timeout_ms, quiet_ms=quiet_ms
        )
        base = httpx.URL(url)
        if base.scheme not in ("http", "https") or not base.host:
            raise ConfigurationError(f"{url!r} is no http address of a provider")
        self._charges = base.copy_with(raw_path=base.raw_path.rstrip(b"/") + b"/v1/charges")
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._extensions = {"timeout": httpx.Timeout(timeout_ms / 1000).as_dict()}
        self._tls = httpx.create_ssl_context(trust_env=False)
        self._free = asyncio.Semaphore(connections)
        self._idle: list[httpx.AsyncHTTPTransport] = []

    @property
    def policy(self) -> ProviderPolicy:
        return self._policy

    async def charge(self, request: ChargeRequest) -> Outcome:
        """POST once. What the transport does wrong is UNKNOWN: even a refused connection may hide an earlier send."""
        http_request = httpx.Request(
            "POST",
            self._charges,
            headers={
                **self._headers,
                "Idempotency-Key": request.provider_key,
                "Content-Type": "application/x-www-form-urlencoded",
            },
            content=request.body,
            extensions=self._extensions,
        )
        try:
            response = await self._exchange(http_request)
        except (httpx.TransportError, TimeoutError) as error:
            return Outcome(OutcomeKind.UNKNOWN, code=type(error).__name__)
        return outcome_of(response.status_code, response.headers, response.content)

    async def look_up(self, request: LookUpRequest) -> LookUp:
        """Read every page of the charges with this reference since ``from_ms``, less a clock difference."""
        parameters: dict[str, str] = {
            "reference": request.reference,
            "created[gte]": str(max(0, request.from_ms // 1000 - _CLOCK_DIFFERENCE_S)),
            "limit": str(_PAGE_SIZE),
        }
        found: list[Outcome] = []
        for _ in range(MAX_PAGES):
            url = self._charges.copy_merge_params(parameters)
            http_request = httpx.Request("GET", url, headers=self._headers, extensions=self._extensions)
            try:
                response = await self._exchange(http_request)
            except (httpx.TransportError, TimeoutError):
                return LookUp(tuple(found), complete=False)
            page = _object(response.content) if response.status_code == 200 else None
            data = page.get("data") if page is not None else None
            if page is None or not isinstance(data, list) or not isinstance(page.get("has_more"), bool):
                return LookUp(tuple(found), complete=False)
            charges = [_charge(item, 200, b"") for item in data]
            found += [c for c in charges if c.provider_object_id not in request.known]
            if not page["has_more"]:
                return LookUp(tuple(found), complete=True)
            if not charges or charges[-1].provider_object_id is None:
                return LookUp(tuple(found), complete=False)
            parameters["starting_after"] = charges[-1].provider_object_id
        return LookUp(tuple(found), complete=False)

    async def cancel(self, request: CancelRequest) -> Outcome:
        """POST .../{id}/cancel. A payment that was faster answers with what it is; anything unclear is UNKNOWN."""
        http_request = httpx.Request(
            "POST",
            self._charges.copy_with(
                raw_path=self._charges.raw_path + f"/{quote(request.provider_object_id, safe='')}/cancel".encode()
            ),
            headers={**self._headers, "Idempotency-Key": f"{request.provider_key[:56]}-cancel"},
            extensions=self._extensions,
        )
        try:
            response = await self._exchange(http_request)
        except (httpx.TransportError, TimeoutError) as error:
            return Outcome(OutcomeKind.UNKNOWN, code=type(error).__name__)
        document = _object(response.content) if response.status_code == 200 else None
        if document is None:
            return Outcome(OutcomeKind.UNKNOWN, status=response.status_code, response=response.content)
        return _charge(document, response.status_code, response.content)

    async def close(self) -> None:
        while self._idle:
            await self._idle.pop().aclose()

    async def _exchange(self, request: httpx.Request) -> httpx.Response:
        """One request, one answer, read to its end within the timeout; no redirect is followed, nothing is tried again.

        Each transport has one connection, the last used first: httpx's pool looks at every pair of its connections
        for every request, and 64 in one pool are many times slower than 64 pools of one.
        """
        async with self._free, asyncio.timeout(self._policy.timeout_ms / 1000):
            transport = self._idle.pop() if self._idle else self._new_transport()
            try:
                response = await transport.handle_async_request(request)
                try:
                    await response.aread()
                finally:
                    await response.aclose()
            finally:
                self._idle.append(transport)
            return response

    def _new_transport(self) -> httpx.AsyncHTTPTransport:
        return httpx.AsyncHTTPTransport(
            verify=self._tls,
            limits=httpx.Limits(max_connections=1, max_keepalive_connections=1),
            trust_env=False,  # a proxy from the environment would be one more place that could send twice
        )


def outcome_of(status: int, headers: Mapping[str, str], body: bytes) -> Outcome:
    """What one HTTP answer says. Raises ``KeyReuseError`` and ``ProviderRefusedError``: then everything stops."""
    if status == 409 or status == 429:
        return Outcome(OutcomeKind.LATER, status=status, response=body, retry_after_ms=_retry_after_ms(headers))
    if status >= 500:
        replayed = headers.get("Idempotent-Replayed", "").lower() == "true"
        return Outcome(OutcomeKind.UNKNOWN, status=status, response=body, replayed_failure=replayed)
    document = _object(body)
    if status == 200 and document is not None:
        return _charge(document, status, body)
    error = document.get("error") if document is not None else None
    if not isinstance(error, dict):
        # A page of a proxy, a redirect, half a body: it says nothing about the charge.
        return Outcome(OutcomeKind.UNKNOWN, status=status, response=body, code="unreadable")
    kind, code = error.get("type"), error.get("code")
    if kind == "idempotency_error":
        raise KeyReuseError(f"the provider saw this key with other parameters: {error.get('message')}")
    if status in (401, 403, 404):
        raise ProviderRefusedError(f"the provider answers {status} {code}: {error.get('message')}")
    if status == 402 or (status == 400 and kind == "invalid_request_error"):
        charge = error.get("charge")
        return Outcome(
            OutcomeKind.DECLINED,
            provider_object_id=charge if isinstance(charge, str) else None,
            code=str(code or kind),
            status=status,
            response=body,
        )
    return Outcome(OutcomeKind.UNKNOWN, status=status, response=body, code=str(code or kind))


def _charge(item: Any, status: int, body: bytes) -> Outcome:
    if not isinstance(item, dict) or not isinstance(item.get("id"), str) or not isinstance(item.get("amount"), int):
        return Outcome(OutcomeKind.UNKNOWN, status=status, response=body, code="unreadable")
    kinds = {
        "succeeded": OutcomeKind.SUCCEEDED,
        "failed": OutcomeKind.DECLINED,
        "canceled": OutcomeKind.DECLINED,
        "pending": OutcomeKind.PENDING_ACTION,
    }
    kind = kinds.get(str(item.get("status")), OutcomeKind.UNKNOWN)
    fee = item.get("fee")
    return Outcome(
        kind,
        provider_object_id=item["id"],
        amount_minor=item["amount"],
        fee_minor=fee if isinstance(fee, int) else None,
        currency=str(item.get("currency", "")).upper(),
        code=item.get("failure_code"),
        status=status,
        response=body,
    )


def _object(body: bytes) -> dict[str, Any] | None:
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except msgspec.DecodeError:
        return None


def _retry_after_ms(headers: Mapping[str, str]) -> int | None:
    text = headers.get("Retry-After", "")
    return int(text) * 1000 if text.isdecimal() else None
