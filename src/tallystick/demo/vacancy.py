"""Refuses servers on which billing has run already: a demonstration bills the whole file, once.

Owns: that look. Must not know: how to clean up, which is for whoever owns the servers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tallystick.demo.billing_progress import BillingProgress
from tallystick.errors import ConfigurationError, RetriableError

TIMEOUT_S: Final = 15.0


def must_be_vacant(
    bootstrap: str, topics: Sequence[str], progress: BillingProgress, *, timeout_s: float = TIMEOUT_S
) -> None:
    """``ConfigurationError`` if a topic or a rated item is there; ``RetriableError`` if Kafka does not answer."""
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    try:
        present = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0}).list_topics(timeout=timeout_s).topics
    except KafkaException as error:
        raise RetriableError(f"no Kafka answers at {bootstrap} within {timeout_s:g} s: {error}") from error
    found = sorted(present.keys() & set(topics))
    if found:
        raise ConfigurationError(
            f"the Kafka at {bootstrap} has topics of an earlier run: {', '.join(found)}",
            remedy="Delete them with the groups billing.*, or use another cluster",
        )
    if progress.rated_items():
        raise ConfigurationError(
            "the database holds rated items of an earlier run", remedy="Use another database, or another schema of it"
        )
