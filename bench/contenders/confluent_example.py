"""The loop of confluent-kafka-python's ``examples/eos_transactions.py``, with a partition for each process.

As there: ``assign()`` to one partition, a transactional producer, a transaction for each 100 records, the consumer's
position sent with them, and no handling of errors: the process ends, and is started again. Otherwise than there: it
copies instead of encoding, commits what it has at the end of the input instead of ending, and each process has a
transactional id of its own, because there are several.
"""

from __future__ import annotations

from bench.contenders.place import BATCH_RECORDS, place
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition


def main() -> None:
    here = place()
    consumer = Consumer(
        {
            "bootstrap.servers": here.bootstrap,
            "group.id": here.group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
        }
    )
    consumer.assign([TopicPartition(here.source, here.number)])
    producer = Producer({"bootstrap.servers": here.bootstrap, "transactional.id": f"eos-{here.group}-{here.number}"})
    producer.init_transactions()
    producer.begin_transaction()
    count = 0
    while True:
        producer.poll(0)
        message = consumer.poll(timeout=1.0)
        if message is None:
            continue
        error = message.error()
        if error is None:
            producer.produce(here.sink, message.value(), message.key())
            count += 1
        elif error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001 - the client's public name for it
            continue  # as the example does with every error
        if count and (error is not None or count % BATCH_RECORDS == 0):
            producer.send_offsets_to_transaction(
                consumer.position(consumer.assignment()), consumer.consumer_group_metadata()
            )
            producer.commit_transaction()
            producer.begin_transaction()
            count = 0


if __name__ == "__main__":
    try:
        main()
    except KafkaException as failure:
        raise SystemExit(str(failure)) from failure
