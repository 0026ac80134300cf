"""Who owns a key now: a counter in SQL that a zombie cannot get past.

Owns: ``tallystick_owner_epoch``. Must not know: groups; what a key stands for is the caller's, or a partition.

A worker that lost its partition can still write. An update that is not idempotent by itself therefore checks the epoch
it was given, in the same SQL transaction (rule 28). The epoch never comes from the group generation, which starts
again when a group is made anew.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, Engine, select

from tallystick.boundary import schema
from tallystick.boundary.statements import insert
from tallystick.errors import FencedError
from tallystick.ids import deterministic_id

_KEY_CHARACTERS: Final = 300


@dataclass(frozen=True, slots=True)
class OwnerClaim:
    """The epoch under which this process may write for ``owner_key``."""

    owner_key: str
    epoch: int

    def verify(self, connection: Connection) -> None:
        """Hold the epoch until this transaction ends; ``FencedError`` if there is a newer owner."""
        found = connection.execute(
            select(schema.owner_epoch.c.epoch)
            .where(schema.owner_epoch.c.owner_key == self.owner_key)
            .with_for_update(read=True)  # FOR SHARE; SQLite has no row locks and needs none under BEGIN IMMEDIATE
        ).scalar_one_or_none()
        self.check(found)

    def check(self, found: int | None) -> None:
        """``FencedError`` unless ``found``, the epoch in the database, is this claim's."""
        if found != self.epoch:
            raise FencedError(f"{self.owner_key!r} is owned under epoch {found}, not {self.epoch}: stop writing")


def check_all(claims: Iterable[OwnerClaim], epochs: Iterable[tuple[str, int]]) -> None:
    """``FencedError`` unless each claim's epoch is the one in the database, where ``epochs`` were read and locked."""
    found = dict(epochs)
    for claim in claims:
        claim.check(found.get(claim.owner_key))


class PartitionOwners:
    """A claim on each partition of an effect, taken at its first batch after each change of the assignment.

    Of one lane; another one, in this process or elsewhere, has its own.
    """

    def __init__(self) -> None:
        self._claims: dict[tuple[str, int], OwnerClaim] = {}

    def claims(self, engine: Engine, scope: str, places: Iterable[tuple[str, int]]) -> list[OwnerClaim]:
        """Those of ``places``, in the order of their keys. A new one waits for effects that hold the old epoch."""
        for place in sorted(set(places) - self._claims.keys()):
            self._claims[place] = take_ownership(engine, _key(scope, *place))
        return sorted((self._claims[place] for place in places), key=lambda claim: claim.owner_key)

    def forget(self) -> None:
        """The assignment has changed: what was ours may be another's, or may have been in between."""
        self._claims.clear()


def _key(scope: str, topic: str, partition: int) -> str:
    key = f"{scope}/{topic}/{partition}"
    return key if len(key) <= _KEY_CHARACTERS else deterministic_id("tallystick.owner", scope, topic, partition)


def take_ownership(engine: Engine, owner_key: str) -> OwnerClaim:
    """Become the owner: every earlier claim on the key is fenced. Waits for effects that hold the old epoch."""
    with engine.begin() as connection:
        return OwnerClaim(owner_key, next_epoch(connection, owner_key))


def next_epoch(connection: Connection, owner_key: str) -> int:
    """Increment the counter (the first is 1) and return it, inside the caller's transaction."""
    statement = insert(connection, schema.owner_epoch).values(owner_key=owner_key, epoch=1)
    statement = statement.on_conflict_do_update(
        index_elements=["owner_key"], set_={"epoch": schema.owner_epoch.c.epoch + 1}
    )
    return int(connection.execute(statement.returning(schema.owner_epoch.c.epoch)).scalar_one())
