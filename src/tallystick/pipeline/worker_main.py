"""``python -m tallystick.pipeline.worker_main MODULE:APP``: one worker process, as the supervisor starts it.

Owns: loading an application by name, the exit codes, structured logs on stderr. Must not know: other workers.
"""

from __future__ import annotations

import argparse
import atexit
import contextlib
import json
import logging
import os
import sys
import threading
from enum import IntEnum
from pathlib import Path
from typing import Any, NoReturn

import structlog

from tallystick.errors import ConfigurationError, FencedError
from tallystick.pipeline.app import App
from tallystick.pipeline.collector import calm_collector
from tallystick.pipeline.guarantee import Guarantee
from tallystick.pipeline.policy import StoppedByPolicy
from tallystick.pipeline.references import load_attribute
from tallystick.pipeline.settings import GroupProtocol
from tallystick.pipeline.worker import WorkerConfig, run_worker
from tallystick.stopping import StopFlag

log = structlog.get_logger(__name__)


class Exit(IntEnum):
    """Why a worker process ended. Killed ones end by their signal."""

    DONE = 0
    STOPPED_BY_POLICY = 65
    """A step met a record that it cannot process, and its policy is to stop: never restarted, a person looks."""
    FAILED = 70
    """Something that a new process may get past: it is restarted."""
    FENCED = 76
    """A newer owner of the slot exists: never restarted (rule 5)."""
    CONFIGURATION = 78
    """It would fail again in the same way: never restarted."""


def load_app(reference: str) -> App:
    """The application named ``module:attribute``; a function without arguments is called for it."""
    found = load_attribute(reference, example="shop.pipeline:app")
    app = found() if callable(found) and not isinstance(found, App) else found
    if not isinstance(app, App):
        raise ConfigurationError(f"{reference!r} is {type(app).__name__}, not a tallystick.pipeline.App")
    return app


def configure_logs(level: str) -> None:
    """One JSON line for each event, on stderr."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=False,
    )


def main(arguments: list[str] | None = None) -> int:
    """Run one worker; the exit code."""
    options = _parser().parse_args(arguments)
    configure_logs(options.log_level)
    structlog.contextvars.bind_contextvars(slot=options.slot, pid=os.getpid())
    stopping = StopFlag()
    if options.parent_pipe is not None:
        threading.Thread(target=_watch, args=(options.parent_pipe, stopping), daemon=True).start()
    try:
        app = load_app(options.app)
        if options.guarantee:
            app.guarantee = Guarantee(options.guarantee)
        with calm_collector(options.batch_records * options.lanes):
            run_worker(app, _config(options), stop=stopping)
    except FencedError as error:
        log.error("fenced", error=str(error))  # noqa: TRY400  # the message is for a person
        return Exit.FENCED
    except StoppedByPolicy as error:
        log.error("stopped by policy", error=str(error), exc_info=error.cause)  # noqa: TRY400  # the cause's trace
        return Exit.STOPPED_BY_POLICY
    except ConfigurationError as error:
        log.error("configuration", error=str(error))  # noqa: TRY400  # the message is for a person
        return Exit.CONFIGURATION
    except Exception:
        log.exception("worker failed")
        return Exit.FAILED
    return Exit.DONE


def _config(options: argparse.Namespace) -> WorkerConfig:
    return WorkerConfig(
        bootstrap=options.bootstrap,
        slot=options.slot,
        group=options.group,
        batch_records=options.batch_records,
        commit_interval_ms=options.commit_interval_ms,
        latency_goal_ms=options.latency_goal_ms,
        lanes=options.lanes,
        group_protocol=GroupProtocol(options.group_protocol),
        consumer_config=_settings(options.consumer_config),
        producer_config=_settings(options.producer_config),
        stats_dir=options.stats_dir,
        view_dir=options.view_dir,
        state_dir=options.state_dir,
    )


def _settings(text: str) -> dict[str, Any]:
    try:
        settings = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigurationError(f"settings {text!r} are no JSON: {error}") from error
    if not isinstance(settings, dict):
        raise ConfigurationError(f"settings {text!r} are no JSON object")
    return settings


def _watch(descriptor: int, stopping: threading.Event) -> None:
    """The other end of the pipe closes when the supervisor dies: a worker without one stops."""
    os.read(descriptor, 1)
    stopping.set()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tallystick.pipeline.worker_main", description=__doc__)
    parser.add_argument("app", help="module:attribute of the App, or of a function that makes it")
    parser.add_argument("--bootstrap", required=True, help="host:port[,host:port]")
    parser.add_argument("--slot", required=True, help="stable name of this worker")
    parser.add_argument("--group", help="front of the group ids; default: the application's name")
    parser.add_argument("--guarantee", choices=[one.value for one in Guarantee], help="instead of the application's")
    parser.add_argument("--batch-records", type=int, default=500)
    parser.add_argument("--commit-interval-ms", type=int, default=100)
    parser.add_argument("--latency-goal-ms", type=int, help="adapt both, so that a record is committed in that time")
    parser.add_argument("--lanes", type=int, default=1, help="transactions of a step at the same time")
    protocols = [one.value for one in GroupProtocol]
    parser.add_argument("--group-protocol", choices=protocols, default="classic", help="consumer is KIP-848's")
    parser.add_argument("--consumer-config", default="{}", help="librdkafka settings as a JSON object")
    parser.add_argument("--producer-config", default="{}", help="librdkafka settings as a JSON object")
    parser.add_argument("--stats-dir", type=Path)
    parser.add_argument("--view-dir", type=Path, help="folder for SLOT.view.json, what metrics are made of")
    parser.add_argument("--state-dir", type=Path, help="folder for local copies of keyed state")
    parser.add_argument("--log-level", default="info", choices=["debug", "info", "warning", "error"])
    parser.add_argument("--parent-pipe", type=int, help=argparse.SUPPRESS)
    return parser


def end(code: int) -> NoReturn:
    """End the process: exit functions run, output is flushed, and the interpreter is not taken down.

    Taking it down lets go of every client, and librdkafka hangs in that at times after a broker died (2.16.1). A worker
    that was fenced has to be gone, and its supervisor waits for its exit code.
    """
    atexit._run_exitfuncs()  # noqa: SLF001  # there is no public name; exporters of spans send their last in it
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    end(main())
