"""Carries faults out, between the server and the handlers.

Owns: what each action does to a request, what it switches on for the whole broker (pause, full disk, skewed clock), and
until when. Must not know: which process it runs in, who sets the faults, who reads their journal.

Everything here runs in the broker's loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any
from uuid import UUID

from tallystick.broker.api import Api, RequestContext
from tallystick.broker.faults.actions import (
    Action,
    AnswerError,
    Cut,
    Delay,
    DropRequest,
    DropResponse,
    Duplicate,
    FullDisk,
    Hold,
    Kill,
    Pause,
    SkewClock,
    SlowDisk,
    StandingAction,
)
from tallystick.broker.faults.disk import FaultyDisk
from tallystick.broker.faults.injection import Injection
from tallystick.broker.faults.plan import FaultPlan, Strike
from tallystick.broker.faults.skewed_clock import SkewedClock
from tallystick.broker.faults.subject import Subject, subject_of
from tallystick.broker.interceptor import ConnectionCut, ConnectionSilent
from tallystick.clock import Clock
from tallystick.wire.errors import ErrorCode
from tallystick.wire.refusals import refusal

if TYPE_CHECKING:
    from tallystick.broker.node import Node


class Injector:
    """An ``Interceptor``. ``note`` gets every injection before it takes effect; ``kill`` ends the broker, or begins to.

    Give ``clock`` and ``attach`` to ``BrokerInstance.start``.
    """

    def __init__(
        self, plan: FaultPlan, *, clock: Clock, note: Callable[[Injection], None], kill: Callable[[], None]
    ) -> None:
        self.plan = plan
        self.clock = SkewedClock(clock)
        self._disk = FaultyDisk()
        self.node: Node | None = None
        self._note = note
        self._kill = kill
        self._killed = False
        self._paused: asyncio.Event | None = None
        self._held = asyncio.Event()

    def attach(self, node: Node) -> Injector:
        """Reach the node's disk, too."""
        self.node = node
        return self

    async def handle(self, api: Api, context: RequestContext, request: Any) -> Any:
        if self._paused is not None:
            await self._paused.wait()
        if self._killed:
            raise ConnectionCut
        if self.plan.may_choose(api.name, context.client_id):
            response = await self._choose(api, context, request)
        else:
            response = await api.handle(context, request)
        if self._paused is not None:
            await self._paused.wait()
        if self._killed:
            raise ConnectionCut
        return response

    async def _choose(self, api: Api, context: RequestContext, request: Any) -> Any:
        def name_of_topic(topic_id: UUID) -> str | None:
            topic = context.node.partitions.by_id(topic_id)
            return None if topic is None else topic.name

        def do() -> Awaitable[Any]:
            return api.handle(context, request)

        subject = subject_of(request, api=api.name, client_id=context.client_id, name_of_topic=name_of_topic)
        strike = self.plan.choose(subject)
        if strike is None:
            return await do()
        self._note(_injection(strike, subject))
        return await self._carry_out(strike.fault.action, request, do)

    async def _carry_out(self, action: Action, request: Any, do: Callable[[], Awaitable[Any]]) -> Any:
        if isinstance(action, Duplicate):
            await do()
            return await do()
        if isinstance(action, AnswerError):
            return await self._deny(action, request, do)
        if isinstance(action, DropResponse) or getattr(action, "when", "before") == "after":
            response = await do()
            await self._step(action)
            return response
        await self._step(action)
        return await do()

    async def _deny(self, action: AnswerError, request: Any, do: Callable[[], Awaitable[Any]]) -> Any:
        if action.when == "after":
            await do()
        if getattr(request, "acks", None) == 0:
            raise ConnectionCut
        return refusal(request, error_code(action.error), "injected")

    async def _step(self, action: Action) -> None:
        match action:
            case Delay():
                await asyncio.sleep(action.ms / 1000)
            case Hold():
                await self._held.wait()
            case DropRequest() | DropResponse():
                raise ConnectionSilent
            case Cut():
                raise ConnectionCut
            case Kill() | Pause() | FullDisk() | SlowDisk() | SkewClock():
                self.perform(action)
                if self._killed:
                    raise ConnectionCut
                if self._paused is not None:
                    await self._paused.wait()

    def perform(self, action: StandingAction) -> None:
        """Switch on what concerns the whole broker."""
        match action:
            case Kill():
                self._killed = True
                self._kill()
            case Pause():
                self._paused = self._paused or asyncio.Event()
            case FullDisk():
                self._disk.fill(action.appends)
                self._set_before_write(self._disk.before_write)
            case SlowDisk():
                self._disk.slow(action.ms)
                self._set_before_write(self._disk.before_write)
            case SkewClock():
                self.clock.skew(by_ms=action.by_ms, monotonic_ms=action.monotonic_ms)

    def resume(self) -> None:
        """End the pause: what waited is done and answered."""
        paused, self._paused = self._paused, None
        if paused is not None:
            paused.set()

    def release(self) -> None:
        """Let what is held go on; a later ``Hold`` holds again."""
        held, self._held = self._held, asyncio.Event()
        held.set()

    def free_disk(self) -> None:
        """The disk takes appends again."""
        self._disk.free()
        self._set_before_write(None)

    def _set_before_write(self, before_write: Callable[[int], None] | None) -> None:
        if self.node is not None:
            self.node.durability.before_write = before_write


def error_code(name: str) -> ErrorCode:
    """The code of Kafka's name; ``KeyError`` if there is none."""
    return ErrorCode[name.lower()]


def _injection(strike: Strike, subject: Subject) -> Injection:
    return Injection(
        fault=strike.fault.label,
        action=str(strike.fault.action),
        api=subject.api,
        client_id=subject.client_id,
        number=strike.number,
        topics=tuple(sorted(subject.topics)),
        transactional_ids=tuple(sorted(subject.transactional_ids)),
        groups=tuple(sorted(subject.groups)),
        kills=isinstance(strike.fault.action, Kill),
    )
