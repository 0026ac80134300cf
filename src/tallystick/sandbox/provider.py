"""The provider's behaviour: keys, faults and charges, without HTTP.

Owns: Stripe v1's idempotency semantics: the same key replays the stored response, 500 included; other parameters under
it are an error; a key in flight is 409; a key expires. Sources: Stripe API reference, "Idempotent requests", and
"Low-level error handling". Must not know: sockets. One event loop owns it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any, Final

from tallystick.clock import Clock
from tallystick.sandbox.charge import BadRequest, Charge, ChargeParameters, fee_of, parse_parameters
from tallystick.sandbox.faults import Fault, FaultPlan
from tallystick.sandbox.store import Store, StoredResponse

MAX_KEY_LENGTH: Final = 255
MAX_PAGE: Final = 100


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer; ``hang_up``: close the connection without one."""

    status: int = 0
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    hang_up: bool = False


HANG_UP: Final = Answer(hang_up=True)


class SandboxProvider:
    """One provider over one store."""

    def __init__(self, store: Store, plan: FaultPlan, *, clock: Clock, window_ms: int) -> None:
        self._store = store
        self._clock = clock
        self._window_ms = window_ms
        self._in_flight: set[str] = set()
        self._tries: dict[str, int] = {}
        self.plan = plan
        self.met: dict[str, int] = {}
        """Faults that really happened, and replays, by name."""

    def now_ms(self) -> int:
        """The provider's time: the machine's, moved by ``/_sandbox/clock``."""
        return self._clock.now_ms() + self._store.clock_offset_ms

    async def charge(self, key: str | None, body: bytes, content_type: str, client_left: Awaitable[None]) -> Answer:
        """POST /v1/charges. ``client_left`` ends when the client closes its connection."""
        if not key or len(key) > MAX_KEY_LENGTH:
            message = f"This provider asks for an Idempotency-Key of 1 to {MAX_KEY_LENGTH} characters"
            return error(400, "invalid_request_error", message, code="idempotency_key_missing")
        try:
            parameters = parse_parameters(body, content_type)
        except BadRequest as wrong:
            return error(400, "invalid_request_error", str(wrong), code="parameter_invalid", param=wrong.param)
        if key in self._in_flight:
            message = "There is currently another in-progress request using this Idempotent Key"
            return error(409, "idempotency_error_in_progress", message, code="idempotency_key_in_use")
        stored = self._store.response(key, now_ms=self.now_ms(), window_ms=self._window_ms)
        if stored is not None:
            if stored.fingerprint != parameters.fingerprint():
                message = "Keys for idempotent requests can only be used with the same parameters they were first with"
                return error(400, "idempotency_error", message)
            self._count("replayed")
            return Answer(stored.status, stored.body, (("Idempotent-Replayed", "true"),))
        self._in_flight.add(key)
        try:
            return await self._first_use(key, parameters, client_left)
        finally:
            self._in_flight.discard(key)

    async def _first_use(self, key: str, parameters: ChargeParameters, client_left: Awaitable[None]) -> Answer:
        reference = parameters.reference
        tries = self._tries[reference] = self._tries.get(reference, 0) + 1
        fault = self.plan.choose(reference, tries)
        if fault is not None:
            self._count(fault.value)
        match fault:
            case Fault.RATE_LIMIT_429:
                limited = error(429, "rate_limit_error", "Too many requests", code="rate_limit")
                return Answer(limited.status, limited.body, (("Retry-After", "0"),))
            case Fault.ERROR_500_NOT_STORED:
                return error(500, "api_error", "Something went wrong, and nothing is kept of it")
            case Fault.ERROR_500_STORED:
                failed = error(500, "api_error", "Something went wrong, and this answer is kept")
                if self.plan.charged_despite_500(reference):
                    charge, _ = self._make(key, parameters)
                    self._keep(key, parameters, charge, failed)
                else:
                    self._keep(key, parameters, None, failed)
                return failed
            case Fault.TIMEOUT_BEFORE_COMMIT:
                await _first_of(client_left, self.plan.hang_ms)
                return HANG_UP
            case Fault.SLOW:
                await asyncio.sleep(self.plan.slow_ms / 1000)
            case _:
                pass
        charge, answer = self._make(key, parameters)
        self._keep(key, parameters, charge, answer)
        if fault is Fault.TIMEOUT_AFTER_COMMIT:
            self._in_flight.discard(key)  # it is done: who asks again gets the stored answer
            await _first_of(client_left, self.plan.hang_ms)
            return HANG_UP
        return answer

    def _make(self, key: str, parameters: ChargeParameters) -> tuple[Charge, Answer]:
        charge_id, balance_transaction_id = self._store.next_ids()
        declined = self.plan.declined(parameters.reference)
        charge = Charge(
            id=charge_id,
            balance_transaction_id=balance_transaction_id,
            status="failed" if declined else "succeeded",
            amount_minor=parameters.amount_minor,
            fee_minor=0 if declined else fee_of(parameters.amount_minor),
            currency=parameters.currency,
            reference=parameters.reference,
            customer=parameters.customer,
            idempotency_key=key,
            created_ms=self.now_ms(),
        )
        if declined:
            message = "Your card was declined"
            return charge, error(402, "card_error", message, code="card_declined", charge=charge.id)
        return charge, Answer(200, _json(charge.document()))

    def _keep(self, key: str, parameters: ChargeParameters, charge: Charge | None, answer: Answer) -> None:
        response = StoredResponse(
            idempotency_key=key,
            fingerprint=parameters.fingerprint(),
            status=answer.status,
            body=answer.body,
            first_used_ms=self.now_ms(),
        )
        self._store.commit(charge, response)

    def retrieve(self, charge_id: str) -> Answer:
        """GET /v1/charges/{id}."""
        charge = self._store.charges.get(charge_id)
        if charge is None:
            return error(404, "invalid_request_error", f"No such charge: {charge_id}", code="resource_missing")
        return Answer(200, _json(charge.document()))

    def listing(self, query: dict[str, str]) -> Answer:
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
            if since <= charge.created_ms // 1000 <= until
        ]
        matching.reverse()
        if (after := query.get("starting_after")) is not None:
            position = next((index for index, charge in enumerate(matching) if charge.id == after), None)
            if position is None:
                return error(400, "invalid_request_error", f"No such charge: {after}", code="resource_missing")
            matching = matching[position + 1 :]
        page = [charge.document() for charge in matching[:limit]]
        document = {"object": "list", "url": "/v1/charges", "data": page, "has_more": len(matching) > limit}
        return Answer(200, _json(document))

    def truth(self) -> dict[str, Any]:
        """What really happened, for whoever checks afterwards; no client of a real provider sees this."""
        charges = list(self._store.charges.values())
        moved = [charge for charge in charges if charge.status == "succeeded"]
        return {
            "charged_count": len(moved),
            "charged_minor": sum(charge.amount_minor for charge in moved),
            "fee_minor": sum(charge.fee_minor for charge in moved),
            "declined_count": len(charges) - len(moved),
            "met": dict(self.met),
            "charges": [{**charge.document(), "idempotency_key": charge.idempotency_key} for charge in charges],
        }

    def _count(self, name: str) -> None:
        self.met[name] = self.met.get(name, 0) + 1


def error(status: int, kind: str, message: str, **more: str) -> Answer:
    """An error document in Stripe's shape."""
    return Answer(status, _json({"error": {"type": kind, "message": message, **more}}))


async def _first_of(client_left: Awaitable[None], limit_ms: int) -> None:
    try:
        await asyncio.wait_for(client_left, limit_ms / 1000)
    except TimeoutError:
        return


def _json(document: dict[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()
