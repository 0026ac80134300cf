"""Records, intents and a provider that answers as told, for the tests of the boundary."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Engine

from tallystick.boundary import (
    CancelRequest,
    ChargeRequest,
    EffectLedger,
    LookUp,
    LookUpRequest,
    Outcome,
    OutcomeKind,
    ProviderPolicy,
    charge_body,
)
from tallystick.ids import deterministic_id
from tallystick.pipeline import Idempotent
from tallystick.pipeline.ports import Poisoned
from tallystick.pipeline.records import Output, Record

POLICY = ProviderPolicy(
    name="stripe", window_ms=100_000, margin_ms=10_000, timeout_ms=1_000, quiet_ms=5_000, repetition=Idempotent.BY_KEY
)


def record(number: int, value: bytes | None = b"body", *, offset: int | None = None) -> Record:
    """The record with the id of ``number``, at ``offset`` (its number, unless told)."""
    return Record(
        topic="orders",
        partition=0,
        offset=number if offset is None else offset,
        key=b"k",
        value=value,
        headers=(),
        timestamp_ms=0,
        event_id=deterministic_id("test.record", number),
    )


def emitted(results: Sequence[Sequence[Output] | Poisoned]) -> list[Sequence[Output]]:
    """The outputs of each record, when none of them is poisoned."""
    return [result for result in results if not isinstance(result, Poisoned)]


def create_intents(engine: Engine, ledger: EffectLedger, count: int, *, first: int = 0) -> list[str]:
    """``count`` intents of 1.00 and up; returns their ids, which are their references too."""
    ids = [str(deterministic_id("test.intent", number)) for number in range(first, first + count)]
    with engine.begin() as connection:
        for number, intent_id in enumerate(ids, start=first):
            ledger.create_intent(
                connection,
                intent_id=intent_id,
                provider="stripe",
                amount_minor=100 + number,
                currency="USD",
                reference=intent_id,
                request=request_of(intent_id, 100 + number),
            )
    return ids


def request_of(intent_id: str, amount_minor: int) -> bytes:
    return charge_body(amount_minor=amount_minor, currency="USD", reference=intent_id, customer="c-1")


def success(amount_minor: int, *, object_id: str = "ch_1") -> Outcome:
    return Outcome(
        OutcomeKind.SUCCEEDED,
        provider_object_id=object_id,
        amount_minor=amount_minor,
        fee_minor=33,
        currency="USD",
        status=200,
    )


@dataclass
class ScriptedProvider:
    """Answers each POST by calling ``answer``, each look-up by ``listing``; remembers what it was sent."""

    answer: Callable[[ChargeRequest], Outcome]
    listing: Callable[[LookUpRequest], LookUp] = lambda _request: LookUp((), complete=True)
    policy: ProviderPolicy = POLICY
    ending: Callable[[CancelRequest], Outcome] = lambda _request: Outcome(OutcomeKind.UNKNOWN)
    sent: list[ChargeRequest] = field(default_factory=list)
    looked_up: list[LookUpRequest] = field(default_factory=list)
    cancelled: list[CancelRequest] = field(default_factory=list)

    async def charge(self, request: ChargeRequest) -> Outcome:
        self.sent.append(request)
        return self.answer(request)

    async def look_up(self, request: LookUpRequest) -> LookUp:
        self.looked_up.append(request)
        return self.listing(request)

    async def cancel(self, request: CancelRequest) -> Outcome:
        self.cancelled.append(request)
        return self.ending(request)

    async def close(self) -> None:
        return


def keys(requests: Iterable[ChargeRequest]) -> list[str]:
    return [request.provider_key for request in requests]
