"""``tallystick topics``: topics listed, described, made, grown, deleted."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from tallystick.cli.operate.options import AsJson, Bootstrap, CommandConfig, opened
from tallystick.cli.operate.screen import show
from tallystick.errors import ConfigurationError

topics: Final = typer.Typer(name="topics", help="Topics: list, describe, create, grow, delete.", no_args_is_help=True)

TopicName = Annotated[str, typer.Argument(help="The topic.")]


@topics.command("list")
def list_topics(
    internal: Annotated[bool, typer.Option("--internal", help="Kafka's own topics as well.")] = False,
    bootstrap: Bootstrap = None,
    command_config: CommandConfig = None,
    as_json: AsJson = False,
) -> None:
    """List the topics of the cluster."""
    with opened(bootstrap, command_config) as cluster:
        rows = [
            (topic.name, len(topic.leaders), max((len(nodes) for nodes in topic.replicas.values()), default=0))
            for topic in sorted(cluster.topics().values(), key=lambda topic: topic.name)
            if internal or not topic.is_internal
        ]
    show(("Topic", "Partitions", "Replicas"), rows, as_json=as_json, empty="there are no topics")


@topics.command()
def describe(
    topic: TopicName, bootstrap: Bootstrap = None, command_config: CommandConfig = None, as_json: AsJson = False
) -> None:
    """Show a topic's partitions: where each log begins and ends, and how much open transactions withhold."""
    from tallystick.operate.topics import partition_ends, topic_settings

    with opened(bootstrap, command_config) as cluster:
        found = cluster.topics([topic])[topic]
        settings = topic_settings(cluster, topic)
        rows = [
            (
                ends.place.partition,
                found.leaders[ends.place.partition],
                ends.log_start_offset,
                ends.last_stable_offset,
                ends.high_watermark,
                ends.high_watermark - ends.last_stable_offset,
            )
            for ends in partition_ends(cluster, found)
        ]
    if not as_json:
        typer.echo(f"{topic}  id {found.topic_id}")
        for name, value in sorted(settings.items()):
            typer.echo(f"  {name}={value}")
    columns = ("Partition", "Leader", "Log start", "Last stable", "High watermark", "Withheld")
    show(columns, rows, as_json=as_json, empty="it has no partitions")


@topics.command()
def create(
    topic: TopicName,
    partitions: Annotated[int, typer.Option(min=-1, help="How many; -1 is the broker's default.")] = -1,
    replication_factor: Annotated[int, typer.Option(min=-1, help="Copies; -1 is the broker's default.")] = -1,
    config: Annotated[list[str] | None, typer.Option(help="name=value, such as cleanup.policy=compact.")] = None,
    bootstrap: Bootstrap = None,
    command_config: CommandConfig = None,
) -> None:
    """Make a topic."""
    from tallystick.operate.topics import create_topic

    settings = dict(_setting(text) for text in config or ())
    with opened(bootstrap, command_config) as cluster:
        topic_id = create_topic(
            cluster, topic, partitions=partitions, replication_factor=replication_factor, settings=settings
        )
    typer.echo(f"made topic {topic}, id {topic_id}")


@topics.command()
def grow(
    topic: TopicName,
    partitions: Annotated[int, typer.Option(min=1, help="How many there are to be in all.")],
    bootstrap: Bootstrap = None,
    command_config: CommandConfig = None,
) -> None:
    """Add partitions. Keys move to other partitions then: order per key ends at this point."""
    from tallystick.operate.topics import grow_topic

    with opened(bootstrap, command_config) as cluster:
        grow_topic(cluster, topic, partitions=partitions)
    typer.echo(f"topic {topic} has {partitions} partitions")


@topics.command()
def delete(
    topic: TopicName,
    execute: Annotated[bool, typer.Option("--execute", help="Do it. Without this, only show what it holds.")] = False,
    bootstrap: Bootstrap = None,
    command_config: CommandConfig = None,
) -> None:
    """Delete a topic and all its records. Does it with --execute."""
    from tallystick.operate.topics import delete_topic, partition_ends

    with opened(bootstrap, command_config) as cluster:
        ends = partition_ends(cluster, cluster.topics([topic])[topic])
        held = sum(row.high_watermark - row.log_start_offset for row in ends)
        if execute:
            delete_topic(cluster, topic)
    verb = "deleted" if execute else "add --execute to delete"
    typer.echo(f"{verb} topic {topic}: {len(ends)} partitions, {held} offsets")


def _setting(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise ConfigurationError(f"--config {text!r} has no '='", remedy="For example --config cleanup.policy=compact")
    return name.strip(), value.strip()
