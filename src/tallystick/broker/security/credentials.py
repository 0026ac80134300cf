"""The users that this broker knows, and whether a password is one of theirs.

Owns: SCRAM credentials by user and mechanism, the fixed users of PLAIN. Must not know: the journal, the protocol.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from typing import Final

from tallystick.broker.security.records import ScramCredentialRemoved, ScramCredentialSet, SecurityRecord
from tallystick.broker.security.scram import (
    BY_NAME,
    MIN_ITERATIONS,
    SALT_BYTES,
    ScramCredential,
    ScramMechanism,
    derive,
    is_password,
)

MAX_USERS: Final = 100_000


class Credentials:
    """``plain_users`` are names and passwords of PLAIN alone, given at start."""

    def __init__(self, plain_users: Mapping[str, str] | None = None) -> None:
        self._plain_users = dict(plain_users or {})
        self._scram: dict[str, dict[ScramMechanism, ScramCredential]] = {}

    def find(self, mechanism: ScramMechanism, user: str) -> ScramCredential | None:
        """The user's credential for this mechanism."""
        return self._scram.get(user, {}).get(mechanism)

    def of_user(self, user: str) -> Mapping[ScramMechanism, ScramCredential]:
        """All of a user's SCRAM credentials."""
        return self._scram.get(user, {})

    def scram_users(self) -> Iterable[str]:
        """Who has a SCRAM credential."""
        return self._scram.keys()

    @property
    def has_room(self) -> bool:
        return len(self._scram) < MAX_USERS

    @property
    def is_empty(self) -> bool:
        """Whether nobody could prove anything."""
        return not self._scram and not self._plain_users

    def is_password(self, user: str, password: str) -> bool:
        """Whether the password is the user's. Every name takes as long as one that has a credential."""
        fixed = self._plain_users.get(user)
        if fixed is None:
            for mechanism, credential in self._scram.get(user, {}).items():
                return is_password(mechanism, credential, password)
        for mechanism in ScramMechanism:
            like = self.like(mechanism, user)
            if like is not None:
                derive(mechanism, password, salt=like.salt, iterations=like.iterations)
                break
        else:
            derive(ScramMechanism.SCRAM_SHA_256, password, salt=bytes(SALT_BYTES), iterations=MIN_ITERATIONS)
        return hmac.compare_digest(_digest(fixed or ""), _digest(password)) and fixed is not None

    def like(self, mechanism: ScramMechanism, user: str) -> ScramCredential | None:
        """Some credential that there is, always the same for this name while there are the same users."""
        every = [held[mechanism] for held in self._scram.values() if mechanism in held]
        return every[int.from_bytes(_digest(user)[:8], "big") % len(every)] if every else None

    def apply(self, record: SecurityRecord) -> None:
        """Take one record in, live or at start; those about something else are ignored."""
        match record:
            case ScramCredentialSet():
                credential = ScramCredential(
                    salt=record.salt,
                    stored_key=record.stored_key,
                    server_key=record.server_key,
                    iterations=record.iterations,
                )
                self._scram.setdefault(record.user, {})[BY_NAME[record.mechanism]] = credential
            case ScramCredentialRemoved():
                held = self._scram.get(record.user, {})
                held.pop(BY_NAME[record.mechanism], None)
                if not held:
                    self._scram.pop(record.user, None)

    def snapshot(self) -> Iterable[SecurityRecord]:
        """Records that give the present state."""
        for user, held in self._scram.items():
            for mechanism, credential in held.items():
                yield credential_record(user, mechanism, credential)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def credential_record(user: str, mechanism: ScramMechanism, credential: ScramCredential) -> ScramCredentialSet:
    """The record that keeps a credential."""
    return ScramCredentialSet(
        user=user,
        mechanism=mechanism.mechanism_name,
        salt=credential.salt,
        iterations=credential.iterations,
        stored_key=credential.stored_key,
        server_key=credential.server_key,
    )
