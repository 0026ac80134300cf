"""The sandbox in Stripe's shape: charges and refunds under /v1 and /v2, disputes.

Owns: documents, errors and parameters as Stripe has them, simplified. Must not know: sockets, faults. Version 1 keeps
a key for a day and replays a stored 500; version 2 takes JSON, keeps a key for thirty days and brings a failed request
to its end when it is repeated. Sources: Stripe API reference, "Idempotent requests", "Errors", "Pagination".
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Mapping
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
    known_only,
    text_of,
)
from tallystick.sandbox.engine import Call, Engine
from tallystick.sandbox.store import Store, StoredResponse

MAX_PAGE: Final = 100


@dataclass(frozen=True, slots=True)
class StripeKeys:
    """Stripe's rules about keys, of one version of its API."""

    name: str
    window_ms: int
    keeps_failures: bool
    max_key_length: int = 255

    def bad_key(self) -> Answer:
        message = f"This provider asks for an Idempotency-Key of 1 to {self.max_key_length} characters"
        return error(400, "invalid_request_error", message, code="idempotency_key_missing")

    def in_flight(self) -> Answer:
        message = "There is currently another in-progress request using this Idempotent Key"
        return error(409, "idempotency_error_in_progress", message, code="idempotency_key_in_use")

    def other_parameters(self) -> Answer:
        message = "Keys for idempotent requests can only be used with the same parameters they were first with"
        return error(400, "idempotency_error", message)

    def rate_limited(self) -> Answer:
        limited = error(429, "rate_limit_error", "Too many requests", code="rate_limit")
        return replace(limited, headers=(("Retry-After", "0"),))

    def failed(self, *, kept: bool) -> Answer:
        what = "this answer is kept" if kept else "nothing is kept of it"
        return error(500, "api_error", f"Something went wrong, and {what}")

    def unavailable(self) -> Answer:
        return error(503, "api_error", "This service is not available")

    def replayed(self, stored: StoredResponse) -> Answer:
        return Answer(stored.status, stored.body, (("Idempotent-Replayed", "true"),))


class StripeApi:
    """Stripe's endpoints over one engine."""

    def __init__(self, engine: Engine, store: Store, *, window_ms: int) -> None:
        self._engine = engine
        self._store = store
        self._keys = {
            "v1": StripeKeys("stripe-v1", window_ms, keeps_failures=True),
            "v2": StripeKeys("stripe-v2", 30 * window_ms, keeps_failures=False),
        }

    async def create_charge(
        self, key: str | None, body: bytes, content_type: str, client_left: Awaitable[None], *, version: str = "v1"
    ) -> Answer:
        """POST /v1/charges and /v2/charges: amount, currency, reference, customer."""
        try:
            fields = fields_of(body, content_type)
            known_only(fields, {"amount", "currency", "reference", "customer"})
            parameters = ChargeParameters(
                amount_minor=amount_of(fields.get("amount")),
                currency=currency_of(fields.get("currency")),
                reference=text_of(fields, "reference"),
                customer=text_of(fields, "customer"),
            )
        except BadRequest as wrong:
            return _invalid(wrong)
        return await self._run(version, key, parameters, lambda: self._charge(key, parameters), client_left)

    async def create_refund(
        self, key: str | None, body: bytes, content_type: str, client_left: Awaitable[None], *, version: str = "v1"
    ) -> Answer:
        """POST /v1/refunds and /v2/refunds: charge, amount, reference."""
        try:
            fields = fields_of(body, content_type)
            known_only(fields, {"charge", "amount", "reference"})
            parent = self._refundable(text_of(fields, "charge"))
            parameters = ChargeParameters(
                amount_minor=amount_of(fields.get("amount")),
                currency=parent.currency,
                reference=text_of(fields, "reference"),
                customer=parent.customer,
                parent=parent.id,
            )
        except BadRequest as wrong:
            return _invalid(wrong)
        return await self._run(version, key, parameters, lambda: self._refund(key, parameters), client_left)

    def _refundable(self, charge_id: str) -> Charge:
        parent = self._store.charges.get(charge_id)
        if parent is None or not parent.moved_money or parent.kind != "charge":
            raise BadRequest("No such charge, or it moved no money", param="charge")
        return parent

    async def _run(
        self, version: str, key: str | None, parameters: ChargeParameters, perform: Any, client_left: Awaitable[None]
    ) -> Answer:
        call = Call(self._keys[version], key, parameters.fingerprint(), parameters.reference, perform)
        return await self._engine.run(call, client_left)

    def _charge(self, key: str | None, parameters: ChargeParameters) -> tuple[list[Charge], Answer]:
        plan = self._engine.plan
        if plan.declined(parameters.reference):
            charge = self._made("ch", key, parameters, status="failed")
            message = "Your card was declined"
            return [charge], error(402, "card_error", message, code="card_declined", charge=charge.id)
        status = "pending" if plan.waits_for_customer(parameters.reference) else "succeeded"
        charge = self._made("ch", key, parameters, status=status)
        return [charge], Answer(200, json_bytes(document_of(charge)))

    def _refund(self, key: str | None, parameters: ChargeParameters) -> tuple[list[Charge], Answer]:
        refunded = sum(
            each.amount_minor
            for each in self._store.charges.values()
            if each.kind == "refund" and each.parent_id == parameters.parent and each.moved_money
        )
        if refunded + parameters.amount_minor > self._store.charges[parameters.parent].amount_minor:
            message = "The refunds are more than the charge"
            return [], error(400, "invalid_request_error", message, code="charge_already_refunded")
        refund = self._made("re", key, parameters, status="succeeded", kind="refund")
        return [refund], Answer(200, json_bytes(document_of(refund)))

    def _made(
        self, prefix: str, key: str | None, parameters: ChargeParameters, *, status: str, kind: str = "charge"
    ) -> Charge:
        digest = self._store.next_digest()
        return Charge.made(
            parameters,
            naming=Naming(f"{prefix}_{digest}", f"txn_{digest}", key, kind, "stripe"),
            status=status,
            now_ms=self._engine.now_ms(),
            action_window_ms=self._engine.plan.action_window_ms,
        )

    # -- reading

    def retrieve(self, charge_id: str) -> Answer:
        """GET /v1/charges/{id}, and refunds and disputes alike."""
        charge = self._store.charges.get(charge_id)
        if charge is None or charge.api != "stripe":
            return _missing(charge_id)
        return Answer(200, json_bytes(document_of(charge)))

    def listing(self, query: Mapping[str, str], *, kind: str = "charge") -> Answer:
        """GET /v1/charges: newest first; ``reference``, ``created[gte]``, ``created[lte]`` (seconds), ``limit``,
        ``starting_after``.
        """
        try:
            limit = int(query.get("limit", "10"))
            since = int(query.get("created[gte]", "0"))
            until = int(query.get("created[lte]", str(2**53)))
        except ValueError:
            return error(400, "invalid_request_error", "limit and created are whole numbers", code="parameter_invalid")
        if not 1 <= limit <= MAX_PAGE:
            message = f"limit is 1 to {MAX_PAGE}, not {limit}"
            return error(400, "invalid_request_error", message, code="parameter_invalid", param="limit")
        matching = [
            charge
            for charge in self._store.find(reference=query.get("reference"))
            if charge.kind == kind and charge.api == "stripe" and since <= charge.created_ms // 1000 <= until
        ]
        return _page(matching, query, limit, kind)


def _page(matching: list[Charge], query: Mapping[str, str], limit: int, kind: str) -> Answer:
    matching.reverse()
    if (after := query.get("starting_after")) is not None:
        position = next((index for index, charge in enumerate(matching) if charge.id == after), None)
        if position is None:
            return error(400, "invalid_request_error", f"No such {kind}: {after}", code="resource_missing")
        matching = matching[position + 1 :]
    page = [document_of(charge) for charge in matching[:limit]]
    return Answer(200, json_bytes(_list(page, f"/v1/{kind}s", has_more=len(matching) > limit)))


def _list(data: Iterable[Any], url: str, *, has_more: bool) -> dict[str, Any]:
    return {"object": "list", "url": url, "data": list(data), "has_more": has_more}


def document_of(charge: Charge) -> dict[str, Any]:
    """As the API shows it. The idempotency key is not shown, as with Stripe."""
    more: dict[str, Any] = {}
    if charge.status == "pending":
        more = {"next_action": {"type": "redirect_to_url"}, "expires_at": charge.expires_ms // 1000}
    if charge.parent_id:
        more["charge"] = charge.parent_id
    return {
        "id": charge.id,
        "object": charge.kind,
        "amount": charge.amount_minor,
        "currency": charge.currency,
        "fee": charge.fee_minor,
        "reference": charge.reference,
        "customer": charge.customer,
        "status": charge.status,
        "failure_code": _FAILURES.get(charge.status),
        "balance_transaction": charge.balance_transaction_id if charge.moved_money else None,
        "created": charge.created_ms // 1000,
        "created_ms": charge.created_ms,
        **more,
    }


_FAILURES: Final = {"failed": "card_declined", "canceled": "expired"}


def error(status: int, kind: str, message: str, **more: str) -> Answer:
    """An error document in Stripe's shape."""
    return Answer(status, json_bytes({"error": {"type": kind, "message": message, **more}}))


def _invalid(wrong: BadRequest) -> Answer:
    return error(400, "invalid_request_error", str(wrong), code="parameter_invalid", param=wrong.param)


def _missing(charge_id: str) -> Answer:
    return error(404, "invalid_request_error", f"No such charge: {charge_id}", code="resource_missing")
