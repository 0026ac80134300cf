"""Subscriptions by regular expression, in RE2's syntax, as Apache Kafka's brokers take them.

Owns: which names an expression matches. Must not know: who may see a topic.

RE2 needs time in proportion to the text: an expression of a client cannot hold up the broker, as it could with
Python's own ``re``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from tallystick.wire.errors import ApiError, ErrorCode

MAX_LENGTH: Final = 1_000
"""Of an expression. Apache Kafka has no bound; a topic name has 249 characters."""

_MAX_BYTES: Final = 1024 * 1024
"""Of memory for one compiled expression."""


def matching(regex: str, names: Iterable[str]) -> tuple[str, ...]:
    """The names that match as a whole, sorted. ``ApiError`` INVALID_REGULAR_EXPRESSION."""
    if len(regex) > MAX_LENGTH:
        raise _invalid(regex[:20] + "...", f"longer than {MAX_LENGTH} characters")
    import re2  # the few that subscribe so pay for it, not every start

    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MAX_BYTES
    try:
        compiled = re2.compile(regex, options)
    except re2.error as error:
        reason = error.args[0] if error.args else "it does not compile"
        raise _invalid(regex, reason.decode() if isinstance(reason, bytes) else str(reason)) from error
    return tuple(sorted(name for name in names if compiled.fullmatch(name)))


def _invalid(regex: str, reason: str) -> ApiError:
    return ApiError(
        ErrorCode.invalid_regular_expression,
        f"SubscribedTopicRegex `{regex}` is not a valid regular expression: {reason}.",
    )
