"""Holds the sandbox's truth against our ledger.

Owns: what must hold at any moment, and what must hold in the end. It reads the truth that the product never reads.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

from sqlalchemy import text
from tests.simulation.effects.network import Violation
from tests.simulation.effects.world import WINDOWS, World

from tallystick.boundary import State
from tallystick.boundary.effect_ledger.register import UNSETTLED
from tallystick.boundary.webhooks.store import Progress


def judge(world: World) -> None:
    """At any moment: no charge is unknown to us, none is in the books that was not made, none was made twice."""
    charged = [charge for charge in world.sandbox.truth()["charges"] if charge["status"] == "succeeded"]
    _nothing_is_lost(world, charged)
    _nothing_is_invented(world, charged)
    _nothing_is_charged_twice(world, charged)
    _books_agree(world)
    _bytes_and_windows(world)


def judge_the_end(world: World) -> None:
    """Once everything is well again: nothing is open, no webhook waits."""
    judge(world)
    left = [(attempt.state.value, attempt.reference) for attempt in world.ledger.list_unknown()]
    if left:
        raise Violation(f"still unknown after everything was well again: {left}")
    waiting = [entry for entry in world.webhooks.entries() if entry.state is not Progress.DONE]
    if waiting:
        raise Violation(f"webhooks were never done: {waiting}")


def _nothing_is_lost(world: World, charged: list[dict[str, Any]]) -> None:
    attempts = world.ledger.attempts()
    settled = {attempt.provider_object_id for attempt in attempts if attempt.state is State.SUCCEEDED}
    suspended = {entry.provider_object_id for entry in world.ledger.suspense(closed=True)}
    unknown = {attempt.provider_key for attempt in attempts if attempt.state in UNSETTLED}
    on_their_way = _notices_on_their_way(world)
    for charge in charged:
        known = (charge["id"] in settled) + (charge["id"] in suspended)
        if known == 2:
            raise Violation(f"{charge['id']} is settled and in suspense")
        if not known and charge["idempotency_key"] not in unknown and charge["id"] not in on_their_way:
            raise Violation(f"lost: {charge['id']} was charged, and nobody of ours knows")


def _notices_on_their_way(world: World) -> set[str]:
    """Objects that a webhook still tells of: stored and not processed, or not delivered yet."""
    bodies = [entry.event.body for entry in world.webhooks.entries() if entry.state is not Progress.DONE]
    bodies += [delivery.body for delivery in world.api.webhooks.waiting]
    return {object_id for object_id in world.store.charges if any(object_id.encode() in body for body in bodies)}


def _nothing_is_invented(world: World, charged: list[dict[str, Any]]) -> None:
    truth = {charge["id"]: charge["amount"] for charge in charged}
    for attempt in world.ledger.attempts(states=(State.SUCCEEDED,)):
        if truth.get(attempt.provider_object_id or "") != attempt.captured_minor:
            raise Violation(f"our books have {attempt.provider_object_id}, the provider has no such charge")
    for entry in world.ledger.suspense(closed=True):
        if entry.provider_object_id not in truth:
            raise Violation(f"{entry.provider_object_id} is in suspense, and was never charged")


def _nothing_is_charged_twice(world: World, charged: list[dict[str, Any]]) -> None:
    for key, count in Counter(charge["idempotency_key"] for charge in charged).items():
        if count > 1:
            raise Violation(f"key {key} has charged {count} times")
    if world.sandbox.met.get("executed-anew"):
        raise Violation("rule 32: a key was sent after it had expired, and executed anew")
    if world.schedule.late:
        return  # the provider broke its word about when it is done: what it charged twice is in suspense, at the end
    for reference, count in Counter(charge["reference"] for charge in charged).items():
        if count > 1:
            raise Violation(f"the customer of {reference} has paid {count} times")


def _books_agree(world: World) -> None:
    with world.engine.connect() as connection:
        posted = sorted(tuple(row) for row in connection.execute(text("SELECT * FROM posting")))
        suspended = sorted(tuple(row) for row in connection.execute(text("SELECT * FROM suspended")))
    wanted = sorted(
        (attempt.attempt_id, attempt.provider_object_id, attempt.captured_minor)
        for attempt in world.ledger.attempts(states=(State.SUCCEEDED,))
    )
    if posted != wanted:
        raise Violation(f"rule 34: postings {posted} are not those of the outcomes {wanted}")
    kept = sorted((entry.provider_object_id, entry.amount_minor) for entry in world.ledger.suspense(closed=True))
    if suspended != kept:
        raise Violation(f"rule 35: postings of suspense {suspended} are not its entries {kept}")
    intents = Counter(attempt.intent_id for attempt in world.ledger.attempts(states=(State.SUCCEEDED,)))
    if any(count > 1 for count in intents.values()):
        raise Violation(f"rule 33: an intent has succeeded more than once: {intents}")


def _bytes_and_windows(world: World) -> None:
    sends: dict[str, list[tuple[int, bytes]]] = defaultdict(list)
    for at_ms, key, body in world.network.posts:
        sends[key].append((at_ms, body))
    for key, sent in sends.items():
        if len({body for _, body in sent}) > 1:
            raise Violation(f"rule 31: other bytes under key {key}")
        if sent[-1][0] - sent[0][0] >= WINDOWS[world.schedule.shape]:
            raise Violation(f"rule 32: key {key} was sent {sent[-1][0] - sent[0][0]} ms after its first use")
