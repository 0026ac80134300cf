"""One deterministic run: a seed decides who does what next, what is lost, late and killed; then the checkers judge.

``python -m tests.simulation.run --seeds 100`` says how many steps a minute that is. A failure prints its seed, and
``--seed N`` runs it again, step for step.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import structlog
from tests.simulation.attempts import Effects
from tests.simulation.broker import GROUP, SINKS, SOURCE, Broker, BrokerDied
from tests.simulation.worker import SESSION_MS, TRANSACTION_MS, Lost, Worker

from tallystick.clock import ManualClock
from tallystick.verify.oracle import Expected, History, Position, Report, judge
from tallystick.verify.oracle.append import Append, Read, check_append

T = TypeVar("T")

PARTITIONS: Final = 3
WORKERS: Final = 2
EVENTS: Final = 40
STEPS: Final = 1_500
QUIET_STEPS: Final = 4_000
LATE_MAX: Final = 32
BROKEN: Final = {
    "no-rewind": 1,
    "unfenced": 51,
    "late-requests": 110,
    "blind-resend": 1,
}
"""Rules that a run may take out of the workers, the broker or the effects, each with a seed that shows it."""


@dataclass(slots=True)
class Network:
    """Loses requests and answers, and lets some requests arrive late; ``quiet`` ends that."""

    chance: random.Random
    quiet: bool = False
    late: deque[Callable[[], Any]] = field(default_factory=lambda: deque(maxlen=LATE_MAX))
    counts: Counter[str] = field(default_factory=Counter)
    tickets: int = 0

    def call(self, broker: Broker, do: Callable[[], T]) -> T:
        draw = 1.0 if self.quiet else self.chance.random()
        if draw < 0.02:
            self.counts["request lost"] += 1
            raise Lost
        if draw < 0.05:
            self.counts["request late"] += 1
            self.late.append(do)
            raise Lost
        try:
            answer = do()
        except BrokerDied:
            self.counts["broker killed at a write"] += 1
            broker.crash()
            raise Lost from None
        if draw < 0.10:
            self.counts["answer lost"] += 1
            raise Lost
        return answer

    def next_ticket(self) -> int:
        self.tickets += 1
        return self.tickets

    def deliver_late(self, broker: Broker) -> None:
        """A request of long ago arrives; nobody waits for its answer."""
        if self.late:
            at = self.chance.randrange(len(self.late))
            do = self.late[at]
            del self.late[at]
            try:
                do()
            except BrokerDied:
                broker.crash()


class Simulation:
    """``broken`` takes one rule out of every worker, or of the effects, for the checkers to catch."""

    def __init__(self, seed: int, *, broken: str = "") -> None:
        self.chance = random.Random(seed)
        self.clock = ManualClock(start_ms=1_000)
        self.network = Network(self.chance)
        self.broker = Broker(self.clock, partitions=PARTITIONS, dies=self._dies)
        self.broken = broken
        self.born = 0
        self.workers = {f"slot-{number}": self._worker(f"slot-{number}") for number in range(WORKERS)}
        self.zombies: list[Worker] = []
        self.frozen: list[Worker] = []
        self.effects = Effects(intents=4, blind=broken == "blind-resend")
        self.fed: list[tuple[str, Position, bytes]] = []
        self.reads: list[Read] = []
        self.steps = 0

    def _worker(self, slot: str) -> Worker:
        self.born += 1
        return Worker(slot, self.born, self.network, self.broken)

    def _dies(self) -> bool:
        return not self.network.quiet and self.chance.random() < 0.002

    def run(self) -> None:
        """Under faults, then without, until all is done."""
        for _ in range(STEPS):
            self._step()
        self.network.quiet = True
        self.zombies += self.frozen
        self.frozen = []
        for _ in range(QUIET_STEPS):
            self._step()
            if self._is_done():
                break

    def _step(self) -> None:
        self.steps += 1
        chance, quiet = self.chance, self.network.quiet
        draw = chance.random()
        if draw < 0.62:
            self._work(chance.choice([*self.workers.values(), *self.zombies]))
        elif draw < 0.78:
            self._hear()
            chance.choice([*self.workers.values(), *self.zombies]).tend_membership(self.broker)
            self._hear()
        elif draw < 0.84:
            self._feed()
        elif draw < 0.90:
            self._advance(chance.choice((50, 50, 200, 1_000, 3_000)))
        elif draw < 0.93:
            self.effects.step(chance, self.clock.now_ms(), quiet=quiet)
        elif draw < 0.96:
            self._read()
        elif draw < 0.985 or quiet:
            self.network.deliver_late(self.broker)
        else:
            self._disturb()

    def _work(self, worker: Worker) -> None:
        worker.step(self.broker)
        if worker.is_done:
            if worker in self.zombies:
                self.zombies.remove(worker)
            else:
                self.workers[worker.slot] = self._worker(worker.slot)

    def _hear(self) -> None:
        for reply in self.broker.take_replies():
            for worker in (*self.workers.values(), *self.zombies):
                if worker.hear(reply, self.broker):
                    break

    def _feed(self) -> None:
        if len(self.fed) < EVENTS:
            number = len(self.fed)
            key = bytes([self.chance.randrange(8)])
            partition = key[0] % PARTITIONS
            offset = self.broker.feed(partition, key, f"event-{number}")
            self.fed.append((f"event-{number}", Position(SOURCE, partition, offset), key))

    def _advance(self, by_ms: int) -> None:
        self.clock.advance(by_ms=by_ms)
        try:
            self.broker.transactions.tick(self.clock.now_ms())
            self.broker.groups.tick(self.clock.now_ms())
        except BrokerDied:
            self.broker.crash()

    def _read(self) -> None:
        for sink in SINKS:
            for partition in range(PARTITIONS):
                values = tuple(name for _, (_, name) in self.broker.logs[sink, partition].visible())
                self.reads.append(Read(f"{sink}-{partition}", values))

    def _disturb(self) -> None:
        kind = self.chance.choice(("kill worker", "zombie", "zombie", "wake", "kill broker", "freeze long"))
        self.network.counts[kind] += 1
        slot = self.chance.choice(sorted(self.workers))
        if kind == "kill worker":
            self.workers[slot] = self._worker(slot)
        elif kind == "zombie" and len(self.frozen) < 2:
            self.frozen.append(self.workers[slot])
            self.workers[slot] = self._worker(slot)
        elif kind == "wake" and self.frozen:
            self.zombies.append(self.frozen.pop(0))
        elif kind == "kill broker":
            self.broker.crash()
        elif kind == "freeze long":
            self._advance(SESSION_MS + TRANSACTION_MS)

    def _is_done(self) -> bool:
        if self.steps % 20 or len(self.fed) < EVENTS or self.zombies or not self.effects.is_settled:
            return False
        offsets = self._offsets()
        ends = {(SOURCE, number): self.broker.logs[SOURCE, number].end for number in range(PARTITIONS)}
        stable = all(log.stable == log.end for log in self.broker.logs.values())
        return stable and all(offsets.get(place, 0) >= end for place, end in ends.items())

    def _offsets(self) -> dict[tuple[str, int], int]:
        rows = self.broker.groups.offsets.fetch(
            GROUP, [(SOURCE, number) for number in range(PARTITIONS)], require_stable=False
        )
        return {(row.topic, row.partition): row.offset for row in rows if row.offset >= 0}

    # -- the verdict

    def report(self) -> Report:
        """The same checkers as those of ``tallystick verify``."""
        sequences: Counter[bytes] = Counter()
        expected = []
        for name, position, key in self.fed:
            sequences[key] += 1
            expected += [
                Expected(sink, f"{name}/{ordinal}", key, group=name, sequence=sequences[key], source=position)
                for ordinal, sink in enumerate(SINKS)
            ]
        history = History(
            expected=tuple(expected),
            views=tuple(self.broker.view(sink) for sink in SINKS),
            next_offsets=self._offsets(),
        )
        return judge(history)

    def breaches(self) -> list[str]:
        """Everything that is wrong, in words."""
        self._read()
        appends = [
            Append(name, ((f"{sink}-{key[0] % PARTITIONS}", f"{name}/{ordinal}"),))
            for name, _, key in self.fed
            for ordinal, sink in enumerate(SINKS)
        ]
        report = self.report()
        anomalies = check_append(appends, self.reads)
        found = [] if report.passed else [str(report)]
        found += [f"{one.checker}: {one.count}: {one.examples}" for one in anomalies if one.count]
        return found + self.effects.breaches()


def simulate(seed: int, *, broken: str = "") -> tuple[list[str], Simulation]:
    """What one seed breaks; empty if nothing."""
    simulation = Simulation(seed, broken=broken)
    simulation.run()
    return simulation.breaches(), simulation


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--seed", type=int, help="only this one")
    parser.add_argument("--broken", default="", help=f"take a rule out: {', '.join(BROKEN)}")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    seeds = range(options.seeds) if options.seed is None else [options.seed]
    began, steps, failed, counts = time.perf_counter(), 0, 0, Counter[str]()
    for seed in seeds:
        found, simulation = simulate(seed, broken=options.broken)
        steps += simulation.steps
        counts += simulation.network.counts
        if found:
            failed += 1
            print(f"seed {seed}:", *found, sep="\n  ")
    minutes = (time.perf_counter() - began) / 60
    print(f"{len(seeds)} seeds, {failed} failed; {steps:,} steps, {steps / minutes:,.0f} a minute; {dict(counts)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
