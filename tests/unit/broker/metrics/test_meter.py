"""What is counted of a request, in plain numbers."""

from __future__ import annotations

from datetime import timedelta
from random import Random

import pytest
from kio.index import load_request_schema
from tests.support.messages import random_message
from tests.support.wire import request

from tallystick.broker.api import Api
from tallystick.broker.metrics.log_counts import LogCounts
from tallystick.broker.metrics.meter import Meter, first_error
from tallystick.broker.registry import APIS
from tallystick.wire import schema
from tallystick.wire.errors import ErrorCode
from tallystick.wire.refusals import refusal


def test_requests_are_counted_by_api_and_by_their_first_error() -> None:
    meter = Meter()
    build = schema.response("heartbeat", 4)
    for code in (ErrorCode.none, ErrorCode.unknown_member_id, ErrorCode.unknown_member_id):
        response = build.HeartbeatResponse(throttle_time=timedelta(0), error_code=code)
        meter.answered("heartbeat", response, took_s=0.1, request_bytes=10, response_bytes=20)
    meter.answered("produce", None, took_s=0.1, request_bytes=10, response_bytes=0)
    counts = meter.by_api["heartbeat"]
    assert (counts.requests, counts.request_bytes, counts.response_bytes) == (3, 30, 60)
    assert dict(counts.errors) == {ErrorCode.unknown_member_id: 2}
    assert meter.by_api["produce"].requests == 1


def test_an_error_in_a_row_is_found_however_deep_it_stands() -> None:
    build = schema.response("produce", 9)
    rows = tuple(
        build.PartitionProduceResponse(index=index, error_code=code, base_offset=-1, record_errors=())
        for index, code in enumerate((ErrorCode.none, ErrorCode.not_leader_or_follower))
    )
    topic = build.TopicProduceResponse(name="t", partition_responses=rows)
    response = build.ProduceResponse(responses=(topic,), throttle_time=timedelta(0))
    assert first_error(response) is ErrorCode.not_leader_or_follower
    assert first_error(build.ProduceResponse(responses=(), throttle_time=timedelta(0))) is ErrorCode.none


@pytest.mark.parametrize("api", APIS, ids=lambda api: api.name)
def test_the_errors_of_every_api_are_found(api: Api) -> None:
    random = Random(api.name)
    refused = ErrorCode.cluster_authorization_failed
    messages = (random_message(load_request_schema(api.key, api.max_version), random) for _ in range(30))
    found = {first_error(refusal(message, refused)) for message in messages}
    assert refused in found or api.name == "alter_replica_log_dirs"  # which names rows that the request has not


def test_events_of_the_log_are_counted_by_level() -> None:
    counts = LogCounts()
    event = {"event": "x"}
    for method in ("info", "warning", "error", "exception"):
        assert counts(None, method, event) is event
    assert dict(counts.by_level) == {"info": 1, "warning": 1, "error": 2, "critical": 0}


def test_a_request_that_is_not_known_to_have_errors_has_none() -> None:
    message = request("api_versions", 3, client_software_name="x", client_software_version="1")
    assert first_error(refusal(message, ErrorCode.none)) is ErrorCode.none
