"""HTTP effects beside bare httpx: the same charges at the same sandbox, 64 in flight, in turns.

``python -m bench.effects --charges 2000``. Bare httpx keeps nothing: no row before the first byte, no key that
outlives the process, no outcome. Ours commits every attempt before it is sent and every outcome with its posting.
Each round runs each contestant once, every round beginning with another one; the first round warms up and is not
counted. Printed: the medians, their ratio to the first row, and processor time of the client for each charge.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import httpx
import structlog
from sqlalchemy import Connection, Engine, text

from tallystick.boundary import (
    Attempt,
    ChargeRequest,
    EffectDispatcher,
    EffectLedger,
    Outcome,
    State,
    StripeLike,
    charge_body,
    create_tables,
    open_database,
)
from tallystick.sandbox import SandboxProcess

IN_FLIGHT: Final = 64
_FORM: Final = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True)
class Result:
    """One run: charges per second, and the client's processor time for each in microseconds."""

    per_s: float
    cpu_us: float


def bare(url: str, bodies: list[tuple[str, bytes]]) -> Result:
    """httpx as its documentation has it: one client, its pool as large as what is in flight."""

    async def run() -> None:
        limits = httpx.Limits(max_connections=IN_FLIGHT, max_keepalive_connections=IN_FLIGHT)
        async with httpx.AsyncClient(base_url=url, limits=limits, timeout=10, trust_env=False) as client:

            async def send(key: str, body: bytes) -> None:
                headers = {"Idempotency-Key": key, "Content-Type": _FORM}
                answer = await client.post("/v1/charges", content=body, headers=headers)
                answer.raise_for_status()

            await in_turns(bodies, send)

    return timed(lambda: asyncio.run(run()), len(bodies))


def adapter(url: str, bodies: list[tuple[str, bytes]]) -> Result:
    """The adapter alone: what the ledger costs is the difference to it."""

    async def run() -> None:
        provider = StripeLike(url, connections=IN_FLIGHT)

        async def send(key: str, body: bytes) -> None:
            await provider.charge(ChargeRequest(key, body))

        await in_turns(bodies, send)
        await provider.close()

    return timed(lambda: asyncio.run(run()), len(bodies))


def effects(url: str, bodies: list[tuple[str, bytes]]) -> Result:
    """The dispatcher over a ledger on SQLite; the intents are there before, as a business transaction leaves them."""
    with database() as engine:
        ledger = EffectLedger(engine)
        with engine.begin() as connection:
            for key, body in bodies:
                ledger.create_intent(
                    connection,
                    intent_id=key,
                    provider="stripe",
                    amount_minor=1_000,
                    currency="USD",
                    reference=key,
                    request=body,
                )
        dispatcher = EffectDispatcher(
            ledger, partial(StripeLike, url, connections=IN_FLIGHT), post, concurrency=IN_FLIGHT
        )
        result = timed(lambda: dispatcher.run_until_idle(timeout_s=600), len(bodies))
        settled = ledger.count_by_state()[State.SUCCEEDED]
        if settled != len(bodies):
            raise SystemExit(f"only {settled} of {len(bodies)} charges are settled")
        return result


def post(connection: Connection, attempt: Attempt, outcome: Outcome) -> None:
    """A posting beside each outcome."""
    connection.execute(
        text("INSERT INTO posting VALUES (:attempt, :amount)"),
        {"attempt": attempt.attempt_id, "amount": outcome.amount_minor},
    )


async def in_turns(bodies: list[tuple[str, bytes]], send: Callable[[str, bytes], Awaitable[None]]) -> None:
    left = iter(bodies)

    async def worker() -> None:
        for key, body in left:
            await send(key, body)

    await asyncio.gather(*(worker() for _ in range(IN_FLIGHT)))


def timed(work: Callable[[], object], count: int) -> Result:
    began, cpu = time.perf_counter(), time.process_time()
    work()
    return Result(count / (time.perf_counter() - began), (time.process_time() - cpu) / count * 1e6)


@contextmanager
def database() -> Iterator[Engine]:
    with tempfile.TemporaryDirectory() as folder:
        engine = open_database(f"sqlite:///{Path(folder) / 'effects.sqlite'}")
        create_tables(engine)
        with engine.begin() as connection:
            connection.execute(text("CREATE TABLE posting (attempt_id VARCHAR(36), amount_minor INTEGER)"))
        yield engine
        engine.dispose()


CONTESTANTS: Final = {"bare httpx": bare, "our adapter alone": adapter, "Tallystick, SQLite": effects}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--charges", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=4, help="the first warms up")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    results: dict[str, list[Result]] = {name: [] for name in CONTESTANTS}
    names = list(CONTESTANTS)
    for number in range(options.rounds):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            with SandboxProcess() as sandbox:  # a new one each time: its memory of keys grows
                keys = [f"{number}-{name}-{index}"[:36] for index in range(options.charges)]
                bodies = [
                    (key, charge_body(amount_minor=1_000, currency="USD", reference=key, customer="c")) for key in keys
                ]
                result = CONTESTANTS[name](sandbox.url, bodies)
            if number:
                results[name].append(result)
    base = statistics.median(each.per_s for each in results[names[0]])
    print(f"{options.charges} charges, {IN_FLIGHT} in flight, medians of {options.rounds - 1} rounds")
    print(f"{'':<22}{'charges/s':>10}{'ratio':>8}{'client us':>11}")
    for name, runs in results.items():
        per_s = statistics.median(each.per_s for each in runs)
        cpu_us = statistics.median(each.cpu_us for each in runs)
        print(f"{name:<22}{per_s:>10,.0f}{per_s / base:>8.2f}{cpu_us:>11,.0f}")


if __name__ == "__main__":
    main()
