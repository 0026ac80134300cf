"""The decision, against a model that has no index, no memory and no clever order."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tallystick.broker.security.acl import (
    Acl,
    AclFilter,
    Operation,
    PatternType,
    Permission,
    ResourceType,
    check_filter,
    checked_acl,
)
from tallystick.broker.security.acls import Acls
from tallystick.broker.security.authorizer import MAX_REMEMBERED_NAME, Authorizer
from tallystick.broker.security.principal import Principal, user
from tallystick.broker.security.records import AclAdded, AclRemoved
from tallystick.wire.errors import ApiError

NAMES = ("a", "ab", "abc", "b", "*", "hardcode")
HOSTS = ("10.0.0.1", "10.0.0.2")
USERS = (user("alice"), user("bob"), user("root"))
ENTRIES = st.builds(
    Acl,
    st.sampled_from([ResourceType.TOPIC, ResourceType.GROUP]),
    st.sampled_from(NAMES),
    st.sampled_from([PatternType.LITERAL, PatternType.PREFIXED]),
    st.sampled_from(["User:alice", "User:bob", "User:*", "Group:alice"]),
    st.sampled_from(["*", *HOSTS]),
    st.sampled_from([*Operation][2:]),
    st.sampled_from([Permission.ALLOW, Permission.DENY]),
)
FILTERS = st.builds(
    AclFilter,
    st.sampled_from([1, 2, 3]),
    st.sampled_from([None, *NAMES]),
    st.sampled_from([1, 2, 3, 4]),
    st.sampled_from([None, "User:alice"]),
    st.sampled_from([None, "*"]),
    st.sampled_from([1, 2, 3, 8]),
    st.sampled_from([1, 2, 3]),
)


def filled(entries: list[Acl]) -> Acls:
    acls = Acls()
    for entry in entries:
        acls.apply(AclAdded(*entry))
    return acls


def covers(entry: Acl, kind: ResourceType, name: str) -> bool:
    if entry.resource_type != kind:
        return False
    if entry.pattern_type == PatternType.PREFIXED:
        return name[: len(entry.resource_name)] == entry.resource_name
    return entry.resource_name in ("*", name)


def model(
    entries: list[Acl],
    default: bool,
    principal: Principal,
    host: str,
    operation: Operation,
    kind: ResourceType,
    name: str,
) -> bool:
    """As the words in the documentation of Kafka's authorizer say it, one after the other."""
    if principal == user("root"):
        return True
    covering = [entry for entry in entries if covers(entry, kind, name)]
    if not covering:
        return default
    his = [e for e in covering if e.principal in (f"User:{principal.name}", "User:*") and e.host in ("*", host)]
    if any(e.permission == Permission.DENY and e.operation in (operation, Operation.ALL) for e in his):
        return False
    enough = {operation, Operation.ALL}
    if operation == Operation.DESCRIBE:
        enough |= {Operation.READ, Operation.WRITE, Operation.DELETE, Operation.ALTER}
    if operation == Operation.DESCRIBE_CONFIGS:
        enough |= {Operation.ALTER_CONFIGS}
    return any(e.permission == Permission.ALLOW and e.operation in enough for e in his)


@settings(max_examples=300)
@given(
    st.lists(ENTRIES, max_size=8),
    st.lists(
        st.tuples(
            st.sampled_from(USERS),
            st.sampled_from(HOSTS),
            st.sampled_from([*Operation][3:]),
            st.sampled_from([ResourceType.TOPIC, ResourceType.GROUP]),
            st.sampled_from(NAMES),
        ),
        min_size=1,
        max_size=8,
    ),
    st.booleans(),
    st.data(),
)
def test_every_decision_is_the_model_s_also_after_entries_change(
    entries: list[Acl], questions: list[tuple[Any, ...]], default: bool, data: st.DataObject
) -> None:
    acls = filled(entries)
    authorizer = Authorizer(acls, super_users=frozenset({user("root")}), allow_if_no_acl=default)
    held = list(dict.fromkeys(entries))
    for question in questions:
        assert authorizer.allows(*question) == model(held, default, *question), question
    if held:
        gone = data.draw(st.sampled_from(held))
        acls.apply(AclRemoved(*gone))
        held.remove(gone)
        for question in questions:
            assert authorizer.allows(*question) == model(held, default, *question), question


@settings(max_examples=300)
@given(st.lists(ENTRIES, max_size=8), st.sampled_from(USERS), st.sampled_from(HOSTS), st.booleans())
def test_something_may_be_written_if_there_is_a_name_that_may(
    entries: list[Acl], principal: Principal, host: str, default: bool
) -> None:
    """KIP-679's question, against trying every name that matters: those in entries and one letter more."""
    authorizer = Authorizer(filled(entries), super_users=frozenset({user("root")}), allow_if_no_acl=default)
    tried = ["hardcode", "zzz", "*z", *(name + more for name in NAMES if name != "*" for more in ("", "z"))]
    expected = any(authorizer.allows(principal, host, Operation.WRITE, ResourceType.TOPIC, name) for name in tried)
    told = authorizer.allows_any(principal, host, Operation.WRITE, ResourceType.TOPIC)
    assert told == expected or default, "with that default Kafka looks at one name that no entry has, and no further"


@given(st.lists(ENTRIES, max_size=8), FILTERS)
def test_a_filter_finds_what_it_says_and_the_snapshot_has_everything(entries: list[Acl], wanted: AclFilter) -> None:
    acls = filled(entries)
    held = list(dict.fromkeys(entries))
    copy = Acls()
    for record in acls.snapshot():
        copy.apply(record)
    everything = AclFilter(1, None, 1, None, None, 1, 1)
    assert copy.find(everything) == acls.find(everything) == held
    for entry in held:
        name_fits = wanted.resource_name is None or (
            covers(entry, entry.resource_type, wanted.resource_name)
            if wanted.pattern_type == PatternType.MATCH
            else wanted.resource_name == entry.resource_name
        )
        expected = (
            wanted.resource_type in (1, entry.resource_type)
            and wanted.pattern_type in (1, 2, entry.pattern_type)
            and name_fits
            and wanted.principal in (None, entry.principal)
            and wanted.host in (None, entry.host)
            and wanted.operation in (1, entry.operation)
            and wanted.permission in (1, entry.permission)
        )
        assert (entry in acls.find(wanted)) == expected


GOOD: dict[str, Any] = {
    "resource_type": 2,
    "resource_name": "a",
    "pattern_type": 3,
    "principal": "User:alice",
    "host": "*",
    "operation": 3,
    "permission": 3,
}


@pytest.mark.parametrize(
    "bad",
    [
        *({"resource_type": value} for value in (0, 1, 8, -1)),
        *({"pattern_type": value} for value in (0, 1, 2, 5)),
        *({"operation": value} for value in (0, 1, 16)),
        *({"permission": value} for value in (0, 1, 4)),
        {"resource_name": ""},
        {"resource_type": 4, "resource_name": "other"},
        {"principal": "alice"},
        {"host": ""},
    ],
    ids=str,
)
def test_an_entry_that_means_nothing_is_refused(bad: dict[str, Any]) -> None:
    assert checked_acl(**GOOD).resource_name == "a"
    with pytest.raises(ApiError):
        checked_acl(**(GOOD | bad))


def test_a_filter_that_means_nothing_is_refused() -> None:
    check_filter(AclFilter(1, None, 2, None, None, 1, 1))
    for bad in (AclFilter(0, None, 1, None, None, 1, 1), AclFilter(1, None, 9, None, None, 1, 1)):
        with pytest.raises(ApiError):
            check_filter(bad)


def authorizer_of(*entries: Acl) -> Authorizer:
    acls = Acls()
    for entry in entries:
        acls.apply(AclAdded(*entry))
    return Authorizer(acls, super_users=frozenset(), allow_if_no_acl=False)


def about(host: str, permission: Permission) -> Acl:
    return Acl(ResourceType.TOPIC, "t", PatternType.LITERAL, "User:alice", host, Operation.READ, permission)


@pytest.mark.parametrize("text", ["::1", "0:0:0:0:0:0:0:1", "0000:0000:0000:0000:0000:0000:0000:0001"])
def test_an_address_is_denied_however_it_is_written(text: str) -> None:
    """Java writes IPv6 addresses in full, and entries are copied from there."""
    authorizer = authorizer_of(about("*", Permission.ALLOW), about(text, Permission.DENY))
    question = (Operation.READ, ResourceType.TOPIC, "t")
    assert not authorizer.allows(user("alice"), "::1", *question)
    assert authorizer.allows(user("alice"), "::2", *question)


def test_what_is_asked_about_endless_names_is_not_remembered() -> None:
    authorizer = authorizer_of(about("*", Permission.ALLOW))
    for length in (MAX_REMEMBERED_NAME, MAX_REMEMBERED_NAME + 1, 30_000):
        assert not authorizer.allows(user("alice"), "::1", Operation.READ, ResourceType.TOPIC, "n" * length)
    assert len(authorizer._remembered) == 1
