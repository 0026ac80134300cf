"""The topics that a step needs, there before it starts.

Owns: looking them up, making those that are missing, refusing those that differ from their declaration. Must not
know: what is in them.
"""

from __future__ import annotations

from tallystick.errors import ConfigurationError
from tallystick.pipeline.kafka_client import Cluster
from tallystick.pipeline.patience import Patience
from tallystick.pipeline.plan import LoopPlan
from tallystick.pipeline.starts import TopicFacts


def needed_topics(plan: LoopPlan, cluster: Cluster, patience: Patience) -> dict[str, TopicFacts]:
    """The facts about each topic of the plan; ``ConfigurationError`` if one has another number of partitions."""
    wanted = dict(plan.topics or dict.fromkeys(plan.sources))
    wanted.setdefault(plan.dead_letter_topic, None)
    found = patience.call("topics", lambda: cluster.topics(wanted))
    absent = {name: count for name, count in wanted.items() if name not in found}
    if absent:
        patience.call("create topics", lambda: cluster.create_topics(absent))
        found = patience.call("topics", lambda: cluster.topics_when_present(wanted))
    for name, count in wanted.items():
        if count is not None and found[name].partitions != count:
            raise ConfigurationError(
                f"topic {name!r} has {found[name].partitions} partitions and is declared with {count}",
                remedy="Correct the declaration: which key lands where is part of the data",
            )
    return found
