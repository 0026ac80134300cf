"""How far a billing run is, read from its database.

Owns: the queries. Must not know: who asks. Reads only, on a connection of its own.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import Engine, func, select

from tallystick.billing.tables import invoice, payment_intent, rated_item
from tallystick.boundary import schema
from tallystick.boundary.database import reading
from tallystick.boundary.effects import State

_SETTLED: Final = (State.SUCCEEDED.value, State.DECLINED.value)


class BillingProgress:
    """Counts that only grow while a run goes on (``outbox_backlog`` excepted)."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def rated_items(self) -> int:
        """Usage events that reached SQL."""
        return self._count(select(func.count()).select_from(rated_item))

    def inbox_rows(self, scope: str) -> int:
        """Records that the step with this inbox scope has processed."""
        return self._count(select(func.count()).select_from(schema.inbox).where(schema.inbox.c.scope == scope))

    def inbox_replays(self) -> int:
        """How often a record came again after its rows were committed, and was answered from the inbox."""
        return self._count(select(func.coalesce(func.sum(schema.inbox_position.c.replays), 0)))

    def invoices(self) -> int:
        """Invoices issued."""
        return self._count(select(func.count()).select_from(invoice))

    def charges(self) -> int:
        """Charges ordered."""
        return self._count(select(func.count()).select_from(payment_intent))

    def settled_charges(self) -> int:
        """Charges whose last attempt came to a definite end: captured or declined, never UNKNOWN."""
        attempts = schema.effect_attempt
        return self._count(select(func.count()).select_from(attempts).where(attempts.c.state.in_(_SETTLED)))

    def accounts(self) -> list[str]:
        """Every account with rated usage, in order."""
        with reading(self._engine) as connection:
            return list(
                connection.execute(select(rated_item.c.account).distinct().order_by(rated_item.c.account)).scalars()
            )

    def attempts_sent_again(self) -> int:
        """Attempts that were sent more than once under the same key."""
        attempts = schema.effect_attempt
        return self._count(select(func.count()).select_from(attempts).where(attempts.c.times_sent > 1))

    def outbox_backlog(self) -> int:
        """Records that are committed in SQL and not yet in Kafka."""
        outbox = schema.outbox
        return self._count(select(func.count()).select_from(outbox).where(outbox.c.published_at_ms.is_(None)))

    def _count(self, query: object) -> int:
        with reading(self._engine) as connection:
            return int(connection.execute(query).scalar_one())  # type: ignore[call-overload]
