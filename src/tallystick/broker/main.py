"""The broker as a process: options, start, ready line, signals.

Owns: the command line's options and their checks, the event loop. Must not know: what the broker does.
"""

from __future__ import annotations

import argparse
import asyncio
import enum
import gc
import json
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from tallystick.broker import command_line
from tallystick.broker.allocator import keep_freed_memory
from tallystick.broker.broker_configs import Note
from tallystick.broker.broker_configs.listing import listed
from tallystick.broker.instance import BrokerInstance
from tallystick.broker.metrics.log_counts import OF_THE_PROCESS
from tallystick.broker.options import BrokerOptions
from tallystick.broker.security import command_line as security
from tallystick.broker.warming import warm
from tallystick.errors import ConfigurationError, TallystickError

if TYPE_CHECKING:
    from tallystick.broker.control.child_end import ChildEnd

logger = structlog.get_logger(__name__)


class LogFormat(enum.StrEnum):
    """The form of the log: for programs, or for people."""

    JSON = "json"
    TEXT = "text"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessOptions:
    """What only a process of its own is told, beside ``BrokerOptions``."""

    ready_file: Path | None = None
    exit_with_stdin: bool = False
    log_format: LogFormat = LogFormat.JSON
    control_fd: int | None = None
    """The inherited socket over which faults are set; None: there are none."""


def run(options: BrokerOptions, process: ProcessOptions, notes: Iterable[Note] = ()) -> int:
    """Run until SIGTERM or SIGINT; the exit code. ``notes``: configurations that have no effect, for the log."""
    _configure_log(process.log_format)
    for note in notes:
        logger.info("a setting has no effect here", setting=note.name, place=note.place, reason=note.reason)
    _allow_many_files()
    keep_freed_memory()
    try:
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            runner.run(_serve(options, process))
    except TallystickError as error:
        print(f"tallystick broker: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"tallystick broker: {error}", file=sys.stderr)
        return 1
    except ExceptionGroup:
        logger.exception("the broker stops: it can promise nothing any more")
        return 1
    return 0


def _configure_log(form: LogFormat) -> None:
    """A line for each event on standard error."""
    if form is LogFormat.JSON:
        last: list[Any] = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    else:
        last = [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
    structlog.configure(
        processors=[
            OF_THE_PROCESS,
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            *last,
        ],
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
    )


def _allow_many_files() -> None:
    """A segment is an open file: take as many as the system lets a process have."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's, where there is uvloop."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


async def _serve(options: BrokerOptions, process: ProcessOptions) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if process.exit_with_stdin:
        loop.add_reader(sys.stdin.fileno(), _stdin_ended, stop)
    control = None if process.control_fd is None else _control(process.control_fd)
    if control is None:
        instance = await BrokerInstance.start(options)
    else:
        injector = control.injector
        instance = await BrokerInstance.start(options, clock=injector.clock, make_interceptor=injector.attach)
    try:
        if control is not None:
            control.serve(loop)
        _announce(options, process, instance)
        settling = asyncio.create_task(_settle(instance))
        await instance.serve_until(stop)
        settling.cancel()
    finally:
        await instance.stop()


async def _settle(instance: BrokerInstance) -> None:
    """What a start does not wait for."""
    await warm(instance.node.apis)
    gc.collect()
    gc.freeze()
    gc.enable()


def _control(fd: int) -> ChildEnd:
    from tallystick.broker.control.child_end import ChildEnd

    control = ChildEnd(fd)
    control.load()
    return control


def _stdin_ended(stop: asyncio.Event) -> None:
    if not os.read(sys.stdin.fileno(), 4096):
        asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
        stop.set()


def _announce(options: BrokerOptions, process: ProcessOptions, instance: BrokerInstance) -> None:
    ready: dict[str, Any] = {
        "event": "ready",
        "host": options.host,
        "port": instance.port,
        "listeners": instance.ports,
        "pid": os.getpid(),
        "recovery": instance.recovery_as_json(),
    }
    if instance.metrics_port is not None:
        ready["metrics_port"] = instance.metrics_port
    line = json.dumps(ready)
    print(line, flush=True)
    if process.ready_file is not None:
        draft = process.ready_file.with_suffix(".new")
        draft.write_text(line + "\n")
        draft.replace(process.ready_file)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tallystick broker", description="A Kafka broker in one process.")
    command_line.add_options(parser)
    security.add_options(parser)
    parser.add_argument("--list-settings", action="store_true", help=command_line.LIST_SETTINGS_HELP)
    parser.add_argument(
        "--log-format", choices=[str(form) for form in LogFormat], default="json", help=command_line.LOG_FORMAT_HELP
    )
    parser.add_argument("--ready-file", type=Path, metavar="FILE", help="the ready line is written there, too")
    parser.add_argument("--exit-with-stdin", action="store_true", help="stop when standard input ends")
    parser.add_argument("--control-fd", type=int, help=argparse.SUPPRESS)
    return parser


def options_from(arguments: Sequence[str]) -> tuple[BrokerOptions, tuple[Note, ...]]:
    """What the arguments of the command line tell a broker, for one that runs in the caller's process."""
    given = _parser().parse_args(arguments)
    return command_line.read_options(given, security.read_options(given)).options()


def main(arguments: Sequence[str] | None = None) -> int:
    """``python -m tallystick.broker``."""
    given = _parser().parse_args(arguments)
    if given.list_settings:
        print("\n".join(listed()))
        return 0
    try:
        options, notes = command_line.read_options(given, security.read_options(given)).options()
    except ConfigurationError as error:
        print(f"tallystick broker: {error}", file=sys.stderr)
        return 2
    process = ProcessOptions(
        ready_file=given.ready_file,
        exit_with_stdin=given.exit_with_stdin,
        log_format=LogFormat(given.log_format),
        control_fd=given.control_fd,
    )
    return run(options, process, notes)
