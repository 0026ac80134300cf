"""A record that cannot be applied, which is a bug, is not left in a journal: the folder could not be opened again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.unit.broker.in_process import opened

from tallystick.broker.dynamic_configs import EVERY_BROKER, DynamicConfigs
from tallystick.broker.groups.offsets import GroupOffsets
from tallystick.broker.groups.records import CommittedOffset, OffsetsCommitted
from tallystick.broker.node import Node
from tallystick.broker.transactions import machine
from tallystick.broker.transactions.records import TransactionState, TransactionStatus


class Slip(Exception):
    """The bug."""


def slips(*_: Any) -> None:
    raise Slip


def commit(node: Node) -> None:
    node.groups._table.write(OffsetsCommitted(group_id="g", offsets=(CommittedOffset("t", 0, 5),)))


def begin(node: Node) -> None:
    node.transactions._write(TransactionState("x", 5, 0, TransactionStatus.EMPTY, 60_000))


def configure(node: Node) -> None:
    node.dynamic_configs.change(EVERY_BROKER, {"max.connections": "7"})


@pytest.mark.parametrize(
    ("write", "place", "name"),
    [
        (commit, GroupOffsets, "apply"),
        (begin, machine, "apply"),
        (configure, DynamicConfigs, "_apply"),
    ],
    ids=["group", "transaction", "configuration"],
)
def test_a_record_that_cannot_be_applied_is_taken_back_and_the_folder_opens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[Node], None], place: Any, name: str
) -> None:
    def sizes() -> dict[str, int]:
        return {file.name: file.stat().st_size for file in (tmp_path / "data").glob("*.journal")}

    with monkeypatch.context() as patched:
        patched.setattr(place, name, slips)
        with opened(tmp_path / "data") as node:
            before = sizes()
            with pytest.raises(Slip):
                write(node)
            assert sizes() == before
    with opened(tmp_path / "data") as node:
        write(node)
        assert sizes() != before
    with opened(tmp_path / "data"):
        pass
