"""A step's loop without a broker: how it ends."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
from tests.unit.pipeline.fakes import FakeTopics, QuickPatience

from tallystick.errors import RetriableError
from tallystick.pipeline import Emit, Guarantee, Record
from tallystick.pipeline.functions import RecordFunction
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
