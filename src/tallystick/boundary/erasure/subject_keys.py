"""The data keys of subjects, in the database that holds what they seal.

Owns: making keys, finding them, opening what they sealed. Must not know: who erases.

A transaction that seals holds its keys FOR SHARE until it commits, and who destroys a key waits for it: nothing is ever
sealed under a key that is gone.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Iterable
from typing import Final

from sqlalchemy import Connection, select

from tallystick.boundary import schema
from tallystick.boundary.erasure.sealed import KEY_BYTES, DataKey, key_id_of, key_id_of_hash, keyed_hash, unseal
from tallystick.boundary.erasure_tables import subject_key
from tallystick.boundary.statements import insert
from tallystick.errors import ConfigurationError, CorruptData, RetriableError
from tallystick.ids import body_hash

ERASED: Final = b"[erased]"
"""What a reader gets in the place of bytes whose key is destroyed."""
_STEP: Final = 1_000
_TRIES: Final = 3
_k = subject_key.c


class SubjectKeys:
    """Keys by the names of their subjects, of one database. Threads may share it."""

    def __init__(self) -> None:
        self._secret: bytes | None = None

    def digest(self, connection: Connection, subject: str) -> str:
        """What stands for the subject's name in the tables: an HMAC-SHA256 under the database's own secret."""
        if not 0 < len(subject) <= 1_000:
            raise ConfigurationError(f"a subject's name has 1 to 1,000 characters, not {len(subject)}")
        if self._secret is None:
            query = select(schema.secret.c.value).where(schema.secret.c.name == schema.SUBJECT_SECRET)
            self._secret = connection.execute(query).scalar_one()
        return hmac.new(self._secret, subject.encode(), hashlib.sha256).hexdigest()

    def of(self, connection: Connection, subjects: Iterable[str], *, now_ms: int) -> dict[str, DataKey]:
        """The live key of each subject, made if there is none, held until the transaction ends."""
        names = {self.digest(connection, subject): subject for subject in subjects}
        found: dict[str, DataKey] = {}
        for _ in range(_TRIES):
            self._find(connection, sorted(names.keys() - found.keys()), found)
            missing = sorted(names.keys() - found.keys())
            if not missing:
                return {names[digest]: key for digest, key in found.items()}
            statement = insert(connection, subject_key).on_conflict_do_nothing()
            rows = [
                {"subject_digest": digest, "data_key": os.urandom(KEY_BYTES), "created_at_ms": now_ms}
                for digest in missing
            ]
            connection.execute(statement, rows)
        raise RetriableError("keys of subjects are destroyed as fast as they are made")

    def _find(self, connection: Connection, digests: list[str], found: dict[str, DataKey]) -> None:
        for start in range(0, len(digests), _STEP):
            query = (
                select(_k.subject_digest, _k.key_id, _k.data_key)
                .where(_k.subject_digest.in_(digests[start : start + _STEP]), _k.data_key.is_not(None))
                .order_by(_k.subject_digest)
                .with_for_update(read=True)
            )
            found.update({row.subject_digest: DataKey(row.key_id, row.data_key) for row in connection.execute(query)})


def key_by_id(connection: Connection, key_id: int) -> DataKey | None:
    """A key that has sealed something; None if it is destroyed."""
    secret = connection.execute(select(_k.data_key).where(_k.key_id == key_id)).one_or_none()
    if secret is None:
        raise CorruptData(f"bytes are sealed under key {key_id}, which never existed", place=subject_key.name)
    return None if secret[0] is None else DataKey(key_id, secret[0])


def opened(connection: Connection, raw: bytes, *, place: str) -> bytes:
    """The plain bytes, ``ERASED`` if their key is destroyed; bytes that are not sealed as they are."""
    key_id = key_id_of(raw)
    if key_id is None:
        return raw
    key = key_by_id(connection, key_id)
    return ERASED if key is None else unseal(key, raw, place=place)


class Opener:
    """Opens many sealed bytes of one transaction, and looks for each key once."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._keys: dict[int, DataKey | None] = {}

    def opened(self, raw: bytes | None, *, place: str) -> bytes | None:
        """As ``opened``; None stays None."""
        key_id = None if raw is None else key_id_of(raw)
        if raw is None or key_id is None:
            return raw
        if key_id not in self._keys:
            self._keys[key_id] = key_by_id(self._connection, key_id)
        key = self._keys[key_id]
        return ERASED if key is None else unseal(key, raw, place=place)


def is_keyed(digest: str) -> bool:
    """Whether a stored hash is one that only a key can compute."""
    return key_id_of_hash(digest) is not None


def is_hash_of(connection: Connection, digest: str, body: bytes | None) -> bool:
    """Whether a stored hash, plain or keyed, is that of ``body``. True if its key is destroyed: nobody can tell."""
    key_id = key_id_of_hash(digest)
    if key_id is None:
        return body is not None and digest == body_hash(body)
    key = key_by_id(connection, key_id)
    return key is None or (body is not None and digest == keyed_hash(key, body))
