"""One run of a dispatcher: what is in flight, what may be sent now, what is looked up.

Owns: the tasks in flight, the breaker, the pace, the report; one task owns all of it. Must not know: what an effect is
for. No SQL transaction is open while HTTP is under way (rule 30): SQL runs in a worker beside the loop, in batches.
"""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

from sqlalchemy import Connection

from tallystick.boundary.dispatcher.breaker import Breaker, BreakerPolicy
from tallystick.boundary.dispatcher.judging import judge
from tallystick.boundary.dispatcher.pacing import Pace, RateLimit
from tallystick.boundary.dispatcher.sql_worker import SqlWorker
from tallystick.boundary.effect_ledger import Attempt, EffectLedger, OnOutcome, Recorded
from tallystick.boundary.effects import TERMINAL_STATES, State
from tallystick.boundary.provider import (
    CancelRequest,
    ChargeRequest,
    LookUpRequest,
    Outcome,
    OutcomeKind,
    Provider,
    Unsafe,
)
from tallystick.clock import Clock
from tallystick.killpoints import declare, reach

AFTER_CLAIM: Final = declare("effect.after-claim", "the lease is committed, SENT is not")
AFTER_SENT_ROW: Final = declare("effect.after-sent-row", "SENT is committed, not one byte has left")
AFTER_RESPONSE: Final = declare("effect.after-response", "the provider has answered, nothing of it is recorded")
AFTER_RESOLVE_CLAIM: Final = declare("effect.after-resolve-claim", "RESOLVING is committed, the provider is not asked")
AFTER_LOOK_UP: Final = declare("effect.after-look-up", "the listing was read, nothing of it is recorded")

_GATHER_S: Final = 0.002  # one SQL transaction for the answers that arrive together
_RESOLVE_EVERY_MS: Final = 1_000
_TOO_MANY_REQUESTS: Final = 429
_DEFAULT_PAUSE_MS: Final = 1_000


@dataclass(slots=True)
class DispatchReport:
    """What a run of the dispatcher did: outcomes recorded by state, bytes sent, leases lost."""

    sent: int = 0
    settled: dict[State, int] = field(default_factory=dict)
    fenced: int = 0
    suspended: int = 0
    """Successes that their attempt no longer waited for; see ``EffectLedger.suspense``."""
    remaining: int = 0
    """Attempts still to be worked on when the run ended."""

    def add(self, recorded: Recorded) -> None:
        for attempt in recorded.settled:
            self.settled[attempt.state] = self.settled.get(attempt.state, 0) + 1
        self.fenced += recorded.fenced
        self.suspended += recorded.suspended


@dataclass(frozen=True, slots=True)
class Limits:
    """How much at once, how fast, how patiently."""

    concurrency: int
    lease_ms: int
    retry_ms: int
    poll_ms: int
    rate_limit: RateLimit | None
    breaker: BreakerPolicy


class Session:
    """One run over one provider."""

    def __init__(
        self,
        *,
        ledger: EffectLedger,
        provider: Provider,
        on_outcome: OnOutcome,
        limits: Limits,
        owner: str,
        clock: Clock,
        sql: SqlWorker,
    ) -> None:
        self._ledger = ledger
        self._provider = provider
        self._policy = provider.policy
        self._on_outcome = on_outcome
        self._limits = limits
        self._poll_s = limits.poll_ms / 1000
        self._owner = owner
        self._clock = clock
        self._sql = sql
        self._breaker = Breaker(limits.breaker)
        self._pace = Pace.start(limits.rate_limit, clock.monotonic_ms())
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
            if not await self._step() and not await self._sql.run(self._open_count):
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
        self._sql.close()

    async def _step(self) -> bool:
        """One turn: record what is answered, send what is due, wait a little. False if there was nothing to do."""
        recorded = await self._record_finished()
        started = await self._start_due()
        resolved = await self._resolve_sometimes(idle=not recorded and not started and not self._in_flight)
        if not recorded and not started and not resolved and not self._in_flight:
            await asyncio.sleep(self._poll_s)
            return False
        if self._in_flight:
            await asyncio.wait(self._in_flight, timeout=self._poll_s, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.sleep(_GATHER_S)
        return True

    def _free(self) -> int:
        """How many requests may begin now: room, the breaker and the pace all have to agree."""
        now_ms = self._clock.monotonic_ms()
        self._breaker = self._breaker.at(now_ms)
        self._pace = self._pace.at(now_ms)
        permits = (self._breaker.permits(len(self._in_flight)), self._pace.permits(now_ms))
        room = self._limits.concurrency - len(self._in_flight)
        return min(room, *(permit for permit in permits if permit is not None), room)

    # -- sending

    async def _start_due(self) -> int:
        free = self._free()
        if free < 1:
            return 0
        lease_ms = self._limits.lease_ms
        claimed = await self._sql.run(
            partial(self._ledger.claim, provider=self._policy.name, owner=self._owner, limit=free, lease_ms=lease_ms)
        )
        if not claimed:
            return 0
        reach(AFTER_CLAIM)
        sent = await self._sql.run(partial(self._ledger.mark_sent, claimed, policy=self._policy, lease_ms=lease_ms))
        reach(AFTER_SENT_ROW)
        for attempt in sent:
            self._in_flight[asyncio.create_task(self._send(attempt))] = attempt
        self._pace = self._pace.take(len(sent))
        self._report.sent += len(sent)
        return len(sent)

    async def _send(self, attempt: Attempt) -> Outcome:
        if attempt.resend_until_ms is None or self._clock.now_ms() >= attempt.resend_until_ms:
            # This process stood still between the commit and here; past the window nothing is sent (rule 32).
            return Outcome(OutcomeKind.UNKNOWN, code="window-closed")
        outcome = await self._provider.charge(
            ChargeRequest(attempt.provider_key, attempt.request, operation=attempt.operation)
        )
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
                self._heed(task.result())
                results.append((attempt, self._without_repetition(task.result())))
        if results:
            retry_ms = self._limits.retry_ms
            self._report.add(
                await self._sql.run(partial(self._ledger.record, results, self._on_outcome, retry_ms=retry_ms))
            )
        if errors:
            raise errors[0]
        return len(results)

    def _without_repetition(self, outcome: Outcome) -> Outcome:
        """What an unsafe provider leaves unknown is looked up, and never sent again."""
        return replace(outcome, replayed_failure=True) if isinstance(self._policy.repetition, Unsafe) else outcome

    def _heed(self, outcome: Outcome) -> None:
        """What an answer says about the provider itself: that it fails, or that we ask too often."""
        now_ms = self._clock.monotonic_ms()
        if outcome.kind is OutcomeKind.UNKNOWN:
            self._breaker = self._breaker.failed(now_ms)
            return
        self._breaker = self._breaker.answered()
        if outcome.status == _TOO_MANY_REQUESTS:
            pause_ms = _DEFAULT_PAUSE_MS if outcome.retry_after_ms is None else outcome.retry_after_ms
            self._pace = self._pace.pause(now_ms + pause_ms)

    # -- resolving

    async def _resolve_sometimes(self, *, idle: bool) -> int:
        """Resolve when there is nothing to send, and every second when there always is."""
        now_ms = self._clock.monotonic_ms()
        if not idle and now_ms < self._resolve_again_at_ms:
            return 0
        self._resolve_again_at_ms = now_ms + _RESOLVE_EVERY_MS
        return await self._resolve_due()

    async def _resolve_due(self) -> int:
        """Look up what may not be sent again; never sends (rule 32)."""
        if self._free() < 1:
            return 0
        attempts = await self._sql.run(
            partial(
                self._ledger.claim_unresolved,
                provider=self._policy.name,
                owner=self._owner,
                limit=self._limits.concurrency,
                lease_ms=self._limits.lease_ms,
                quiet_ms=self._policy.quiet_ms,
            )
        )
        if not attempts:
            return 0
        reach(AFTER_RESOLVE_CLAIM)
        found = await asyncio.gather(*(self._find_out(attempt) for attempt in attempts))
        reach(AFTER_LOOK_UP)
        results = [(attempt, outcome) for attempt, (outcome, _) in zip(attempts, found, strict=True)]
        surplus = {attempt.attempt_id: others for attempt, (_, others) in zip(attempts, found, strict=True)}

        def settle(connection: Connection, attempt: Attempt, outcome: Outcome) -> None:
            if attempt.state in TERMINAL_STATES:
                for other in surplus[attempt.attempt_id]:
                    self._ledger.record_late_success(connection, attempt, other)
            self._on_outcome(connection, attempt, outcome)

        retry_ms = self._limits.retry_ms
        self._report.add(await self._sql.run(partial(self._ledger.record, results, settle, retry_ms=retry_ms)))
        return len(attempts)

    async def _find_out(self, attempt: Attempt) -> tuple[Outcome, tuple[Outcome, ...]]:
        overdue = attempt.action_deadline_ms is not None and self._clock.now_ms() >= attempt.action_deadline_ms
        if overdue and attempt.provider_object_id is not None:
            request = CancelRequest(attempt.provider_object_id, attempt.provider_key, operation=attempt.operation)
            ended = await self._provider.cancel(request)
            if ended.kind in (OutcomeKind.SUCCEEDED, OutcomeKind.DECLINED):
                return ended, ()
        known = await self._sql.run(partial(self._ledger.known_objects, attempt))
        request_of_listing = LookUpRequest(
            attempt.reference,
            attempt.first_sent_at_ms or 0,
            known,
            operation=attempt.operation,
            until_ms=attempt.last_sent_at_ms or 0,
        )
        found = await self._provider.look_up(request_of_listing)
        return judge(found, object_id=attempt.provider_object_id)

    # -- ending

    async def _drain(self) -> DispatchReport:
        while self._in_flight:
            await asyncio.wait(self._in_flight, return_when=asyncio.FIRST_COMPLETED)
            await self._record_finished()
        return await self._finish()

    async def _finish(self) -> DispatchReport:
        self._report.remaining = await self._sql.run(self._open_count)
        return self._report

    def _open_count(self) -> int:
        return self._ledger.open_count(provider=self._policy.name)
