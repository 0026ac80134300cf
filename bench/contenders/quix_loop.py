"""Quix Streams with ``processing_guarantee="exactly-once"``, as its documentation has it."""

from __future__ import annotations

from bench.contenders.place import BATCH_RECORDS, SESSION_TIMEOUT_MS, place
from quixstreams import Application  # type: ignore[import-not-found]


def main() -> None:
    here = place()
    application = Application(
        broker_address=here.bootstrap,
        consumer_group=here.group,
        processing_guarantee="exactly-once",
        auto_offset_reset="earliest",
        commit_every=BATCH_RECORDS,
        commit_interval=0.2,
        consumer_extra_config={"session.timeout.ms": SESSION_TIMEOUT_MS},
        auto_create_topics=False,
        loglevel="WARNING",
    )
    source = application.topic(here.source, key_deserializer="bytes", value_deserializer="bytes")
    sink = application.topic(here.sink, key_serializer="bytes", value_serializer="bytes")
    application.dataframe(source).to_topic(sink)
    application.run()


if __name__ == "__main__":
    main()
