"""The node: everything that a handler may reach, put together in one place, and recovered in the right order.

Owns: the assembly, the order of recovery and of closing. Must not know: sockets, the protocol's encoding.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import structlog

from tallystick.broker.access.secured import secured
from tallystick.broker.api import Api
from tallystick.broker.backup.cut import Cuts
from tallystick.broker.dynamic_configs import DynamicConfigs
from tallystick.broker.fetch_sessions import FetchSessions
from tallystick.broker.fsync_policy import FsyncPolicy
from tallystick.broker.groups import GroupCoordinator, GroupSettings
from tallystick.broker.groups.settings import DEFAULTS as GROUP_DEFAULTS
from tallystick.broker.journal_records import AnyJournalRecord
from tallystick.broker.log.data_folder import DataFolder
from tallystick.broker.log.durability import Durability
from tallystick.broker.log.journal import COMPACT_ABOVE_BYTES, FileJournal
from tallystick.broker.log.settings import DEFAULTS, LogSettings
from tallystick.broker.log.torn_tail import TornTail
from tallystick.broker.node_configs import NodeConfigs
from tallystick.broker.node_settings import DEFAULTS as NODE_DEFAULTS
from tallystick.broker.node_settings import NodeSettings
from tallystick.broker.partition import Partition
from tallystick.broker.ports import JournalRecord
from tallystick.broker.producer_expiry import ProducerExpiry
from tallystick.broker.registry import APIS
from tallystick.broker.retention import LogRetention
from tallystick.broker.security.listeners import Listener, plaintext_listener
from tallystick.broker.security.security import Security, prepare
from tallystick.broker.security.settings import SecuritySettings
from tallystick.broker.security.store import SecurityStore
from tallystick.broker.topic_partitions import Topic
from tallystick.broker.topic_records import TopicRecord
from tallystick.broker.topics import Topics
from tallystick.broker.transactions import TransactionCoordinator
from tallystick.broker.transactions.settings import DEFAULTS as TRANSACTION_DEFAULTS
from tallystick.broker.transactions.settings import TransactionSettings
from tallystick.clock import Clock

if TYPE_CHECKING:
    from tallystick.broker.log_cleaner import LogCleaner

logger = structlog.get_logger(__name__)

_NOTHING_GIVEN: Final[Mapping[str, str]] = MappingProxyType({})

COMPACT_RUNNING_ABOVE_BYTES: Final = 64 * 1024 * 1024
"""The coordinators' journal of a running node is compacted above this; at start-up it is at ``COMPACT_ABOVE_BYTES``."""


@dataclass(slots=True)
class Node:
    """The one broker of its cluster. ``host`` and ``port`` are what clients are told to connect to."""

    partitions: Topics
    transactions: TransactionCoordinator
    groups: GroupCoordinator
    journal: FileJournal[JournalRecord]
    durability: Durability
    clock: Clock
    folder: DataFolder
    security: Security
    host: str
    port: int
    settings: NodeSettings
    cluster_id: str
    apis: tuple[Api, ...]
    producer_expiry: ProducerExpiry
    fetch_sessions: FetchSessions
    retention: LogRetention
    log_settings: LogSettings
    configs: NodeConfigs
    dynamic_configs: DynamicConfigs
    cuts: Cuts = field(repr=False)
    compact_above_bytes: int = COMPACT_RUNNING_ABOVE_BYTES

    @property
    def node_id(self) -> int:
        """The number of this broker."""
        return self.settings.node_id

    def tick(self) -> None:
        """Let the coordinators expire what is due."""
        now_ms = self.clock.now_ms()
        self.transactions.tick(now_ms)
        self.groups.tick(now_ms)
        forgotten = self.producer_expiry.tick(self.clock.monotonic_ms(), self._every_partition())
        if forgotten:
            logger.info("idle producer ids forgotten", count=forgotten)
        self.partitions.tick()
        self.retention.tick(self._every_partition, now_ms=now_ms, monotonic_ms=self.clock.monotonic_ms())
        if self.journal.size_bytes > self.compact_above_bytes:
            self._compact_journal()
        self.cuts.tick(partition.log for topic in self.partitions.all() for partition in topic.partitions)

    def cleaner(self) -> LogCleaner:
        """Compacts this node's logs, for whoever has a loop to run it in."""
        from tallystick.broker.log_cleaner import LogCleaner  # once the node is ready, there is time to import it

        def doom(paths: Sequence[Path], delay_ms: int) -> None:
            self.retention.doom(paths, at_ms=self.clock.monotonic_ms() + delay_ms)

        return LogCleaner(self.log_settings, self.clock, self._every_partition, doom)

    def _every_partition(self) -> Iterator[Partition]:
        return (partition for topic in self.partitions.all() for partition in topic.partitions)

    def _compact_journal(self) -> None:
        """Bound the journal of a node that never restarts: every transaction leaves about 2 KB in it."""
        before_bytes = self.journal.size_bytes
        # A snapshot has no decisions: once it is there, no marker may be missing on disk any more.
        self.durability.sync_all_now()
        try:
            self.journal.compact([*self.transactions.snapshot(), *self.groups.snapshot()])
        except OSError:
            logger.exception("the coordinators' journal is not compacted")
            self.compact_above_bytes = before_bytes * 2
            return
        # A snapshot that is large itself is not written again at every tick.
        self.compact_above_bytes = max(COMPACT_RUNNING_ABOVE_BYTES, self.journal.size_bytes * 2)
        logger.info("coordinators' journal compacted", before_bytes=before_bytes, bytes=self.journal.size_bytes)

    def delete_topic(self, topic: Topic) -> None:
        """Delete a topic with its data and its committed offsets. ``ApiError`` if that cannot be written."""
        # Offsets first, lest a crash in between lets a topic of the same name inherit them.
        self.groups.offsets.forget_topic(topic.name)
        self.partitions.delete(topic)

    def reconfigure(self) -> None:
        """Let hold what the dynamic configurations say."""
        self.partitions.set_defaults(self.configs.topic_defaults())
        self.producer_expiry.settings = self.configs.transactions

    def close(self) -> None:
        """Bring everything to the disk, close the files, give the folder back.

        After a failed sync nothing is written any more: ``kill -9`` is the safer end then.
        """
        sound = self.durability.failure is None
        if sound:
            self.partitions.checkpoint()
            self.durability.sync_all_now()
        self._close(clean=sound)

    def abandon(self) -> None:
        """Close the files and give the folder back with nothing more written, as the end of a killed process does."""
        self._close(clean=False)

    def _close(self, *, clean: bool) -> None:
        self.partitions.close()
        self.journal.close()
        self.security.close()
        self.dynamic_configs.close()
        self.durability.close()
        self.folder.close(clean=clean)


@dataclass(frozen=True, slots=True)
class Recovery:
    """What start-up found."""

    topics: int
    partitions: int
    journal_records: int
    torn: tuple[TornTail, ...]
    replayed_batches: int = 0
    """Read from the logs, because they lay behind the last checkpoint."""
    replayed_bytes: int = 0
    clean: bool = True
    """Whether the last process ended in order."""


def open_node(
    data: Path,
    *,
    fsync: FsyncPolicy,
    clock: Clock,
    host: str,
    port: int,
    settings: NodeSettings = NODE_DEFAULTS,
    log_settings: LogSettings = DEFAULTS,
    transaction_settings: TransactionSettings = TRANSACTION_DEFAULTS,
    group_settings: GroupSettings = GROUP_DEFAULTS,
    security_settings: SecuritySettings | None = None,
    static_configs: Mapping[str, str] = _NOTHING_GIVEN,
) -> tuple[Node, Recovery]:
    """Lock the folder, recover topics, then coordinators, then complete what a crash left half done."""
    prepared = prepare(security_settings or SecuritySettings(), plaintext_listener(host, port))
    folder = DataFolder(data)
    with ExitStack() as undo:
        undo.callback(folder.close)
        durability = Durability(fsync, log_settings)
        journal: FileJournal[JournalRecord] = FileJournal(folder.coordinators_journal, AnyJournalRecord, durability)
        topics_journal: FileJournal[TopicRecord] = FileJournal(folder.topics_journal, TopicRecord, durability)
        dynamic_configs = DynamicConfigs(folder.configs_journal, durability)
        configs = NodeConfigs(
            _told_at_start(static_configs, settings, data, prepared.listeners),
            dynamic_configs,
            node_id=settings.node_id,
            connections=prepared.settings.connections,
            transactions=transaction_settings,
        )
        topics = Topics(
            folder.topics,
            topics_journal,
            durability,
            num_partitions=settings.num_partitions,
            before_marker=journal,
            settings=log_settings,
            topic_defaults=configs.topic_defaults(),
            boots=folder.boots,
            clock=clock,
        )
        topics.recover()
        security = Security(
            prepared, SecurityStore(folder.security_journal, durability, plain_users=prepared.plain_users)
        )
        groups = GroupCoordinator(journal, topics, clock, group_settings)
        transactions = TransactionCoordinator(journal, topics, clock, groups, transaction_settings)
        for record in journal.replay():
            transactions.replay(record)
            groups.replay(record)
        replayed = journal.record_count
        transactions.finish_recovery()
        transactions.adopt(topics.open_transactions(), highest_producer_id=topics.highest_producer_id())
        groups.finish_recovery()
        if journal.size_bytes > COMPACT_ABOVE_BYTES:
            durability.sync_all_now()  # see Node._compact_journal
            journal.compact([*transactions.snapshot(), *groups.snapshot()])
        node = Node(
            partitions=topics,
            transactions=transactions,
            groups=groups,
            journal=journal,
            durability=durability,
            clock=clock,
            folder=folder,
            security=security,
            host=host,
            port=port,
            settings=settings,
            cluster_id=folder.format.cluster_id,
            apis=secured(APIS, security.authorizer),
            producer_expiry=ProducerExpiry(configs.transactions),
            fetch_sessions=FetchSessions(settings.max_incremental_fetch_session_cache_slots, _new_session_id),
            retention=LogRetention(log_settings),
            log_settings=log_settings,
            configs=configs,
            dynamic_configs=dynamic_configs,
            cuts=Cuts(folder.path),
        )
        partitions = [partition for topic in topics.all() for partition in topic.partitions]
        torn = [partition.log.torn for partition in partitions] + [
            journal.torn,
            topics_journal.torn,
            security.store.torn,
            dynamic_configs.torn,
        ]
        recovery = Recovery(
            topics=len(list(topics.all())),
            partitions=len(partitions),
            journal_records=replayed,
            torn=tuple(tail for tail in torn if tail is not None),
            replayed_batches=sum(partition.log.recovered.replayed_batches for partition in partitions),
            replayed_bytes=sum(partition.log.recovered.replayed_bytes for partition in partitions),
            clean=folder.was_clean,
        )
        for tail in (journal.torn, topics_journal.torn, security.store.torn, dynamic_configs.torn):
            if tail is not None:
                logger.warning("a torn write was cut off a journal", file=tail.path, cut_bytes=tail.cut_bytes)
        folder.opened()
        undo.pop_all()
    return node, recovery


def _new_session_id() -> int:
    return secrets.randbelow(2**31 - 1) + 1


def _told_at_start(
    given: Mapping[str, str], settings: NodeSettings, data: Path, listeners: Iterable[Listener]
) -> Mapping[str, str]:
    """The static configurations, with those that options of the broker's own stand for."""
    told = {
        "listeners": ",".join(map(str, listeners)),
        **given,
        "node.id": str(settings.node_id),
        "log.dirs": str(data),
    }
    if settings.num_partitions != NODE_DEFAULTS.num_partitions:
        told["num.partitions"] = str(settings.num_partitions)
    return told
