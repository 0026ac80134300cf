"""DeleteTopics (20), by name or, from version 6, by id."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

from tallystick.broker.api import Api, RequestContext
from tallystick.broker.topic_partitions import Topic
from tallystick.wire import schema
from tallystick.wire.errors import ApiError, ErrorCode

_FIRST_VERSION_WITH_IDS = 6
_FIRST_VERSION_WITH_ITS_ERROR = 3


async def handle(context: RequestContext, request: Any) -> Any:
    build = schema.response("delete_topics", context.api_version)
    if context.api_version >= _FIRST_VERSION_WITH_IDS:
        wanted = [(row.name, row.topic_id) for row in request.topics]
    else:
        wanted = [(name, None) for name in request.topic_names]
    responses = []
    for name, topic_id in wanted:
        code, message = ErrorCode.none, None
        try:
            _check_enabled(context)
            topic = _find(context, name, topic_id)
            name, topic_id = topic.name, topic.topic_id  # noqa: PLW2901
            context.node.delete_topic(topic)
        except ApiError as error:
            code, message = error.code, error.message
        except OSError as error:
            code, message = ErrorCode.kafka_storage_error, f"the coordinators' journal: {error.strerror}"
        responses.append(
            build.DeletableTopicResult(name=name, topic_id=topic_id, error_code=code, error_message=message)
        )
    return build.DeleteTopicsResponse(throttle_time=timedelta(0), responses=tuple(responses))


def _check_enabled(context: RequestContext) -> None:
    if not context.node.settings.delete_topic_enable:
        knows = context.api_version >= _FIRST_VERSION_WITH_ITS_ERROR
        code = ErrorCode.topic_deletion_disabled if knows else ErrorCode.invalid_request
        raise ApiError(code, "topics cannot be deleted: delete.topic.enable is false")


def _find(context: RequestContext, name: str | None, topic_id: uuid.UUID | None) -> Topic:
    topics = context.node.partitions
    found = topics.by_id(topic_id) if name is None else topics.by_name(name)
    if found is None:
        code = ErrorCode.unknown_topic_id if name is None else ErrorCode.unknown_topic_or_partition
        raise ApiError(code, f"there is no topic {name or topic_id}")
    return found


API = Api(key=20, name="delete_topics", min_version=1, max_version=6, handle=handle)
