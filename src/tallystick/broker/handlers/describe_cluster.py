"""DescribeCluster (60): the one broker."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from tallystick.broker.api import Api, RequestContext
from tallystick.wire import schema
from tallystick.wire.errors import ErrorCode

_BROKERS = 1


async def handle(context: RequestContext, request: Any) -> Any:
    node = context.node
    host, port = context.address
    build = schema.response("describe_cluster", context.api_version)
    if getattr(request, "endpoint_type", _BROKERS) != _BROKERS:
        return build.DescribeClusterResponse(
            throttle_time=timedelta(0),
            error_code=ErrorCode.unsupported_endpoint_type,
            error_message="this is a broker's endpoint",
            cluster_id=node.cluster_id,
            controller_id=-1,
            brokers=(),
        )
    return build.DescribeClusterResponse(
        throttle_time=timedelta(0),
        error_code=ErrorCode.none,
        error_message=None,
        cluster_id=node.cluster_id,
        controller_id=node.node_id,
        brokers=(
            build.DescribeClusterBroker(
                broker_id=node.node_id, host=host, port=port, rack=node.settings.broker_rack, is_fenced=False
            ),
        ),
    )


API = Api(key=60, name="describe_cluster", min_version=0, max_version=2, handle=handle)
