"""What the node's settings do to requests."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from tests.support.wire import nested
from tests.unit.broker.in_process import ask, opened

from tallystick.broker.node_settings import NodeSettings
from tallystick.wire.errors import ErrorCode


def test_the_node_tells_its_number_and_its_rack(tmp_path: Path) -> None:
    with opened(tmp_path, settings=NodeSettings(node_id=7, broker_rack="shelf")) as node:
        (told,) = ask(node, "metadata", 12, topics=(), include_topic_authorized_operations=False).brokers
        (described,) = ask(node, "describe_cluster", 1, include_cluster_authorized_operations=False).brokers
    assert (told.node_id, told.rack) == (7, "shelf")
    assert (described.broker_id, described.rack) == (7, "shelf")


def test_without_auto_creation_a_topic_that_is_asked_for_is_not_made(tmp_path: Path) -> None:
    wanted = (nested("metadata", 12, "MetadataRequestTopic", topic_id=None, name="t"),)
    with opened(tmp_path, settings=NodeSettings(auto_create_topics_enable=False)) as node:
        told = ask(node, "metadata", 12, topics=wanted, include_topic_authorized_operations=False)
        (topic,) = told.topics
        assert node.partitions.by_name("t") is None
    assert topic.error_code is ErrorCode.unknown_topic_or_partition


def test_where_deletion_is_off_a_topic_stays_and_the_client_is_told_in_its_version(tmp_path: Path) -> None:
    with opened(tmp_path, settings=NodeSettings(delete_topic_enable=False)) as node:
        node.partitions.create("t")
        codes = [
            ask(node, "delete_topics", version, topic_names=("t",), timeout=timedelta(0)).responses[0].error_code
            for version in (2, 3)
        ]
        assert node.partitions.by_name("t") is not None
    assert codes == [ErrorCode.invalid_request, ErrorCode.topic_deletion_disabled]
