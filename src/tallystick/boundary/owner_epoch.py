"""Who owns a key now: a counter in SQL that a zombie cannot get past.

Owns: ``tallystick_owner_epoch``. Must not know: partitions or groups; the key is the caller's.

A worker that lost its partition can still write. An update that is not idempotent by itself therefore checks the epoch
it was given, in the same SQL transaction (rule 28). The epoch never comes from the group generation, which starts
again when a group is made anew.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, Engine, select

from tallystick.boundary import schema
from tallystick.boundary.statements import insert
from tallystick.errors import FencedError


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
