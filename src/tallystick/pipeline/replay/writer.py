"""The transactions of a replay.

Owns: ``Writer``: its transactional id, and a new producer when the end of a transaction is in doubt. Must not know:
what is written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self

from tallystick.errors import AbortableError
from tallystick.ids import TransactionalId
from tallystick.killpoints import declare, reach
from tallystick.pipeline.guarantee import Guarantee
from tallystick.pipeline.kafka_client import Producer
from tallystick.pipeline.records import Output
from tallystick.pipeline.settings import producer_settings

BEFORE_COMMIT: Final = declare("replay.before-commit", "corrections are with the client, their transaction has begun")
AFTER_COMMIT: Final = declare("replay.after-commit", "a transaction of corrections has ended, others follow")

APPLICATION: Final = "tallystick-replay"
_COMMIT_TIMEOUT_MS: Final = 30_000


class Writer:
    """One at a time for each group: a second one fences the first, before it looks at anything."""

    most_records: int = 1_000
    """In one transaction."""

    def __init__(self, settings: Mapping[str, Any], *, group: str) -> None:
        identity = TransactionalId(APPLICATION, group, "replay", 0)
        self._settings = producer_settings(
            {**settings, "transactional.id": str(identity)},
            {"bootstrap.servers": settings.get("bootstrap.servers", "")},
            guarantee=Guarantee.EXACTLY_ONCE,
        )
        self._producer: Producer | None = None

    def __enter__(self) -> Self:
        self._ready()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._discard()

    def write(self, outputs: Sequence[Output]) -> int:
        """All of them in one transaction; their number. If it raises, a new run settles it."""
        if not outputs:
            return 0
        producer = self._ready()
        producer.begin()
        try:
            producer.produce(outputs)
            reach(BEFORE_COMMIT)
            producer.commit(_COMMIT_TIMEOUT_MS)
            reach(AFTER_COMMIT)
        except AbortableError:
            producer.abort(_COMMIT_TIMEOUT_MS)
            raise
        if producer.suspicion is not None:  # rule 15: its EndTxn may still be on its way to the next transaction
            self._discard()
        return len(outputs)

    def _ready(self) -> Producer:
        if self._producer is None:
            self._producer = Producer(self._settings)
            self._producer.init_transactions()
        return self._producer

    def _discard(self) -> None:
        if self._producer is not None:
            self._producer.discard()
            self._producer = None
