"""One entry of an access control list, the filter that finds entries, and Kafka's numbers for their parts.

Owns: the values and whether a filter matches an entry. Must not know: who asks, what is stored.
"""

from __future__ import annotations

import enum
import ipaddress
from functools import lru_cache
from typing import Final, NamedTuple

from tallystick.broker.security.principal import parse_principal
from tallystick.wire.errors import ApiError, ErrorCode

WILDCARD: Final = "*"
CLUSTER_NAME: Final = "kafka-cluster"
ANYBODY: Final = "User:*"


class ResourceType(enum.IntEnum):
    """What an entry is about."""

    UNKNOWN = 0
    ANY = 1
    TOPIC = 2
    GROUP = 3
    CLUSTER = 4
    TRANSACTIONAL_ID = 5
    DELEGATION_TOKEN = 6
    USER = 7


class PatternType(enum.IntEnum):
    """How an entry's resource name is meant; ``MATCH`` and ``ANY`` are for filters."""

    UNKNOWN = 0
    ANY = 1
    MATCH = 2
    LITERAL = 3
    PREFIXED = 4


class Operation(enum.IntEnum):
    """What somebody wants to do."""

    UNKNOWN = 0
    ANY = 1
    ALL = 2
    READ = 3
    WRITE = 4
    CREATE = 5
    DELETE = 6
    ALTER = 7
    DESCRIBE = 8
    CLUSTER_ACTION = 9
    DESCRIBE_CONFIGS = 10
    ALTER_CONFIGS = 11
    IDEMPOTENT_WRITE = 12
    CREATE_TOKENS = 13
    DESCRIBE_TOKENS = 14
    TWO_PHASE_COMMIT = 15


class Permission(enum.IntEnum):
    """What an entry says about it."""

    UNKNOWN = 0
    ANY = 1
    DENY = 2
    ALLOW = 3


OPERATIONS: Final[dict[ResourceType, tuple[Operation, ...]]] = {
    ResourceType.TOPIC: (
        Operation.READ,
        Operation.WRITE,
        Operation.CREATE,
        Operation.DELETE,
        Operation.ALTER,
        Operation.DESCRIBE,
        Operation.DESCRIBE_CONFIGS,
        Operation.ALTER_CONFIGS,
    ),
    ResourceType.GROUP: (
        Operation.READ,
        Operation.DELETE,
        Operation.DESCRIBE,
        Operation.DESCRIBE_CONFIGS,
        Operation.ALTER_CONFIGS,
    ),
    ResourceType.CLUSTER: (
        Operation.CREATE,
        Operation.ALTER,
        Operation.DESCRIBE,
        Operation.CLUSTER_ACTION,
        Operation.DESCRIBE_CONFIGS,
        Operation.ALTER_CONFIGS,
        Operation.IDEMPOTENT_WRITE,
    ),
}
"""What can be done to each kind of resource, as far as a client may ask which of it is allowed to it (KIP-430)."""


class Acl(NamedTuple):
    """An entry: whether ``principal`` from ``host`` may do ``operation`` to what the pattern names."""

    resource_type: ResourceType
    resource_name: str
    pattern_type: PatternType
    principal: str
    host: str
    operation: Operation
    permission: Permission


class AclFilter(NamedTuple):
    """Which entries are meant; None and ``ANY`` mean all of them."""

    resource_type: int
    resource_name: str | None
    pattern_type: int
    principal: str | None
    host: str | None
    operation: int
    permission: int

    def matches(self, acl: Acl) -> bool:
        """Whether the entry is meant."""
        return (
            self.resource_type in (ResourceType.ANY, acl.resource_type)
            and self._matches_pattern(acl)
            and self.principal in (None, acl.principal)
            and self.host in (None, acl.host)
            and self.operation in (Operation.ANY, acl.operation)
            and self.permission in (Permission.ANY, acl.permission)
        )

    def _matches_pattern(self, acl: Acl) -> bool:
        if self.pattern_type == PatternType.MATCH:  # every entry that says something about this very resource
            return self.resource_name is None or concerns(acl, self.resource_name)
        return self.pattern_type in (PatternType.ANY, acl.pattern_type) and self.resource_name in (
            None,
            acl.resource_name,
        )


def concerns(acl: Acl, resource_name: str) -> bool:
    """Whether the entry's pattern covers a resource of this name; its type is not looked at."""
    if acl.pattern_type is PatternType.PREFIXED:
        return resource_name.startswith(acl.resource_name)
    return acl.resource_name in (resource_name, WILDCARD)


def is_from(acl: Acl, host: str) -> bool:
    """Whether the entry is about clients of this address.

    One address has several texts, and Java writes IPv6 in the long one: ``0:0:0:0:0:0:0:1``. An entry that denies must
    not be blind to the other.
    """
    return acl.host in (WILDCARD, host) or _address(acl.host) == host


@lru_cache(maxsize=1_000)
def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return text


def checked_acl(
    *,
    resource_type: int,
    resource_name: str,
    pattern_type: int,
    principal: str,
    host: str,
    operation: int,
    permission: int,
) -> Acl:
    """The entry, if it may be stored; ``ApiError`` INVALID_REQUEST if not."""
    _must(resource_type in _concrete(ResourceType), f"Invalid resourceType {resource_type}")
    _must(pattern_type in (PatternType.LITERAL, PatternType.PREFIXED), f"Invalid patternType {pattern_type}")
    _must(operation in _concrete(Operation), f"Invalid operation {operation}")
    _must(permission in _concrete(Permission), f"Invalid permissionType {permission}")
    _must(bool(resource_name), "Resource name should not be empty")
    _must(
        resource_type != ResourceType.CLUSTER or resource_name == CLUSTER_NAME,
        f"The only valid name for the CLUSTER resource is {CLUSTER_NAME}",
    )
    _must(
        parse_principal(principal) is not None,
        f"Could not parse principal from `{principal}` (it is a type, a colon and a name)",
    )
    _must(bool(host), "Host should not be empty")
    return Acl(
        ResourceType(resource_type),
        resource_name,
        PatternType(pattern_type),
        principal,
        host,
        Operation(operation),
        Permission(permission),
    )


def check_filter(wanted: AclFilter) -> None:
    """``ApiError`` INVALID_REQUEST for a filter with a number that means nothing here."""
    for value, kind in (
        (wanted.resource_type, ResourceType),
        (wanted.pattern_type, PatternType),
        (wanted.operation, Operation),
        (wanted.permission, Permission),
    ):
        _must(value in set(kind) and value != 0, f"The AclBindingFilter contains UNKNOWN elements: {wanted}")


def _concrete(kind: type[enum.IntEnum]) -> set[int]:
    return {int(member) for member in kind if member.name not in ("UNKNOWN", "ANY")}


def _must(holds: bool, message: str) -> None:
    if not holds:
        raise ApiError(ErrorCode.invalid_request, message)
