"""A step's loop without a broker: how it ends."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

import pytest
from tests.unit.pipeline.fakes import FakeTopics, QuickPatience

from tallystick.errors import FatalError, RetriableError
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
    """The consumer is fenced at once; ``whose`` says by whom, from the loop's own ``client.id``."""

    def __init__(self, whose: Callable[[str], str], own: str) -> None:
        super().__init__()
        self.clients = {"slot-0": whose(own)}

    def cluster_id(self) -> str:
        raise MemberFenced("fenced by other consumer")


class FencedLoop(StepLoop):
    def __init__(self, whose: Callable[[str], str], **consumer: str) -> None:
        super().__init__(replace(PLAN, consumer={**PLAN.consumer, "group.instance.id": "slot-0", **consumer}))
        self._whose = whose

    def _making(self) -> Making:
        made = super()._making()
        return replace(made, cluster=Fenced(self._whose, str(made.consumer_settings["client.id"])))


def test_a_member_that_its_own_lost_join_fenced_is_restarted_and_one_that_another_fenced_is_not() -> None:
    with pytest.raises(FatalError, match="a join of our own"):
        FencedLoop(lambda own: own).run()
    with pytest.raises(MemberFenced):
        FencedLoop(lambda _own: "tallystick-1-0000").run()
    with pytest.raises(MemberFenced):  # others may have the same
        FencedLoop(lambda own: own, **{"client.id": "shop"}).run()


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
