"""What security persists, in the data folder's ``security.journal``. A field may be added, with a default.

Owns: the records. Must not know: when they are written.
"""

from __future__ import annotations

from tallystick.broker.ports import JournalRecord


class ScramCredentialSet(JournalRecord, frozen=True, tag="scram-credential-set"):
    """A user's credential for one mechanism, by the mechanism's name, from here on. There is no password in it."""

    user: str
    mechanism: str
    salt: bytes
    iterations: int
    stored_key: bytes
    server_key: bytes

    def __repr__(self) -> str:
        return f"{type(self).__name__}(user={self.user!r}, mechanism={self.mechanism!r})"


class ScramCredentialRemoved(JournalRecord, frozen=True, tag="scram-credential-removed"):
    """The user has no credential for this mechanism any more."""

    user: str
    mechanism: str


class DecoyKeySet(JournalRecord, frozen=True, tag="decoy-key-set"):
    """What the salts of names that do not exist are made with: kept, lest a restart tells which names those are."""

    key: bytes

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class AclAdded(JournalRecord, frozen=True, tag="acl-added"):
    """One entry of the access control lists. The numbers are those of Kafka's protocol."""

    resource_type: int
    resource_name: str
    pattern_type: int
    principal: str
    host: str
    operation: int
    permission: int


class AclRemoved(JournalRecord, frozen=True, tag="acl-removed"):
    """That entry is gone."""

    resource_type: int
    resource_name: str
    pattern_type: int
    principal: str
    host: str
    operation: int
    permission: int


SecurityRecord = DecoyKeySet | ScramCredentialSet | ScramCredentialRemoved | AclAdded | AclRemoved
