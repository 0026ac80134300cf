"""A provider that speaks as Adyen does: ``idempotency-key``, payments with a ``resultCode``, reports by the day.

Owns: how HTTP answers and report lines become outcomes (rules 31 and 32). Must not know: SQL, who asks. A key has at
most 64 characters. Adyen keeps keys for 31 days today and for 7 where its older instructions hold: 7 is the default.

There is no listing. What became of a payment is told by webhook, or stands in the report of its day, which exists
once that day is over: so absence is confirmed a day later, not earlier. Sources: Adyen, "API idempotency", "Payment
result codes", "Downloading reports".
"""

from __future__ import annotations

import csv
import datetime
import json
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

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

DAY_MS: Final = 86_400_000
MAX_KEY_LENGTH: Final = 64
MAX_DAYS: Final = 100
_CLOCK_DIFFERENCE_MS: Final = 300_000
_COLUMNS: Final = {"Psp Reference", "Merchant Reference", "Currency", "Amount", "Status"}
_IN_PROGRESS: Final = "704"
_OTHER_REQUEST: Final = "708"

_RESULTS: Final = {
    "Authorised": OutcomeKind.SUCCEEDED,
    "Refused": OutcomeKind.DECLINED,
    "Cancelled": OutcomeKind.DECLINED,
    "AuthenticationNotRequired": OutcomeKind.PENDING_ACTION,
    "ChallengeShopper": OutcomeKind.PENDING_ACTION,
    "IdentifyShopper": OutcomeKind.PENDING_ACTION,
    "Pending": OutcomeKind.PENDING_ACTION,
    "PresentToShopper": OutcomeKind.PENDING_ACTION,
    "Received": OutcomeKind.PENDING_ACTION,
    "RedirectShopper": OutcomeKind.PENDING_ACTION,
}
"""``resultCode`` and a report's ``Status``. "Error" is not in it: whether money moved is then not known."""
_REPORTED: Final = {**_RESULTS, "Refunded": OutcomeKind.SUCCEEDED, "Expired": OutcomeKind.DECLINED}


def payment_body(*, amount_minor: int, currency: str, reference: str, shopper: str, merchant_account: str) -> bytes:
    """The JSON body of a payment, the same bytes for the same arguments."""
    document = {
        "amount": {"currency": currency.upper(), "value": amount_minor},
        "reference": reference,
        "merchantAccount": merchant_account,
        "shopperReference": shopper,
    }
    return json.dumps(document, separators=(",", ":")).encode()


class AdyenLike:
    """One provider at ``url``. Serves one event loop; made by a factory inside it (``EffectDispatcher`` does)."""

    def __init__(
        self,
        url: str,
        *,
        merchant_account: str,
        name: str = "adyen",
        api_key: str = "",
        timeout_ms: int = 10_000,
        window_ms: int = 7 * DAY_MS,
        margin_ms: int = 600_000,
        quiet_ms: int = DAY_MS,
        connections: int = 64,
        transport: NewTransport | None = None,
    ) -> None:
        """``quiet_ms``: how long after the last send the reports are asked; none exists before its day is over."""
        self._policy = ProviderPolicy(
            name=name,
            window_ms=window_ms,
            margin_ms=margin_ms,
            timeout_ms=timeout_ms,
            quiet_ms=quiet_ms,
            repetition=Idempotent.BY_KEY,
        )
        self._exchange = Exchange(url, timeout_ms=timeout_ms, connections=connections, transport=transport)
        self._account = merchant_account
        self._headers = {"X-API-Key": api_key} if api_key else {}

    @property
    def policy(self) -> ProviderPolicy:
        return self._policy

    async def charge(self, request: ChargeRequest) -> Outcome:
        """POST once. Operations: ``charge``, and ``refund:<psp reference>`` of the payment that is paid back."""
        if len(request.provider_key) > MAX_KEY_LENGTH:
            raise ConfigurationError(f"Adyen takes keys of at most {MAX_KEY_LENGTH} characters", rule=31)
        headers = {**self._headers, "idempotency-key": request.provider_key, "Content-Type": "application/json"}
        url = self._exchange.at(_path(request.operation))
        try:
            response = await self._exchange.send("POST", url, headers=headers, content=request.body)
        except NETWORK_ERRORS as error:
            return lost(error)
        return outcome_of(response.status_code, response.headers, response.content)

    async def look_up(self, request: LookUpRequest) -> LookUp:
        """Read the reports of every day from the first send to the last; complete once all of them exist."""
        first = (request.from_ms - _CLOCK_DIFFERENCE_MS) // DAY_MS
        last = (max(request.until_ms, request.from_ms) + _CLOCK_DIFFERENCE_MS) // DAY_MS
        if last - first >= MAX_DAYS:
            return LookUp((), complete=False)
        found: list[Outcome] = []
        for day in range(first, last + 1):
            lines = await self._report(day)
            if lines is None:
                return LookUp(tuple(found), complete=False)
            matching = (line for line in lines if line.get("Merchant Reference") == request.reference)
            outcomes = [_reported(line) for line in matching if _concerns(line, request.operation)]
            found += [each for each in outcomes if each.provider_object_id not in request.known]
        found.reverse()  # newest first, as every listing is
        return LookUp(tuple(found), complete=True)

    async def cancel(self, request: CancelRequest) -> Outcome:
        """Ask for the end of a payment. Adyen only confirms that it was asked; webhook and report have the outcome."""
        path = f"/v71/payments/{quote(request.provider_object_id, safe='')}/cancels"
        key = f"{request.provider_key[: MAX_KEY_LENGTH - 7]}-cancel"
        headers = {**self._headers, "idempotency-key": key, "Content-Type": "application/json"}
        body = json.dumps({"merchantAccount": self._account}).encode()
        try:
            await self._exchange.send("POST", self._exchange.at(path), headers=headers, content=body)
        except NETWORK_ERRORS as error:
            return lost(error)
        return Outcome(OutcomeKind.UNKNOWN, code="cancel-requested")

    async def close(self) -> None:
        await self._exchange.close()

    async def _report(self, day: int) -> list[dict[str, str]] | None:
        """The lines of one day's report; None if it does not exist yet, or cannot be read."""
        date = datetime.datetime.fromtimestamp(day * DAY_MS / 1000, tz=datetime.UTC)
        name = f"received_payments_report_{date:%Y_%m_%d}.csv"
        path = f"/reports/download/MerchantAccount/{quote(self._account, safe='')}/{name}"
        try:
            response = await self._exchange.send("GET", self._exchange.at(path), headers=self._headers)
        except NETWORK_ERRORS:
            return None
        if response.status_code != 200:
            return None
        try:
            reader = csv.DictReader(response.content.decode().splitlines(), strict=True)
            lines = list(reader)
        except (csv.Error, UnicodeDecodeError):
            return None
        if not set(reader.fieldnames or ()) >= _COLUMNS:
            return None  # the page of a proxy is no report without payments
        return None if any(None in line or None in line.values() for line in lines) else lines


def outcome_of(status: int, headers: Mapping[str, str], body: bytes) -> Outcome:
    """What one HTTP answer says. Raises ``KeyReuseError`` and ``ProviderRefusedError``: then everything stops."""
    if status == 429:
        return Outcome(OutcomeKind.LATER, status=status, response=body, retry_after_ms=retry_after_ms(headers))
    if status >= 500:
        return Outcome(OutcomeKind.UNKNOWN, status=status, response=body)
    document = _json_object(body)
    if document is None:
        return Outcome(OutcomeKind.UNKNOWN, status=status, response=body, code="unreadable")
    code = str(document.get("errorCode", ""))
    if status in (200, 201):
        return _payment(document, status, body)
    if code == _IN_PROGRESS or headers.get("transient-error", "").lower() == "true":
        return Outcome(OutcomeKind.LATER, status=status, response=body, retry_after_ms=retry_after_ms(headers))
    if code == _OTHER_REQUEST:
        raise KeyReuseError(f"the provider saw this key with another request: {document.get('message')}")
    if status in (401, 403, 404):
        raise ProviderRefusedError(f"the provider answers {status} {code}: {document.get('message')}")
    if status in (400, 422) and code:
        return Outcome(OutcomeKind.DECLINED, code=code, status=status, response=body)
    return Outcome(OutcomeKind.UNKNOWN, code=code or "unreadable", status=status, response=body)


def _payment(document: Mapping[str, Any], status: int, body: bytes) -> Outcome:
    amount = document.get("amount")
    amount = amount if isinstance(amount, dict) else {}
    psp, value = document.get("pspReference"), amount.get("value")
    if not isinstance(psp, str):
        return Outcome(OutcomeKind.UNKNOWN, status=status, response=body, code="unreadable")
    kind = _RESULTS.get(str(document.get("resultCode")), OutcomeKind.UNKNOWN)
    if document.get("status") == "received":
        kind = OutcomeKind.PENDING_ACTION  # a refund: its outcome comes as a webhook
    reason = document.get("refusalReason")
    return Outcome(
        kind,
        provider_object_id=psp,
        amount_minor=value if isinstance(value, int) else None,
        currency=str(amount.get("currency", "")).upper(),
        code=str(reason) if reason is not None else None,
        status=status,
        response=body,
    )


def _reported(line: Mapping[str, str]) -> Outcome:
    amount = line.get("Amount", "")
    return Outcome(
        _REPORTED.get(line.get("Status", ""), OutcomeKind.UNKNOWN),
        provider_object_id=line.get("Psp Reference") or None,
        amount_minor=int(amount) if amount.isascii() and amount.isdecimal() else None,
        currency=line.get("Currency", "").upper(),
        code="report",
    )


def _concerns(line: Mapping[str, str], operation: str) -> bool:
    return (line.get("Status") == "Refunded") == operation.startswith("refund")


def _path(operation: str) -> str:
    if operation == "charge":
        return "/v71/payments"
    kind, _, payment = operation.partition(":")
    if kind == "refund" and payment:
        return f"/v71/payments/{quote(payment, safe='')}/refunds"
    raise ConfigurationError(f"a provider like Adyen has no operation {operation!r}", remedy="charge, refund:<psp>")


def _json_object(body: bytes) -> dict[str, Any] | None:
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except msgspec.DecodeError:
        return None
