"""``tallystick run``: an application's workers, supervised.

Owns: the command's options. Must not know: how workers work.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from tallystick.cli.operate.options import CommandConfig
from tallystick.cli.restore_bar import restore_bar
from tallystick.errors import ConfigurationError
from tallystick.listening import loopback_address
from tallystick.pipeline.guarantee import Guarantee
from tallystick.pipeline.settings import GroupProtocol
from tallystick.pipeline.supervisor import SupervisorConfig, Watching, run_supervised, worker_command
from tallystick.pipeline.worker_main import configure_logs, load_app


def run(
    app: Annotated[str, typer.Argument(metavar="MODULE:APP", help="The App, or a function that returns one.")],
    bootstrap: Annotated[str, typer.Option(help="Kafka, as host:port[,host:port].", envvar="TALLYSTICK_BOOTSTRAP")],
    workers: Annotated[int, typer.Option(min=1, max=1000, help="Worker processes; each runs every step.")] = 1,
    slot_prefix: Annotated[
        str, typer.Option(help="Slots are PREFIX-0, PREFIX-1 and so on. On several machines, give each its own.")
    ] = "worker",
    group: Annotated[str | None, typer.Option(help="Front of the group ids; default: the App's name.")] = None,
    guarantee: Annotated[Guarantee | None, typer.Option(help="Instead of the App's own.")] = None,
    batch_records: Annotated[int, typer.Option(min=1, help="At most so many records in a transaction.")] = 500,
    commit_interval_ms: Annotated[int, typer.Option(min=1, help="At most so long is a batch waited for.")] = 100,
    latency_goal_ms: Annotated[
        int | None,
        typer.Option(min=1, help="Adapt both, below these limits, so that a record is committed in this time."),
    ] = None,
    lanes: Annotated[int, typer.Option(min=1, help="Transactions of a step at the same time, in each worker.")] = 1,
    group_protocol: Annotated[
        GroupProtocol, typer.Option(help="consumer is KIP-848: the broker assigns, and sets the session timeout.")
    ] = GroupProtocol.CLASSIC,
    consumer: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="A librdkafka setting of the consumers.")
    ] = None,
    producer: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="A librdkafka setting of the producers.")
    ] = None,
    stats_dir: Annotated[Path | None, typer.Option(help="Folder for SLOT.jsonl with each worker's counters.")] = None,
    metrics_listen: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="On loopback: /metrics (Prometheus) and /healthz of all workers."),
    ] = None,
    run_dir: Annotated[
        Path | None, typer.Option(help="Folder for SLOT.lock and SLOT.pid; default: one per user and group.")
    ] = None,
    state_dir: Annotated[
        Path | None, typer.Option(help="Folder for local copies of keyed state; default: 'state' in the run folder.")
    ] = None,
    max_restarts: Annotated[int, typer.Option(min=0, help="Restarts of a worker in a row before all stop.")] = 20,
    doctor: Annotated[
        str | None,
        typer.Option(
            metavar="DATABASE", help="Hold this database against Kafka first, and do not start if they do not fit."
        ),
    ] = None,
    command_config: CommandConfig = None,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error; JSON lines on stderr.")] = "info",
) -> None:
    """Run an application in worker processes, and restart one that dies.

    A worker that is killed, even with kill -9, gets its partitions back at once and goes on from the last commit.
    SIGTERM and Ctrl-C let every worker finish its open transaction. The exit code is 0 after that; 65 if
    a step met a record that its policy says to stop at; 76 if a newer worker took over a slot; 78 if the configuration
    is at fault, or 'tallystick doctor' has found an error. --command-config is for its look at the cluster.
    """
    configure_logs(log_level)
    slots = tuple(f"{slot_prefix}-{number}" for number in range(workers))
    folder = run_dir or _default_run_dir(group or app)
    options = {
        "group": group,
        "guarantee": guarantee.value if guarantee else None,
        "batch-records": batch_records,
        "commit-interval-ms": commit_interval_ms,
        "latency-goal-ms": latency_goal_ms,
        "lanes": lanes,
        "group-protocol": group_protocol.value,
        "consumer-config": json.dumps(_settings(consumer)),
        "producer-config": json.dumps(_settings(producer)),
        "stats-dir": stats_dir,
        "state-dir": state_dir or folder / "state",
        "log-level": log_level,
    }
    try:
        if doctor is not None:
            ask_doctor(doctor, app, group=group, bootstrap=bootstrap, command_config=command_config)
        watching = None if metrics_listen is None else _watching(metrics_listen, folder)
        bar = restore_bar(folder, slots) if sys.stderr.isatty() else nullcontext()
        if watching is not None or sys.stderr.isatty():
            options["view-dir"] = folder
        config = SupervisorConfig(
            command=worker_command(app, bootstrap=bootstrap, options=options),
            slots=slots,
            run_dir=folder,
            max_restarts=max_restarts,
        )
        with bar:
            code = run_supervised(config, watching=watching)
    except ConfigurationError as error:
        typer.echo(f"tallystick run: {error}", err=True)
        code = 78
    raise typer.Exit(code)


def ask_doctor(
    database: str, reference: str, *, group: str | None, bootstrap: str, command_config: Path | None
) -> None:
    """``ConfigurationError`` if database and cluster do not belong together, for the groups of the application."""
    from tallystick.cli.doctor import errors, examined

    app = load_app(reference)
    groups = [f"{group or app.name}.{step.name}" for step in app.steps]
    findings = examined(database, groups, bootstrap=bootstrap, command_config=command_config)
    for finding in findings:
        typer.echo(
            f"tallystick doctor: {finding.severity.value} {finding.code} {finding.place}: {finding.what}", err=True
        )
    if found := errors(findings):
        first = found[0]
        raise ConfigurationError(
            f"the doctor has found {len(found)} errors, the first at {first.place}: {first.what}", remedy=first.remedy
        )


def _watching(listen: str, folder: Path) -> Watching:
    address = loopback_address(listen, option="--metrics-listen", why="the page asks nobody for a name")
    try:
        from tallystick.pipeline.observation.watching import watched
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            "--metrics-listen needs prometheus-client", remedy="pip install 'tallystick[metrics]'"
        ) from error
    return lambda supervisor: watched(address, folder, supervisor.slots)


def _default_run_dir(name: str) -> Path:
    safe = "".join(letter if letter.isalnum() or letter in "._-" else "-" for letter in name)
    return Path(tempfile.gettempdir()) / f"tallystick-{os.getuid()}" / safe


def _settings(pairs: list[str] | None) -> dict[str, str]:
    settings = {}
    for pair in pairs or []:
        name, separator, value = pair.partition("=")
        if not separator or not name:
            raise typer.BadParameter(f"{pair!r} is not NAME=VALUE")
        settings[name] = value
    return settings
