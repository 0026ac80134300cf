"""Elle's list-append method: each anomaly in a history that has just that one."""

from __future__ import annotations

from tallystick.verify.oracle.append import Append, Read, check_append

APPENDS = [
    Append("t1", (("p0", "a"), ("p1", "b"))),
    Append("t2", (("p0", "c"),)),
    Append("t3", (("p0", "x"),), committed=False),
]


def found(*reads: Read) -> dict[str, int]:
    return {finding.checker: finding.count for finding in check_append(APPENDS, reads) if finding.count}


def test_reads_that_grow_are_no_anomaly() -> None:
    assert found(Read("p0", ()), Read("p0", ("a",)), Read("p1", ("b",)), Read("p0", ("a", "c"))) == {}


def test_a_read_of_an_aborted_append_is_g1a() -> None:
    assert found(Read("p0", ("a", "x"))) == {"g1a": 1}


def test_two_reads_of_which_neither_is_a_prefix_of_the_other_are_incompatible() -> None:
    assert found(Read("p0", ("a", "c")), Read("p0", ("c", "a"))) == {"incompatible-order": 1}


def test_a_read_that_lacks_what_was_read_before_is_incompatible() -> None:
    assert found(Read("p0", ("a", "c")), Read("p0", ("a",))) == {"incompatible-order": 1}


def test_a_value_twice_in_one_list_is_a_duplicate_and_is_told_once() -> None:
    assert found(Read("p0", ("a", "a")), Read("p0", ("a", "a"))) == {"duplicate-append": 1}


def test_a_value_that_nobody_appended_there_is_garbage() -> None:
    assert found(Read("p1", ("b", "a"))) == {"garbage-read": 1}
