"""The sandbox in Adyen's shape: payments, refunds, cancellations, and the daily report of payments.

Owns: documents, errors and parameters as Adyen has them, simplified. Must not know: sockets, faults. There is no
listing: what became of a payment is in a webhook, or in the report of its day, which exists once that day is over.
Sources: Adyen, "API idempotency", "Result codes", "Received payment details report".
"""

from __future__ import annotations

import csv
import datetime
import io
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from tallystick.sandbox.answer import Answer, json_bytes
from tallystick.sandbox.charge import (
    BadRequest,
    Charge,
    ChargeParameters,
    Naming,
    amount_of,
    currency_of,
    fields_of,
    text_of,
)
from tallystick.sandbox.engine import Call, Engine
from tallystick.sandbox.store import Store, StoredResponse

REPORT_COLUMNS: Final = (
    "Merchant Account",
    "Psp Reference",
    "Merchant Reference",
    "Creation Date",
    "Currency",
    "Amount",
    "Status",
)
DAY_MS: Final = 86_400_000
_RESULTS: Final = {
    "succeeded": "Authorised",
    "failed": "Refused",
    "pending": "RedirectShopper",
    "canceled": "Cancelled",
}


@dataclass(frozen=True, slots=True)
class AdyenKeys:
    """Adyen's rules about keys. The sandbox keeps them for the shortest time that Adyen ever promised."""

    name: str
    window_ms: int
    keeps_failures: bool = False
    max_key_length: int = 64

    def bad_key(self) -> Answer:
        return error(422, "702", f"idempotency-key is 1 to {self.max_key_length} characters", "validation")

    def in_flight(self) -> Answer:
        busy = error(422, "704", "request already processed or in progress", "validation")
        return replace(busy, headers=(("transient-error", "true"),))

    def other_parameters(self) -> Answer:
        return error(422, "708", "idempotency-key was used with another request", "validation")

    def rate_limited(self) -> Answer:
        return replace(error(429, "905_3", "too many requests", "internal"), headers=(("Retry-After", "0"),))

    def failed(self, *, kept: bool) -> Answer:  # noqa: ARG002  the engine's port
        return error(500, "901", "internal error", "internal")

    def unavailable(self) -> Answer:
        return error(503, "905", "not available", "internal")

    def replayed(self, stored: StoredResponse) -> Answer:
        return Answer(stored.status, stored.body, (("idempotency-key", stored.idempotency_key.partition(":")[2]),))


class AdyenApi:
    """Adyen's endpoints over one engine."""

    def __init__(self, engine: Engine, store: Store, *, window_ms: int) -> None:
        self._engine = engine
        self._store = store
        self._keys = AdyenKeys("adyen", 7 * window_ms)

    async def create_payment(self, key: str | None, body: bytes, client_left: Awaitable[None]) -> Answer:
        """POST /v71/payments: amount {value, currency}, reference, merchantAccount, shopperReference."""
        try:
            fields = fields_of(body, "application/json")
            text_of(fields, "merchantAccount")
            parameters = _parameters(fields)
        except BadRequest as wrong:
            return error(422, "702", str(wrong), "validation")
        return await self._run(key, parameters, lambda: self._payment(key, parameters), client_left)

    async def refund(self, psp_reference: str, key: str | None, body: bytes, client_left: Awaitable[None]) -> Answer:
        """POST /v71/payments/{psp}/refunds: amount, reference, merchantAccount."""
        parent = self._store.charges.get(psp_reference)
        if parent is None or parent.kind != "charge" or not parent.moved_money:
            return error(422, "167", "Original pspReference required for this operation", "validation")
        try:
            fields = fields_of(body, "application/json")
            text_of(fields, "merchantAccount")
            parameters = _parameters(fields, parent=parent.id)
        except BadRequest as wrong:
            return error(422, "702", str(wrong), "validation")
        return await self._run(key, parameters, lambda: self._refund(key, parameters), client_left)

    async def cancel(self, psp_reference: str, key: str | None, client_left: Awaitable[None]) -> Answer:
        """POST /v71/payments/{psp}/cancels: received now, its outcome comes as a webhook."""
        charge = self._store.charges.get(psp_reference)
        if charge is None or charge.api != "adyen":
            return error(422, "167", "Original pspReference required for this operation", "validation")
        parameters = ChargeParameters(charge.amount_minor, charge.currency, charge.reference, "", parent=charge.id)
        return await self._run(key, parameters, lambda: self._cancel(charge.id), client_left)

    async def _run(
        self, key: str | None, parameters: ChargeParameters, perform: Any, client_left: Awaitable[None]
    ) -> Answer:
        call = Call(self._keys, key, parameters.fingerprint(), parameters.reference, perform)
        return await self._engine.run(call, client_left)

    def _payment(self, key: str | None, parameters: ChargeParameters) -> tuple[list[Charge], Answer]:
        plan = self._engine.plan
        status = "succeeded"
        if plan.declined(parameters.reference):
            status = "failed"
        elif plan.waits_for_customer(parameters.reference):
            status = "pending"
        charge = self._made(key, parameters, status=status)
        return [charge], Answer(200, json_bytes(payment_document(charge)))

    def _refund(self, key: str | None, parameters: ChargeParameters) -> tuple[list[Charge], Answer]:
        refund = self._made(key, parameters, status="succeeded", kind="refund")
        return [refund], Answer(201, json_bytes(_received(refund, parameters.parent)))

    def _cancel(self, charge_id: str) -> tuple[list[Charge], Answer]:
        charge = self._store.charges[charge_id]
        answer = Answer(201, json_bytes(_received(charge, charge.id)))
        if charge.status != "pending":
            return [], answer
        return [replace(charge, status="canceled", changed_ms=self._engine.now_ms())], answer

    def _made(self, key: str | None, parameters: ChargeParameters, *, status: str, kind: str = "charge") -> Charge:
        digest = self._store.next_digest()
        return Charge.made(
            parameters,
            naming=Naming(digest[:16].upper(), f"ady_{digest}", key, kind, "adyen"),
            status=status,
            now_ms=self._engine.now_ms(),
            action_window_ms=self._engine.plan.action_window_ms,
        )

    def report(self, account: str, name: str) -> Answer:
        """GET /reports/download/MerchantAccount/{account}/received_payments_report_{day}.csv, once the day is over."""
        day = name.removeprefix("received_payments_report_").removesuffix(".csv").replace("_", "-")
        try:
            begins = datetime.datetime.fromisoformat(day).replace(tzinfo=datetime.UTC)
        except ValueError:
            return error(404, "000", f"no report {name}", "validation")
        from_ms = int(begins.timestamp() * 1000)
        if self._engine.now_ms() < from_ms + DAY_MS:
            return error(404, "000", f"the day of {name} is not over", "validation")
        sink = io.StringIO()
        writer = csv.writer(sink, lineterminator="\n")
        writer.writerow(REPORT_COLUMNS)
        for charge in self._store.charges.values():
            if charge.api == "adyen" and charge.kind != "dispute" and from_ms <= charge.created_ms < from_ms + DAY_MS:
                writer.writerow(_report_row(account, charge))
        return Answer(200, sink.getvalue().encode(), media_type="text/csv")


def _report_row(account: str, charge: Charge) -> tuple[object, ...]:
    created = datetime.datetime.fromtimestamp(charge.created_ms / 1000, tz=datetime.UTC)
    status = "Refunded" if charge.kind == "refund" else _RESULTS[charge.status]
    return (
        account,
        charge.id,
        charge.reference,
        created.strftime("%Y-%m-%d %H:%M:%S"),
        charge.currency.upper(),
        charge.amount_minor,
        status,
    )


def payment_document(charge: Charge) -> dict[str, Any]:
    """The answer to a payment."""
    more: dict[str, Any] = {"refusalReason": "Refused"} if charge.status == "failed" else {}
    if charge.status == "pending":
        more = {"action": {"type": "redirect", "url": f"/_sandbox/actions/{charge.id}"}}
    return {
        "pspReference": charge.id,
        "resultCode": _RESULTS[charge.status],
        "merchantReference": charge.reference,
        "amount": {"currency": charge.currency.upper(), "value": charge.amount_minor},
        **more,
    }


def _received(charge: Charge, parent: str) -> dict[str, Any]:
    return {
        "paymentPspReference": parent,
        "pspReference": charge.id,
        "reference": charge.reference,
        "status": "received",
        "amount": {"currency": charge.currency.upper(), "value": charge.amount_minor},
    }


def _parameters(fields: Mapping[str, Any], *, parent: str = "") -> ChargeParameters:
    amount = fields.get("amount")
    if not isinstance(amount, dict):
        raise BadRequest("Missing: amount", param="amount")
    return ChargeParameters(
        amount_minor=amount_of(amount.get("value")),
        currency=currency_of(amount.get("currency")),
        reference=text_of(fields, "reference"),
        customer=str(fields.get("shopperReference", ""))[:200],
        parent=parent,
    )


def error(status: int, code: str, message: str, kind: str) -> Answer:
    """An error document in Adyen's shape."""
    return Answer(status, json_bytes({"status": status, "errorCode": code, "message": message, "errorType": kind}))
