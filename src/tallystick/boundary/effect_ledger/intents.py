"""Asking for an effect: the intent and its attempts, in the caller's SQL transaction.

Owns: what is inserted, the key that the provider sees. Must not know: when it is sent.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select
from sqlalchemy.engine import RowMapping

from tallystick.boundary import schema
from tallystick.boundary.effect_ledger import statements
from tallystick.boundary.effect_ledger.attempt import IntentConflict, request_place
from tallystick.boundary.effects import State
from tallystick.boundary.erasure.sealed import DataKey, key_id_of_hash, keyed_hash, seal
from tallystick.boundary.erasure.subject_keys import SubjectKeys, is_hash_of, key_by_id
from tallystick.clock import Clock
from tallystick.errors import ConfigurationError, IllegalTransition
from tallystick.ids import body_hash, deterministic_id

_a = schema.effect_attempt.c


@dataclass(frozen=True, slots=True)
class _Asked:
    """The fields of an intent that an attempt repeats."""

    intent_id: str
    provider: str
    operation: str
    reference: str
    amount_minor: int
    currency: str


class Intents:
    """Inserts intents and attempts."""

    def __init__(self, clock: Clock, *, key_secret: bytes | None) -> None:
        if key_secret is not None and len(key_secret) < 16:
            raise ConfigurationError("a key secret has at least 16 bytes", rule=36)
        self._clock = clock
        self._key_secret = key_secret
        self._keys = SubjectKeys()

    def create(self, connection: Connection, asked: dict[str, Any], request: bytes, subject: str | None) -> bool:
        """Insert the intent and its first attempt; False if it exists already, identically."""
        key = None
        if subject is not None:
            key = self._keys.of(connection, [subject], now_ms=self._clock.now_ms())[subject]
        values = {**asked, "request_hash": _hash(key, request)}
        created = connection.execute(
            statements.insert_intent(connection.dialect.name), {**values, "created_at_ms": self._clock.now_ms()}
        ).scalar_one_or_none()
        if created is None:
            found = self.row(connection, asked["intent_id"])
            for name, value in values.items():
                same = is_hash_of(connection, found[name], request) if name == "request_hash" else found[name] == value
                if not same:
                    raise IntentConflict(f"intent {asked['intent_id']}: {name} is {found[name]!r}, now asked {value!r}")
            return False
        self.insert_attempt(connection, asked, number=1, request=request, key=key)
        return True

    def add_attempt(self, connection: Connection, *, intent_id: str, request: bytes, reference: str | None) -> int:
        """The next attempt, with a new key; returns its number."""
        last = (
            connection.execute(
                select(_a.attempt_number, _a.state)
                .where(_a.intent_id == intent_id)
                .order_by(_a.attempt_number.desc())
                .limit(1)
            )
            .mappings()
            .one_or_none()
        )
        state = "ABSENT" if last is None else f"attempt {last['state']}"
        if last is None or last["state"] not in (State.DECLINED.value, State.ABSENT_CONFIRMED.value):
            raise IllegalTransition("effect intent", state, f"add an attempt to {intent_id}")
        asked = dict(self.row(connection, intent_id))
        key = _key_of(connection, asked)
        if reference is not None:
            asked["reference"] = reference
        number = int(last["attempt_number"]) + 1
        self.insert_attempt(connection, asked, number=number, request=request, key=key)
        return number

    def insert_attempt(
        self, connection: Connection, asked: dict[str, Any], *, number: int, request: bytes, key: DataKey | None
    ) -> None:
        attempt_id = deterministic_id("tallystick.effect-attempt", asked["intent_id"], number)
        connection.execute(
            statements.INSERT_ATTEMPT,
            {
                **{name: asked[name] for name in _Asked.__dataclass_fields__},
                "attempt_id": attempt_id,
                "attempt_number": number,
                "provider_key": self._provider_key(connection, attempt_id),
                "request": request if key is None else seal(key, request, place=request_place(attempt_id)),
                "request_hash": _hash(key, request),
                "state": State.CREATED.value,
                "created_at_ms": self._clock.now_ms(),
            },
        )

    def row(self, connection: Connection, intent_id: str) -> RowMapping:
        return (
            connection.execute(select(schema.effect_intent).where(schema.effect_intent.c.intent_id == intent_id))
            .mappings()
            .one()
        )

    def _provider_key(self, connection: Connection, attempt_id: str) -> str:
        """HMAC-SHA256 in 64 hexadecimal characters: a guessable key would expose our responses (rule 36)."""
        if self._key_secret is None:
            self._key_secret = connection.execute(
                select(schema.secret.c.value).where(schema.secret.c.name == schema.PROVIDER_KEY_SECRET)
            ).scalar_one()
        return hmac.new(self._key_secret, attempt_id.encode(), hashlib.sha256).hexdigest()


def _hash(key: DataKey | None, request: bytes) -> str:
    return body_hash(request) if key is None else keyed_hash(key, request)


def _key_of(connection: Connection, intent: dict[str, Any]) -> DataKey | None:
    """The key that seals an intent's requests; None if nothing does."""
    key_id = key_id_of_hash(intent["request_hash"])
    if key_id is None:
        return None
    key = key_by_id(connection, key_id)
    if key is None:
        raise ConfigurationError(
            f"intent {intent['intent_id']}: its subject is erased", remedy="Make a new intent, under an id of its own"
        )
    return key
