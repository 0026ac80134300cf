"""The application with keyed state that contract tests run in worker processes; its names come from the environment."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import timedelta

from tallystick.pipeline import App, Context, Emit, Store, Table, Topic, Tumbling, Window, Windows, emit

COUNTS = Store("counts", key=str, value=int)


def build() -> App:
    """One step that counts each key's records from ``{prefix}-in`` and writes each new count to ``{prefix}-out``."""
    prefix = os.environ["PIPELINE_TEST_PREFIX"]
    source, target = Topic(f"{prefix}-in", bytes, partitions=2), Topic(f"{prefix}-out", bytes, partitions=2)
    app = App(prefix)

    @app.step(source=source, emits=[target], state=[COUNTS])
    def count(_value: bytes, context: Context) -> Iterator[Emit]:
        counts = context.state(COUNTS)
        key = (context.key or b"").decode()
        counts[key] = number = counts.get(key, 0) + 1
        yield emit(target, b"%s=%d" % (key.encode(), number), key=key)

    return app


def build_over_time() -> App:
    """Three steps over ``{prefix}-in``: sums of ten seconds, a join with ``{prefix}-right``, and a table."""
    prefix = os.environ["PIPELINE_TEST_PREFIX"]
    source, right, names, target = (Topic(f"{prefix}-{name}", bytes, 2) for name in ("in", "right", "names", "out"))
    app = App(prefix)
    tens = Windows("tens", Tumbling(timedelta(seconds=10)), key=str, value=int)
    table = Table("names", names, key=str)

    def closed(window: Window[str, int], _context: Context) -> Emit:
        return emit(target, f"sum {window.key} {window.start_ms} {window.value}".encode(), key=window.key)

    @app.aggregate(source=source, windows=tens, closed=closed, emits=[target])
    def total(value: int | None, event: bytes) -> int:
        return (value or 0) + int(event)

    @app.join(left=source, right=right, within=timedelta(seconds=1), keep_left=True, emits=[target])
    def pair(left: bytes, found: bytes | None, context: Context) -> Emit:
        return emit(target, b"pair %s %s" % (left, found or b"nothing"), key=context.key)

    @app.step(source=source, tables=[table], deduplicate=timedelta(days=7), emits=[target])
    def once(event: bytes, context: Context) -> Iterator[Emit]:
        name = context.state(table).get((context.key or b"").decode(), b"nobody")
        yield emit(target, b"once %s %s" % (event, name), key=context.key)

    return app
