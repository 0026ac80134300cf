"""The workload that charges: an intent for each tick beside its inbox row, and a dispatcher that asks a provider.

Owns: the handler, the dispatcher's process, and both truths for the oracle: the attempts in SQL, and what the sandbox
really charged. Must not know: how an attempt is kept from going out twice; that it is, is what is verified.
``python -m tallystick.verify.charging`` is the dispatcher.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from types import FrameType
from typing import Any, Final

from sqlalchemy import Connection, delete, func, select

from tallystick.boundary import EffectLedger, SqlEffect, create_tables, open_database, reading
from tallystick.boundary.dispatcher import EffectDispatcher
from tallystick.boundary.effect_tables import effect_attempt, effect_intent
from tallystick.boundary.effects import OPEN_STATES, State
from tallystick.boundary.providers.stripe_like import StripeLike, charge_body
from tallystick.errors import TallystickError
from tallystick.ids import EventId, derived_id
from tallystick.pipeline import Emit, Output, Record, Topic
from tallystick.stopping import StopFlag
from tallystick.verify.events import TickValue
from tallystick.verify.oracle import Expected, Position, Seen, StateCell
from tallystick.verify.ticks import Tick

ENV_DATABASE: Final = "VERIFY_DATABASE"
ENV_PROVIDER: Final = "VERIFY_PROVIDER"
ATTEMPTS: Final = "sql:tallystick_effect_attempt"
CHARGES: Final = "provider:charges"
PROVIDER: Final = "stripe"
CURRENCY: Final = "USD"
_TIMEOUT_MS: Final = 2_000
_QUIET_MS: Final = 5_000
_CONCURRENCY: Final = 32

Truth = Callable[[], Mapping[str, Any]]
"""What the provider really did."""


def effect_factory(
    database_url: str, source: Topic[TickValue], step: str, echo: Callable[[TickValue], Iterable[Emit]]
) -> Callable[[], SqlEffect]:
    """What a worker calls in its own process: an intent for each tick, in the SQL transaction of its inbox row."""
    workload = source.name.removesuffix(".ticks")

    def factory() -> SqlEffect:
        engine = open_database(database_url)
        ledger = EffectLedger(engine)

        def handle(connection: Connection, record: Record) -> Iterable[Output]:
            tick = source.decode(record.value)
            ledger.create_intent(
                connection,
                intent_id=tick.event,
                provider=PROVIDER,
                amount_minor=tick.amount_minor,
                currency=CURRENCY,
                reference=tick.event,
                request=charge_body(
                    amount_minor=tick.amount_minor, currency=CURRENCY, reference=tick.event, customer=tick.account
                ),
            )
            return [
                Output(emitted.topic, emitted.key, emitted.value, derived_id(record.event_id, step, ordinal))
                for ordinal, emitted in enumerate(echo(tick))
            ]

        return SqlEffect(engine, handle, name=workload)

    return factory


class ChargeSide:
    """Database and provider of one workload, as the harness sees them."""

    def __init__(self, database_url: str, truth: Truth) -> None:
        self._engine = open_database(database_url)
        self._truth = truth
        self._wanted: frozenset[str] = frozenset()

    def prepare(self, accounts: Iterable[str]) -> None:
        """Make the tables."""
        del accounts
        create_tables(self._engine)

    def expected(self, ticks: Sequence[Tick], positions: Mapping[EventId, Position]) -> list[Expected]:
        """One attempt that succeeded and one charge for each tick. Each is its own key: charges have no order."""
        return [
            Expected(
                place,
                tick.event,
                tick.event.encode(),
                group=tick.event,
                sequence=tick.number,
                source=positions[tick.event],
            )
            for tick in ticks
            for place in (ATTEMPTS, CHARGES)
        ]

    def rows(self, ticks: Iterable[Tick]) -> list[Seen]:
        """Attempts that succeeded, and charges that moved money, of this workload's ticks."""
        self._wanted = frozenset(tick.event for tick in ticks)
        columns = select(effect_attempt.c.reference).where(effect_attempt.c.state == State.SUCCEEDED.value)
        with reading(self._engine) as connection:
            succeeded = [str(row.reference) for row in connection.execute(columns)]
        charged = [str(charge["reference"]) for charge in self._truth()["charges"] if charge["status"] == "succeeded"]
        return [
            Seen(Position(place, 0, at), event.encode(), event, "")
            for place, events in ((ATTEMPTS, succeeded), (CHARGES, charged))
            for at, event in enumerate(events)
            if event in self._wanted
        ]

    def states(self, ticks: Iterable[Tick]) -> tuple[StateCell, ...]:
        """The money in all: what was owed, and what the provider took."""
        charges = self._truth()["charges"]
        amounts = {str(tick.event): tick.amount_minor for tick in ticks}
        taken = sum(
            int(charge["amount"])
            for charge in charges
            if charge["status"] == "succeeded" and str(charge["reference"]) in amounts
        )
        owed = sum(amounts.values())
        return (StateCell(CHARGES, "amount_minor", str(owed), str(taken)),)

    def open_attempts(self) -> int:
        """How many are not settled yet."""
        states = [state.value for state in OPEN_STATES]
        query = select(func.count()).select_from(effect_attempt).where(effect_attempt.c.state.in_(states))
        with reading(self._engine) as connection:
            return int(connection.execute(query).scalar_one())

    def reconnect(self) -> None:
        """Forget connections from before: the database may have been killed since."""
        self._engine.dispose()

    def forget(self) -> None:
        """Remove the attempts and intents of this workload."""
        with self._engine.begin() as connection:
            for intent_id in self._wanted:
                connection.execute(delete(effect_attempt).where(effect_attempt.c.intent_id == intent_id))
                connection.execute(delete(effect_intent).where(effect_intent.c.intent_id == intent_id))

    def close(self) -> None:
        self._engine.dispose()


def main() -> int:
    """Send what is due until SIGTERM."""
    stop = StopFlag()

    def ask_to_stop(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, ask_to_stop)
    engine = open_database(os.environ[ENV_DATABASE])
    provider = partial(
        StripeLike,
        os.environ[ENV_PROVIDER],
        timeout_ms=_TIMEOUT_MS,
        quiet_ms=_QUIET_MS,
        connections=_CONCURRENCY,
        name=PROVIDER,
    )
    try:
        dispatcher = EffectDispatcher(EffectLedger(engine), provider, lambda *_: None, concurrency=_CONCURRENCY)
        dispatcher.run(stop)
    except TallystickError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    finally:
        engine.dispose()
    return 0


if __name__ == "__main__":
    sys.exit(main())
