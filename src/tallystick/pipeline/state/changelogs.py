"""The changelog topics of a step: their names, their settings, and what makes an existing one unfit.

Owns: ``state_topics``. Must not know: what is written into them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from tallystick.errors import ConfigurationError
from tallystick.pipeline.kafka_client import Cluster
from tallystick.pipeline.patience import Patience
from tallystick.pipeline.starts import TopicFacts
from tallystick.pipeline.state.store import AnyStore

_DAY_MS: Final = 86_400_000
_SETTINGS: Final = {
    "cleanup.policy": "compact",
    # How long a tombstone is kept; half of it is how old a local copy may be (``resume``).
    "delete.retention.ms": str(7 * _DAY_MS),
}


@dataclass(frozen=True, slots=True)
class Changelog:
    """Where a store's changes are written: a topic with as many partitions as the step's sources."""

    store: AnyStore
    topic: str
    tombstones_kept_ms: int = 7 * _DAY_MS


def changelog_topic(group: str, store: str) -> str:
    """``group`` is the step's, ``{application}.{step}``. Frozen: a renamed store is a new one, and empty."""
    return f"{group}.{store}.changelog"


def co_partitioned(step: str, sources: Mapping[str, TopicFacts]) -> int:
    """The number of partitions that all sources of a step with state have; ``ConfigurationError`` if they differ."""
    counts = {topic: facts.partitions for topic, facts in sources.items()}
    if len(set(counts.values())) != 1:
        raise ConfigurationError(
            f"step {step!r} keeps state, and its sources have different numbers of partitions: {counts}",
            remedy="One key has to be in the same partition of each: copy the smaller topics into new ones",
        )
    return next(iter(counts.values()))


def state_topics(
    group: str, stores: Iterable[AnyStore], partitions: int, cluster: Cluster, patience: Patience
) -> tuple[Changelog, ...]:
    """The changelogs of the stores, created if they are missing; ``ConfigurationError`` if one is unfit."""
    topics = {changelog_topic(group, store.name): store for store in stores}
    found = patience.call("changelogs", lambda: cluster.topics(topics))
    absent = {name: partitions for name in topics if name not in found}
    if absent:
        patience.call("create changelogs", lambda: cluster.create_topics(absent, _SETTINGS))
        found = patience.call("changelogs", lambda: cluster.topics_when_present(topics))
    settings = patience.call("changelogs' settings", lambda: cluster.topic_settings(topics))
    changelogs = []
    for name, store in topics.items():
        _check(name, found[name].partitions, partitions, settings[name])
        changelogs.append(Changelog(store, name, int(settings[name]["delete.retention.ms"])))
    return tuple(changelogs)


def _check(name: str, found: int, partitions: int, settings: Mapping[str, str]) -> None:
    if found != partitions:
        raise ConfigurationError(
            f"changelog {name!r} has {found} partitions, and the sources have {partitions}: which key is in which "
            "partition has changed, and so has the place of its state",
            remedy="Run the application under a new name, or with --group, from the beginning of its sources; or "
            "copy the sources into topics with the former number of partitions",
        )
    policy = settings["cleanup.policy"]
    if policy != "compact":
        raise ConfigurationError(
            f"changelog {name!r} has cleanup.policy={policy}: state that nobody changed would be deleted",
            remedy=f"Set it: kafka-configs --alter --entity-type topics "
            f"--entity-name {name} --add-config cleanup.policy=compact",
        )
