"""Workers with one thing broken in them, for the oracle to catch: ``python -m tests.support.broken_workers NAME``.

Each mutation takes one rule out of the real runtime and then runs it as ``tallystick.verify.worker`` does.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from tallystick.ids import TransactionalId
from tallystick.killpoints import reach
from tallystick.pipeline import places
from tallystick.pipeline.cycle import Event
from tallystick.pipeline.exactly_once import ExactlyOnce
from tallystick.pipeline.kafka_client.membership import GroupMetadata, Membership
from tallystick.verify import worker
from tallystick.verify.workloads import WorkloadSettings

MUTATIONS: dict[str, Callable[[], None]] = {}
Driver: Any = ExactlyOnce


def mutation(apply: Callable[[], None]) -> Callable[[], None]:
    MUTATIONS[apply.__name__.replace("_", "-")] = apply
    return apply


@mutation
def positions_run_on_after_an_abort() -> None:
    """Rule 8 broken: what was aborted is not read again. Here the second transaction is aborted.

    Later ones commit more of each partition, so that the group's offsets come to the end of the input.
    """
    send, count = Driver._send_offsets, iter(range(1, 1_000_000))

    def rewind(self: Any) -> None:
        if self._cycle.epoch > 1:
            self._parts.positions.rewind()
        self._drop_batch()
        self._to(Event.REWOUND)

    def send_offsets(self: Any) -> None:
        send(self)
        if next(count) == 2:
            self._fail("mutation", RuntimeError("aborted on purpose"))

    Driver._rewind, Driver._send_offsets = rewind, send_offsets


@mutation
def offsets_are_committed_before_the_work() -> None:
    """At-most-once that calls itself exactly-once: offsets in a transaction of their own, outputs in the next."""
    produce = Driver._produce

    def first_the_offsets(self: Any) -> None:
        producer = self._live_producer()
        membership = self._parts.positions.current_membership()
        producer.send_offsets(self._current_batch().positions, self._parts.positions.notes, membership)
        producer.commit(10_000)
        producer.begin()
        produce(self)

    Driver._produce = first_the_offsets


@mutation
def a_transaction_is_two() -> None:
    """Half of a batch's outputs are committed before the other half."""

    def in_two(self: Any) -> None:
        producer, outputs = self._live_producer(), list(self._outputs)
        producer.produce(outputs[: len(outputs) // 2])
        producer.commit(10_000)
        producer.begin()
        producer.produce(outputs[len(outputs) // 2 :])
        self._to(Event.PRODUCED)
        reach(places.AFTER_PRODUCE)

    Driver._produce = in_two


@mutation
def nobody_is_fenced() -> None:
    """Rules 1, 2 and 5 broken: offsets without a member, and a transactional id that is new with each start.

    The first worker stands still between a poll and its transaction, until its session is long over, and goes on.
    """
    as_text, deliver, count = TransactionalId.__str__, Driver.deliver, iter(range(1, 1_000_000))

    def own_name(self: TransactionalId) -> str:
        return f"{as_text(self)}-{os.getpid()}"

    def stand_still(self: Any, batch: Any) -> None:
        if "slot-0" in os.environ[worker.ENV_PLACE] and next(count) == 5:
            subprocess.Popen(["/bin/sh", "-c", f"sleep 16; kill -CONT {os.getpid()}"])
            os.kill(os.getpid(), signal.SIGSTOP)
        deliver(self, batch)

    def begin(self: Any) -> None:
        self._live_producer().begin()
        self._deadline_ms = self._parts.clock.monotonic_ms() + self._parts.transaction_timeout_ms
        self._to(Event.BEGAN)

    def send_offsets(self: Any) -> None:
        group = WorkloadSettings.from_environment(os.environ).group.encode()
        raw = b"CGMDv2:" + (-1).to_bytes(4, "little", signed=True) + group + b"\0\0\x01"
        nobody = Membership(GroupMetadata(raw), 0, "anybody")
        self._live_producer().send_offsets(self._current_batch().positions, self._parts.positions.notes, nobody)
        self._to(Event.OFFSETS_SENT)

    TransactionalId.__str__ = own_name  # type: ignore[method-assign]
    Driver.deliver, Driver._begin, Driver._send_offsets = stand_still, begin, send_offsets


if __name__ == "__main__":
    MUTATIONS[sys.argv[1]]()
    sys.exit(worker.main())
