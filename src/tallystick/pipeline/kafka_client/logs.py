"""librdkafka's log lines, each client's to its own observer.

Owns: the logger that a client is given. Must not know: what the lines mean.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import structlog

log = structlog.get_logger(__name__)


class _ConnectionLog(logging.Handler):
    """Turns librdkafka's log lines into calls: ``observe(facility, text)``."""

    def __init__(self, client: str, observe: Callable[[str, str], None]) -> None:
        super().__init__()
        self._client = client
        self._observe = observe

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        log.debug("librdkafka", client=self._client, text=text)
        self._observe(text.split(" ", 1)[0], text)


def client_logger(client: str, observe: Callable[[str, str], None]) -> logging.Logger:
    """A logger outside the global tree, so that two clients never share observers."""
    logger = logging.Logger(f"tallystick.librdkafka.{client}")
    logger.addHandler(_ConnectionLog(client, observe))
    return logger
