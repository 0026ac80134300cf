"""Brings stored webhooks into the effect ledger, until every one is done.

Owns: the order of steps, the pauses after a failure. Must not know: formats, HTTP.

One event is one SQL transaction: its notice in the ledger, the postings, the application's own handler, and DONE. What
fails is rolled back whole and tried again after a pause that doubles up to ten minutes, for ever: it stays visible.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Sequence
from typing import Final

import structlog
from sqlalchemy import Connection, Engine

from tallystick.boundary.backoff import Backoff
from tallystick.boundary.effect_ledger import EffectLedger, OnOutcome
from tallystick.boundary.webhooks.formats import WebhookEvent, WebhookFormat
from tallystick.boundary.webhooks.store import StoredWebhook, WebhookStore
from tallystick.errors import ConfigurationError
from tallystick.killpoints import declare, reach

BEFORE_WEBHOOK_COMMIT: Final = declare(
    "webhook.before-commit", "what a webhook says is in the ledger, its SQL transaction is open"
)
AFTER_WEBHOOK_COMMIT: Final = declare("webhook.after-commit", "what a webhook says is in the ledger and committed")

OnEvent = Callable[[Connection, WebhookEvent], None]
"""The application's own reading of an event, in the transaction that marks it done: disputes, payouts."""

_BATCH: Final = 100
_log = structlog.get_logger(__name__)


class WebhookProcessor:
    """Processes what the store has. Several may run at once: a row is locked while it is processed."""

    def __init__(
        self,
        engine: Engine,
        ledger: EffectLedger,
        formats: Sequence[WebhookFormat],
        on_outcome: OnOutcome,
        *,
        store: WebhookStore | None = None,
        on_event: OnEvent | None = None,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._engine = engine
        self._ledger = ledger
        self._formats = {each.provider: each for each in formats}
        if len(self._formats) != len(formats):
            raise ConfigurationError("two formats of webhooks have the same provider")
        self._on_outcome = on_outcome
        self._store = store or WebhookStore(engine)
        self._on_event = on_event
        self._backoff = Backoff(draw=draw, base_ms=1_000, cap_ms=600_000)

    def run_once(self) -> int:
        """Process what is due now; returns how many events are done."""
        return sum(self._process(stored) for stored in self._store.due(limit=_BATCH))

    def run(self, stop: threading.Event, *, poll_s: float = 0.5) -> None:
        """Process until ``stop`` is set."""
        while not stop.is_set():
            if not self.run_once():
                stop.wait(poll_s)

    def _process(self, stored: StoredWebhook) -> bool:
        event = stored.event
        try:
            with self._engine.begin() as connection:
                if not self._store.lock(connection, event):
                    return False
                result = self._bring_in(connection, event)
                self._store.finish(connection, event, result)
                reach(BEFORE_WEBHOOK_COMMIT)
        except Exception as error:  # noqa: BLE001  the edge of the loop: the event stays, and holds up no other
            _log.warning("webhook.postponed", provider=event.provider, event_id=event.event_id, reason=repr(error))
            pause_ms = max(1, self._backoff.delay_ms(stored.tries))
            self._store.postpone(event, repr(error), pause_ms=pause_ms)
            return False
        reach(AFTER_WEBHOOK_COMMIT)
        return True

    def _bring_in(self, connection: Connection, event: WebhookEvent) -> str:
        reader = self._formats.get(event.provider)
        if reader is None:
            raise ConfigurationError(f"nobody reads webhooks of {event.provider!r}")
        notice = reader.notice(event)
        result = "no-outcome" if notice is None else self._ledger.tell(connection, notice, self._on_outcome).value
        if self._on_event is not None:
            self._on_event(connection, event)
        return result
