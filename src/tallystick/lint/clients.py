"""Client settings against the rules: a consumer's, a producer's, and the two together.

Owns: the checks. Pure. Must not know: files, clusters.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from tallystick.lint.finding import Finding, breach, risk
from tallystick.lint.flavours import CONSUMER_DEFAULTS, PRODUCER_DEFAULTS, Flavour, canonical

_MAX_IN_FLIGHT: Final = 5
_RANDOM: Final = re.compile(r"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}", re.IGNORECASE)
_PLACEHOLDER: Final = re.compile(r"\$\{?\(?\w*(random|uuid|uid|pid|hostname)\w*", re.IGNORECASE)
_SILENT_RESETS: Final = {"earliest", "smallest", "beginning", "latest", "largest", "end"}


def looks_random(identity: str) -> bool:
    """Whether a name is another one after each start: a UUID in it, or a placeholder for something of that kind."""
    return bool(_RANDOM.search(identity) or _PLACEHOLDER.search(identity))


def consumer_findings(given: Mapping[str, str], flavour: Flavour, *, where: str) -> Iterator[Finding]:
    """Of a consumer in a consume, process, produce loop."""
    asked = canonical(given)
    settings = {**CONSUMER_DEFAULTS[flavour], **asked}

    def at(name: str) -> str:
        return f"{where}: {name}={settings[name]}" + ("" if name in asked else " (the default)")

    if "application.id" in asked or "processing.guarantee" in asked:
        yield from _streams(asked, where)
        return
    if settings["enable.auto.commit"] == "true":
        yield breach(
            8,
            at("enable.auto.commit"),
            "offsets are committed by a timer, whether or not their records are processed",
            "Set enable.auto.commit=false and send the offsets with the transaction",
        )
    if settings["isolation.level"] != "read_committed":
        yield breach(
            3,
            at("isolation.level"),
            "records of aborted transactions are read, and pending offsets are overlooked",
            "Set isolation.level=read_committed",
        )
    if settings["auto.offset.reset"] in _SILENT_RESETS:
        yield risk(
            10,
            at("auto.offset.reset"),
            "an offset that is missing or expired is replaced in silence: records are skipped or repeated",
            "Set it to error (Java: none), and commit start positions on purpose",
        )
    if not asked.get("group.id"):
        yield breach(
            2, f"{where}: no group.id", "offsets cannot be fenced without a group", "Set group.id, and subscribe"
        )
    by_broker = settings["group.protocol"] == "consumer"  # then who comes or goes moves its own partitions only
    if not asked.get("group.instance.id") and not by_broker:
        yield risk(
            7,
            f"{where}: no group.instance.id",
            "each restart is a new member, and moves partitions twice",
            "Give each process a stable group.instance.id",
        )
    elif asked.get("group.instance.id") and by_broker:
        yield risk(
            7,
            at("group.protocol"),
            "the successor of a killed static member is refused until the session of the first one expires",
            "Use group.protocol=classic for static members",
        )
    elif not by_broker and looks_random(asked["group.instance.id"]):
        yield risk(
            7,
            f"{where}: group.instance.id={asked['group.instance.id']}",
            "it looks as if it were another one after each start: then it is no static member",
            "Name it after the process's place: an ordinal, not an id",
        )


def producer_findings(given: Mapping[str, str], flavour: Flavour, *, where: str) -> Iterator[Finding]:
    """Of a transactional producer."""
    asked = canonical(given)
    settings = {**PRODUCER_DEFAULTS[flavour], **asked}
    if asked.get("transactional.id"):
        settings = {**settings, "enable.idempotence": asked.get("enable.idempotence", "true")}

    def at(name: str) -> str:
        return f"{where}: {name}={settings[name]}" + ("" if name in asked else " (the default)")

    if not asked.get("transactional.id"):
        yield breach(
            5,
            f"{where}: no transactional.id",
            "outputs and offsets are no transaction, and no zombie is fenced",
            "Set a transactional.id that is the same after each restart",
        )
    elif looks_random(asked["transactional.id"]):
        yield breach(
            5,
            f"{where}: transactional.id={asked['transactional.id']}",
            "a new one after each start fences nobody, and leaves the open transaction of the dead to its timeout",
            "Name it after application, group and the process's place",
        )
    if settings["enable.idempotence"] != "true":
        yield breach(
            16,
            at("enable.idempotence"),
            "a retry may repeat records or change their order",
            "Set enable.idempotence=true",
        )
    if settings["acks"] != "all":
        yield breach(16, at("acks"), "an acknowledged record may be lost with one broker", "Set acks=all")
    if (
        "max.in.flight.requests.per.connection" in asked
        and int(asked["max.in.flight.requests.per.connection"]) > _MAX_IN_FLIGHT
    ):
        yield breach(
            19,
            at("max.in.flight.requests.per.connection"),
            "brokers remember the last five batches of a producer, no more",
            "Set it to 5 or less",
        )
    if settings["retries"] == "0":
        yield risk(16, at("retries"), "the first lost answer fails a delivery, and so its transaction", "Leave it out")
    if settings["partitioner"] != "murmur2_random" and flavour is Flavour.LIBRDKAFKA:
        yield risk(
            None,
            at("partitioner"),
            "Java's clients put the same keys into other partitions: one key has no order with both",
            "Set partitioner=murmur2_random, if anybody writes to these topics with another client",
        )


def together(
    consumer: Mapping[str, str], producer: Mapping[str, str], flavours: tuple[Flavour, Flavour], *, where: str
) -> Iterator[Finding]:
    """What only both tell: a transaction must be over before its member is."""
    reads = {**CONSUMER_DEFAULTS[flavours[0]], **canonical(consumer)}
    writes = {**PRODUCER_DEFAULTS[flavours[1]], **canonical(producer)}
    transaction_ms = int(writes["transaction.timeout.ms"])
    for name in ("session.timeout.ms", "max.poll.interval.ms"):
        if transaction_ms >= int(reads[name]):
            yield breach(
                4,
                f"{where}: transaction.timeout.ms={transaction_ms}, {name}={reads[name]}",
                "a transaction that outlives its member commits what a new owner already repeats",
                f"Lower transaction.timeout.ms below {name}, or raise the latter",
            )


def _streams(asked: Mapping[str, str], where: str) -> Iterator[Finding]:
    guarantee = asked.get("processing.guarantee", "at_least_once")
    if guarantee == "at_least_once":
        yield breach(
            None,
            f"{where}: processing.guarantee={guarantee}"
            + ("" if "processing.guarantee" in asked else " (the default)"),
            "Kafka Streams repeats what it did since its last commit",
            "Set processing.guarantee=exactly_once_v2",
        )
    elif guarantee in {"exactly_once", "exactly_once_beta"}:
        yield breach(
            None, f"{where}: processing.guarantee={guarantee}", "Kafka 4 has removed it", "Use exactly_once_v2"
        )
