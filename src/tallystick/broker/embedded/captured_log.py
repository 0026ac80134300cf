"""The log of a broker that shares its process with others: into a file of its own.

Owns: which log entries are the broker's, the file. Must not know: who logs what.

structlog has one configuration for a process. While a broker runs in it, a processor stands in front of that
configuration and takes what is logged in the broker's context.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, MutableMapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Final

import structlog

_file: ContextVar[Callable[[str], object] | None] = ContextVar("tallystick_broker_log", default=None)
_lock: Final = threading.Lock()
_users: list[object] = []
_was_configured = False

_render: Final = structlog.processors.JSONRenderer()
_stamp: Final = structlog.processors.TimeStamper(fmt="iso")


def _take(logger: Any, name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    write = _file.get()
    if write is None:
        return event
    event = structlog.processors.format_exc_info(logger, name, _stamp(logger, name, event))
    event["level"] = name
    write(f"{_render(logger, name, event)!s}\n")
    raise structlog.DropEvent


@contextlib.contextmanager
def captured_log(path: Path) -> Iterator[None]:
    """Write what is logged in this context, and in tasks that begin in it, to the file."""
    with path.open("a", encoding="utf-8", buffering=1) as file:
        token = _file.set(file.write)
        user = object()
        _install(user)
        try:
            yield
        finally:
            _remove(user)
            _file.reset(token)


def _install(user: object) -> None:
    global _was_configured  # noqa: PLW0603 - structlog's configuration is one for the process
    with _lock:
        processors = structlog.get_config()["processors"]
        if not _users:
            _was_configured = structlog.is_configured()
        _users.append(user)
        if _take not in processors:
            structlog.configure(processors=[_take, *processors])


def _remove(user: object) -> None:
    with _lock:
        _users.remove(user)
        if _users:
            return
        processors = structlog.get_config()["processors"]
        if _take not in processors:
            return
        if _was_configured:
            structlog.configure(processors=[step for step in processors if step is not _take])
        else:
            structlog.reset_defaults()
