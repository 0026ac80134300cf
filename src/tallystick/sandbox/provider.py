"""One provider: two APIs over one store, what customers and banks do, and the truth about it.

Owns: the joining; actions, disputes, expiry. Must not know: sockets. One event loop owns it.
"""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import replace
from typing import Any

from tallystick.clock import Clock
from tallystick.errors import ConfigurationError
from tallystick.sandbox.adyen import AdyenApi
from tallystick.sandbox.answer import HANG_UP, Answer, json_bytes
from tallystick.sandbox.charge import DISPUTE_FEE_MINOR, Charge, fee_of
from tallystick.sandbox.engine import Engine
from tallystick.sandbox.faults import FaultPlan
from tallystick.sandbox.store import Store
from tallystick.sandbox.stripe import StripeApi, document_of, error

__all__ = ["HANG_UP", "Answer", "SandboxProvider"]


class SandboxProvider:
    """One provider over one store. Keys last ``window_ms`` in Stripe's v1, 30 times that in v2, 7 times with Adyen."""

    def __init__(self, store: Store, plan: FaultPlan, *, clock: Clock, window_ms: int) -> None:
        self._store = store
        self.engine = Engine(store, plan, clock=clock)
        self.stripe = StripeApi(self.engine, store, window_ms=window_ms)
        self.adyen = AdyenApi(self.engine, store, window_ms=window_ms)

    @property
    def store(self) -> Store:
        return self._store

    @property
    def plan(self) -> FaultPlan:
        return self.engine.plan

    @plan.setter
    def plan(self, plan: FaultPlan) -> None:
        self.engine.plan = plan

    @property
    def met(self) -> dict[str, int]:
        return self.engine.met

    def now_ms(self) -> int:
        """The provider's time: the machine's, moved by ``/_sandbox/clock``."""
        return self.engine.now_ms()

    async def charge(self, key: str | None, body: bytes, content_type: str, client_left: Awaitable[None]) -> Answer:
        """POST /v1/charges. ``client_left`` ends when the client closes its connection."""
        return await self.stripe.create_charge(key, body, content_type, client_left)

    def retrieve(self, charge_id: str) -> Answer:
        """GET /v1/charges/{id}."""
        self.expire()
        return self.stripe.retrieve(charge_id)

    def listing(self, query: dict[str, str], *, kind: str = "charge") -> Answer:
        """GET /v1/charges."""
        self.expire()
        return self.stripe.listing(query, kind=kind)

    # -- what others do

    def cancel(self, charge_id: str) -> Answer:
        """POST /v1/charges/{id}/cancel: ends a pending charge; any other is shown as it is."""
        charge = self._store.charges.get(charge_id)
        if charge is None:
            return error(404, "invalid_request_error", f"No such charge: {charge_id}", code="resource_missing")
        if charge.status == "pending":
            charge = self._change(charge, status="canceled")
        return Answer(200, json_bytes(document_of(charge)))

    def act(self, charge_id: str, *, completes: bool) -> Charge:
        """The customer completes a pending payment, or fails to. ``ConfigurationError`` if it does not wait."""
        self.expire()
        charge = self._store.charges.get(charge_id)
        if charge is None or charge.status != "pending":
            raise ConfigurationError(f"{charge_id!r} does not wait for its customer")
        if completes:
            return self._change(charge, status="succeeded", fee_minor=fee_of(charge.amount_minor))
        return self._change(charge, status="failed")

    def dispute(self, charge_id: str) -> Charge:
        """The customer's bank takes a payment back, and it costs a fee."""
        charge = self._store.charges.get(charge_id)
        if charge is None or charge.kind != "charge" or not charge.moved_money:
            raise ConfigurationError(f"{charge_id!r} is no payment that could be disputed")
        digest = self._store.next_digest()
        dispute = replace(
            charge,
            id=f"dp_{digest}",
            balance_transaction_id=f"txn_{digest}",
            fee_minor=DISPUTE_FEE_MINOR,
            idempotency_key="",
            created_ms=self.now_ms(),
            changed_ms=self.now_ms(),
            kind="dispute",
            parent_id=charge.id,
        )
        self._store.commit([dispute], None)
        return dispute

    def expire(self) -> None:
        """End pending payments whose time is over."""
        now_ms = self.now_ms()
        overdue = [each for each in self._store.pending() if each.expires_ms <= now_ms]
        for charge in overdue:
            self._change(charge, status="canceled")

    def _change(self, charge: Charge, *, status: str, fee_minor: int = 0) -> Charge:
        changed = replace(charge, status=status, fee_minor=fee_minor, changed_ms=self.now_ms())
        self._store.commit([changed], None)
        return changed

    # -- the truth

    def truth(self) -> dict[str, Any]:
        """What really happened, for whoever checks afterwards; no client of a real provider sees this."""
        everything = list(self._store.charges.values())
        charges = [each for each in everything if each.kind == "charge"]
        moved = [charge for charge in charges if charge.moved_money]
        return {
            "charged_count": len(moved),
            "charged_minor": sum(charge.amount_minor for charge in moved),
            "fee_minor": sum(charge.fee_minor for charge in moved),
            "declined_count": sum(charge.status in ("failed", "canceled") for charge in charges),
            "pending_count": sum(charge.status == "pending" for charge in charges),
            "met": dict(self.met),
            "charges": [_judged(charge) for charge in charges],
            "others": [_judged(each) for each in everything if each.kind != "charge"],
        }


def _judged(charge: Charge) -> dict[str, Any]:
    return {**document_of(charge), "api": charge.api, "idempotency_key": charge.idempotency_key}
