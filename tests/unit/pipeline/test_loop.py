"""A step's loop without a broker: how it ends."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

import pytest
from tests.unit.pipeline.fakes import FakeTopics, QuickPatience

from tallystick.errors import FatalError, FencedError, RetriableError
from tallystick.pipeline import Emit, Guarantee, Record
from tallystick.pipeline.functions import RecordFunction
from tallystick.pipeline.kafka_client import MemberFenced
from tallystick.pipeline.loop import StepLoop
from tallystick.pipeline.making import Making
from tallystick.pipeline.patience import GaveUp
from tallystick.pipeline.plan import LoopPlan
from tallystick.pipeline.policy import DEAD_LETTER


class Away(FakeTopics):
    """A cluster that does not answer; a stop is asked for at its ``stop_at``-th question."""

    def __init__(self, stop: threading.Event, stop_at: int) -> None:
        super().__init__()
        self._stop, self._stop_at, self._asked = stop, stop_at, 0

    def cluster_id(self) -> str:
        self._asked += 1
        if self._asked == self._stop_at:
            self._stop.set()
        raise RetriableError("nobody answers")


class Fenced(FakeTopics):
    """The consumer is fenced at once; ``clients`` is what the group says of the slot, each time it is asked."""

    def __init__(self, clients: list[str | None]) -> None:
        super().__init__()
        self._answers = clients

    def cluster_id(self) -> str:
        raise MemberFenced("fenced by other consumer")

    def instance_clients(self, group: str) -> dict[str, str]:
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        return {} if answer is None else {"slot-0": answer}


class FencedLoop(StepLoop):
    def __init__(self, *clients: Callable[[str], str | None]) -> None:
        consumer = {**PLAN.consumer, "group.instance.id": "slot-0", "session.timeout.ms": 1}
        super().__init__(replace(PLAN, consumer=consumer))
        self._clients = clients

    def _making(self) -> Making:
        made = super()._making()
        own = str(made.consumer_settings["client.id"])
        return replace(made, cluster=Fenced([client(own) for client in self._clients]))


def test_a_member_that_was_fenced_by_one_that_is_gone_is_restarted_and_one_that_another_fenced_is_not() -> None:
    with pytest.raises(FatalError, match="a join of ours") as restarted:
        FencedLoop(lambda own: own, lambda _own: None).run()
    assert not isinstance(restarted.value, FencedError)
    with pytest.raises(MemberFenced):
        FencedLoop(lambda _own: "tallystick-1-0000").run()
    with pytest.raises(MemberFenced):  # Apache Kafka tells our client.id although another has the slot
        FencedLoop(lambda own: own).run()


class LoopWithoutCluster(StepLoop):
    """Asks ``Away`` without a pause."""

    def __init__(self, *, stop_at: int) -> None:
        stop = threading.Event()
        super().__init__(PLAN, stop=stop)
        self._away = Away(stop, stop_at)

    def _making(self) -> Making:
        made = super()._making()
        patience = QuickPatience(made.clock, made.patience.stop, limit_ms=50)
        return replace(made, cluster=self._away, patience=patience)


def _copy(record: Record) -> Emit:
    return Emit("out", record.key, record.value)


PLAN = LoopPlan(
    step="copy",
    sources=("in",),
    guarantee=Guarantee.AT_LEAST_ONCE,
    factory=lambda: RecordFunction("copy", _copy, DEAD_LETTER),
    policy=DEAD_LETTER,
    dead_letter_topic="dead",
    consumer={"bootstrap.servers": "127.0.0.1:1", "group.id": "copy", "log_level": 0},
    producer={"log_level": 0},
)


def test_a_stop_while_the_cluster_is_away_is_a_clean_end() -> None:
    LoopWithoutCluster(stop_at=3).run()


def test_a_cluster_that_stays_away_is_given_up() -> None:
    with pytest.raises(GaveUp, match="no success in 50 ms"):
        LoopWithoutCluster(stop_at=-1).run()
