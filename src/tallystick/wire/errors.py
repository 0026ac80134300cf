"""Kafka's error codes as one table: code, name, whether a retry may help, and what it means.

Owns: the table (from kio, which takes it from Apache Kafka's ``Errors``) and ``ApiError``, the exception by which code
below a handler refuses with a code. Must not know: which API answers what.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from kio.schema.errors import ErrorCode

from tallystick.errors import TallystickError

__all__ = ["BY_CODE", "ApiError", "ErrorCode", "WireError", "describe"]


@dataclass(frozen=True, slots=True)
class WireError:
    """One row of the table. ``name`` is Kafka's, as in ``OUT_OF_ORDER_SEQUENCE_NUMBER``."""

    code: int
    name: str
    retriable: bool


BY_CODE: Final[dict[int, WireError]] = {
    int(error): WireError(code=int(error), name=error.name.upper(), retriable=error.retriable) for error in ErrorCode
}


def describe(code: int) -> str:
    """The code for a person: ``OUT_OF_ORDER_SEQUENCE_NUMBER (45)``."""
    row = BY_CODE.get(code)
    return f"{row.name if row else 'not a known error'} ({code})"


class ApiError(TallystickError):
    """A request, or one part of it, is refused with this code."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        self.code = code
        self.message = message
        super().__init__(f"{code.name.upper()}: {message}")
