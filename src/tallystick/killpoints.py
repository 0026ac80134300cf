"""Named places at which a test can kill the process, for real.

Owns: the registry of kill points and the trigger in the environment. Must not know: what the places mean.

Code that crosses a boundary of the contract says so: ``reach("cycle.after-sql-commit")``. It costs one dictionary
look-up when nothing is armed. Armed by ``TALLYSTICK_KILL_AT=name:3``, the third time that name is reached the
process appends one line to ``TALLYSTICK_KILL_LOG`` and sends itself ``SIGKILL``: no ``finally``, no ``atexit``, no
flush, as the kernel's out-of-memory killer would do it. A restarted process must be started without the variable. An
entry that ends in ``@slot`` is for the worker of that name, and its supervisor hands it on.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from typing import Final

from tallystick.errors import ConfigurationError

ENV_KILL_AT: Final = "TALLYSTICK_KILL_AT"
ENV_KILL_LOG: Final = "TALLYSTICK_KILL_LOG"

_declared: dict[str, str] = {}
_armed: dict[str, int] = {}
_deaths: dict[str, Callable[[str], None]] = {}
"""Places that were armed in this process: what happens there instead of a kill."""


def declare(name: str, meaning: str) -> str:
    """Register a kill point at import time and return its name; two meanings for one name are refused."""
    if _declared.setdefault(name, meaning) != meaning:
        raise ConfigurationError(f"kill point {name!r} is declared twice")
    return name


def declared() -> dict[str, str]:
    """Every kill point that the imported modules declare: name to meaning."""
    return dict(_declared)


def reach(name: str) -> None:
    """Die here, if the environment says that it is this place's turn."""
    remaining = _armed.get(name)
    if remaining is None:
        return
    if remaining > 1:
        _armed[name] = remaining - 1
        return
    if _armed.pop(name, None) is not None:  # two threads may stand here: one of them logs the kill
        _deaths.pop(name, _die)(name)


def arm_here(name: str, count: int, die: Callable[[str], None]) -> None:
    """``die(name)`` is called when the place is reached for the ``count``-th time from now on, in whatever thread.

    For tests that run an application in their own process; ``die`` raises what nobody between catches.
    """
    if count < 1:
        raise ConfigurationError(f"kill point {name!r}: {count} is no count")
    _deaths[name] = die
    _armed[name] = count


def disarm(name: str) -> None:
    """Forget that the place is armed, if it is."""
    _armed.pop(name, None)
    _deaths.pop(name, None)


def arm_from_environment() -> None:
    """Read ``TALLYSTICK_KILL_AT``; called once at the start of every process that may be killed."""
    setting = os.environ.get(ENV_KILL_AT)
    if not setting:
        return
    for part in setting.split(","):
        if "@" in part:
            continue  # for a worker of that name: its supervisor hands the entry on without the name
        name, _, count = part.partition(":")
        if count and not count.isdecimal():
            raise ConfigurationError(f"{ENV_KILL_AT}={setting!r}: {count!r} is no count")
        _armed[name] = int(count or "1")


def _die(name: str) -> None:
    path = os.environ.get(ENV_KILL_LOG)
    if path:
        line = json.dumps({"kill_point": name, "pid": os.getpid(), "at_ms": time.time_ns() // 1_000_000}) + "\n"
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(descriptor, line.encode())
        os.close(descriptor)
    os.kill(os.getpid(), signal.SIGKILL)


arm_from_environment()
