"""Transactions that nobody will end, by what partitions and coordinators say (KIP-664).

Owns: the question. Must not know: what a trial does with the answer.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Final

from tallystick.errors import TallystickError
from tallystick.operate import ClientSettings, Cluster
from tallystick.operate.transactions import open_transactions
from tallystick.verify.trial.site import Site

OFFSETS_TOPIC: Final = "__consumer_offsets"
"""Where Apache Kafka keeps offsets, those of open transactions too; the embedded broker has no such topic."""


def hanging_transactions(site: Site, topics: Iterable[str]) -> list[str]:
    """In words. A cluster that does not answer the question (before Kafka 3.0, or by its rights) is not accused."""
    wanted = set(topics)
    try:
        with Cluster(ClientSettings.from_properties(site.bootstrap, site.client)) as cluster:
            there = cluster.topics()
            places = [place for name in sorted(wanted & set(there)) for place in there[name].partitions]
            found = open_transactions(cluster, places, now_ms=time.time_ns() // 1_000_000)
    except TallystickError:
        return []
    return [
        f"{row.producer.place}@{row.producer.open_from}: producer {row.producer.producer_id}, epoch "
        f"{row.producer.producer_epoch}, wrote last {row.age_ms / 1000:.0f} s ago, and its coordinator "
        + ("knows nothing of it" if row.transaction is None else f"says {row.transaction.state}")
        for row in found
        if row.is_hanging
    ]
