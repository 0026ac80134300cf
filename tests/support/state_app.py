"""The application with keyed state that contract tests run in worker processes; its names come from the environment."""

from __future__ import annotations

import os
from collections.abc import Iterator

from tallystick.pipeline import App, Context, Emit, Store, Topic, emit

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
