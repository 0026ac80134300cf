"""librdkafka's settings under each guarantee: our defaults, the user's on top, contradictions refused.

Owns: which settings a guarantee needs and which it forbids. Must not know: the client itself. Any setting that is
not named here passes through.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from tallystick.errors import ConfigurationError
from tallystick.pipeline.guarantee import Guarantee

Settings = dict[str, Any]

COOPERATIVE: Final = "cooperative-sticky"
"""The assignor under which a member keeps what stays with it; the others take all from all, and give it out anew."""


class GroupProtocol(Enum):
    """How members of a group meet. The value is ``group.protocol``'s."""

    CLASSIC = "classic"
    """A member assigns. Members are static: one that is killed and comes back has its partitions at once."""
    CONSUMER = "consumer"
    """KIP-848: the broker assigns, and its settings say how long a session lasts. Members are dynamic (rule 7)."""


CONSUMER_PROTOCOL: Final = GroupProtocol.CONSUMER.value

SESSION_TIMEOUT_MS: Final = 45_000
MAX_POLL_INTERVAL_MS: Final = 300_000
TRANSACTION_TIMEOUT_MS: Final = 30_000

# librdkafka's "rebootstrap" (KIP-899) drops every broker handle when none can be reached: with the only broker killed
# and back, send_offsets_to_transaction then hung past its timeout in each of three tries (librdkafka 2.16.1).
_RECOVERY: Final[Settings] = {"metadata.recovery.strategy": "none", "reconnect.backoff.max.ms": 1000}

_CONSUMER_DEFAULTS: Final[Settings] = {
    **_RECOVERY,
    "isolation.level": "read_committed",
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "error",
    "group.protocol": "classic",
    "session.timeout.ms": SESSION_TIMEOUT_MS,
    "partition.assignment.strategy": "range",  # co-partitioned sources of a step go to one member
    "fetch.wait.max.ms": 100,
    # librdkafka's 1000 is how long it fetches nothing once 100,000 messages of all partitions wait: a step that takes
    # more than these in a second then stands still for the rest of it.
    "fetch.queue.backoff.ms": 5,
    "log.connection.close": False,
    "statistics.interval.ms": 5000,  # lag is read from them
}

_BROKER_SETS: Final = {
    "session.timeout.ms": "group.consumer.session.timeout.ms at the broker, consumer.session.timeout.ms of the group",
    "heartbeat.interval.ms": "group.consumer.heartbeat.interval.ms at the broker, consumer.heartbeat.interval.ms of "
    "the group",
    "partition.assignment.strategy": "group.remote.assignor here (range or uniform)",
    "group.protocol.type": "nothing: the protocol is the broker's",
}
"""What the consumer protocol takes away from clients, and where it went."""

_PRODUCER_DEFAULTS: Final[Settings] = {
    **_RECOVERY,
    "enable.idempotence": True,
    "acks": "all",
    # Below transaction.timeout.ms: a topic that is not there is told as that, and not as a transaction that timed out.
    "topic.metadata.propagation.max.ms": 5_000,
    "linger.ms": 5,
    # The Java client's: records of one key meet in one partition whoever writes them.
    "partitioner": "murmur2_random",
    "compression.type": "none",
    "delivery.report.only.error": True,
    "log.connection.close": True,  # rule 15: a lost connection must be seen
}


@dataclass(frozen=True, slots=True)
class _Need:
    """A setting that must have one of these values, the rule it protects, and why."""

    setting: str
    allowed: tuple[Any, ...]
    rule: int | None
    remedy: str


_FALSE: Final = (False, "false")
_TRUE: Final = (True, "true")

_CONSUMER_NEEDS: Final = (
    _Need("enable.auto.commit", _FALSE, 8, "Leave it out: offsets are committed with the work"),
    _Need("enable.auto.offset.store", _FALSE, 8, "Leave it out: offsets are committed with the work"),
    _Need("auto.offset.reset", ("error",), 10, "Leave it out: starts are resolved and committed explicitly"),
    _Need("group.protocol", ("classic", CONSUMER_PROTOCOL), 7, f"Use classic (the default) or {CONSUMER_PROTOCOL}"),
    _Need(
        "partition.assignment.strategy",
        ("range", "roundrobin", "range,roundrobin", "roundrobin,range", COOPERATIVE),
        None,
        f"Use range, roundrobin or {COOPERATIVE}; the last does not mix with the others",
    ),
)
_EXACTLY_ONCE_CONSUMER_NEEDS: Final = (
    _Need("isolation.level", ("read_committed",), 3, "Leave it out: it also makes committed offsets stable"),
)
_PRODUCER_NEEDS: Final = (
    _Need("delivery.report.only.error", _TRUE, 16, "Leave it out: every failed delivery is reported, and only those"),
    _Need("log.connection.close", _TRUE, 15, "Leave it out: a lost connection must be seen"),
)
_IDEMPOTENT_NEEDS: Final = (
    _Need("enable.idempotence", _TRUE, 16, "Leave it out: retries must not repeat or reorder records"),
    _Need("acks", ("all", -1, "-1"), 16, "Leave it out: an acknowledged record must survive a broker"),
)

_PUBLISHER_DEFAULTS: Final[Settings] = {
    **_PRODUCER_DEFAULTS,
    "linger.ms": 1,  # somebody waits for each event
    "delivery.timeout.ms": 30_000,
    "delivery.report.only.error": False,
    "log.connection.close": False,
}
_PUBLISHER_NEEDS: Final = (
    _Need("delivery.report.only.error", _FALSE, None, "Leave it out: whoever publishes waits for the answer"),
    _Need("transactional.id", (), None, "Leave it out: a publisher has no transactions; see the outbox for more"),
    _Need("queue.buffering.max.messages", (), None, "Use Publisher(max_waiting=...)"),
)

_OURS: Final = {"on_delivery", "stats_cb", "error_cb", "logger", "log_cb"}


def consumer_settings(user: Mapping[str, Any], *, guarantee: Guarantee) -> Settings:
    """Settings of a step's consumer.

    ``user`` needs ``bootstrap.servers`` and ``group.id``; under exactly-once also ``group.instance.id`` (rule 7) or,
    for dynamic members, its explicit absence by the empty text.
    """
    needs = _CONSUMER_NEEDS + (_EXACTLY_ONCE_CONSUMER_NEEDS if guarantee is Guarantee.EXACTLY_ONCE else ())
    defaults = _CONSUMER_DEFAULTS
    if user.get("group.protocol") == CONSUMER_PROTOCOL:
        defaults = _consumer_protocol_defaults(user)
    merged = _merge(defaults, user, needs, kind="consumer", guarantee=guarantee)
    for required in ("bootstrap.servers", "group.id"):
        if not merged.get(required):
            raise ConfigurationError(f"consumer setting {required} is missing")
    if merged.get("group.instance.id") == "":
        del merged["group.instance.id"]
    return merged


def _consumer_protocol_defaults(user: Mapping[str, Any]) -> Settings:
    """Ours without what the broker sets. ``range`` brings co-partitioned sources to one member, as the classic does."""
    for setting, where in _BROKER_SETS.items():
        if setting in user:
            raise ConfigurationError(
                f"consumer setting {setting} has no meaning under group.protocol={CONSUMER_PROTOCOL}",
                rule=7,
                remedy=f"Set {where}",
            )
    kept = {name: value for name, value in _CONSUMER_DEFAULTS.items() if name not in _BROKER_SETS}
    return {**kept, "group.remote.assignor": "range"}


def producer_settings(user: Mapping[str, Any], consumer: Mapping[str, Any], *, guarantee: Guarantee) -> Settings:
    """Settings of a step's producer; ``consumer`` are the finished ones of its consumer, to compare timeouts with."""
    exactly_once = guarantee is Guarantee.EXACTLY_ONCE
    defaults = dict(_PRODUCER_DEFAULTS)
    needs: tuple[_Need, ...] = _PRODUCER_NEEDS
    if guarantee is not Guarantee.AT_MOST_ONCE:
        needs += _IDEMPOTENT_NEEDS
    if exactly_once:
        defaults["transaction.timeout.ms"] = TRANSACTION_TIMEOUT_MS
        defaults["statistics.interval.ms"] = 1000  # rule 15: losses whose log line librdkafka holds back
    if "bootstrap.servers" in consumer:
        defaults["bootstrap.servers"] = consumer["bootstrap.servers"]
    merged = _merge(defaults, user, needs, kind="producer", guarantee=guarantee)
    if not merged.get("bootstrap.servers"):
        raise ConfigurationError("producer setting bootstrap.servers is missing")
    if not exactly_once:
        if merged.get("transactional.id"):
            raise ConfigurationError(
                f"transactional.id has no use under {guarantee.value}", remedy="Choose exactly-once, or leave it out"
            )
        return merged
    if not merged.get("transactional.id"):
        raise ConfigurationError("producer setting transactional.id is missing", rule=5, remedy="Give a stable one")
    _check_timeouts(merged, consumer)
    return merged


def publisher_settings(user: Mapping[str, Any], *, bootstrap: str, max_waiting: int) -> Settings:
    """Settings of a ``Publisher``: those of an idempotent producer whose every record is answered."""
    if "bootstrap.servers" in user:
        raise ConfigurationError("publisher setting bootstrap.servers is the first argument", remedy="Leave it out")
    needs = _IDEMPOTENT_NEEDS + _PUBLISHER_NEEDS
    merged = _merge(_PUBLISHER_DEFAULTS, user, needs, kind="publisher", guarantee=Guarantee.AT_LEAST_ONCE)
    return {**merged, "bootstrap.servers": bootstrap, "queue.buffering.max.messages": max_waiting}


def _check_timeouts(producer: Mapping[str, Any], consumer: Mapping[str, Any]) -> None:
    transaction_ms = int(producer["transaction.timeout.ms"])
    session_ms = int(consumer.get("session.timeout.ms", SESSION_TIMEOUT_MS))
    poll_ms = int(consumer.get("max.poll.interval.ms", MAX_POLL_INTERVAL_MS))
    if transaction_ms >= session_ms:
        raise ConfigurationError(
            f"transaction.timeout.ms={transaction_ms} is not below session.timeout.ms={session_ms}",
            rule=4,
            remedy="Lower the first or raise the second",
        )
    if transaction_ms >= poll_ms:
        raise ConfigurationError(
            f"transaction.timeout.ms={transaction_ms} is not below max.poll.interval.ms={poll_ms}",
            rule=4,
            remedy="Lower the first or raise the second",
        )


def _merge(
    defaults: Settings, user: Mapping[str, Any], needs: tuple[_Need, ...], *, kind: str, guarantee: Guarantee
) -> Settings:
    for setting in user:
        if setting in _OURS:
            raise ConfigurationError(f"{kind} setting {setting} belongs to the runtime", remedy="Leave it out")
    merged = {**defaults, **user}
    for need in needs:
        value = merged.get(need.setting)
        if value is not None and value not in need.allowed:
            raise ConfigurationError(
                f"{kind} setting {need.setting}={value!r} contradicts {guarantee.value}",
                rule=need.rule,
                remedy=need.remedy,
            )
    return merged
