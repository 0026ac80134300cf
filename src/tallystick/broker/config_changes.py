"""Changes of settings: what a set of them becomes by SET, DELETE, APPEND and SUBTRACT (KIP-339).

Owns: the four operations and their checks. Must not know: what the settings mean, where they are kept.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tallystick.wire.errors import ApiError, ErrorCode


class Operation(enum.IntEnum):
    """The numbers are those of IncrementalAlterConfigs."""

    SET = 0
    DELETE = 1
    APPEND = 2
    SUBTRACT = 3


@dataclass(frozen=True, slots=True)
class Change:
    """One operation on one setting."""

    name: str
    operation: int
    value: str | None


ListDefault = Callable[[str], str | None]
"""The default of a setting that is a list; None for one that is none, or that does not exist."""


def replaced(rows: Sequence[tuple[str, str | None]]) -> dict[str, str]:
    """The whole set, as AlterConfigs names it."""
    return changed({}, [Change(name, Operation.SET, value) for name, value in rows], lambda _: None)


def changed(present: Mapping[str, str], changes: Sequence[Change], list_default: ListDefault) -> dict[str, str]:
    """The set after the changes. ``ApiError`` INVALID_REQUEST for a malformed one, INVALID_CONFIG if it is no list."""
    names = [change.name for change in changes]
    if len(set(names)) < len(names):
        raise ApiError(ErrorCode.invalid_request, "Error due to duplicate config keys")
    result = dict(present)
    for change in changes:
        if change.operation == Operation.DELETE:
            result.pop(change.name, None)
        elif change.value is None:
            raise ApiError(ErrorCode.invalid_request, f"Null value not supported for : {change.name}")
        elif change.operation == Operation.SET:
            result[change.name] = change.value
        else:
            result[change.name] = _list_after(change, change.value, result.get(change.name), list_default(change.name))
    return result


def _list_after(change: Change, value: str, present: str | None, default: str | None) -> str:
    if change.operation not in (Operation.APPEND, Operation.SUBTRACT):
        raise ApiError(ErrorCode.invalid_request, f"Unknown operation {change.operation} for {change.name}")
    operation = Operation(change.operation)
    if default is None:
        raise ApiError(
            ErrorCode.invalid_config, f"Can't {operation.name} to key {change.name} because its type is not LIST."
        )
    parts = _parts(default if present is None else present)
    given = _parts(value)
    if operation is Operation.APPEND:
        return ",".join([*parts, *(part for part in given if part not in parts)])
    return ",".join(part for part in parts if part not in given)


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
