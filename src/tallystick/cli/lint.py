"""``tallystick lint``: breaches of the rules in client settings, a group, a cluster; of any application."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tallystick.cli.operate.options import AsJson, Bootstrap, CommandConfig, opened
from tallystick.cli.operate.screen import show
from tallystick.errors import ConfigurationError
from tallystick.lint.flavours import Flavour

if TYPE_CHECKING:
    from tallystick.lint.finding import Finding


def lint(
    consumer: Annotated[Path | None, typer.Option(help="A consumer's settings: name=value lines.")] = None,
    producer: Annotated[Path | None, typer.Option(help="A transactional producer's settings.")] = None,
    client: Annotated[
        Flavour | None, typer.Option(help="Whose defaults hold; recognised by the settings' names without.")
    ] = None,
    group: Annotated[list[str] | None, typer.Option(help="A group to look at. May be repeated.")] = None,
    watch: Annotated[
        float, typer.Option(min=0, help="Seconds for which a group without members is watched for commits.")
    ] = 3.0,
    cluster: Annotated[bool, typer.Option("--cluster", help="Look at the cluster itself.")] = False,
    bootstrap: Bootstrap = None,
    command_config: CommandConfig = None,
    as_json: AsJson = False,
) -> None:
    """Find what breaks exactly-once in the settings of clients, in a group, on a cluster: ours or anybody's.

    Settings are those of librdkafka (C, Python, Go, .NET, Node.js) or of Java, Kafka Streams included. Each finding
    has the number of its rule (docs/rules.md) and what to do. Nothing is changed.

    Exit code 1 if there is a breach, 0 if there are risks at most.
    """
    if not (consumer or producer or group or cluster):
        raise ConfigurationError(
            "nothing to look at", remedy="Give --consumer FILE, --producer FILE, --group NAME or --cluster"
        )
    found = [*_of_files(consumer, producer, client)]
    if group or cluster:
        from tallystick.clock import SystemClock
        from tallystick.lint.cluster import cluster_findings, group_findings

        with opened(bootstrap, command_config) as looked_at:
            if cluster:
                found += cluster_findings(looked_at, now_ms=SystemClock().now_ms())
            for name in group or ():
                found += group_findings(looked_at, name, watch_s=watch)
    rows = [(one.weight.value, one.rule, one.where, one.what, one.remedy) for one in found]
    show(("Weight", "Rule", "Where", "What", "Remedy"), rows, as_json=as_json, empty="nothing found")
    raise typer.Exit(1 if any(row[0] == "breach" for row in rows) else 0)


def _of_files(consumer: Path | None, producer: Path | None, client: Flavour | None) -> Iterator[Finding]:
    from tallystick.lint.clients import consumer_findings, producer_findings, together
    from tallystick.lint.flavours import flavour_of
    from tallystick.operate.client_settings import read_properties

    reads = read_properties(consumer) if consumer else None
    writes = read_properties(producer) if producer else None
    if reads is not None and consumer is not None:
        yield from consumer_findings(reads, client or flavour_of(reads), where=consumer.name)
    if writes is not None and producer is not None:
        yield from producer_findings(writes, client or flavour_of(writes), where=producer.name)
    if reads is not None and writes is not None and consumer is not None and producer is not None:
        flavours = (client or flavour_of(reads), client or flavour_of(writes))
        yield from together(reads, writes, flavours, where=f"{consumer.name} and {producer.name}")
