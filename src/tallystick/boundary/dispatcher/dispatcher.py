"""What programs hold: a dispatcher for one provider.

Owns: its settings, and the event loop that a run lives in. Must not know: what a run does (``session``).
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field

from tallystick.boundary.dispatcher.breaker import BreakerPolicy
from tallystick.boundary.dispatcher.pacing import RateLimit
from tallystick.boundary.dispatcher.session import DispatchReport, Limits, Session
from tallystick.boundary.dispatcher.sql_worker import SqlWorker
from tallystick.boundary.effect_ledger import EffectLedger, OnOutcome
from tallystick.boundary.provider import Provider
from tallystick.clock import Clock, SystemClock
from tallystick.errors import ConfigurationError

__all__ = ["DispatchReport", "EffectDispatcher"]


@dataclass(frozen=True, slots=True)
class _Settings:
    concurrency: int
    lease_ms: int | None
    retry_ms: int
    poll_ms: int
    owner: str
    rate_limit: RateLimit | None = None
    breaker: BreakerPolicy = field(default_factory=BreakerPolicy)


class EffectDispatcher:
    """Sends what is due. Several may run at once, in threads, processes or machines: the lease keeps them apart."""

    def __init__(
        self,
        ledger: EffectLedger,
        provider: Callable[[], Provider],
        on_outcome: OnOutcome,
        *,
        concurrency: int = 64,
        lease_ms: int | None = None,
        retry_ms: int = 500,
        poll_ms: int = 100,
        rate_per_s: int | None = None,
        burst: int | None = None,
        breaker: BreakerPolicy | None = None,
        owner: str | None = None,
        clock: Clock | None = None,
        sql_executor: Callable[[], Executor] | None = None,
    ) -> None:
        """``provider`` is a factory, called inside the event loop, for example ``partial(StripeLike, url)``.

        ``concurrency`` is how many requests are in flight at most, ``rate_per_s`` how many are begun in a second
        (None: no limit) with a ``burst`` of as many at once. ``breaker`` says when a provider that only fails is left
        alone. ``lease_ms`` defaults to three times the provider's timeout and must be at least twice that timeout.
        ``retry_ms`` is the longest first pause before an unknown attempt is sent again; ``poll_ms`` how often an idle
        dispatcher looks. ``sql_executor`` makes the thread that SQL runs in.
        """
        if concurrency < 1:
            raise ConfigurationError(f"concurrency {concurrency} is below 1")
        self._ledger = ledger
        self._new_provider = provider
        self._on_outcome = on_outcome
        self._clock = clock or SystemClock()
        self._new_executor = sql_executor
        self._settings = _Settings(
            concurrency=concurrency,
            lease_ms=lease_ms,
            retry_ms=retry_ms,
            poll_ms=poll_ms,
            owner=owner or f"{socket.gethostname()}:{os.getpid()}:{threading.get_ident()}",
            rate_limit=None if rate_per_s is None else RateLimit(rate_per_s, burst or rate_per_s),
            breaker=breaker or BreakerPolicy(),
        )

    def run_once(self) -> DispatchReport:
        """Send what is due now, at most ``concurrency`` attempts once each, resolve as many, and return."""
        return asyncio.run(self.session(lambda session: session.once()))

    def run_until_idle(self, *, timeout_s: float = 60.0) -> DispatchReport:
        """Work until no attempt is open (PENDING_ACTION aside) or ``timeout_s`` is over; see ``remaining``."""
        return asyncio.run(self.session(lambda session: session.until_idle(timeout_s)))

    def run(self, stop: threading.Event) -> DispatchReport:
        """Work until ``stop`` is set; what is in flight then is finished and recorded."""
        return asyncio.run(self.session(lambda session: session.until_stopped(stop)))

    async def session(self, work: Callable[[Session], Awaitable[DispatchReport]]) -> DispatchReport:
        """One run in the caller's event loop; it ends with ``work``."""
        settings = self._settings
        provider = self._new_provider()
        policy = provider.policy
        lease_ms = 3 * policy.timeout_ms if settings.lease_ms is None else settings.lease_ms
        if lease_ms < 2 * policy.timeout_ms:
            raise ConfigurationError(
                f"a lease of {lease_ms} ms is below twice the provider's timeout of {policy.timeout_ms} ms", rule=30
            )
        session = Session(
            ledger=self._ledger,
            provider=provider,
            on_outcome=self._on_outcome,
            limits=Limits(
                concurrency=settings.concurrency,
                lease_ms=lease_ms,
                retry_ms=settings.retry_ms,
                poll_ms=settings.poll_ms,
                rate_limit=settings.rate_limit,
                breaker=settings.breaker,
            ),
            owner=settings.owner,
            clock=self._clock,
            sql=SqlWorker(self._new_executor() if self._new_executor is not None else None),
        )
        try:
            return await work(session)
        finally:
            await session.close()
