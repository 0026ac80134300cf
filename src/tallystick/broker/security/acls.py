"""The access control lists: every entry, found by what it is about.

Owns: the entries and their index. Must not know: what an entry decides (``authorizer``), the journal, the protocol.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Final

from tallystick.broker.security.acl import (
    WILDCARD,
    Acl,
    AclFilter,
    Operation,
    PatternType,
    Permission,
    ResourceType,
)
from tallystick.broker.security.records import AclAdded, AclRemoved, SecurityRecord

MAX_ACLS: Final = 100_000

_Key = tuple[ResourceType, PatternType, str]


class Acls:
    """``version`` changes whenever an entry does."""

    def __init__(self) -> None:
        self.version = 0
        self._all: dict[Acl, None] = {}
        self._by_pattern: defaultdict[_Key, dict[Acl, None]] = defaultdict(dict)
        self._prefix_lengths: defaultdict[ResourceType, dict[int, int]] = defaultdict(dict)

    def __len__(self) -> int:
        return len(self._all)

    def __contains__(self, acl: Acl) -> bool:
        return acl in self._all

    @property
    def has_room(self) -> bool:
        return len(self._all) < MAX_ACLS

    def find(self, wanted: AclFilter) -> list[Acl]:
        """Every entry that the filter means, in the order in which they were added."""
        return [acl for acl in self._all if wanted.matches(acl)]

    def of_type(self, resource_type: ResourceType) -> Iterator[Acl]:
        """Every entry about resources of this type."""
        return (acl for acl in self._all if acl.resource_type is resource_type)

    def concerning(self, resource_type: ResourceType, name: str) -> Iterator[Acl]:
        """Every entry whose pattern covers this resource."""
        by_pattern = self._by_pattern
        yield from by_pattern.get((resource_type, PatternType.LITERAL, name), ())
        if name != WILDCARD:
            yield from by_pattern.get((resource_type, PatternType.LITERAL, WILDCARD), ())
        for length in self._prefix_lengths.get(resource_type, ()):
            if length <= len(name):
                yield from by_pattern.get((resource_type, PatternType.PREFIXED, name[:length]), ())

    def apply(self, record: SecurityRecord) -> None:
        """Take one record in, live or at start; those about something else are ignored."""
        match record:
            case AclAdded():
                self._add(_acl(record))
            case AclRemoved():
                self._remove(_acl(record))

    def _add(self, acl: Acl) -> None:
        if acl in self._all:
            return
        self.version += 1
        self._all[acl] = None
        self._by_pattern[_key(acl)][acl] = None
        if acl.pattern_type is PatternType.PREFIXED:
            lengths = self._prefix_lengths[acl.resource_type]
            lengths[len(acl.resource_name)] = lengths.get(len(acl.resource_name), 0) + 1

    def _remove(self, acl: Acl) -> None:
        if acl not in self._all:
            return
        self.version += 1
        del self._all[acl]
        key = _key(acl)
        del self._by_pattern[key][acl]
        if not self._by_pattern[key]:
            del self._by_pattern[key]
        if acl.pattern_type is PatternType.PREFIXED:
            lengths = self._prefix_lengths[acl.resource_type]
            lengths[len(acl.resource_name)] -= 1
            if not lengths[len(acl.resource_name)]:
                del lengths[len(acl.resource_name)]

    def snapshot(self) -> Iterable[SecurityRecord]:
        """Records that give the present state."""
        return (AclAdded(*acl) for acl in self._all)


def _key(acl: Acl) -> _Key:
    return acl.resource_type, acl.pattern_type, acl.resource_name


def _acl(record: AclAdded | AclRemoved) -> Acl:
    return Acl(
        ResourceType(record.resource_type),
        record.resource_name,
        PatternType(record.pattern_type),
        record.principal,
        record.host,
        Operation(record.operation),
        Permission(record.permission),
    )
