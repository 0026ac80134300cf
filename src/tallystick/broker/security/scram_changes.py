"""Changes of SCRAM credentials, decided: which records a request makes, or why it makes none (KIP-554).

Owns: the rules of AlterUserScramCredentials. Must not know: the journal, the request's encoding.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from tallystick.broker.security.credentials import Credentials, credential_record
from tallystick.broker.security.records import ScramCredentialRemoved, SecurityRecord
from tallystick.broker.security.scram import BY_NUMBER, MAX_ITERATIONS, MIN_ITERATIONS, ScramMechanism, credential_of
from tallystick.wire.errors import ApiError, ErrorCode


@dataclass(frozen=True, slots=True, kw_only=True)
class Upsertion:
    """A credential to set. ``mechanism`` is its number; the password comes salted and hashed."""

    user: str
    mechanism: int
    iterations: int
    salt: bytes = field(repr=False)
    salted_password: bytes = field(repr=False)


class Deletion(NamedTuple):
    """A credential to remove."""

    user: str
    mechanism: int


Change = Upsertion | Deletion


def decide(credentials: Credentials, changes: Sequence[Change]) -> dict[str, list[SecurityRecord] | ApiError]:
    """By user: the records to write, all or none of them, or the error to answer."""
    decided: dict[str, list[SecurityRecord] | ApiError] = {}
    seen = Counter((change.user, change.mechanism) for change in changes)
    for change in changes:
        before = decided.setdefault(change.user, [])
        if isinstance(before, ApiError):
            continue
        try:
            before.append(_record(credentials, change, twice=seen[change.user, change.mechanism] > 1))
        except ApiError as error:
            decided[change.user] = error
    return decided


def _record(credentials: Credentials, change: Change, *, twice: bool) -> SecurityRecord:
    if twice:
        raise ApiError(ErrorCode.duplicate_resource, "A user credential cannot be altered twice in one request")
    if not change.user:
        raise ApiError(ErrorCode.unacceptable_credential, "Username must not be empty")
    mechanism = BY_NUMBER.get(change.mechanism)
    if mechanism is None:
        raise ApiError(ErrorCode.unsupported_sasl_mechanism, f"Unknown SCRAM mechanism {change.mechanism}")
    if isinstance(change, Deletion):
        if credentials.find(mechanism, change.user) is None:
            raise ApiError(ErrorCode.resource_not_found, "Attempt to delete a user credential that does not exist")
        return ScramCredentialRemoved(user=change.user, mechanism=mechanism.mechanism_name)
    return _upserted(credentials, change, mechanism)


def _upserted(credentials: Credentials, change: Upsertion, mechanism: ScramMechanism) -> SecurityRecord:
    if change.iterations < MIN_ITERATIONS:
        raise ApiError(ErrorCode.unacceptable_credential, "Too few iterations")
    if change.iterations > MAX_ITERATIONS:
        raise ApiError(ErrorCode.unacceptable_credential, "Too many iterations")
    if not change.salt or not change.salted_password:
        raise ApiError(ErrorCode.unacceptable_credential, "Salt and salted password must not be empty")
    if not credentials.of_user(change.user) and not credentials.has_room:
        raise ApiError(ErrorCode.policy_violation, "There are too many users")
    credential = credential_of(mechanism, change.salted_password, salt=change.salt, iterations=change.iterations)
    return credential_record(change.user, mechanism, credential)
