"""Idempotency keys and faults: what happens to a POST before and after it is done.

Owns: keys in flight, stored answers, faults that strike. Must not know: sockets, and what a request does. One event
loop owns it. Sources: Stripe API reference, "Idempotent requests" (both versions); Adyen, "API idempotency".
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from tallystick.clock import Clock
from tallystick.sandbox.answer import HANG_UP, Answer
from tallystick.sandbox.charge import Charge
from tallystick.sandbox.faults import Fault, FaultPlan
from tallystick.sandbox.store import Store, StoredResponse


class KeyRules(Protocol):
    """One API's way with idempotency keys: how long they last, what is kept, and how it says so."""

    @property
    def name(self) -> str: ...
    @property
    def window_ms(self) -> int: ...
    @property
    def max_key_length(self) -> int: ...
    @property
    def keeps_failures(self) -> bool:
        """Whether a stored 500 is replayed; where not, a repeated request is done to its end."""
        ...

    def bad_key(self) -> Answer: ...
    def in_flight(self) -> Answer: ...
    def other_parameters(self) -> Answer: ...
    def rate_limited(self) -> Answer: ...
    def failed(self, *, kept: bool) -> Answer: ...
    def unavailable(self) -> Answer: ...
    def replayed(self, stored: StoredResponse) -> Answer: ...


Perform = Callable[[], tuple[Sequence[Charge], Answer]]
"""Does the request: the objects that it makes or changes, and the answer."""


@dataclass(frozen=True, slots=True)
class Call:
    """One POST: its key, what identifies its parameters, whom it is about, what it does."""

    rules: KeyRules
    key: str | None
    fingerprint: str
    reference: str
    perform: Perform


class Engine:
    """Runs calls over one store."""

    def __init__(self, store: Store, plan: FaultPlan, *, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._in_flight: set[str] = set()
        self._tries: dict[str, int] = {}
        self._plan = plan
        self._plan_from_ms = self.now_ms()
        self.met: dict[str, int] = {}
        """Faults that really happened, replays, and expired keys that executed anew, by name."""

    @property
    def plan(self) -> FaultPlan:
        return self._plan

    @plan.setter
    def plan(self, plan: FaultPlan) -> None:
        self._plan = plan
        self._plan_from_ms = self.now_ms()

    def now_ms(self) -> int:
        """The provider's time: the machine's, moved by ``/_sandbox/clock``."""
        return self._clock.now_ms() + self._store.clock_offset_ms

    @property
    def is_out(self) -> bool:
        """Whether every request is answered 503 for now."""
        return self.now_ms() < self._plan_from_ms + self._plan.outage_ms

    async def run(self, call: Call, client_left: Awaitable[None]) -> Answer:
        """``client_left`` ends when the client closes its connection."""
        rules = call.rules
        if not call.key or len(call.key) > rules.max_key_length:
            return rules.bad_key()
        key = f"{rules.name}:{call.key}"
        if key in self._in_flight:
            return rules.in_flight()
        stored = self._store.response(key, now_ms=self.now_ms(), window_ms=rules.window_ms)
        if stored is not None:
            if stored.fingerprint != call.fingerprint:
                return rules.other_parameters()
            self._count("replayed")
            return rules.replayed(stored)
        self._in_flight.add(key)
        try:
            return await self._first_use(call, key, client_left)
        finally:
            self._in_flight.discard(key)

    async def _first_use(self, call: Call, key: str, client_left: Awaitable[None]) -> Answer:
        tries = self._tries[call.reference] = self._tries.get(call.reference, 0) + 1
        fault = self._plan.choose(call.reference, tries)
        if fault is not None:
            self._count(fault.value)
        refused = self._refused(fault, call)
        if refused is not None:
            return refused
        if fault is Fault.ERROR_500_STORED:
            return self._stored_500(call, key)
        if fault is Fault.TIMEOUT_BEFORE_COMMIT:
            await _first_of(client_left, self._plan.hang_ms)
            return HANG_UP
        if fault is Fault.SLOW:
            await asyncio.sleep(self._plan.slow_ms / 1000)
        changes, answer = call.perform()
        self._keep(call, key, changes, answer)
        if fault is Fault.TIMEOUT_AFTER_COMMIT:
            self._in_flight.discard(key)  # it is done: who asks again gets the stored answer
            await _first_of(client_left, self._plan.hang_ms)
            return HANG_UP
        return answer

    def _refused(self, fault: Fault | None, call: Call) -> Answer | None:
        """The answer of a fault that does nothing and keeps nothing."""
        match fault:
            case Fault.RATE_LIMIT_429:
                return call.rules.rate_limited()
            case Fault.IN_FLIGHT_409:
                return call.rules.in_flight()
            case Fault.OUTAGE_503:
                return call.rules.unavailable()
            case Fault.ERROR_500_NOT_STORED:
                return call.rules.failed(kept=False)
            case _:
                return None

    def _stored_500(self, call: Call, key: str) -> Answer:
        done = self._plan.charged_despite_500(call.reference)
        failed = call.rules.failed(kept=call.rules.keeps_failures)
        changes, answer = call.perform() if done else ((), failed)
        if call.rules.keeps_failures:
            self._keep(call, key, changes, failed)
        elif done:
            self._keep(call, key, changes, answer)  # who asks again learns what really happened
        return failed

    def _keep(self, call: Call, key: str, changes: Sequence[Charge], answer: Answer) -> None:
        if changes and self._store.has_used(key):
            self._count("executed-anew")
        response = StoredResponse(
            idempotency_key=key,
            fingerprint=call.fingerprint,
            status=answer.status,
            body=answer.body,
            first_used_ms=self.now_ms(),
        )
        self._store.commit(changes, response)

    def _count(self, name: str) -> None:
        self.met[name] = self.met.get(name, 0) + 1


async def _first_of(client_left: Awaitable[None], limit_ms: int) -> None:
    try:
        await asyncio.wait_for(client_left, limit_ms / 1000)
    except TimeoutError:
        return
