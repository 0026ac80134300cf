"""Topics: which are told of, made and read.

Owns: the checks of those APIs of topics that need more than one operation on each row. Must not know: topics' content.
"""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import Any, Final

from tallystick.broker.access.guard import Visit, topic_name, topics
from tallystick.broker.security.acl import CLUSTER_NAME, Operation, ResourceType
from tallystick.wire import schema
from tallystick.wire.errors import ErrorCode
from tallystick.wire.refusals import refused_rows

_DESCRIBED: Final = topics(Operation.DESCRIBE)
_READ: Final = topics(Operation.READ, into="responses")
_NEW_SESSION: Final = 0
_NO_SESSION: Final = -1


def metadata_topics(visit: Visit) -> None:
    """Metadata: DESCRIBE on each topic that is named; CREATE where asking for it would make it."""
    if asks_for_all(visit):
        return
    _DESCRIBED(visit)
    if getattr(visit.request, "allow_auto_topic_creation", True):
        _refuse_creation(visit)


def asks_for_all(visit: Visit) -> bool:
    """Whether Metadata asks for every topic: in version 0 an empty list says so."""
    wanted = visit.original.topics
    return wanted is None or (visit.context.api_version == 0 and not wanted)


def _refuse_creation(visit: Visit) -> None:
    if visit.may(Operation.CREATE, ResourceType.CLUSTER, CLUSTER_NAME):
        return
    kept: list[Any] = []
    refused: list[Any] = []
    for row in visit.request.topics:
        makes_it = row.name is not None and visit.context.node.partitions.by_name(row.name) is None
        allowed = not makes_it or visit.must(Operation.CREATE, ResourceType.TOPIC, row.name)
        (kept if allowed else refused).append(row)
    if refused:
        visit.refuse_rows("topics", refused, ErrorCode.topic_authorization_failed)
        visit.change_request(topics=tuple(kept))


def told_topics(visit: Visit) -> None:
    """Metadata: of all topics, those that may be known."""
    if asks_for_all(visit):
        visit.change_response(topics=tuple(row for row in visit.response.topics if _may_describe(visit, row)))
    elif not visit.request.topics:  # every row was refused: in version 0 the handler has told of all topics
        visit.change_response(topics=())


def _may_describe(visit: Visit, row: Any) -> bool:
    return row.name is not None and visit.may(Operation.DESCRIBE, ResourceType.TOPIC, row.name)


def described_topics(visit: Visit) -> None:
    """DescribeTopicPartitions: DESCRIBE on each topic that is named; none named means all that may be known."""
    if not visit.original.topics:
        _name_those_that_may_be_known(visit)
        return
    _DESCRIBED(visit)
    if not visit.request.topics:
        visit.refuse(ErrorCode.topic_authorization_failed)


def _name_those_that_may_be_known(visit: Visit) -> None:
    """Before the handler cuts the page: where a page ends tells the next topic's name."""
    request = schema.request(visit.api.name, visit.context.api_version)
    known = [topic for topic in visit.context.node.partitions.all() if _may_describe(visit, topic)]
    if known:
        visit.change_request(topics=tuple(request.TopicRequest(name=topic.name) for topic in known))
    else:
        response = schema.response(visit.api.name, visit.context.api_version)
        visit.response = response.DescribeTopicPartitionsResponse(throttle_time=timedelta(0), topics=())


def moved_partitions(visit: Visit) -> None:
    """AlterReplicaLogDirs: ALTER on the cluster; the response has an error for each partition, and none for itself."""
    if visit.may(Operation.ALTER, ResourceType.CLUSTER, CLUSTER_NAME):
        return
    visit.must(Operation.ALTER, ResourceType.CLUSTER, CLUSTER_NAME)
    response = schema.response(visit.api.name, visit.context.api_version)
    named: dict[str, dict[int, None]] = {}
    for row in visit.request.dirs:
        for topic in row.topics:
            named.setdefault(topic.name, {}).update(dict.fromkeys(topic.partitions))
    visit.response = response.AlterReplicaLogDirsResponse(
        throttle_time=timedelta(0),
        results=tuple(
            response.AlterReplicaLogDirTopicResult(
                topic_name=name,
                partitions=tuple(
                    response.AlterReplicaLogDirPartitionResult(
                        partition_index=index, error_code=ErrorCode.cluster_authorization_failed
                    )
                    for index in indexes
                ),
            )
            for name, indexes in named.items()
        ),
    )


def created_topics_configs(visit: Visit) -> None:
    """CreateTopics: the settings of a new topic are told to who may DESCRIBE_CONFIGS of it."""
    if visit.context.api_version >= _FIRST_CREATE_TOPICS_WITH_CONFIGS:
        visit.change_response(topics=tuple(_without_configs(visit, row) for row in visit.response.topics))


_FIRST_CREATE_TOPICS_WITH_CONFIGS: Final = 5


def _without_configs(visit: Visit, row: Any) -> Any:
    may = visit.may(Operation.DESCRIBE_CONFIGS, ResourceType.TOPIC, row.name)
    if may or row.error_code is not ErrorCode.none:
        return row
    return dataclasses.replace(
        row,
        topic_config_error_code=int(ErrorCode.topic_authorization_failed),
        configs=(),
        num_partitions=-1,
        replication_factor=-1,
    )


def read_topics(visit: Visit) -> None:
    """Fetch: READ on each topic.

    A refused topic is told of at once, and in every answer: so such a request gets no fetch session, in which it would
    be told of once (KIP-227).
    """
    _READ(visit)
    if not visit.refused:
        return
    if getattr(visit.request, "session_epoch", _NO_SESSION) > _NEW_SESSION:
        visit.refused.clear()
        visit.refuse(ErrorCode.fetch_session_id_not_found)
        return
    visit.change_request(max_wait=timedelta(0))
    if hasattr(visit.request, "session_epoch"):
        visit.change_request(session_id=0, session_epoch=_NO_SESSION)


def told_records(visit: Visit) -> None:
    """Fetch: what a session still holds of a topic that may not be read any more is not told."""
    rows = visit.response.responses
    hidden = [row for row in rows if not _may_read(visit, row)]
    if not hidden:
        return
    kept = tuple(row for row in rows if _may_read(visit, row))
    asked = [_as_asked(row) for row in hidden]
    refused = refused_rows(visit.original, "responses", asked, ErrorCode.topic_authorization_failed)
    visit.change_response(responses=(*kept, *refused))


def _may_read(visit: Visit, row: Any) -> bool:
    name = topic_name(visit, row)
    return name is None or visit.may(Operation.READ, ResourceType.TOPIC, name)


@dataclasses.dataclass(frozen=True, slots=True)
class _Partition:
    partition: int


@dataclasses.dataclass(frozen=True, slots=True)
class _Topic:
    topic: str | None
    topic_id: Any
    partitions: tuple[_Partition, ...]


def _as_asked(row: Any) -> _Topic:
    """A row of the response in the shape of the request's rows."""
    return _Topic(
        getattr(row, "topic", None),
        getattr(row, "topic_id", None),
        tuple(_Partition(part.partition_index) for part in row.partitions),
    )
