"""The application that replays run in tests, before and after it was mended; its names come from the environment."""

from __future__ import annotations

import os
from collections.abc import Iterator

from tallystick.pipeline import App, Context, Emit, Store, Topic, emit


def shop(prefix: str, *, mended: bool) -> App:
    """Rates numbers from ``{prefix}-in`` to ``{prefix}-out``: ten times the number.

    Mended, even ones cost eleven times, 5 has a second output, 7 has none; and none can be made of 13.
    """
    usage, charges = Topic(f"{prefix}-in", int, partitions=2), Topic(f"{prefix}-out", int, partitions=2)
    app = App(prefix)

    @app.step(source=usage, emits=[charges])
    def rate(number: int, context: Context) -> Iterator[Emit]:
        if mended and number == 13:
            raise ValueError("thirteen")
        if mended and number == 7:
            return
        yield emit(charges, number * (11 if mended and number % 2 == 0 else 10), key=context.key)
        if mended and number == 5:
            yield emit(charges, 55, key=context.key)

    return app


def summing(prefix: str, *, mended: bool) -> App:
    """Writes the sum of the numbers of each key so far; mended, 2 counts as 3."""
    usage, sums = Topic(f"{prefix}-in", int, partitions=2), Topic(f"{prefix}-out", int, partitions=2)
    store = Store("sums", key=bytes, value=int)
    app = App(prefix)

    @app.step(source=usage, emits=[sums], state=[store])
    def add(number: int, context: Context) -> Emit:
        held, key = context.state(store), context.key or b""
        held[key] = held.get(key, 0) + (3 if mended and number == 2 else number)
        return emit(sums, held[key], key=key)

    return app


def build() -> App:
    return shop(os.environ["REPLAY_TEST_PREFIX"], mended=True)
