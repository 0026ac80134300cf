"""What a set of settings becomes by the four operations of IncrementalAlterConfigs."""

from __future__ import annotations

import pytest

from tallystick.broker.config_changes import Change, changed, replaced
from tallystick.wire.errors import ApiError, ErrorCode

SET, DELETE, APPEND, SUBTRACT = range(4)


def after(present: dict[str, str], *changes: tuple[str, int, str | None]) -> dict[str, str]:
    return changed(present, [Change(*row) for row in changes], {"list": "a,b", "empty": ""}.get)


@pytest.mark.parametrize(
    ("present", "change", "expected"),
    [
        ({}, ("x", SET, "1"), {"x": "1"}),
        ({"x": "1"}, ("x", DELETE, None), {}),
        ({}, ("x", DELETE, None), {}),
        ({}, ("list", APPEND, "c"), {"list": "a,b,c"}),
        ({"list": "c"}, ("list", APPEND, " c , d"), {"list": "c,d"}),
        ({}, ("list", SUBTRACT, "a"), {"list": "b"}),
        ({"list": "c"}, ("list", SUBTRACT, "c"), {"list": ""}),
        ({}, ("empty", APPEND, "c"), {"empty": "c"}),
    ],
)
def test_each_operation_has_its_result(
    present: dict[str, str], change: tuple[str, int, str | None], expected: dict[str, str]
) -> None:
    assert after(present, change) == expected


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ([("x", SET, None)], ErrorCode.invalid_request),
        ([("x", APPEND, "1")], ErrorCode.invalid_config),
        ([("x", 9, "1")], ErrorCode.invalid_request),
        ([("x", SET, "1"), ("x", DELETE, None)], ErrorCode.invalid_request),
    ],
)
def test_a_malformed_change_is_refused(changes: list[tuple[str, int, str | None]], code: ErrorCode) -> None:
    with pytest.raises(ApiError) as refused:
        after({}, *changes)
    assert refused.value.code is code


def test_a_replacement_is_the_whole_set() -> None:
    assert replaced([("x", "1"), ("y", "2")]) == {"x": "1", "y": "2"}
    with pytest.raises(ApiError, match="Null value not supported"):
        replaced([("x", None)])
