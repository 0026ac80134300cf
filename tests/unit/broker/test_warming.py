"""What is prepared for a first client is what librdkafka asks first."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer
from tests.support.clients import WAIT_S, settings

from tallystick.broker import InProcessBroker
from tallystick.broker.faults import injector
from tallystick.broker.registry import APIS
from tallystick.broker.warming import FIRST_REQUESTS, warm
from tallystick.wire import frames


def test_librdkafka_asks_for_what_is_prepared(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, int]] = []
    handle = injector.Injector.handle

    async def noted(self: Any, api: Any, context: Any, request: Any) -> Any:
        seen.append((api.name, context.api_version))
        return await handle(self, api, context, request)

    monkeypatch.setattr(injector.Injector, "handle", noted)
    with InProcessBroker(num_partitions=1) as broker:
        producer = Producer(settings(broker.bootstrap, enable_idempotence=True))
        producer.produce("orders", b"x")
        assert producer.flush(WAIT_S) == 0
        reader = Consumer(settings(broker.bootstrap, group_id="g", auto_offset_reset="earliest"))
        reader.subscribe(["orders"])
        assert reader.poll(WAIT_S) is not None
        reader.close()
    assert set(FIRST_REQUESTS) - set(seen) <= {("list_offsets", 7)}


def test_a_prepared_request_is_read_and_answered_without_a_further_import() -> None:
    asyncio.run(warm(APIS))
    by_name = {api.name: api.key for api in APIS}
    misses = frames._request_reader.cache_info().misses
    for name, version in FIRST_REQUESTS:
        frames._request_reader(by_name[name], version)
    assert frames._request_reader.cache_info().misses == misses
