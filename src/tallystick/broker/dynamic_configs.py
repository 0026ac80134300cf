"""Broker configurations that were changed while it ran (KIP-226), kept in a journal of their own.

Owns: ``configs.journal``: which were changed, for every broker (the name is empty) and for this one. Must not know:
which may be changed, what they mean.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from tallystick.broker.log.durability import Durability
from tallystick.broker.log.state_journal import StateJournal
from tallystick.broker.log.torn_tail import TornTail
from tallystick.broker.ports import JournalRecord

EVERY_BROKER: Final = ""
COMPACT_ABOVE_BYTES: Final = 256 * 1024
_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


class BrokerConfigured(JournalRecord, frozen=True, tag="broker-configured"):
    """A broker has these configurations, and no others, from here on; ``broker`` is its number, or empty for all."""

    broker: str
    configs: dict[str, str]


class DynamicConfigs:
    """What was changed, recovered when it is made."""

    def __init__(self, path: Path, durability: Durability) -> None:
        self._by_broker: dict[str, dict[str, str]] = {}
        self._journal: StateJournal[BrokerConfigured] = StateJournal(
            path,
            BrokerConfigured,
            durability,
            name="the journal of settings",
            compact_above_bytes=COMPACT_ABOVE_BYTES,
            apply=self._apply,
            snapshot=self._snapshot,
        )
        self._journal.recover()

    @property
    def torn(self) -> TornTail | None:
        """What start-up cut off the journal."""
        return self._journal.torn

    def of(self, broker: str) -> Mapping[str, str]:
        """The configurations of a broker, or of every broker."""
        return self._by_broker.get(broker, _NOTHING)

    def change(self, broker: str, configs: Mapping[str, str]) -> None:
        """Let these be all of them; ``ApiError`` with nothing changed if the disk refuses it."""
        if configs == self.of(broker):
            return
        self._journal.commit(BrokerConfigured(broker, dict(configs)))
        self._journal.compact()

    def _apply(self, record: BrokerConfigured) -> None:
        if record.configs:
            self._by_broker[record.broker] = record.configs
        else:
            self._by_broker.pop(record.broker, None)

    def _snapshot(self) -> Iterator[BrokerConfigured]:
        for broker, configs in self._by_broker.items():
            yield BrokerConfigured(broker, configs)

    def close(self) -> None:
        """Close the file."""
        self._journal.close()
