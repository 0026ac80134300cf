"""The house is in order: every module says what it owns, none grows without a reason, nobody swallows everything."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

SOURCE: Final = Path(__file__).resolve().parents[2] / "src" / "tallystick"
MAX_LINES: Final = 400
"""Of a module of the broker."""

LONGER: Final[dict[str, str]] = {}
"""Modules that have more lines, and why they are one noun all the same."""

CATCHES_EVERYTHING: Final[dict[str, tuple[int, str]]] = {
    "billing/charging.py": (1, "the edge of a thread: kept, and raised by the main one"),
    "boundary/webhooks/processor.py": (1, "the edge of the loop: kept with the event, which stays to be processed"),
    "broker/connection.py": (1, "the edge of a connection's loop: told in full, and the connection ends"),
    "broker/embedded/in_process.py": (1, "the edge of the thread: whoever waits for it is told"),
    "broker/metrics/page.py": (1, "the edge of a connection's loop: told in full, and the connection ends"),
    "pipeline/async_functions.py": (1, "user code: any failure is the record's, and bounded"),
    "pipeline/batch_functions.py": (1, "some value of a batch does not decode: one by one shows which"),
    "pipeline/errands.py": (1, "kept, and raised where it was asked for"),
    "pipeline/functions.py": (3, "user code: any failure is the record's, and bounded; a row, one, its tries"),
    "pipeline/kafka_client/consumer.py": (2, "a callback of librdkafka: kept, and raised by the poll that called it"),
    "pipeline/kafka_client/registry.py": (1, "a serde's error: told apart, and raised as what it means"),
    "pipeline/lane.py": (1, "the edge of a thread: kept, and raised by the polling thread"),
    "pipeline/replay/replaying.py": (1, "the edge of user code: a verdict about a record"),
    "pipeline/state/restorer.py": (1, "the edge of a thread: kept, and raised by the polling thread"),
    "pipeline/topics.py": (1, "a serde may raise anything: raised as DecodeError"),
    "pipeline/work.py": (1, "the edge of user code: a verdict about a record"),
    "pipeline/worker.py": (1, "the edge of a thread: kept, and raised by run_worker"),
    "verify/faults/fault.py": (1, "the edge of a thread: kept, and raised where it is waited for"),
    "verify/trial/feed.py": (1, "the edge of a thread: kept, and told in the verdict"),
    "verify/trial/watchers.py": (1, "the edge of a thread: kept, and told in the verdict"),
    "testing/app_driver/loop_run.py": (1, "the edge of a thread: kept, and raised by the driver"),
    "pipeline/worker_main.py": (1, "the edge of the worker's process: told in full, and the process ends"),
}
"""Modules that catch every exception and do not raise it again at once: how often, and why."""


def modules(folder: Path = SOURCE) -> Iterator[tuple[str, str]]:
    for path in sorted(folder.rglob("*.py")):
        yield str(path.relative_to(SOURCE)), path.read_text(encoding="utf-8")


def test_every_module_opens_with_what_it_is() -> None:
    without = [name for name, text in modules() if not ast.get_docstring(ast.parse(text))]
    assert without == []


def test_no_module_of_the_broker_is_long_without_a_reason() -> None:
    long = {name: text.count("\n") for name, text in modules(SOURCE / "broker") if text.count("\n") > MAX_LINES}
    assert {name: lines for name, lines in long.items() if name not in LONGER} == {}
    assert LONGER.keys() - long.keys() == set(), "these are short now: take them off the list"


def test_nobody_catches_everything_without_a_reason() -> None:
    found = Counter(
        name
        for name, text in modules()
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.ExceptHandler) and _catches_everything(node)
    )
    assert found == {name: count for name, (count, _) in CATCHES_EVERYTHING.items()}


def _catches_everything(handler: ast.ExceptHandler) -> bool:
    kinds = [] if handler.type is None else ast.walk(handler.type)
    caught = {node.id for node in kinds if isinstance(node, ast.Name)}
    raises_again = isinstance(handler.body[-1], ast.Raise) and handler.body[-1].exc is None
    return (handler.type is None or bool(caught & {"Exception", "BaseException"})) and not raises_again
