"""Users of a data folder that no broker has open: how the first one is made.

Owns: opening the folder for that, and the records of a new password. Must not know: where the password comes from.
While a broker runs, ``kafka-configs --alter --entity-type users`` does the same over the protocol.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tallystick.broker.fsync_policy import FsyncPolicy
from tallystick.broker.log.data_folder import DataFolder
from tallystick.broker.log.durability import Durability
from tallystick.broker.security.credentials import credential_record
from tallystick.broker.security.records import ScramCredentialRemoved
from tallystick.broker.security.scram import (
    MAX_ITERATIONS,
    MIN_ITERATIONS,
    SALT_BYTES,
    ScramMechanism,
    derive,
)
from tallystick.broker.security.store import SecurityStore
from tallystick.errors import ConfigurationError


@contextmanager
def opened_store(data: Path) -> Iterator[SecurityStore]:
    """The folder's users, for as long as the block lasts; on disk at its end. The folder is made if it is missing."""
    folder = DataFolder(data)
    try:
        durability = Durability(FsyncPolicy.COMMIT)
        store = SecurityStore(folder.security_journal, durability)
        yield store
        durability.sync_all_now()
        store.close()
    finally:
        folder.close()


def set_password(
    store: SecurityStore, name: str, password: str, *, mechanisms: Sequence[ScramMechanism], iterations: int
) -> None:
    """Make or change a user, who may then use these mechanisms and PLAIN."""
    if not name or not password:
        raise ConfigurationError("a user needs a name and a password that are not empty")
    if not MIN_ITERATIONS <= iterations <= MAX_ITERATIONS:
        raise ConfigurationError(f"{iterations} iterations; {MIN_ITERATIONS} to {MAX_ITERATIONS} are allowed")
    store.commit(
        credential_record(
            name,
            mechanism,
            derive(mechanism, password, salt=secrets.token_bytes(SALT_BYTES), iterations=iterations),
        )
        for mechanism in mechanisms
    )


def remove_user(store: SecurityStore, name: str) -> bool:
    """Take all of a user's credentials away; False if there are none."""
    held = list(store.credentials.of_user(name))
    store.commit(ScramCredentialRemoved(user=name, mechanism=mechanism.mechanism_name) for mechanism in held)
    return bool(held)
