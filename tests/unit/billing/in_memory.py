"""Billing without Kafka: topics are lists, steps run one after the other, batches are replayed at will.

A fake of the cycle for tests of what billing does with records; the cycle itself is tested with real brokers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from tallystick.billing.app import build_app, prepare_database
from tallystick.billing.ingest import close_outputs, usage_output
from tallystick.billing.purchases import SAMPLE_SOURCE
from tallystick.pipeline.ports import Poisoned, Processor
from tallystick.pipeline.records import Output, Record

TENANT = "cdnow"


class Topics:
    """Committed records by topic, in one partition each."""

    def __init__(self) -> None:
        self._records: dict[str, list[Record]] = defaultdict(list)

    def append(self, outputs: Iterable[Output]) -> None:
        for one in outputs:
            log = self._records[one.topic]
            record = Record(one.topic, 0, len(log), one.key, one.value, one.headers, 0, one.event_id)
            log.append(record)

    def of(self, topic: str) -> list[Record]:
        return list(self._records[topic])

    def names(self) -> list[str]:
        return sorted(self._records)


class Billing:
    """The application's steps over ``Topics`` and one database."""

    def __init__(self, database_url: str, *, batch: int = 7) -> None:
        prepare_database(database_url)
        app = build_app(database_url)
        self.topics = Topics()
        self.poisoned: list[Poisoned] = []
        self._batch = batch
        self._read: dict[tuple[str, str], int] = defaultdict(int)
        self._steps: list[tuple[str, tuple[str, ...], Processor]] = [
            (step.name, step.sources, step.factory()) for step in app.steps
        ]

    def ingest(self, lines: Sequence[bytes], *, first_line: int = 1, source: str = SAMPLE_SOURCE) -> None:
        self.topics.append(
            usage_output(line, tenant=TENANT, source=source, line_number=number)
            for number, line in enumerate(lines, start=first_line)
        )

    def close_accounts(self, accounts: Iterable[str], *, through: str, ordinal: int = 0) -> None:
        self.topics.append(close_outputs(accounts, through_period=through, ordinal=ordinal))

    def run(self, *, replays: int = 0) -> None:
        """Process what is there, step by step; each batch is first processed ``replays`` times for nothing."""
        for name, sources, processor in self._steps:
            for source in sources:
                records = self.topics.of(source)[self._read[name, source] :]
                for start in range(0, len(records), self._batch):
                    batch = records[start : start + self._batch]
                    for _ in range(replays):
                        processor.process(batch)  # an aborted cycle: SQL is committed, Kafka is not
                    for result in processor.process(batch):
                        if isinstance(result, Poisoned):
                            self.poisoned.append(result)
                        else:
                            self.topics.append(result)
                self._read[name, source] += len(records)

    def close(self) -> None:
        for _, _, processor in self._steps:
            processor.close()
