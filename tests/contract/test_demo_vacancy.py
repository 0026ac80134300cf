"""The demonstration refuses servers that hold an earlier run, before it writes anything."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import text
from tests.support.brokers import Cluster, Names
from tests.support.clients import make_topic

from tallystick.billing.app import prepare_database
from tallystick.boundary.database import open_database
from tallystick.demo.billing_progress import BillingProgress
from tallystick.demo.vacancy import must_be_vacant
from tallystick.errors import ConfigurationError, RetriableError


def test_a_kafka_with_one_of_the_topics_is_refused_by_its_name(kafka: Cluster, names: Names, database_url: str) -> None:
    prepare_database(database_url)
    engine = open_database(database_url)
    topic = names("usage")
    must_be_vacant(kafka.bootstrap, [topic], BillingProgress(engine))
    make_topic(kafka.bootstrap, topic)
    with pytest.raises(ConfigurationError, match=topic):
        must_be_vacant(kafka.bootstrap, [topic], BillingProgress(engine))
    engine.dispose()


def test_a_database_with_rated_items_is_refused(names: Names, database_url: str, kafka: Cluster) -> None:
    prepare_database(database_url)
    engine = open_database(database_url)
    with engine.begin() as connection:
        connection.execute(text(ONE_RATED_ITEM))
    with pytest.raises(ConfigurationError, match="rated items of an earlier run"):
        must_be_vacant(kafka.bootstrap, [names("usage")], BillingProgress(engine))
    engine.dispose()


def test_a_kafka_that_does_not_answer_is_said(tmp_path: Path) -> None:
    engine = open_database(f"sqlite:///{tmp_path / 'own.sqlite'}")
    with pytest.raises(RetriableError, match=r"no Kafka answers at 127\.0\.0\.1:1 within 0\.5 s"):
        must_be_vacant("127.0.0.1:1", ["usage"], BillingProgress(engine), timeout_s=0.5)
    engine.dispose()


ONE_RATED_ITEM = """
INSERT INTO rated_item (id, usage_event_id, tenant, source, line_number, account, charge_id, occurred_on, period,
                        quantity, amount_minor, currency)
VALUES ('i', 'e', 'cdnow', 'f', 1, 'cdnow:1', 'purchase', '1997-01-01', '1997-01', 1, 100, 'USD')
"""
