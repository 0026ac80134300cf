"""Broker configurations that have no effect here, with the reason, and values that are refused.

Owns: the two tables. Must not know: which configurations are honoured; that comes before these tables.

Refused is what would leave somebody less safe than he believes, or would do without what he asked for: rules, policies
and classes that a program without Java cannot load.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

_REASONS: Final[tuple[tuple[str, str], ...]] = (
    ("remote.*", "nothing is tiered"),
    ("log.local.*", "nothing is tiered"),
    ("follower.*", "one node has no followers"),
    ("leader.*", "one node elects nobody"),
    ("auto.leader.*", "one node elects nobody"),
    ("unclean.*", "one node elects nobody"),
    ("replica.*", "one node replicates nothing"),
    ("replication.*", "one node replicates nothing"),
    ("num.replica.*", "one node replicates nothing"),
    ("*.replication.factor", "one node replicates nothing"),
    ("*.min.isr", "one node replicates nothing"),
    ("min.insync.replicas", "one node replicates nothing"),
    ("controlled.shutdown.enable", "one node hands nothing over"),
    ("controller.quota.*", "there are no quotas"),
    ("controller.*", "one node has no controllers to agree with"),
    ("broker.heartbeat.interval.ms", "one node has no controllers to agree with"),
    ("broker.session.timeout.ms", "one node has no controllers to agree with"),
    ("initial.broker.registration.timeout.ms", "one node has no controllers to agree with"),
    ("server.max.startup.time.ms", "one node has no controllers to agree with"),
    ("metadata.*", "the cluster's metadata is no log here"),
    ("internal.metadata.*", "the cluster's metadata is no log here"),
    ("early.start.listeners", "all listeners open at once"),
    ("inter.broker.listener.name", "there is no other broker to talk to"),
    ("security.inter.broker.protocol", "there is no other broker to talk to"),
    ("sasl.mechanism.*", "there is no other broker to talk to"),
    ("request.timeout.ms", "there is no other broker to talk to"),
    ("socket.connection.setup.*", "there is no other broker to talk to"),
    ("ssl.endpoint.identification.algorithm", "there is no other broker to talk to"),
    ("sasl.kerberos.*", "Kerberos is not there"),
    ("sasl.oauthbearer.*", "OAuth is not there"),
    ("sasl.login.*", "the broker itself logs in nowhere"),
    ("sasl.client.*", "the broker itself logs in nowhere"),
    ("ssl.keystore.password", "a PEM file has no password of its own; ssl.key.password is the key's"),
    ("ssl.truststore.password", "a PEM file has no password of its own"),
    ("ssl.allow.*", "certificates are read at start"),
    ("ssl.protocol", "ssl.enabled.protocols decides"),
    ("ssl.*", "TLS is OpenSSL's, not Java's"),
    ("delegation.token.*", "delegation tokens are not issued"),
    ("group.share.*", "there are no share groups"),
    ("share.*", "there are no share groups"),
    ("group.streams.*", "there are no groups of the streams protocol"),
    ("group.*.assignor.offload.enable", "one task does all the work"),
    ("group.*.assignment.interval.ms", "targets are computed when they are needed"),
    ("group.consumer.migration.policy", "a group changes its protocol when it is empty"),
    ("group.consumer.regex.refresh.interval.ms", "expressions are looked up when topics come and go"),
    ("group.coordinator.rebalance.protocols", "the classic and the consumer protocol are always served"),
    ("group.coordinator.*", "offsets lie in a journal, not in topics"),
    ("offsets.topic.*", "offsets lie in a journal, not in topics"),
    ("offsets.load.*", "offsets lie in a journal, not in topics"),
    ("offsets.commit.timeout.ms", "offsets lie in a journal, not in topics"),
    ("transaction.state.log.*", "transactions lie in a journal, not in a topic"),
    ("transaction.abort.timed.out.*", "timed out transactions are looked for all the time"),
    ("transaction.partition.verification.enable", "partitions of a transaction are always verified"),
    ("add.partitions.to.txn.*", "partitions of a transaction are verified at once"),
    ("*.purgatory.purge.*", "a request that waits is woken"),
    ("quota.*", "there are no quotas"),
    ("alter.log.dirs.*", "there is one data folder"),
    ("cordoned.log.dirs", "there is one data folder"),
    ("log.dir.failure.timeout.ms", "there is one data folder"),
    ("max.connection.creation.rate", "connections are bounded by number, not by rate"),
    ("*.threads", "one task does all the work"),
    ("num.recovery.threads.per.data.dir", "one task does all the work"),
    ("queued.max.requests", "requests are bounded by bytes: queued.max.request.bytes"),
    ("socket.listen.backlog.size", "512 connections may wait"),
    ("socket.*", "the system sizes the buffers of sockets"),
    ("telemetry.*", "metrics of clients are not taken"),
    ("metric.*", "metrics are not Java's"),
    ("metrics.*", "metrics are not Java's"),
    ("kafka.metrics.*", "metrics are not Java's"),
    ("log.flush.*", "--fsync decides when data is forced to the disk"),
    ("log.index.size.max.bytes", "an index is as large as it needs to be"),
    ("log.preallocate", "files grow as they are written"),
    ("log.initial.task.delay.ms", "the first tasks run when they are due"),
    ("compression.lz4.level", "lz4 is used at one level"),
    ("unstable.*", "every version that is served is stable"),
    ("*", "not there yet"),
)


@dataclass(frozen=True, slots=True)
class Only:
    """The values that are taken; any other is refused with the reason."""

    values: tuple[str, ...]
    reason: str


_NO_JAVA: Final = "a class of Java cannot be loaded"

_REFUSED: Final[dict[str, Only]] = {
    "alter.config.policy.class.name": Only((), _NO_JAVA),
    "client.quota.callback.class": Only((), _NO_JAVA),
    "config.providers": Only(("",), "values are taken as they stand"),
    "create.topic.policy.class.name": Only((), _NO_JAVA),
    "principal.builder.class": Only(
        ("org.apache.kafka.common.security.authenticator.DefaultKafkaPrincipalBuilder",), _NO_JAVA
    ),
    "remote.log.storage.system.enable": Only(("false",), "there is no tiered storage"),
    "sasl.server.callback.handler.class": Only((), _NO_JAVA),
    "security.providers": Only((), _NO_JAVA),
    "ssl.engine.factory.class": Only((), _NO_JAVA),
    "ssl.principal.mapping.rules": Only(("DEFAULT",), "a certificate's user is its whole subject"),
    "transaction.two.phase.commit.enable": Only(("false",), "two phase commit (KIP-939) is not there"),
}


def reason_without_effect(name: str) -> str:
    """Why this configuration has no effect."""
    return next(reason for pattern, reason in _REASONS if fnmatchcase(name, pattern))


def only(name: str) -> Only | None:
    """What this configuration may be, if a value of it would be refused."""
    return _REFUSED.get(name)
