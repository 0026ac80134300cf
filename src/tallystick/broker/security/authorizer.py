"""Who may do what, decided from the access control lists as Apache Kafka's StandardAuthorizer does.

Owns: the decision and a memory of decisions. Must not know: requests, which operation an API needs (``access``).

A super user may do everything. Else, of the entries that cover the resource, the principal and the host: one that
denies the operation decides; else one that allows it, or something that implies it; else the answer is no, unless no
entry covers the resource at all, when ``allow.everyone.if.no.acl.found`` decides.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from tallystick.broker.security.acl import (
    ANYBODY,
    OPERATIONS,
    WILDCARD,
    Acl,
    Operation,
    PatternType,
    Permission,
    ResourceType,
    is_from,
)
from tallystick.broker.security.acls import Acls
from tallystick.broker.security.principal import Principal

MAX_REMEMBERED: Final = 20_000
MAX_REMEMBERED_NAME: Final = 255
"""Longer ones, which no topic has, are decided each time: a client may ask about names of 32 KB, and never the same."""

_IMPLY: Final[dict[Operation, frozenset[Operation]]] = {
    Operation.DESCRIBE: frozenset({Operation.READ, Operation.WRITE, Operation.DELETE, Operation.ALTER}),
    Operation.DESCRIBE_CONFIGS: frozenset({Operation.ALTER_CONFIGS}),
}
"""What may be done because something else may. To deny the one denies the other not."""

_NO_NAME: Final = "hardcode"
"""The name that stands for a resource that no entry names, as in Apache Kafka."""

_Question = tuple[Principal, str, Operation, ResourceType, str]


class Authorizer:
    """Answers from memory until an entry changes."""

    def __init__(self, acls: Acls, *, super_users: frozenset[Principal], allow_if_no_acl: bool) -> None:
        self._acls = acls
        self._super_users = super_users
        self._allow_if_no_acl = allow_if_no_acl
        self._remembered: dict[_Question, bool] = {}
        self._version = acls.version

    def allows(
        self, principal: Principal, host: str, operation: Operation, resource_type: ResourceType, name: str
    ) -> bool:
        """Whether this principal, from this address, may do this to the resource of this name."""
        if self._version != self._acls.version or len(self._remembered) >= MAX_REMEMBERED:
            self._remembered.clear()
            self._version = self._acls.version
        if len(name) > MAX_REMEMBERED_NAME:
            return self._decide(principal, host, operation, resource_type, name)
        question = (principal, host, operation, resource_type, name)
        answer = self._remembered.get(question)
        if answer is None:
            answer = self._remembered[question] = self._decide(*question)
        return answer

    def _decide(
        self, principal: Principal, host: str, operation: Operation, resource_type: ResourceType, name: str
    ) -> bool:
        if principal in self._super_users:
            return True
        who = (str(principal), ANYBODY)
        found = allowed = False
        for acl in self._acls.concerning(resource_type, name):
            found = True
            if acl.principal not in who or not is_from(acl, host):
                continue
            if acl.permission is Permission.DENY:
                if acl.operation in (Operation.ALL, operation):
                    return False
            elif _allows(acl, operation):
                allowed = True
        return allowed if found else self._allow_if_no_acl

    def allows_any(self, principal: Principal, host: str, operation: Operation, resource_type: ResourceType) -> bool:
        """Whether there is some name for which ``allows`` would say yes, as far as the entries tell (KIP-679)."""
        if self.allows(principal, host, operation, resource_type, _NO_NAME):
            return True
        who = (str(principal), ANYBODY)
        entries = [
            acl
            for acl in self._acls.of_type(resource_type)
            if acl.principal in who and is_from(acl, host) and acl.operation in (Operation.ALL, operation)
        ]
        denied = {_pattern(acl) for acl in entries if acl.permission is Permission.DENY}
        if (PatternType.LITERAL, WILDCARD) in denied:
            return False
        return any(
            _pattern(acl) == (PatternType.LITERAL, WILDCARD) or not _is_dominated(acl, denied)
            for acl in entries
            if acl.permission is Permission.ALLOW
        )

    def operations(self, principal: Principal, host: str, resource_type: ResourceType, name: str) -> int:
        """What the principal may do to the resource, as a set of bits: see ``operation_bits``."""
        return operation_bits(
            operation
            for operation in OPERATIONS[resource_type]
            if self.allows(principal, host, operation, resource_type, name)
        )


def operation_bits(operations: Iterable[Operation]) -> int:
    """A set of operations as KIP-430 sends it: bit n is the operation of number n."""
    return sum(1 << operation for operation in set(operations))


def _allows(acl: Acl, operation: Operation) -> bool:
    return acl.operation in (Operation.ALL, operation) or acl.operation in _IMPLY.get(operation, ())


def _pattern(acl: Acl) -> tuple[PatternType, str]:
    return acl.pattern_type, acl.resource_name


def _is_dominated(acl: Acl, denied: set[tuple[PatternType, str]]) -> bool:
    """Whether everything that the entry allows is denied by a pattern that covers all of it."""
    name = acl.resource_name
    if acl.pattern_type is PatternType.LITERAL and (PatternType.LITERAL, name) in denied:
        return True
    return any((PatternType.PREFIXED, name[:length]) in denied for length in range(1, len(name) + 1))
