"""librdkafka behind typed values: the only package of the pipeline that imports ``confluent_kafka``.

Owns: ``GroupConsumer``, ``Producer``, ``Cluster``, ``Follower`` and ``read_to_end``, and the translation of each
failure into one of the error classes. Must not know: the cycle, user code, policies.

Thread rule: a producer is used by one thread only, and so is a consumer. librdkafka's own threads do the network; its
call-backs run inside ``poll`` and ``consume`` of the thread that calls them, so nothing here needs a lock. A
``Cluster`` may be shared.
"""

from __future__ import annotations

from tallystick.pipeline.kafka_client.acknowledged import (
    AcknowledgedProducer,
    EventRefused,
    Published,
    PublisherFull,
)
from tallystick.pipeline.kafka_client.cluster import Cluster
from tallystick.pipeline.kafka_client.consumer import GroupConsumer, RebalanceListener
from tallystick.pipeline.kafka_client.failures import MemberFenced, OutputRefused, failure_of, translate
from tallystick.pipeline.kafka_client.follower import Followed, Follower, Look
from tallystick.pipeline.kafka_client.membership import GroupMetadata, Membership
from tallystick.pipeline.kafka_client.partitions import Partition
from tallystick.pipeline.kafka_client.producer import Producer
from tallystick.pipeline.kafka_client.ranges import read_ranges
from tallystick.pipeline.kafka_client.reader import read_range, read_to_end, record_of
from tallystick.pipeline.kafka_client.unjoined import UnjoinedGroup

__all__ = [
    "AcknowledgedProducer",
    "Cluster",
    "EventRefused",
    "Followed",
    "Follower",
    "GroupConsumer",
    "GroupMetadata",
    "Look",
    "MemberFenced",
    "Membership",
    "OutputRefused",
    "Partition",
    "Producer",
    "Published",
    "PublisherFull",
    "RebalanceListener",
    "UnjoinedGroup",
    "failure_of",
    "read_range",
    "read_ranges",
    "read_to_end",
    "record_of",
    "translate",
]
