"""Drives the effect ledger against a provider: claim, commit SENT, send, record.

Owns: concurrency, pacing and the event loop. Must not know: what a charge is for. No SQL transaction is open while
HTTP is under way (rule 30): SQL runs in one thread beside the loop, in batches, and requests run beside it.
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Final, TypeVar

import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from tallystick.boundary.database import is_away
from tallystick.boundary.effect_ledger import Attempt, EffectLedger, OnOutcome, Recorded
from tallystick.boundary.effects import State
from tallystick.boundary.provider import ChargeRequest, LookUp, LookUpRequest, Outcome, OutcomeKind, Provider
from tallystick.clock import Clock, SystemClock
from tallystick.errors import ConfigurationError
from tallystick.killpoints import declare, reach

AFTER_CLAIM: Final = declare("effect.after-claim", "the lease is committed, SENT is not")
AFTER_SENT_ROW: Final = declare("effect.after-sent-row", "SENT is committed, not one byte has left")
AFTER_RESPONSE: Final = declare("effect.after-response", "the provider has answered, nothing of it is recorded")

_T = TypeVar("_T")
_GATHER_S: Final = 0.002  # one SQL transaction for the answers that arrive together
_SQL_TRIES: Final = 20
_RESOLVE_EVERY_MS: Final = 1_000
_SQL_PAUSE_S: Final = 0.5

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class DispatchReport:
    """What a run of the dispatcher did: outcomes recorded by state, bytes sent, leases lost."""

    sent: int = 0
    settled: dict[State, int] = field(default_factory=dict)
    fenced: int = 0
    remaining: int = 0
    """Attempts still to be worked on when the run ended."""

    def add(self, recorded: Recorded) -> None:
        for attempt in recorded.settled:
            self.settled[attempt.state] = self.settled.get(attempt.state, 0) + 1
        self.fenced += recorded.fenced


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
        owner: str | None = None,
        clock: Clock | None = None,
    ) -> None:
        """``provider`` is a factory, called inside the event loop, for example ``partial(StripeLike, url)``.

        ``lease_ms`` defaults to three times the provider's timeout and must be at least twice that timeout.
        ``retry_ms`` is the first pause before an unknown attempt is sent again; ``poll_ms`` how often an idle
        dispatcher looks.
        """
        if concurrency < 1:
            raise ConfigurationError(f"concurrency {concurrency} is below 1")
        self._ledger = ledger
        self._new_provider = provider
        self._on_outcome = on_outcome
        self._concurrency = concurrency
        self._lease_ms = lease_ms
        self._retry_ms = retry_ms
        self._poll_ms = poll_ms
        self._owner = owner or f"{socket.gethostname()}:{os.getpid()}:{threading.get_ident()}"
        self._clock = clock or SystemClock()

    def run_once(self) -> DispatchReport:
        """Send what is due now, at most ``concurrency`` attempts once each, resolve as many, and return."""
        return asyncio.run(self._session(lambda session: session.once()))

    def run_until_idle(self, *, timeout_s: float = 60.0) -> DispatchReport:
        """Work until no attempt is open (PENDING_ACTION aside) or ``timeout_s`` is over; see ``remaining``."""
        return asyncio.run(self._session(lambda session: session.until_idle(timeout_s)))

    def run(self, stop: threading.Event) -> DispatchReport:
        """Work until ``stop`` is set; what is in flight then is finished and recorded."""
        return asyncio.run(self._session(lambda session: session.until_stopped(stop)))

    async def _session(self, work: Callable[[_Session], Awaitable[DispatchReport]]) -> DispatchReport:
        provider = self._new_provider()
        policy = provider.policy
        lease_ms = 3 * policy.timeout_ms if self._lease_ms is None else self._lease_ms
        if lease_ms < 2 * policy.timeout_ms:
            raise ConfigurationError(
                f"a lease of {lease_ms} ms is below twice the provider's timeout of {policy.timeout_ms} ms", rule=30
            )
        session = _Session(
            ledger=self._ledger,
            provider=provider,
            on_outcome=self._on_outcome,
            concurrency=self._concurrency,
            lease_ms=lease_ms,
            retry_ms=self._retry_ms,
            poll_ms=self._poll_ms,
            owner=self._owner,
            clock=self._clock,
        )
        try:
            return await work(session)
        finally:
            await session.close()


class _Session:
    """One run: the tasks in flight, the thread for SQL, the report. One task owns all of it."""

    def __init__(
        self,
        *,
        ledger: EffectLedger,
        provider: Provider,
        on_outcome: OnOutcome,
        concurrency: int,
        lease_ms: int,
        retry_ms: int,
        poll_ms: int,
        owner: str,
        clock: Clock,
    ) -> None:
        self._ledger = ledger
        self._provider = provider
        self._policy = provider.policy
        self._on_outcome = on_outcome
        self._concurrency = concurrency
        self._lease_ms = lease_ms
        self._retry_ms = retry_ms
        self._poll_s = poll_ms / 1000
        self._owner = owner
        self._clock = clock
        self._sql_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="effect-sql")
        self._in_flight: dict[asyncio.Task[Outcome], Attempt] = {}
        self._report = DispatchReport()
        self._resolve_again_at_ms = 0

    async def once(self) -> DispatchReport:
        await self._start_due()
        if self._in_flight:
            await asyncio.wait(self._in_flight)
        await self._record_finished()
        await self._resolve_due()
        return await self._finish()

    async def until_idle(self, timeout_s: float) -> DispatchReport:
        deadline_ms = self._clock.monotonic_ms() + int(timeout_s * 1000)
        while self._clock.monotonic_ms() < deadline_ms:
            if not await self._step() and not await self._sql(self._open_count):
                break
        return await self._drain()

    async def until_stopped(self, stop: threading.Event) -> DispatchReport:
        while not stop.is_set():
            await self._step()
        return await self._drain()

    async def close(self) -> None:
        for task in self._in_flight:
            task.cancel()
        await asyncio.gather(*self._in_flight, return_exceptions=True)
        await self._provider.close()
        self._sql_thread.shutdown()

    async def _step(self) -> bool:
        """One turn: record what is answered, send what is due, wait a little. False if there was nothing to do."""
        recorded = await self._record_finished()
        started = await self._start_due() if len(self._in_flight) < self._concurrency else 0
        resolved = await self._resolve_sometimes(idle=not recorded and not started and not self._in_flight)
        if not recorded and not started and not resolved and not self._in_flight:
            await asyncio.sleep(self._poll_s)
            return False
        if self._in_flight:
            await asyncio.wait(self._in_flight, timeout=self._poll_s, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.sleep(_GATHER_S)
        return True

    async def _start_due(self) -> int:
        free = self._concurrency - len(self._in_flight)
        claimed = await self._sql(
            partial(
                self._ledger.claim, provider=self._policy.name, owner=self._owner, limit=free, lease_ms=self._lease_ms
            )
        )
        if not claimed:
            return 0
        reach(AFTER_CLAIM)
        sent = await self._sql(partial(self._ledger.mark_sent, claimed, policy=self._policy, lease_ms=self._lease_ms))
        reach(AFTER_SENT_ROW)
        for attempt in sent:
            self._in_flight[asyncio.create_task(self._send(attempt))] = attempt
        self._report.sent += len(sent)
        return len(sent)

    async def _send(self, attempt: Attempt) -> Outcome:
        if attempt.resend_until_ms is None or self._clock.now_ms() >= attempt.resend_until_ms:
            # This process stood still between the commit and here; past the window nothing is sent (rule 32).
            return Outcome(OutcomeKind.UNKNOWN, code="window-closed")
        outcome = await self._provider.charge(ChargeRequest(attempt.provider_key, attempt.request))
        reach(AFTER_RESPONSE)
        return outcome

    async def _record_finished(self) -> int:
        """Record every answer that is there, then raise what a task raised: a bug or a refusal stops everything."""
        finished = [task for task in self._in_flight if task.done()]
        results: list[tuple[Attempt, Outcome]] = []
        errors: list[BaseException] = []
        for task in finished:
            attempt = self._in_flight.pop(task)
            if (error := task.exception()) is not None:
                errors.append(error)
            else:
                results.append((attempt, task.result()))
        if results:
            self._report.add(
                await self._sql(partial(self._ledger.record, results, self._on_outcome, retry_ms=self._retry_ms))
            )
        if errors:
            raise errors[0]
        return len(results)

    async def _resolve_sometimes(self, *, idle: bool) -> int:
        """Resolve when there is nothing to send, and every second when there always is."""
        now_ms = self._clock.monotonic_ms()
        if not idle and now_ms < self._resolve_again_at_ms:
            return 0
        self._resolve_again_at_ms = now_ms + _RESOLVE_EVERY_MS
        return await self._resolve_due()

    async def _resolve_due(self) -> int:
        """Look up what may not be sent again; never sends (rule 32)."""
        attempts = await self._sql(
            partial(
                self._ledger.claim_unresolved,
                provider=self._policy.name,
                owner=self._owner,
                limit=self._concurrency,
                lease_ms=self._lease_ms,
                quiet_ms=self._policy.quiet_ms,
            )
        )
        if not attempts:
            return 0
        found = await asyncio.gather(*(self._look_up(attempt) for attempt in attempts))
        results: list[tuple[Attempt, Outcome]] = []
        surplus: dict[str, tuple[Outcome, ...]] = {}
        for attempt, look_up in zip(attempts, found, strict=True):
            outcome, others = judge(look_up)
            results.append((attempt, outcome))
            surplus[attempt.attempt_id] = others

        def settle(connection: Connection, attempt: Attempt, outcome: Outcome) -> None:
            for other in surplus[attempt.attempt_id]:
                self._ledger.record_late_success(connection, attempt, other)
            self._on_outcome(connection, attempt, outcome)

        self._report.add(await self._sql(partial(self._ledger.record, results, settle, retry_ms=self._retry_ms)))
        return len(attempts)

    async def _look_up(self, attempt: Attempt) -> LookUp:
        known = await self._sql(partial(self._ledger.known_objects, attempt))
        from_ms = attempt.first_sent_at_ms or 0
        return await self._provider.look_up(LookUpRequest(attempt.reference, from_ms, known))

    async def _drain(self) -> DispatchReport:
        while self._in_flight:
            await asyncio.wait(self._in_flight, return_when=asyncio.FIRST_COMPLETED)
            await self._record_finished()
        return await self._finish()

    async def _finish(self) -> DispatchReport:
        self._report.remaining = await self._sql(self._open_count)
        return self._report

    def _open_count(self) -> int:
        return self._ledger.open_count(provider=self._policy.name)

    async def _sql(self, work: Callable[[], _T]) -> _T:
        """Run SQL in its thread; a lost connection is repeated, since every statement names state and token."""
        loop = asyncio.get_running_loop()
        for remaining in reversed(range(_SQL_TRIES)):
            try:
                return await loop.run_in_executor(self._sql_thread, work)
            except DBAPIError as error:
                if not is_away(error) or remaining == 0:
                    raise
                _log.warning("dispatcher.sql-repeated", reason=str(error.orig))
                await asyncio.sleep(_SQL_PAUSE_S)
        raise AssertionError("unreachable")


def judge(look_up: LookUp) -> tuple[Outcome, tuple[Outcome, ...]]:
    """What a listing says about an attempt, and further successes that must not exist (rule 35).

    An incomplete listing says nothing. Of several successes the oldest, which the provider lists last, is the
    attempt's; the others go into suspense.
    """
    if not look_up.complete:
        return Outcome(OutcomeKind.UNKNOWN, code="listing-incomplete"), ()
    for kind in (OutcomeKind.SUCCEEDED, OutcomeKind.PENDING_ACTION, OutcomeKind.UNKNOWN, OutcomeKind.DECLINED):
        matching = [outcome for outcome in look_up.outcomes if outcome.kind is kind]
        if matching:
            others = matching[:-1] if kind is OutcomeKind.SUCCEEDED else []
            return matching[-1], tuple(others)
    return Outcome(OutcomeKind.ABSENT, code="absent-from-listing"), ()
