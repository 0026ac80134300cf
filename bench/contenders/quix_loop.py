"""Quix Streams with ``processing_guarantee="exactly-once"``, as its documentation has it.

Where speed is measured, its checkpoints are large, its producer batches as the others do, and values are its own JSON,
which is orjson's.
"""

from __future__ import annotations

import tempfile
from typing import Any

from bench.contenders.place import LARGE_BATCHES, SESSION_TIMEOUT_MS, STEADY_FETCHES, Place, place
from quixstreams import Application, State  # type: ignore[import-not-found]


def main() -> None:
    here = place()
    with tempfile.TemporaryDirectory() as folder:
        application = Application(
            broker_address=here.bootstrap,
            consumer_group=here.group,
            processing_guarantee="exactly-once",
            auto_offset_reset="earliest",
            commit_every=here.batch_records,
            commit_interval=5.0 if here.is_large else 0.2,
            consumer_extra_config={"session.timeout.ms": SESSION_TIMEOUT_MS}
            | (STEADY_FETCHES if here.is_large else {}),
            producer_extra_config=LARGE_BATCHES if here.is_large else {},
            auto_create_topics=here.work == "count",  # its changelog
            state_dir=folder,
            loglevel="WARNING",
        )
        WORKS[here.work](application, here)
        application.run()


def copy(application: Any, here: Place) -> None:
    source = application.topic(here.source, key_deserializer="bytes", value_deserializer="bytes")
    sink = application.topic(here.sink, key_serializer="bytes", value_serializer="bytes")
    application.dataframe(source).to_topic(sink)


def rate(application: Any, here: Place) -> None:
    source = application.topic(here.source, key_deserializer="bytes", value_deserializer="json")
    sink = application.topic(here.sink, key_serializer="bytes", value_serializer="json")
    application.dataframe(source).update(_add_fee).to_topic(sink)


def count(application: Any, here: Place) -> None:
    source = application.topic(here.source, key_deserializer="bytes", value_deserializer="bytes")
    application.dataframe(source).update(_count, stateful=True)


def _add_fee(event: dict[str, Any]) -> None:
    event["fee_minor"] = event["amount_minor"] // 100


def _count(_value: bytes, state: State) -> None:
    state.set("count", state.get("count", 0) + 1)


WORKS = {"copy": copy, "rate": rate, "count": count}


if __name__ == "__main__":
    main()
