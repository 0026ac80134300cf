"""A provider that speaks as Stripe does: ``Idempotency-Key``, charges and refunds, lists with ``has_more``.

Owns: how HTTP answers become outcomes (rule 31). Must not know: SQL, who asks. Version 1 takes forms, keeps a key for
24 hours and replays a stored 500; version 2 takes JSON, keeps a key for 30 days and brings a failed request to its end
when it is sent again. Sources: Stripe API reference, "Idempotent requests", "Errors", "Pagination".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, Literal
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
from tallystick.boundary.providers.exchange import NETWORK_ERRORS, Exchange, NewTransport, lost, retry_after_ms
from tallystick.errors import ConfigurationError
from tallystick.pipeline.declared import Idempotent

Version = Literal["v1", "v2"]
DAY_MS: Final = 86_400_000
MAX_PAGES: Final = 1_000
_WINDOWS_MS: Final = {"v1": DAY_MS, "v2": 30 * DAY_MS}
_CONTENT_TYPES: Final = {"v1": "application/x-www-form-urlencoded", "v2": "application/json"}
_COLLECTIONS: Final = {"charge": "charges", "refund": "refunds"}
_PAGE_SIZE: Final = 100
_CLOCK_DIFFERENCE_S: Final = 300


def charge_body(*, amount_minor: int, currency: str, reference: str, customer: str, version: Version = "v1") -> bytes:
    """The body of a charge, the same bytes for the same arguments: a form in version 1, JSON in version 2."""
    fields = (
        ("amount", amount_minor),
        ("currency", currency.lower()),
        ("reference", reference),
        ("customer", customer),
    )
    return _body(fields, version)


def refund_body(*, charge: str, amount_minor: int, reference: str, version: Version = "v1") -> bytes:
    """The body of a refund of ``charge``, the same bytes for the same arguments."""
    return _body((("charge", charge), ("amount", amount_minor), ("reference", reference)), version)


def _body(fields: tuple[tuple[str, str | int], ...], version: Version) -> bytes:
    if version == "v1":
        return urlencode(fields).encode("ascii")
    return json.dumps(dict(fields), separators=(",", ":")).encode()


class StripeLike:
    """One provider at ``url``. Serves one event loop; made by a factory inside it (``EffectDispatcher`` does)."""

    def __init__(
        self,
        url: str,
        *,
        name: str = "stripe",
        version: Version = "v1",
        api_key: str = "",
        timeout_ms: int = 10_000,
        window_ms: int | None = None,
        margin_ms: int = 600_000,
        quiet_ms: int = 60_000,
        connections: int = 64,
        transport: NewTransport | None = None,
    ) -> None:
        """``window_ms`` defaults to what the version promises. ``transport`` is for tests (``exchange``)."""
        self._version = version
        self._policy = ProviderPolicy(
            name=name,
            window_ms=_WINDOWS_MS[version] if window_ms is None else window_ms,
            margin_ms=margin_ms,
            timeout_ms=timeout_ms,
            quiet_ms=quiet_ms,
            repetition=Idempotent.BY_KEY,
        )
        self._exchange = Exchange(url, timeout_ms=timeout_ms, connections=connections, transport=transport)
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._addresses = {name: self._exchange.at(f"/{version}/{path}") for name, path in _COLLECTIONS.items()}

    @property
    def policy(self) -> ProviderPolicy:
        return self._policy

    async def charge(self, request: ChargeRequest) -> Outcome:
        """POST once. What the transport does wrong is UNKNOWN: even a refused connection may hide an earlier send."""
        headers = {
            **self._headers,
            "Idempotency-Key": request.provider_key,
            "Content-Type": _CONTENT_TYPES[self._version],
        }
        url = self._address(request.operation)
        try:
            response = await self._exchange.send("POST", url, headers=headers, content=request.body)
        except NETWORK_ERRORS as error:
            return lost(error)
        return outcome_of(response.status_code, response.headers, response.content)

    async def look_up(self, request: LookUpRequest) -> LookUp:
        """Read every page of the objects with this reference since ``from_ms``, less a clock difference."""
        parameters: dict[str, str] = {
            "reference": request.reference,
            "created[gte]": str(max(0, request.from_ms // 1000 - _CLOCK_DIFFERENCE_S)),
            "limit": str(_PAGE_SIZE),
        }
        found: list[Outcome] = []
        for _ in range(MAX_PAGES):
            url = self._address(request.operation).copy_merge_params(parameters)
            page = await self._page(url)
            if page is None:
                return LookUp(tuple(found), complete=False)
            objects = [_object_outcome(item, 200, b"") for item in page["data"]]
            found += [each for each in objects if each.provider_object_id not in request.known]
            if not page["has_more"]:
                return LookUp(tuple(found), complete=True)
            if not objects or objects[-1].provider_object_id is None:
                return LookUp(tuple(found), complete=False)
            parameters["starting_after"] = objects[-1].provider_object_id
        return LookUp(tuple(found), complete=False)

    async def cancel(self, request: CancelRequest) -> Outcome:
        """POST .../{id}/cancel. A payment that was faster answers with what it is; anything unclear is UNKNOWN."""
        path = f"/{self._version}/{_COLLECTIONS[request.operation]}/{quote(request.provider_object_id, safe='')}/cancel"
        headers = {**self._headers, "Idempotency-Key": f"{request.provider_key[:56]}-cancel"}
        try:
            response = await self._exchange.send("POST", self._exchange.at(path), headers=headers)
        except NETWORK_ERRORS as error:
            return lost(error)
        document = _json_object(response.content) if response.status_code == 200 else None
        if document is None:
            return Outcome(OutcomeKind.UNKNOWN, status=response.status_code, response=response.content)
        return _object_outcome(document, response.status_code, response.content)

    async def close(self) -> None:
        await self._exchange.close()

    def _address(self, operation: str) -> httpx.URL:
        address = self._addresses.get(operation)
        if address is None:
            raise ConfigurationError(f"a provider like Stripe has no operation {operation!r}", remedy="charge, refund")
        return address

    async def _page(self, url: httpx.URL) -> dict[str, Any] | None:
        """One page of a listing, or None if it cannot be believed."""
        try:
            response = await self._exchange.send("GET", url, headers=self._headers)
        except NETWORK_ERRORS:
            return None
        page = _json_object(response.content) if response.status_code == 200 else None
        if page is None or not isinstance(page.get("data"), list) or not isinstance(page.get("has_more"), bool):
            return None
        return page


def outcome_of(status: int, headers: Mapping[str, str], body: bytes) -> Outcome:
    """What one HTTP answer says. Raises ``KeyReuseError`` and ``ProviderRefusedError``: then everything stops."""
    if status == 409 or status == 429:
        return Outcome(OutcomeKind.LATER, status=status, response=body, retry_after_ms=retry_after_ms(headers))
    if status >= 500:
        replayed = headers.get("Idempotent-Replayed", "").lower() == "true"
        return Outcome(OutcomeKind.UNKNOWN, status=status, response=body, replayed_failure=replayed)
    document = _json_object(body)
    if status == 200 and document is not None:
        return _object_outcome(document, status, body)
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


_KINDS: Final = {
    "succeeded": OutcomeKind.SUCCEEDED,
    "failed": OutcomeKind.DECLINED,
    "canceled": OutcomeKind.DECLINED,
    "pending": OutcomeKind.PENDING_ACTION,
}


def _object_outcome(item: Any, status: int, body: bytes) -> Outcome:
    if not isinstance(item, dict) or not isinstance(item.get("id"), str) or not isinstance(item.get("amount"), int):
        return Outcome(OutcomeKind.UNKNOWN, status=status, response=body, code="unreadable")
    fee = item.get("fee")
    return Outcome(
        _KINDS.get(str(item.get("status")), OutcomeKind.UNKNOWN),
        provider_object_id=item["id"],
        amount_minor=item["amount"],
        fee_minor=fee if isinstance(fee, int) else None,
        currency=str(item.get("currency", "")).upper(),
        code=item.get("failure_code"),
        status=status,
        response=body,
    )


def _json_object(body: bytes) -> dict[str, Any] | None:
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except msgspec.DecodeError:
        return None
