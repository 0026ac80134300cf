"""The guard in front of the handlers: every API has one, nothing gets past it, and it hides what it refuses."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
from kio.index import load_request_schema
from structlog.testing import capture_logs
from tests.support.messages import random_message
from tests.support.wire import nested, request
from tests.unit.broker.in_process import opened

from tallystick.broker.access.guard import guarded
from tallystick.broker.access.secured import secured
from tallystick.broker.access.table import ACCESS, OPEN, UNDECLARED
from tallystick.broker.api import Api, RequestContext
from tallystick.broker.limits import MAX_LOG_LINES_PER_REQUEST
from tallystick.broker.node import Node
from tallystick.broker.registry import APIS
from tallystick.broker.security.acl import CLUSTER_NAME, Acl, Operation, PatternType, Permission, ResourceType
from tallystick.broker.security.principal import Principal, user
from tallystick.broker.security.records import AclAdded
from tallystick.broker.security.settings import STANDARD_AUTHORIZER, AuthorizerSettings, SecuritySettings
from tallystick.wire import schema
from tallystick.wire.errors import ErrorCode
from tallystick.wire.frames import read_response, write_response
from tallystick.wire.refusals import refusal

_NO_TIME, _LONG = timedelta(0), timedelta(seconds=30)
ALICE, ADMIN = user("alice"), user("admin")
REFUSALS = {
    ErrorCode.topic_authorization_failed,
    ErrorCode.group_authorization_failed,
    ErrorCode.cluster_authorization_failed,
    ErrorCode.transactional_id_authorization_failed,
    ErrorCode.fetch_session_id_not_found,  # a session that names what may not be read
}
FILTERED = {"list_groups", "list_transactions"}
"""Everybody may ask; the answer has what may be known."""


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    authorizer = AuthorizerSettings(authorizer_class_name=STANDARD_AUTHORIZER, super_users="User:admin")
    with opened(tmp_path / "data", security=SecuritySettings(authorizer=authorizer)) as running:
        for name in ("known", "secret"):
            running.partitions.create(name, partition_count=1)
        yield running


def allow(
    node: Node,
    operation: Operation,
    kind: ResourceType,
    name: str = CLUSTER_NAME,
    *,
    permission: Permission = Permission.ALLOW,
) -> None:
    node.security.store.commit(
        [AclAdded(*Acl(kind, name, PatternType.LITERAL, "User:alice", "*", operation, permission))]
    )


def ask(node: Node, api: str, version: int, *, who: Principal = ALICE, **fields: Any) -> Any:
    return ask_with(node, request(api, version, **fields), who=who)


def ask_with(node: Node, message: Any, *, who: Principal = ALICE) -> Any:
    (api,) = (api for api in node.apis if api.key == message.__api_key__)
    response = asyncio.run(_handled(api, context(node, message.__version__, who), message))
    _, decoded = read_response(write_response(1, response)[4:], message.__api_key__, message.__version__)
    return decoded


async def _handled(api: Api, of: RequestContext, message: Any) -> Any:
    return await api.handle(of, message)


def context(node: Node, version: int, who: Principal = ALICE) -> RequestContext:
    return RequestContext(
        node=node, api_version=version, client_id=None, client_host="10.0.0.1", connection_id=1, principal=who
    )


def test_every_api_says_what_it_needs() -> None:
    assert {api.name for api in APIS} - ACCESS.keys() == set()


def test_only_these_apis_are_open_to_everybody() -> None:
    assert {name for name, access in ACCESS.items() if access is OPEN} == {
        *("api_versions", "sasl_handshake", "sasl_authenticate", "describe_cluster"),
        *("create_delegation_token", "renew_delegation_token", "expire_delegation_token", "describe_delegation_token"),
        *("get_telemetry_subscriptions", "push_telemetry"),
    }
    assert {name for name, access in ACCESS.items() if not access.checks and access is not OPEN} == FILTERED


def test_an_api_without_an_entry_is_for_who_may_alter_the_cluster(node: Node) -> None:
    called = []

    async def handle(_: RequestContext, message: Any) -> Any:
        called.append(message)
        return refusal(message, ErrorCode.none)

    assert node.security.authorizer is not None
    fresh = Api(key=22, name="fresh", min_version=0, max_version=5, handle=handle)
    api = guarded(fresh, ACCESS.get("fresh", UNDECLARED), node.security.authorizer)
    message = request("init_producer_id", 5, transactional_id=None, transaction_timeout=_NO_TIME)
    refused = asyncio.run(_handled(api, context(node, 5), message))
    assert refused.error_code is ErrorCode.cluster_authorization_failed
    assert not called
    allow(node, Operation.ALTER, ResourceType.CLUSTER)
    assert asyncio.run(_handled(api, context(node, 5), message)).error_code is ErrorCode.none
    assert called


def test_without_an_authorizer_nothing_stands_in_a_request_s_way() -> None:
    plain = {api.name: api.handle for api in secured(APIS, None)}
    changed = {api.name for api in APIS if plain[api.name] is not api.handle}
    assert changed <= {
        *("metadata", "describe_cluster", "describe_groups", "consumer_group_describe", "describe_topic_partitions")
    }, "only what tells of the operations that are allowed"


@pytest.mark.parametrize("api", [api for api in APIS if ACCESS[api.name] is not OPEN], ids=lambda api: api.name)
def test_who_has_no_rights_reaches_no_handler_with_anything(node: Node, api: Api) -> None:
    """Whatever is asked, in every version: no row gets to the handler, and every row is answered with a refusal."""
    assert node.security.authorizer is not None
    seen: list[Any] = []

    async def handle(of: RequestContext, message: Any) -> Any:
        seen.append(message)
        return refusal(message, ErrorCode.none)

    guarded_api = guarded(dataclasses.replace(api, handle=handle), ACCESS[api.name], node.security.authorizer)
    random = Random(api.name)
    for version in range(api.min_version, api.max_version + 1):
        for _ in range(20):
            message = with_known_ids(random_message(load_request_schema(api.key, version), random), node)
            seen.clear()
            response = asyncio.run(_handled(guarded_api, context(node, version), message))
            codes = set(error_codes(response))
            assert codes <= REFUSALS | {ErrorCode.none, ErrorCode.operation_not_attempted}
            for reached in seen:
                names = [row for row in rows_of(reached) if is_resource(row)]
                assert not names or api.name in FILTERED, (version, message, reached)


def with_known_ids(message: Any, node: Node) -> Any:
    """The message with ids that topics have: an unknown id is nobody's secret, and reaches the handler."""
    known = node.partitions.topic_id("secret")
    if isinstance(message, tuple):
        return tuple(with_known_ids(part, node) for part in message)
    if not dataclasses.is_dataclass(message) or isinstance(message, type):
        return message
    changes = {
        item.name: known if item.name == "topic_id" else with_known_ids(getattr(message, item.name), node)
        for item in dataclasses.fields(message)
    }
    if changes.get("topic_id") and "name" in changes:
        changes["name"] = None
    return dataclasses.replace(message, **changes)


def rows_of(message: Any) -> Iterator[Any]:
    for item in dataclasses.fields(message):
        if item.name in ("forgotten_topics_data", "configs", "replica_state"):
            continue
        value = getattr(message, item.name)
        if isinstance(value, tuple):
            yield from value


def is_resource(row: Any) -> bool:
    """Whether the row names something: kinds of settings that do not exist are for the handler to refuse."""
    kind = getattr(row, "resource_type", None)
    return kind is None or kind in (2, 4, 8, 16, 32)


def error_codes(value: Any) -> Iterator[ErrorCode]:
    for item in dataclasses.fields(value):
        held = getattr(value, item.name)
        if isinstance(held, ErrorCode):
            yield held
        for part in held if isinstance(held, tuple) else (held,):
            if dataclasses.is_dataclass(part):
                yield from error_codes(part)


def metadata(node: Node, version: int, *names: str, who: Principal = ALICE, create: bool = False) -> dict[str, Any]:
    topics = tuple(nested("metadata", version, "MetadataRequestTopic", name=name, topic_id=None) for name in names)
    answer = ask(
        node,
        "metadata",
        version,
        who=who,
        topics=topics or (() if version == 0 else None),
        allow_auto_topic_creation=create,
        include_topic_authorized_operations=True,
        include_cluster_authorized_operations=True,
    )
    return {row.name: row for row in answer.topics}


@pytest.mark.parametrize("version", range(14))
def test_a_topic_that_may_not_be_known_looks_like_one_that_is_not_there(node: Node, version: int) -> None:
    assert metadata(node, version) == {}
    told = metadata(node, version, "secret", "nowhere")
    assert {row.error_code for row in told.values()} == {ErrorCode.topic_authorization_failed}
    assert {row.partitions for row in told.values()} == {()}
    allow(node, Operation.DESCRIBE, ResourceType.TOPIC, "known")
    assert list(metadata(node, version)) == ["known"]
    told = metadata(node, version, "known", "secret")
    assert told["known"].error_code is ErrorCode.none
    assert told["secret"].error_code is ErrorCode.topic_authorization_failed
    assert set(metadata(node, version, who=ADMIN)) == {"known", "secret"}


def test_asking_for_a_topic_makes_it_only_for_who_may_make_it(node: Node) -> None:
    for operation in (Operation.DESCRIBE, Operation.WRITE):
        allow(node, operation, ResourceType.TOPIC, "fresh")
    assert metadata(node, 9, "fresh", create=True)["fresh"].error_code is ErrorCode.topic_authorization_failed
    assert not node.partitions.exists("fresh", 0)
    allow(node, Operation.CREATE, ResourceType.TOPIC, "fresh")
    assert metadata(node, 9, "fresh", create=True)["fresh"].error_code is ErrorCode.none
    assert node.partitions.exists("fresh", 0)


def test_a_client_is_told_what_it_may_do(node: Node) -> None:
    allow(node, Operation.WRITE, ResourceType.TOPIC, "known")
    allow(node, Operation.DESCRIBE, ResourceType.TOPIC, "known")
    row = metadata(node, 10, "known")["known"]
    assert row.topic_authorized_operations == 1 << Operation.WRITE | 1 << Operation.DESCRIBE
    fields: dict[str, Any] = {"include_cluster_authorized_operations": True, "include_fenced_brokers": False}
    assert ask(node, "describe_cluster", 1, **fields).cluster_authorized_operations == 0
    assert (
        ask(node, "describe_cluster", 1, who=ADMIN, **fields).cluster_authorized_operations
        == 0b1111_1010_0000 | 1 << 12
    )


def fetch(node: Node, version: int, **fields: Any) -> Any:
    by_id = version >= 13
    topics = tuple(
        nested(
            "fetch",
            version,
            "FetchTopic",
            **({"topic_id": node.partitions.topic_id(name)} if by_id else {"topic": name}),
            partitions=(
                nested("fetch", version, "FetchPartition", partition=0, fetch_offset=0, partition_max_bytes=1000),
            ),
        )
        for name in ("known", "secret")
    )
    values: dict[str, Any] = {
        "max_wait": _LONG,
        "min_bytes": 1,
        "topics": topics,
        "forgotten_topics_data": (),
        "rack_id": "",
    }
    return ask(node, "fetch", version, **(values | fields))


@pytest.mark.parametrize("version", [4, 7, 12, 13, 18])
def test_a_topic_that_may_not_be_read_is_told_of_at_once_and_never_in_a_session(node: Node, version: int) -> None:
    allow(node, Operation.READ, ResourceType.TOPIC, "known")
    answer = fetch(node, version, session_epoch=0)
    assert [[part.error_code for part in row.partitions] for row in answer.responses] == [
        [ErrorCode.none],
        [ErrorCode.topic_authorization_failed],
    ]
    assert getattr(answer, "session_id", 0) == 0
    if version >= 7:
        answer = fetch(node, version, session_id=1, session_epoch=3)
        assert answer.error_code is ErrorCode.fetch_session_id_not_found


def test_records_of_a_topic_that_may_not_be_read_any_more_are_taken_out_of_the_answer(node: Node) -> None:
    """A session goes on with what it was told before the right was taken away."""
    assert node.security.authorizer is not None
    build = schema.response("fetch", 12)
    row = build.PartitionData(
        partition_index=0, error_code=ErrorCode.none, high_watermark=7, aborted_transactions=None, records=b"secret"
    )

    async def handle(_: RequestContext, __: Any) -> Any:
        return build.FetchResponse(
            throttle_time=_NO_TIME,
            error_code=ErrorCode.none,
            session_id=5,
            responses=(build.FetchableTopicResponse(topic="secret", partitions=(row,)),),
        )

    api = guarded(
        Api(key=1, name="fetch", min_version=4, max_version=18, handle=handle),
        ACCESS["fetch"],
        node.security.authorizer,
    )
    nothing_new = request(
        "fetch", 12, max_wait=_NO_TIME, min_bytes=0, session_id=5, session_epoch=9, topics=(), forgotten_topics_data=()
    )
    response = asyncio.run(_handled(api, context(node, 12), nothing_new))
    (topic,) = response.responses
    (told,) = topic.partitions
    assert (topic.topic, told.error_code, told.records) == ("secret", ErrorCode.topic_authorization_failed, b"")


def test_partitions_join_a_transaction_all_or_none(node: Node) -> None:
    allow(node, Operation.WRITE, ResourceType.TRANSACTIONAL_ID, "t")
    allow(node, Operation.WRITE, ResourceType.TOPIC, "known")
    topics = tuple(
        nested("add_partitions_to_txn", 3, "AddPartitionsToTxnTopic", name=name, partitions=(0,))
        for name in ("known", "secret")
    )
    answer = ask(
        node,
        "add_partitions_to_txn",
        3,
        v3_and_below_transactional_id="t",
        v3_and_below_producer_id=1,
        v3_and_below_producer_epoch=0,
        v3_and_below_topics=topics,
    )
    told = {row.name: row.results_by_partition[0].partition_error_code for row in answer.results_by_topic_v3_and_below}
    assert told == {"known": ErrorCode.operation_not_attempted, "secret": ErrorCode.topic_authorization_failed}


@pytest.mark.parametrize("right", ["idempotent", "any topic", "prefix"])
def test_a_producer_without_transactions_needs_the_right_to_write_something(node: Node, right: str) -> None:
    def code() -> ErrorCode:
        answer = ask(node, "init_producer_id", 4, transactional_id=None, transaction_timeout=_NO_TIME)
        assert isinstance(answer.error_code, ErrorCode)
        return answer.error_code

    assert code() is ErrorCode.cluster_authorization_failed
    if right == "idempotent":
        allow(node, Operation.IDEMPOTENT_WRITE, ResourceType.CLUSTER)
    else:
        pattern = PatternType.PREFIXED if right == "prefix" else PatternType.LITERAL
        entry = Acl(ResourceType.TOPIC, "any", pattern, "User:*", "*", Operation.WRITE, Permission.ALLOW)
        node.security.store.commit([AclAdded(*entry)])
    assert code() is ErrorCode.none


def test_rights_survive_a_restart_and_are_seen_at_once(tmp_path: Path) -> None:
    settings = SecuritySettings(
        authorizer=AuthorizerSettings(authorizer_class_name=STANDARD_AUTHORIZER, super_users="User:admin")
    )
    creation = nested(
        "create_acls",
        3,
        "AclCreation",
        resource_type=2,
        resource_name="kn",
        resource_pattern_type=4,
        principal="User:alice",
        host="*",
        operation=3,
        permission_type=3,
    )
    with opened(tmp_path, security=settings) as node:
        node.partitions.create("known")
        assert metadata(node, 9, "known")["known"].error_code is ErrorCode.topic_authorization_failed
        refused = ask(node, "create_acls", 3, creations=(creation,))
        assert [row.error_code for row in refused.results] == [ErrorCode.cluster_authorization_failed]
        made = ask(node, "create_acls", 3, who=ADMIN, creations=(creation, creation))
        assert [row.error_code for row in made.results] == [ErrorCode.none] * 2
        assert metadata(node, 9, "known")["known"].error_code is ErrorCode.none
    with opened(tmp_path, security=settings) as node:
        assert metadata(node, 9, "known")["known"].error_code is ErrorCode.none
        wanted = {
            "resource_type_filter": 2,
            "resource_name_filter": "known",
            "pattern_type_filter": 2,
            "principal_filter": None,
            "host_filter": None,
            "operation": 1,
            "permission_type": 1,
        }
        (resource,) = ask(node, "describe_acls", 3, who=ADMIN, **wanted).resources
        assert (resource.resource_name, len(resource.acls)) == ("kn", 1)
        gone = ask(node, "delete_acls", 3, who=ADMIN, filters=(nested("delete_acls", 3, "DeleteAclsFilter", **wanted),))
        assert len(gone.filter_results[0].matching_acls) == 1
        assert metadata(node, 9, "known")["known"].error_code is ErrorCode.topic_authorization_failed


def test_without_an_authorizer_the_lists_are_not_looked_at_and_say_so(tmp_path: Path) -> None:
    with opened(tmp_path) as node:
        wanted: dict[str, Any] = dict.fromkeys(("resource_name_filter", "principal_filter", "host_filter"))
        wanted |= dict.fromkeys(("resource_type_filter", "pattern_type_filter", "operation", "permission_type"), 1)
        assert ask(node, "describe_acls", 3, **wanted).error_code is ErrorCode.security_disabled


def test_a_request_of_very_many_refused_rows_fills_a_few_lines_of_the_log(node: Node) -> None:
    names = tuple(nested("metadata", 9, "MetadataRequestTopic", name=f"t-{number}") for number in range(500))
    with capture_logs() as logs:
        answer = ask(
            node,
            "metadata",
            9,
            topics=names,
            allow_auto_topic_creation=False,
            include_cluster_authorized_operations=False,
            include_topic_authorized_operations=False,
        )
    assert {row.error_code for row in answer.topics} == {ErrorCode.topic_authorization_failed}
    assert len([line for line in logs if line["event"] == "denied"]) == MAX_LOG_LINES_PER_REQUEST
