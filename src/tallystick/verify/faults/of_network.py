"""Faults of the network, by the proxy between the clients and the brokers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tallystick.verify.faults.fault import Draw, Fault, Need, Steps, World, wait_while
from tallystick.verify.frames import (
    ADD_OFFSETS_TO_TXN,
    ADD_PARTITIONS_TO_TXN,
    END_TXN,
    INIT_PRODUCER_ID,
    PRODUCE,
    TXN_OFFSET_COMMIT,
)

if TYPE_CHECKING:
    from tallystick.verify.proxy import Proxy

ANSWERS: Final = {
    "produce": PRODUCE,
    "init-producer-id": INIT_PRODUCER_ID,
    "add-partitions": ADD_PARTITIONS_TO_TXN,
    "add-offsets": ADD_OFFSETS_TO_TXN,
    "txn-offset-commit": TXN_OFFSET_COMMIT,
    "end-txn": END_TXN,
}
"""The requests whose answers are lost."""

_PROXY: Final = frozenset({Need.PROXY})
_HOLD_MAX_S: Final = 10.0


def _proxy(world: World) -> Proxy:
    if world.proxy is None:
        raise RuntimeError("a fault of the network was planned without a proxy")
    return world.proxy


class CutNetwork(Fault):
    name = "cut-network"
    meaning = "every connection of every client is reset at once, up to five times in a row"
    touches = "network"
    needs = _PROXY

    def strike(self, world: World, draw: Draw) -> Steps:
        for _ in range(draw.chance.randint(1, 5)):
            _proxy(world).cut()
            yield draw.chance.uniform(0.05, 0.8)


class BlockNetwork(Fault):
    name = "block-network"
    meaning = "nobody reaches the brokers for up to ten seconds, longer than a session or a transaction may last"
    touches = "network"
    needs = _PROXY

    def strike(self, world: World, draw: Draw) -> Steps:
        _proxy(world).block()
        try:
            yield draw.chance.uniform(1.0, 10.0)
        finally:
            _proxy(world).unblock()


class DelayNetwork(Fault):
    name = "delay-network"
    meaning = "every request waits for up to a second before it goes on, for some seconds"
    touches = "network"
    needs = _PROXY

    def strike(self, world: World, draw: Draw) -> Steps:
        _proxy(world).delay_all(draw.chance.randint(50, 1000))
        try:
            yield draw.chance.uniform(2.0, 5.0)
        finally:
            _proxy(world).delay_all(0)


class LoseAnswer(Fault):
    name = "lose-answer"
    meaning = f"the broker acts, and its answer is lost with the connection: lose-answer:{'|'.join(ANSWERS)}"
    touches = "answers"
    needs = _PROXY
    arguments = tuple(ANSWERS)

    def strike(self, world: World, draw: Draw) -> Steps:
        api_key = ANSWERS[draw.argument or draw.chance.choice(sorted(ANSWERS))]
        before = _proxy(world).answers_lost
        _proxy(world).lose_answer(api_key, count=draw.chance.randint(1, 3))
        try:
            yield from wait_while(lambda: _proxy(world).answers_lost == before, at_most_s=_HOLD_MAX_S, look_s=0.1)
            yield 1.0
        finally:
            _proxy(world).lose_answer(api_key, count=0)


class LateEnd(Fault):
    name = "late-end"
    meaning = "an EndTxn is held, its connection cut, and it reaches the broker when its worker has gone on (rule 15)"
    touches = "network"
    needs = _PROXY

    def strike(self, world: World, draw: Draw) -> Steps:
        hold = _proxy(world).hold(END_TXN)
        try:
            yield from wait_while(lambda: not hold.caught, at_most_s=_HOLD_MAX_S, look_s=0.05)
            _proxy(world).cut()
            yield draw.chance.uniform(0.2, 3.0)
        finally:
            hold.release()
