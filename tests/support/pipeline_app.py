"""The application that pipeline contract tests run in worker processes; its names come from the environment."""

from __future__ import annotations

import os
from collections.abc import Iterator

import msgspec

from tallystick.pipeline import App, Context, Emit, ErrorPolicy, Guarantee, OnFailure, Topic, emit


class Event(msgspec.Struct):
    n: int


def build() -> App:
    """Two steps that copy: ``{prefix}-a`` to ``{prefix}-b`` to ``{prefix}-c``."""
    prefix = os.environ["PIPELINE_TEST_PREFIX"]
    partitions = int(os.environ.get("PIPELINE_TEST_PARTITIONS", "2"))
    first, second, third = (Topic(f"{prefix}-{letter}", Event, partitions=partitions) for letter in "abc")
    policy = ErrorPolicy(then=OnFailure(os.environ.get("PIPELINE_TEST_ON_FAILURE", "dead-letter")))
    app = App(prefix, guarantee=Guarantee(os.environ.get("PIPELINE_TEST_GUARANTEE", "exactly-once")))

    @app.step(source=first, emits=[second], on_error=policy)
    def one(event: Event, context: Context) -> Iterator[Emit]:
        yield emit(second, event, key=context.key)

    @app.step(source=second, emits=[third])
    def two(event: Event, context: Context) -> Iterator[Emit]:
        yield emit(third, event, key=context.key)

    return app
