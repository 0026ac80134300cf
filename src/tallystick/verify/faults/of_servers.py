"""Faults of servers: the broker, its disk and its clock, the database."""

from __future__ import annotations

import contextlib
import os
import signal
from typing import Final

from tallystick.verify.faults.fault import BrokerFaults, Draw, Fault, Need, Server, Steps, World, in_background

_OWN_BROKER: Final = frozenset({Need.OWN_BROKER})
_EMBEDDED: Final = frozenset({Need.EMBEDDED_BROKER})
_APIS: Final = ("produce", "add_offsets_to_txn", "txn_offset_commit", "end_txn")
_HOUR_MS: Final = 3_600_000


def _broker(world: World) -> Server:
    if world.broker is None:
        raise RuntimeError("a fault of the broker was planned without a broker of ours")
    return world.broker


def _on_demand(world: World) -> BrokerFaults:
    if world.broker_faults is None:
        raise RuntimeError("a fault of the embedded broker was planned without one")
    return world.broker_faults


def _kill_for(server: Server, away_s: float) -> Steps:
    """``kill -9``, and a start after a while; at once if the trial ends before."""
    server.kill()
    try:
        yield away_s
    except GeneratorExit:
        server.start()
        raise
    yield from in_background(server.start)


class KillBroker(Fault):
    name = "kill-broker"
    meaning = "kill -9 of the broker; it is started again on its data"
    touches = "broker"
    needs = _OWN_BROKER

    def strike(self, world: World, draw: Draw) -> Steps:
        yield from _kill_for(_broker(world), draw.chance.uniform(0.0, 3.0))


class FreezeBroker(Fault):
    name = "freeze-broker"
    meaning = "SIGSTOP of the broker for up to five seconds, then SIGCONT"
    touches = "broker"
    needs = _OWN_BROKER

    def strike(self, world: World, draw: Draw) -> Steps:
        pid = _broker(world).pid
        os.kill(pid, signal.SIGSTOP)
        try:
            yield draw.chance.uniform(1.0, 5.0)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


class DropResponse(Fault):
    name = "drop-response"
    meaning = "the embedded broker acts and says nothing; the connection stays open and silent"
    touches = "broker"
    needs = _EMBEDDED
    arguments = _APIS

    def strike(self, world: World, draw: Draw) -> Steps:
        _on_demand(world).drop_response(draw.argument or draw.chance.choice(_APIS))
        yield 1.0


class SlowDisk(Fault):
    name = "slow-disk"
    meaning = "each write of the embedded broker takes 20 to 200 ms longer, for some seconds"
    touches = "broker"
    needs = _EMBEDDED

    def strike(self, world: World, draw: Draw) -> Steps:
        _on_demand(world).slow_disk(ms=draw.chance.uniform(20, 200))
        try:
            yield draw.chance.uniform(2.0, 5.0)
        finally:
            _on_demand(world).free_disk()


class FullDisk(Fault):
    name = "full-disk"
    meaning = "each write of the embedded broker fails with ENOSPC, for up to three seconds"
    touches = "broker"
    needs = _EMBEDDED

    def strike(self, world: World, draw: Draw) -> Steps:
        _on_demand(world).fill_disk()
        try:
            yield draw.chance.uniform(0.3, 3.0)
        finally:
            _on_demand(world).free_disk()


class ClockJump(Fault):
    name = "clock-jump"
    meaning = "the embedded broker's wall clock jumps by up to an hour, forwards or back, and back again after a while"
    touches = "broker"
    needs = _EMBEDDED

    def strike(self, world: World, draw: Draw) -> Steps:
        by_ms = draw.chance.choice((-1, 1)) * draw.chance.randint(10_000, _HOUR_MS)
        _on_demand(world).skew_clock(by_ms=by_ms)
        try:
            yield draw.chance.uniform(1.0, 5.0)
        finally:
            _on_demand(world).skew_clock(by_ms=-by_ms)


class ProviderOutage(Fault):
    name = "provider-outage"
    meaning = "the payment provider is killed, answers 503, or charges and hangs up, for some seconds"
    touches = "provider"
    needs = frozenset({Need.PROVIDER})
    arguments = ("killed", "unavailable", "hangs-up")

    def strike(self, world: World, draw: Draw) -> Steps:
        provider = world.provider
        if provider is None:
            raise RuntimeError("a fault of the provider was planned without one")
        kind = draw.argument or draw.chance.choice(self.arguments)
        if kind == "killed":
            yield from _kill_for(provider, draw.chance.uniform(0.5, 4.0))
            return
        if kind == "unavailable":
            provider.set_faults({"outage_503": 1.0})
        else:
            provider.set_faults({"timeout_after_commit": 0.6, "timeout_before_commit": 0.2})
        try:
            yield draw.chance.uniform(1.0, 5.0)
        finally:
            provider.set_faults({})


class KillDispatcher(Fault):
    name = "kill-dispatcher"
    meaning = "kill -9 of a process that sends charges; it is started again at once"
    touches = "dispatchers"
    needs = frozenset({Need.PROVIDER})

    def strike(self, world: World, draw: Draw) -> Steps:
        if world.dispatchers is None:
            raise RuntimeError("a fault of the dispatchers was planned without any")
        world.dispatchers.kill(draw.chance.randrange(world.dispatchers.count))
        yield 0.0


class KillDatabase(Fault):
    name = "kill-database"
    meaning = "kill -9 of the database server; it is started again on its data"
    touches = "database"
    needs = frozenset({Need.OWN_DATABASE})

    def strike(self, world: World, draw: Draw) -> Steps:
        database = world.database
        if database is None:
            raise RuntimeError("a fault of the database was planned without one")
        yield from _kill_for(database, draw.chance.uniform(0.0, 2.0))
