"""The loop as an engineer writes it with confluent-kafka: a group, batches, aborts, and positions taken back.

It does what the client's documents ask for: ``subscribe()``, the group's metadata with the offsets, an abort where the
error says that one is due, and then back to the committed offsets; everything else ends the process.
"""

from __future__ import annotations

from bench.contenders.place import BATCH_RECORDS, SESSION_TIMEOUT_MS, place
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition


def main() -> None:
    here = place()
    consumer = Consumer(
        {
            "bootstrap.servers": here.bootstrap,
            "group.id": here.group,
            "session.timeout.ms": SESSION_TIMEOUT_MS,
            "partition.assignment.strategy": "range",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
        }
    )
    producer = Producer({"bootstrap.servers": here.bootstrap, "transactional.id": f"{here.group}-{here.slot}"})
    producer.init_transactions()
    consumer.subscribe([here.source])
    while True:
        messages = [message for message in consumer.consume(BATCH_RECORDS, 0.2) if message.error() is None]
        if not messages:
            continue
        producer.begin_transaction()
        try:
            for message in messages:
                producer.produce(here.sink, message.value(), message.key())
            offsets: dict[int, int] = {message.partition(): message.offset() + 1 for message in messages}
            producer.send_offsets_to_transaction(
                [TopicPartition(here.source, number, offset) for number, offset in offsets.items()],
                consumer.consumer_group_metadata(),
            )
            producer.commit_transaction()
        except KafkaException as failure:
            if not failure.args[0].txn_requires_abort():
                raise
            producer.abort_transaction()
            for partition in consumer.committed(consumer.assignment(), timeout=30):
                consumer.seek(partition)


if __name__ == "__main__":
    try:
        main()
    except KafkaException as failure:
        raise SystemExit(str(failure)) from failure
