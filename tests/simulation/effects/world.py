"""One schedule: intents, dispatchers, webhooks, a sandbox that fails, crashes; all of it drawn from a seed.

Owns: what happens when. The code under test is the product's own: ledger, dispatcher, adapters, webhooks; only time,
the network and the end of a process are simulated.
"""

from __future__ import annotations

import asyncio
import contextvars
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from sqlalchemy import Connection, Engine, func, select, text
from tests.simulation.effects.network import CURRENT, Network, Process, SimulatedCrash, Troubles
from tests.simulation.effects.virtual_time import InlineExecutor, VirtualLoop

from tallystick import killpoints
from tallystick.boundary import (
    Attempt,
    BreakerPolicy,
    EffectDispatcher,
    EffectLedger,
    Outcome,
    Provider,
    State,
    StripeLike,
    charge_body,
    schema,
)
from tallystick.boundary.effect_ledger.suspense import Suspended
from tallystick.boundary.providers.adyen_like import AdyenLike, payment_body
from tallystick.boundary.settlement_notices import settlement_notices
from tallystick.boundary.webhooks import (
    AdyenWebhook,
    StripeWebhook,
    WebhookEndpoint,
    WebhookFormat,
    WebhookProcessor,
    WebhookStore,
)
from tallystick.clock import ManualClock
from tallystick.ids import deterministic_id
from tallystick.sandbox.api import SandboxApi
from tallystick.sandbox.faults import Fault, FaultPlan
from tallystick.sandbox.provider import SandboxProvider
from tallystick.sandbox.store import Store
from tallystick.sandbox.webhooks import Endpoint

WINDOW_MS = 40_000
MARGIN_MS = 5_000
TIMEOUT_MS = 1_000
QUIET_MS = 10_000
LEASE_MS = 3_000
START_MS = 1_700_000_000_000
ADYEN_KEY = "00112233445566778899aabbccddeeff"
KILL_POINTS = [
    "effect.after-claim",
    "effect.after-sent-row",
    "effect.after-response",
    "effect.before-outcome-commit",
    "effect.after-outcome-commit",
    "effect.after-resolve-claim",
    "effect.after-look-up",
    "webhook.after-stored",
    "webhook.before-commit",
    "webhook.after-commit",
]
WINDOWS = {"stripe-v1": WINDOW_MS, "stripe-v2": 30 * WINDOW_MS, "adyen": 7 * WINDOW_MS}
SHAPES = tuple(WINDOWS)


@dataclass(frozen=True)
class Schedule:
    """What is drawn from a seed before anything runs."""

    seed: int
    shape: str
    intents: int
    dispatchers: int
    crashes: int
    jumps_ms: tuple[int, ...]
    late: bool
    """The provider commits later than anybody promised: two charges may exist, and none may be lost."""
    troubles: Troubles
    faults: dict[Fault, float]
    declines: float
    pending: float
    webhook_losses: float
    trouble_s: float
    """For how long everything goes wrong."""

    @classmethod
    def draw(cls, seed: int) -> Schedule:
        rng = random.Random(seed)
        late = rng.random() < 0.15
        return cls(
            seed=seed,
            shape=rng.choice(SHAPES),
            intents=rng.randint(2, 7),
            dispatchers=rng.randint(1, 2),
            crashes=rng.randint(0, 9),
            jumps_ms=tuple(rng.choice([5_000, WINDOW_MS, 86_400_000]) for _ in range(rng.choice([0, 1, 1, 2, 3]))),
            late=late,
            troubles=Troubles(_share(rng, 0.3), _share(rng, 0.3), _share(rng, 0.2), rng.choice([0.05, 0.5, 1.5])),
            faults={
                fault: rng.random() * 0.15
                for fault in Fault
                if rng.random() < 0.5 and (fault is not Fault.SLOW or not late)
            }
            | ({Fault.SLOW: 0.4} if late else {}),
            declines=_share(rng, 0.4),
            pending=_share(rng, 0.5),
            webhook_losses=rng.choice([0.0, 0.3, 1.0]),
            trouble_s=rng.uniform(15, 60) + (30 if late else 0),
        )


def _share(rng: random.Random, most: float) -> float:
    return rng.choice([0.0, rng.random() * most])


@dataclass
class World:
    """A schedule, running on one database."""

    engine: Engine
    schedule: Schedule
    clock: ManualClock = field(default_factory=lambda: ManualClock(start_ms=START_MS))
    trace: list[str] = field(default_factory=list)
    crashes: int = 0

    def __post_init__(self) -> None:
        plan = self.schedule
        self.rng = random.Random(plan.seed + 1)
        self.store = Store(None, seed=plan.seed)
        self.sandbox = SandboxProvider(self.store, self._faults(), clock=self.clock, window_ms=WINDOW_MS)
        self.api = SandboxApi(self.sandbox, seed=plan.seed)
        self.provider_name = "adyen" if plan.shape == "adyen" else "stripe"
        secret = ADYEN_KEY if plan.shape == "adyen" else "whsec_1"
        self.api.webhooks.endpoints = [Endpoint("http://us/webhooks", self.provider_name, secret)]  # type: ignore[arg-type]
        self.network = Network(self.api, self.engine, self.clock, self.rng, plan.troubles)
        self.ledger = EffectLedger(
            self.engine, key_secret=b"k" * 32, clock=self.clock, on_suspense=suspend, draw=self.rng.random
        )
        self.webhooks = WebhookStore(self.engine, clock=self.clock)
        self.reader: WebhookFormat = (
            AdyenWebhook(hmac_keys=[secret]) if plan.shape == "adyen" else StripeWebhook(secrets=[secret])
        )
        self.endpoint = WebhookEndpoint(self.webhooks, self.reader, clock=self.clock)
        self.stop = threading.Event()

    def _faults(self) -> FaultPlan:
        plan = self.schedule
        return FaultPlan(
            seed=plan.seed,
            rates=dict(plan.faults),
            declines=plan.declines,
            pending=plan.pending,
            action_window_ms=20_000,
            hang_ms=5_000,
            slow_ms=WINDOW_MS + 12_000 if plan.late else 2_500,
            webhook_delay_ms=8_000,
            webhook_duplicates=0.4,
            webhook_losses=plan.webhook_losses,
        )

    # -- running

    def run(self) -> None:
        """Trouble first, then everything is well again and every open end is tied up."""
        with simulated_kills(self):
            loop = VirtualLoop(self.clock)
            try:
                loop.run_until_complete(self._trouble())
                for task in asyncio.all_tasks(loop):
                    task.cancel()
                loop.run_until_complete(self._settle_server())
            finally:
                loop.close()

    def heal(self) -> None:
        """No faults, no crashes: hours pass, until nothing is open."""
        self.sandbox.plan = FaultPlan(seed=self.schedule.seed, declines=self.schedule.declines)
        self.network.troubles = Troubles()
        for _ in range(30):
            self.clock.advance(by_ms=14_400_000)
            loop = VirtualLoop(self.clock)
            try:
                loop.run_until_complete(self._one_round())
            finally:
                loop.close()
            if not self.ledger.list_unknown() and not self._unsent() and not self.webhooks.waiting():
                return

    def read_settlement(self) -> None:
        """The provider's file, once for all: what nobody told us and no listing shows stands there."""
        lines = self.store.settlement_csv().splitlines()
        for notice in settlement_notices(lines, provider=self.provider_name, place="settlement.csv"):
            with self.engine.begin() as connection:
                self.ledger.tell(connection, notice, book)

    async def _one_round(self) -> None:
        process = Process("healer")
        CURRENT.set(process)
        self.sandbox.expire()
        self._deliver(process)
        await self._dispatcher(process, "healer").session(lambda session: session.once())
        self._deliver(process)
        self._processor().run_once()
        self._try_again()

    def _unsent(self) -> bool:
        return bool(self.ledger.attempts(states=(State.CREATED, State.CLAIMED)))

    async def _trouble(self) -> None:
        self._order()
        lives = [self._dispatcher_life(f"dispatcher-{number}") for number in range(self.schedule.dispatchers)]
        tasks = [
            asyncio.create_task(life, context=contextvars.Context())
            for life in (*lives, self._web_life(), self._business_life(), self._customer_life(), self._fate())
        ]
        ends_at_s = asyncio.get_running_loop().time() + self.schedule.trouble_s
        while asyncio.get_running_loop().time() < ends_at_s:
            await asyncio.sleep(1)
            for task in tasks:
                if task.done():
                    task.result()
        for task in tasks:
            task.cancel()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        for result in done:
            if isinstance(result, Exception):
                raise result

    async def _settle_server(self) -> None:
        """What the provider has begun it finishes, whether or not somebody waits."""
        if self.network.serving:
            await asyncio.wait(self.network.serving)

    # -- our processes

    async def _dispatcher_life(self, name: str) -> None:
        while True:
            process = Process(name)
            CURRENT.set(process)
            try:
                await self._dispatcher(process, name).session(lambda session: session.until_stopped(self.stop))
            except SimulatedCrash:
                self.note(f"{name} crashed")
                await asyncio.sleep(self.rng.uniform(0, 5))
            finally:
                process.crashed = True

    def _dispatcher(self, process: Process, name: str) -> EffectDispatcher:
        return EffectDispatcher(
            self.ledger,
            lambda: self.adapter(process),
            book,
            concurrency=4,
            lease_ms=LEASE_MS,
            retry_ms=300,
            poll_ms=700,
            breaker=BreakerPolicy(failures=4, pause_ms=2_000),
            owner=name,
            clock=self.clock,
            sql_executor=lambda: InlineExecutor(process.guard),
        )

    def adapter(self, process: Process) -> Provider:
        shape = self.schedule.shape
        transport = self.network.transport(process)
        if shape == "adyen":
            return AdyenLike(
                "http://provider",
                merchant_account="Shop",
                timeout_ms=TIMEOUT_MS,
                window_ms=WINDOWS[shape],
                margin_ms=MARGIN_MS,
                quiet_ms=QUIET_MS,
                transport=transport,
            )
        return StripeLike(
            "http://provider",
            version="v2" if shape == "stripe-v2" else "v1",
            timeout_ms=TIMEOUT_MS,
            window_ms=WINDOWS[shape],
            margin_ms=MARGIN_MS,
            quiet_ms=QUIET_MS,
            transport=transport,
        )

    async def _web_life(self) -> None:
        """The web server that takes webhooks in, and the worker that processes them."""
        while True:
            process = Process("web")
            CURRENT.set(process)
            await asyncio.sleep(self.rng.uniform(0.2, 2))
            self.sandbox.expire()
            self._deliver(process)
            try:
                self._processor().run_once()
            except SimulatedCrash:
                self.note("processor crashed")

    def _deliver(self, process: Process) -> None:
        for delivery in self.api.webhooks.take_due(self.clock.now_ms()):
            headers = {name.lower(): value for name, value in delivery.headers(now_ms=self.clock.now_ms()).items()}
            status = 0
            try:
                if self.rng.random() >= self.network.troubles.lost_request:
                    status, _ = self.endpoint.accept(delivery.body, headers)
            except SimulatedCrash:
                self.note("web crashed")
            if status != 200 or self.rng.random() < self.network.troubles.lost_response:
                self.api.webhooks.refused(delivery, now_ms=self.clock.now_ms())

    def _processor(self) -> WebhookProcessor:
        return WebhookProcessor(
            self.engine, self.ledger, [self.reader], self.unreliable_book, store=self.webhooks, draw=self.rng.random
        )

    def unreliable_book(self, connection: Connection, attempt: Attempt, outcome: Outcome) -> None:
        """The books sometimes fail after they were written to; the webhook must not be lost for that."""
        book(connection, attempt, outcome)
        if self.network.troubles.delay_s and self.rng.random() < 0.2:
            raise ValueError("the books are closed")

    async def _business_life(self) -> None:
        while True:
            await asyncio.sleep(self.rng.uniform(1, 10))
            self._try_again()

    def _try_again(self) -> None:
        """Another attempt for what did not happen, for certain; twice at most."""
        column = schema.effect_attempt.c
        last = (
            select(column.intent_id, func.max(column.attempt_number).label("number"))
            .group_by(column.intent_id)
            .subquery()
        )
        query = (
            select(column.intent_id, column.amount_minor, column.reference)
            .join(last, (last.c.intent_id == column.intent_id) & (last.c.number == column.attempt_number))
            .where(column.state.in_(("ABSENT_CONFIRMED", "DECLINED")), column.attempt_number < 3)
            .order_by(column.intent_id)
        )
        with self.engine.begin() as connection:
            for intent_id, amount_minor, reference in connection.execute(query).all():
                body = self.body(reference, amount_minor)
                self.ledger.add_attempt(connection, intent_id=intent_id, request=body)

    def _order(self) -> None:
        with self.engine.begin() as connection:
            for number in range(self.schedule.intents):
                intent_id = str(deterministic_id("simulation.intent", self.schedule.seed, number))
                self.ledger.create_intent(
                    connection,
                    intent_id=intent_id,
                    provider=self.provider_name,
                    amount_minor=1_000 + number,
                    currency="USD",
                    reference=intent_id,
                    request=self.body(intent_id, 1_000 + number),
                )

    def body(self, reference: str, amount_minor: int) -> bytes:
        if self.schedule.shape == "adyen":
            return payment_body(
                amount_minor=amount_minor, currency="USD", reference=reference, shopper="s", merchant_account="Shop"
            )
        version = "v2" if self.schedule.shape == "stripe-v2" else "v1"
        return charge_body(
            amount_minor=amount_minor,
            currency="USD",
            reference=reference,
            customer="c",
            version=version,  # type: ignore[arg-type]
        )

    # -- what others do

    async def _customer_life(self) -> None:
        while True:
            await asyncio.sleep(self.rng.uniform(1, 8))
            self.sandbox.expire()
            for charge in self.store.pending():
                if self.rng.random() < 0.5:
                    self.sandbox.act(charge.id, completes=self.rng.random() < 0.6)

    async def _fate(self) -> None:
        """Crashes at kill points, and time that jumps: every process stood still."""
        events = [*["crash"] * self.schedule.crashes, *self.schedule.jumps_ms]
        self.rng.shuffle(events)
        for event in events:
            await asyncio.sleep(self.rng.uniform(0.1, 5))
            if isinstance(event, int):
                await self._nothing_on_its_way()
                self.note(f"time jumps by {event} ms")
                self.clock.advance(by_ms=event)
            else:
                point = self.rng.choice(KILL_POINTS)
                killpoints._armed[point] = self.rng.randint(1, 2)

    async def _nothing_on_its_way(self) -> None:
        """Time jumps for us, and for no request: one that arrived a day later would be a provider that is late."""
        while self.network.travelling or self.network.serving:  # noqa: ASYNC110  both have their time limits
            await asyncio.sleep(0.05)

    def note(self, what: str) -> None:
        self.trace.append(f"{self.clock.now_ms() - START_MS} {what}")


def book(connection: Connection, attempt: Attempt, outcome: Outcome) -> None:
    """A posting without any unique key, so that doing it twice shows."""
    if attempt.state is State.SUCCEEDED:
        connection.execute(
            text("INSERT INTO posting VALUES (:attempt, :object, :amount)"),
            {"attempt": attempt.attempt_id, "object": outcome.provider_object_id, "amount": outcome.amount_minor},
        )


def suspend(connection: Connection, attempt: Attempt, entry: Suspended) -> None:
    connection.execute(
        text("INSERT INTO suspended VALUES (:object, :amount)"),
        {"object": entry.provider_object_id, "amount": entry.amount_minor},
    )


@contextmanager
def simulated_kills(world: World) -> Iterator[None]:
    """A kill point that is armed ends the process that reaches it, in this simulation and not for real."""

    def die(name: str) -> None:
        process = CURRENT.get(None)
        if process is None:
            return
        process.crashed = True
        world.crashes += 1
        world.note(f"{process.name} dies at {name}")
        raise SimulatedCrash(name)

    before = killpoints._die
    killpoints._die = die
    killpoints._armed.clear()
    try:
        yield
    finally:
        killpoints._die = before
        killpoints._armed.clear()
