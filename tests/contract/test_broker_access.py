"""What each API needs, asked of both brokers one right at a time.

For each case alice has the rights that it lists and nothing else; then one more right at a time, of all there are. The
case names those with which she is not refused any more. ``tests/unit/broker/access`` has what needs no second broker.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterator
from datetime import timedelta
from itertools import groupby
from typing import Any, Final

import pytest
from tests.support.access_cases import CASES, DOOMED_TOPIC, GROUP, NAMES, REFUSALS, RIGHTS, TOPIC, Case, Right
from tests.support.clients import eventually, make_topic
from tests.support.secured import Secured, acl, apache_secured, embedded_secured, only_these
from tests.support.wire import WireClient, nested, request

from tallystick.broker.security.acl import Acl, Operation, PatternType, Permission, ResourceType
from tallystick.wire.errors import ErrorCode


@pytest.fixture(scope="module", params=["embedded", pytest.param("apache", marks=pytest.mark.apache)])
def secured(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    opened = embedded_secured(tmp_path_factory.mktemp("secured")) if request.param == "embedded" else apache_secured()
    with opened as broker:
        make_topic(broker.bootstrap, TOPIC)
        yield broker


def error_codes(value: Any) -> Iterator[ErrorCode]:
    for item in dataclasses.fields(value):
        held = getattr(value, item.name)
        if isinstance(held, ErrorCode):
            yield held
        for part in held if isinstance(held, tuple) else (held,):
            if dataclasses.is_dataclass(part):
                yield from error_codes(part)


def entries(*rights: Right) -> list[Acl]:
    return list(dict.fromkeys(acl(kind, name, operation) for kind, operation in rights for name in NAMES[kind]))


def commit_an_offset(admin: WireClient) -> None:
    """So that the group is there to be listed."""
    part = {"partition_index": 0, "committed_offset": 0, "committed_metadata": None}
    row = nested(
        *("offset_commit", 9, "OffsetCommitRequestTopic"),
        name=TOPIC,
        partitions=(nested("offset_commit", 9, "OffsetCommitRequestPartition", **part),),
    )
    commit = request("offset_commit", 9, group_id=GROUP, member_id="", topics=(row,))
    admin.ask("find_coordinator", 4, key_type=0, coordinator_keys=(GROUP,))  # Apache Kafka makes its coordinator now
    eventually(lambda: set(error_codes(admin.ask_with(commit))) == {ErrorCode.none})


def make_the_doomed_topic(admin: WireClient) -> None:
    row = {"name": DOOMED_TOPIC, "num_partitions": 1, "replication_factor": 1, "assignments": (), "configs": ()}
    topics = (nested("create_topics", 7, "CreatableTopic", **row),)
    admin.ask("create_topics", 7, topics=topics, timeout=timedelta(seconds=20), validate_only=False)


PREPARE: Final = {"list_groups": commit_an_offset, "delete_topics: one that is there": make_the_doomed_topic}


def refused(case: Case, answer: Any) -> bool:
    if case.is_hidden is not None:
        return case.is_hidden(answer)
    found = set(error_codes(answer)) & REFUSALS
    assert found <= {case.code}, (case.name, answer)
    return bool(found)


def test_each_right_alone_lets_in_exactly_where_it_should(secured: Secured) -> None:
    let_in: defaultdict[str, set[Right]] = defaultdict(set)
    refused_without = set()
    with WireClient(secured.bootstrap) as admin, secured.logged_in() as alice:
        for has, group in groupby(sorted(CASES, key=lambda case: case.has), key=lambda case: case.has):
            cases = list(group)
            for right in [None, *RIGHTS]:
                only_these(admin, *entries(*has, *([] if right is None else [right])))
                for case in cases:
                    if case.name in PREPARE:
                        PREPARE[case.name](admin)
                    if refused(case, alice.ask_with(case.message)):
                        if right is None:
                            refused_without.add(case.name)
                    elif right is not None:
                        let_in[case.name].add(right)
    assert refused_without == {case.name for case in CASES}
    assert {case.name: let_in[case.name] for case in CASES} == {case.name: case.enough for case in CASES}


A, B = "a-topic", "a-topic-b"
DENY, ALLOW = Permission.DENY, Permission.ALLOW
PREFIXED, LITERAL = PatternType.PREFIXED, PatternType.LITERAL
"""Entries about topics (name, operation, and what is not usual), the topic, and whether alice may DESCRIBE and READ."""
DECISIONS: Final[list[tuple[list[tuple[str, str, dict[str, Any]]], str, bool, bool]]] = [
    ([], A, False, False),
    ([("*", "READ", {})], A, True, True),
    ([("a-", "READ", {"pattern": PREFIXED})], A, True, True),
    ([("a-", "READ", {})], A, False, False),
    ([("a-topic", "READ", {"pattern": PREFIXED})], B, True, True),
    ([("*", "READ", {"pattern": PREFIXED})], A, False, False),
    ([(A, "ALL", {})], A, True, True),
    ([(A, "DESCRIBE", {})], A, True, False),
    ([(A, "READ", {}), (A, "READ", {"permission": DENY})], A, True, False),
    ([(A, "ALL", {}), ("*", "READ", {"permission": DENY})], A, True, False),
    ([(A, "ALL", {}), ("a", "ALL", {"permission": DENY, "pattern": PREFIXED})], A, False, False),
    ([(A, "READ", {}), (A, "DESCRIBE", {"permission": DENY})], A, False, True),
    ([(A, "READ", {"principal": "User:*"})], A, True, True),
    ([(A, "READ", {"principal": "User:bob"})], A, False, False),
    ([(A, "READ", {"principal": "User:Alice"})], A, False, False),
    ([(A, "READ", {"principal": "Group:alice"})], A, False, False),
    ([(A, "READ", {"host": "127.0.0.1"})], A, True, True),
    ([(A, "READ", {"host": "10.0.0.1"})], A, False, False),
    ([(A, "ALL", {}), (A, "ALL", {"permission": DENY, "host": "10.0.0.1"})], A, True, True),
    ([(A, "ALTER", {})], A, True, False),
    ([(A, "CREATE", {})], A, False, False),
    ([(A, "ALTER_CONFIGS", {})], A, False, False),
    ([(B, "READ", {})], A, False, False),
]


def describe_and_read(alice: WireClient, topic: str) -> tuple[bool, bool]:
    place = {"partition_index": 0}
    answers = [
        alice.ask_with(request(api, version, topics=(_row(api, version, topic, **place, **fields),), **others))
        for api, version, fields, others in (
            ("list_offsets", 9, {"timestamp": -1}, {"replica_id": -1, "isolation_level": 0}),
            (
                "offset_commit",
                9,
                {"committed_offset": 0, "committed_metadata": None},
                {"group_id": GROUP, "member_id": ""},
            ),
        )
    ]
    describes, reads = (not set(error_codes(answer)) & REFUSALS for answer in answers)
    return describes, reads


_DESCRIBE_AND_READ: Final[tuple[tuple[str, int, dict[str, Any], dict[str, Any]], ...]] = (
    ("list_offsets", 9, {"timestamp": -1}, {"replica_id": -1, "isolation_level": 0}),
    ("offset_commit", 9, {"committed_offset": 0, "committed_metadata": None}, {"group_id": GROUP, "member_id": ""}),
)


def _row(api: str, version: int, topic: str, **fields: Any) -> Any:
    outer, inner = {
        "list_offsets": ("ListOffsetsTopic", "ListOffsetsPartition"),
        "offset_commit": ("OffsetCommitRequestTopic", "OffsetCommitRequestPartition"),
    }[api]
    return nested(api, version, outer, name=topic, partitions=(nested(api, version, inner, **fields),))


def test_entries_are_weighed_against_each_other_alike(secured: Secured) -> None:
    reads_group = acl(ResourceType.GROUP, GROUP, Operation.READ)
    with WireClient(secured.bootstrap) as admin, secured.logged_in() as alice:
        for rows, topic, may_describe, may_read in DECISIONS:
            about = [acl(ResourceType.TOPIC, name, Operation[verb], **more) for name, verb, more in rows]
            only_these(admin, reads_group, *about)
            assert describe_and_read(alice, topic) == (may_describe, may_read), (rows, topic)
