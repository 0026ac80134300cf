"""The broker in a thread of this process, with an event loop of its own.

Owns: the thread, its start and its end. Must not know: the broker's inside, whose modules it imports at the first start
only.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tallystick.broker.control.messages import Command, Reply
from tallystick.broker.embedded.lean_imports import hidden
from tallystick.broker.embedded.local_broker import BrokerDidNotStart, LocalBroker
from tallystick.broker.embedded.run import Ending, Ready
from tallystick.broker.faults.injection import Injection
from tallystick.broker.faults.plan import FaultPlan, PlanState
from tallystick.clock import Clock, SystemClock
from tallystick.errors import TallystickError

if TYPE_CHECKING:
    from tallystick.broker.control.in_process_end import InProcessEnd
    from tallystick.broker.faults.injector import Injector
    from tallystick.broker.options import BrokerOptions

START_TIMEOUT_S: Final = 60.0
STOP_TIMEOUT_S: Final = 20.0


class InProcessBroker(LocalBroker):
    """A broker in a thread: ready in milliseconds, once its modules are imported. See ``LocalBroker``.

    ``clock`` is the broker's, by default the system's. ``kill`` ends it without writing, syncing or saying anything any
    more. Its log goes to ``log_path``, unless the program configures structlog while it runs.
    """

    _run: ThreadRun | None
    clock: Clock = SystemClock()

    def _launch(self, arguments: list[str]) -> ThreadRun:
        with hidden("hypothesis"):  # see __main__
            from tallystick.broker.main import options_from

        options, _ = options_from(arguments)
        run = ThreadRun(options, self.faults.state(), clock=self.clock, note=self.faults.note, log_path=self.log_path)
        try:
            run.await_ready()
        except (TallystickError, OSError, TimeoutError) as error:
            run.end(Ending.KILL)
            raise BrokerDidNotStart(f"{error or 'the broker was not ready in time'}: {self.log_tail()}") from error
        return run


class ThreadRun:
    """One thread, from its start to its end."""

    def __init__(
        self,
        options: BrokerOptions,
        plan: PlanState,
        *,
        clock: Clock,
        note: Callable[[Injection], None],
        log_path: Path,
    ) -> None:
        self._options = options
        self._plan = FaultPlan()
        self._plan.restore(plan)
        self._clock = clock
        self._note = note
        self._log_path = log_path
        self._started: concurrent.futures.Future[Ready] = concurrent.futures.Future()
        self._ending: Ending | None = None
        self._woken: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._control: InProcessEnd | None = None
        self.is_dying = False
        self._thread = threading.Thread(target=self._main, name="tallystick-broker", daemon=True)
        self._thread.start()

    @property
    def ready(self) -> Ready:
        return self._started.result(0)

    def await_ready(self) -> None:
        """Raises what went wrong; ``TimeoutError``."""
        self._started.result(START_TIMEOUT_S)

    def ask(self, command: Command) -> Reply | None:
        return None if self._control is None else self._control.ask(command)

    def await_own_end(self) -> bool:
        if self.is_dying:
            self._thread.join(STOP_TIMEOUT_S)
            return True
        return not self._thread.is_alive()

    def end(self, how: Ending) -> PlanState | None:
        loop = self._loop
        if loop is not None and self._thread.is_alive():
            with contextlib.suppress(RuntimeError):  # the loop is closed: it ended by itself meanwhile
                loop.call_soon_threadsafe(self._end, how)
        self._thread.join(STOP_TIMEOUT_S)
        if self._thread.is_alive():
            raise TallystickError(f"the broker's thread does not end in {STOP_TIMEOUT_S} s")
        return self._plan.state()

    def _end(self, how: Ending) -> None:
        if self._ending is None and self._woken is not None:
            self._ending = how
            self._woken.set()

    def _noted(self, injection: Injection) -> None:
        self.is_dying = self.is_dying or injection.kills
        self._note(injection)

    def _main(self) -> None:
        from tallystick.broker.embedded.captured_log import captured_log
        from tallystick.broker.main import loop_factory

        try:
            with captured_log(self._log_path), asyncio.Runner(loop_factory=loop_factory()) as runner:
                runner.run(self._serve())
        except BaseException as error:  # noqa: BLE001 - the edge of the thread: whoever waits for it is told
            if not self._started.done():
                self._started.set_exception(error)

    async def _serve(self) -> None:
        from tallystick.broker.control.in_process_end import InProcessEnd
        from tallystick.broker.faults.injector import Injector

        self._woken = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        injector = Injector(self._plan, clock=self._clock, note=self._noted, kill=lambda: self._end(Ending.KILL))
        control = InProcessEnd(injector, self._loop)
        try:
            await self._run(injector, control, self._woken)
        finally:
            control.close()

    async def _run(self, injector: Injector, control: InProcessEnd, woken: asyncio.Event) -> None:
        from tallystick.broker.control.execute import check
        from tallystick.broker.instance import BrokerInstance

        check(injector.plan)
        instance = await BrokerInstance.start(self._options, clock=injector.clock, make_interceptor=injector.attach)
        try:
            self._control = control
            self._started.set_result(Ready(instance.port, instance.ports, instance.recovery_as_json()))
            await instance.serve_until(woken)
        finally:
            if self._ending is Ending.KILL:
                await instance.abandon()
            else:
                await instance.stop()
