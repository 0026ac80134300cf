"""Faults of worker processes: killed, frozen, replaced while frozen, killed at a named point of the cycle."""

from __future__ import annotations

from typing import Final

from tallystick.verify.faults.fault import Draw, Fault, Need, Steps, World, wait_while

POINTS: Final = {
    "cycle.after-poll": "a batch is polled, and no transaction has begun",
    "cycle.after-begin": "a transaction has begun, and nothing is in it",
    "cycle.after-process": "the batch is processed, and nothing is written yet",
    "cycle.after-produce": "the outputs are written, and not flushed",
    "cycle.before-offsets": "the outputs are flushed, and the offsets are not in the transaction yet",
    "cycle.after-offsets": "the offsets are in the transaction",
    "cycle.before-commit": "the commit is the next thing it would do",
    "cycle.after-commit": "the transaction is committed, and what comes after it is not done",
    "inbox.after-insert": "the inbox row is inserted, and not committed",
    "inbox.before-sql-commit": "rows and outputs are in the SQL transaction, and not committed",
    "inbox.after-sql-commit": "between the SQL commit and the Kafka commit",
}
"""The places of ``kill-at``; those of the inbox are reached by the workload ``sql`` only."""

_INBOX: Final = "inbox."
_OF_ALL: Final = (
    "cycle.after-poll",
    "cycle.after-process",
    "cycle.after-produce",
    "cycle.before-commit",
    "cycle.after-commit",
)
"""Those of the other two guarantees as well: they have no transaction."""
_ARMED_S: Final = 30.0
_FENCED_S: Final = 60.0


def places(*, transactional: bool, inbox: bool) -> frozenset[str]:
    """Which places a worker can come to."""
    cycle = [point for point in POINTS if not point.startswith(_INBOX)] if transactional else _OF_ALL
    return frozenset(cycle) | frozenset(point for point in POINTS if inbox and point.startswith(_INBOX))


class KillWorker(Fault):
    name = "kill-worker"
    meaning = "kill -9 of a worker; it is started again at once"
    touches = "workers"

    def strike(self, world: World, draw: Draw) -> Steps:
        world.workers.kill(draw.chance.randrange(world.workers.count))
        yield 0.0


class KillAt(Fault):
    name = "kill-at"
    meaning = "kill -9 of a worker at a named place of its cycle: kill-at:PLACE, or one that the seed chooses"
    touches = "workers"
    needs = frozenset({Need.KILL_POINTS})
    arguments = tuple(POINTS)

    def needs_for(self, argument: str) -> frozenset[Need]:
        return self.needs | {Need.INBOX} if argument.startswith(_INBOX) else self.needs

    def strike(self, world: World, draw: Draw) -> Steps:
        reachable = [point for point in POINTS if point in world.places]
        number = draw.chance.randrange(world.workers.count)
        world.workers.kill_at(number, draw.argument or draw.chance.choice(reachable), draw.chance.randint(2, 4))
        yield from wait_while(lambda: world.workers.is_armed(number), at_most_s=_ARMED_S, look_s=0.2)


class FreezeWorker(Fault):
    name = "freeze-worker"
    meaning = "SIGSTOP of a worker until its session is over and its partitions are others', then SIGCONT"
    touches = "workers"

    def strike(self, world: World, draw: Draw) -> Steps:
        number = draw.chance.randrange(world.workers.count)
        world.workers.freeze(number)
        try:
            yield world.session_timeout_s + draw.chance.uniform(0.5, 4.0)
        finally:
            world.workers.thaw(number)


class Zombie(Fault):
    name = "zombie"
    meaning = "a worker is frozen, a second one takes its place under the same name, and the first wakes up, fenced"
    touches = "workers"

    def strike(self, world: World, draw: Draw) -> Steps:
        number = draw.chance.randrange(world.workers.count)
        world.workers.replace(number)
        try:
            yield draw.chance.uniform(
                3.0, 6.0
            )  # the second one is at work by then, or at its start: both are of interest
        finally:
            world.workers.wake_replaced(number)
        yield from wait_while(lambda: world.workers.replaced_live(number), at_most_s=_FENCED_S, look_s=0.2)


class RebalanceStorm(Fault):
    name = "rebalance-storm"
    meaning = "members join the group, take partitions, do nothing and leave, several times"
    touches = "group"

    def strike(self, world: World, draw: Draw) -> Steps:
        try:
            for _ in range(draw.chance.randint(2, 4)):
                world.crowd.join()
                yield draw.chance.uniform(0.3, 1.5)
                if draw.chance.random() < 0.5:
                    world.crowd.leave_all()
                    yield draw.chance.uniform(0.0, 0.5)
        finally:
            world.crowd.leave_all()
