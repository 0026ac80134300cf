"""The same work as an application for worker processes, ``tallystick run bench.loops.rating:app``.

Owns: the applications, and how their workers are started. The environment says which topics. Must not know: what is
measured.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

from bench.loops.job import Event, RatedEvent, rated
from bench.loops.programs import running

from tallystick.pipeline import App, Context, Emit, Store, Topic, emit

GROUP: Final = "rating.rate"
SLOT: Final = "worker-0"


def app() -> App:
    """Events get a field more, one by one."""
    source, target = Topic(os.environ["BENCH_SOURCE"], Event), Topic(os.environ["BENCH_TARGET"], RatedEvent)
    application = App("rating")

    @application.step(source=source)
    def rate(event: Event, context: Context) -> Emit:
        return emit(target, rated(event), key=context.key)

    return application


def keeping() -> App:
    """The last amount of each user is kept in state, which makes a million keys of a million users."""
    source, amounts = Topic(os.environ["BENCH_SOURCE"], Event), Store("amounts", key=str, value=int)
    application = App("rating")

    @application.step(source=source, state=[amounts])
    def rate(event: Event, context: Context) -> None:
        context.state(amounts)[event.user] = event.amount_minor

    return application


def workers(
    bootstrap: str, source: str, target: str, run_dir: Path, *words: str, application: str = "app"
) -> AbstractContextManager[subprocess.Popen[bytes]]:
    """``tallystick run`` with further words of its command line, until the block ends."""
    command = [sys.executable, "-m", "tallystick.cli.main", "run", f"bench.loops.rating:{application}"]
    command += ["--bootstrap", bootstrap, "--run-dir", str(run_dir), "--log-level", "error", *words]
    return running(command, BENCH_SOURCE=source, BENCH_TARGET=target)


def quick() -> Iterator[str]:
    """Settings for small transactions, as words of the command line."""
    for setting in ("linger.ms=0", "retry.backoff.ms=5"):
        yield from ("--producer", setting)
