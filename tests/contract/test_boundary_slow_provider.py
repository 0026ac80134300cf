"""A provider that never answers holds up no Kafka transaction, and no consumer leaves its group for it (rule 30)."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable
from pathlib import Path

from sqlalchemy import Connection
from tests.support.boundary import ScriptedProvider, request_of, success
from tests.support.brokers import Cluster, Names
from tests.support.clients import eventually, make_topic
from tests.support.databases import sqlite_url
from tests.support.pipeline import RunningLoop, put, read_until, values

from tallystick.boundary import (
    Attempt,
    ChargeRequest,
    EffectDispatcher,
    EffectLedger,
    Outcome,
    ProviderPolicy,
    SqlEffect,
    State,
    create_tables,
    open_database,
)
from tallystick.ids import derived_id
from tallystick.pipeline import Idempotent, Output, Record

RECORDS = 200
IN_FLIGHT = 16


class NeverAnswers(ScriptedProvider):
    """Waits until the test ends, or until its time limit, which is longer than a consumer may take."""

    async def charge(self, request: ChargeRequest) -> Outcome:
        self.sent.append(request)
        await asyncio.get_running_loop().run_in_executor(None, RELEASED.wait)
        return success(100, object_id=f"ch_{request.provider_key[:8]}")


RELEASED = threading.Event()


def test_a_provider_that_never_answers_keeps_no_consumer_from_its_work(
    embedded_cluster: Cluster, names: Names, tmp_path: Path
) -> None:
    engine = open_database(sqlite_url(tmp_path))
    create_tables(engine)
    ledger = EffectLedger(engine)
    kafka, group = embedded_cluster.bootstrap, names("slow")
    source, target = make_topic(kafka, names("in"), partitions=2), make_topic(kafka, names("out"), partitions=2)

    def order(connection: Connection, record: Record) -> Iterable[Output]:
        ledger.create_intent(
            connection,
            intent_id=record.event_id,
            provider="stripe",
            amount_minor=100,
            currency="USD",
            reference=record.event_id,
            request=request_of(record.event_id, 100),
        )
        yield Output(target, record.key, record.value, derived_id(record.event_id, "order", 0))

    policy = ProviderPolicy(
        name="stripe",
        window_ms=500_000,
        margin_ms=100_000,
        timeout_ms=60_000,
        quiet_ms=1_000,
        repetition=Idempotent.BY_KEY,
    )
    provider = NeverAnswers(lambda _: success(100), policy=policy)
    dispatcher = EffectDispatcher(ledger, lambda: provider, _nothing, concurrency=IN_FLIGHT)
    stop = threading.Event()
    charging = threading.Thread(target=dispatcher.run, args=(stop,))
    charging.start()
    try:
        put(kafka, source, [b"%d" % number for number in range(RECORDS)])
        loop = RunningLoop(
            kafka,
            group,
            source,
            processor=SqlEffect(engine, order, name="order"),
            consumer_config={"session.timeout.ms": 25_000, "max.poll.interval.ms": 30_000},
        )
        with loop as running:
            messages = read_until(kafka, target, lambda found: len(found) >= RECORDS)
            eventually(lambda: len(provider.sent) == IN_FLIGHT)  # every request that may be in flight hangs
            counters = running.loop.counters
        assert sorted(map(int, values(messages))) == list(range(RECORDS))
        assert (counters.lost_assignments, running.raised) == (0, None)
        assert ledger.count_by_state()[State.SUCCEEDED] == 0
    finally:
        RELEASED.set()
        stop.set()
        charging.join()
        engine.dispose()


def _nothing(_connection: Connection, _attempt: Attempt, _outcome: Outcome) -> None:
    return
