"""``tallystick txn``: transactions listed, described, found where they are open, and ended."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from tallystick.cli.operate.options import AsJson, Bootstrap, CommandConfig, opened
from tallystick.cli.operate.screen import duration, show
from tallystick.errors import ConfigurationError, FatalError

txn: Final = typer.Typer(
    name="txn", help="Transactions: list, describe, find the open ones, end one that hangs.", no_args_is_help=True
)


def _now_ms() -> int:
    from tallystick.clock import SystemClock

    return SystemClock().now_ms()


@txn.command("list")
def list_transactions_command(
    state: Annotated[
        list[str] | None, typer.Option(help="Only in this state, such as Ongoing. May be repeated.")
    ] = None,
    bootstrap: Bootstrap = None,
    command_config: CommandConfig = None,
    as_json: AsJson = False,
) -> None:
    """List the transactional ids that the cluster knows."""
    from tallystick.operate.transactions import list_transactions

    with opened(bootstrap, command_config) as cluster:
        rows = [
            (found.transactional_id, found.producer_id, found.state)
            for found in list_transactions(cluster, states=state or ())
        ]
    show(("Transactional id", "Producer id", "State"), rows, as_json=as_json, empty="there are no transactional ids")


@txn.command()
def describe(
    transactional_id: Annotated[str, typer.Argument(help="The transactional id.")],
    bootstrap: Bootstrap = None,
    command_config: CommandConfig = None,
    as_json: AsJson = False,
) -> None:
    """Show what the coordinator of a transactional id knows."""
    from tallystick.operate.transactions import describe_transaction

    with opened(bootstrap, command_config) as cluster:
        found = describe_transaction(cluster, transactional_id, now_ms=_now_ms())
    columns = ("Transactional id", "State", "Producer id", "Epoch", "Timeout", "Open since", "Partitions")
    row = (
        found.transactional_id,
        found.state,
        found.producer_id,
        found.producer_epoch,
        found.timeout_ms if as_json else duration(found.timeout_ms),
        found.age_ms if as_json else duration(found.age_ms),
        " ".join(map(str, found.places)),
    )
    show(columns, [row], as_json=as_json, empty="")


@txn.command("open")
def open_command(
    topics: Annotated[list[str] | None, typer.Argument(help="Topics; all of them, without one.")] = None,
    hanging: Annotated[bool, typer.Option("--hanging", help="Only those that no coordinator will end.")] = False,
    bootstrap: Bootstrap = None,
    command_config: CommandConfig = None,
    as_json: AsJson = False,
) -> None:
    """Find the transactions that partitions hold open, oldest first, and whether one hangs.

    An open transaction keeps read_committed readers from everything behind its first record. One that hangs has no
    coordinator that will end it. The exit code is 1 if one hangs.
    """
    from tallystick.operate.transactions import open_transactions

    with opened(bootstrap, command_config) as cluster:
        places = [place for topic in cluster.topics(topics or None).values() for place in topic.partitions]
        found = [row for row in open_transactions(cluster, places, now_ms=_now_ms()) if row.is_hanging or not hanging]
    rows = [
        (
            str(row.producer.place),
            row.producer.open_from,
            row.age_ms if as_json else duration(row.age_ms),
            row.producer.producer_id,
            row.producer.producer_epoch,
            row.transaction.transactional_id if row.transaction else None,
            "hangs" if row.is_hanging else "open",
        )
        for row in found
    ]
    columns = ("Partition", "From offset", "Last write", "Producer id", "Epoch", "Transactional id", "Verdict")
    show(columns, rows, as_json=as_json, empty="no transaction is open")
    if any(row.is_hanging for row in found):
        typer.echo(
            "end one that hangs with: tallystick txn abort --partition TOPIC-PARTITION --from-offset N", err=True
        )
        raise typer.Exit(1)


@txn.command()
def abort(
    transactional_id: Annotated[str | None, typer.Argument(help="Abort what this id has open, and fence it.")] = None,
    partition: Annotated[str | None, typer.Option(help="TOPIC-PARTITION that holds a hanging transaction.")] = None,
    from_offset: Annotated[int | None, typer.Option(min=0, help="Its first offset, as 'txn open' shows it.")] = None,
    execute: Annotated[
        bool, typer.Option("--execute", help="Do it. Without this, only show what it would end.")
    ] = False,
    bootstrap: Bootstrap = None,
    command_config: CommandConfig = None,
) -> None:
    """End a transaction by abort: its records are never seen by read_committed readers. Does it with --execute.

    By transactional id, as a successor of its program would: a program that still runs under the id is fenced. By
    partition and offset only for one that hangs: an abort marker is written past the coordinator.
    """
    if (transactional_id is None) == (partition is None):
        raise ConfigurationError("name either a transactional id, or --partition and --from-offset")
    if transactional_id is not None:
        _fence(transactional_id, bootstrap, command_config, execute=execute)
    else:
        _end_hanging(partition or "", from_offset, bootstrap, command_config, execute=execute)


def _fence(transactional_id: str, bootstrap: Bootstrap, command_config: CommandConfig, *, execute: bool) -> None:
    from tallystick.operate.transactions import describe_transaction, fence

    with opened(bootstrap, command_config) as cluster:
        found = describe_transaction(cluster, transactional_id, now_ms=_now_ms())
        places = " ".join(map(str, found.places)) or "no partition"
        typer.echo(f"{transactional_id} is {found.state} with {places}")
        if not execute:
            typer.echo("nothing was changed: add --execute to abort and fence it", err=True)
            return
        producer_id, epoch = fence(cluster, transactional_id)
    typer.echo(f"aborted and fenced: producer id {producer_id}, epoch {epoch}")


def _end_hanging(
    partition: str, from_offset: int | None, bootstrap: Bootstrap, command_config: CommandConfig, *, execute: bool
) -> None:
    from tallystick.operate.cluster import TopicPartition
    from tallystick.operate.transactions import abort_hanging, open_transactions

    topic, dash, index = partition.rpartition("-")
    if not dash or not index.isdigit() or from_offset is None:
        raise ConfigurationError(
            "a hanging transaction is named by its partition and its first offset",
            remedy="For example --partition orders-0 --from-offset 4711, as 'tallystick txn open' shows them",
        )
    place = TopicPartition(topic, int(index))
    with opened(bootstrap, command_config) as cluster:
        found = [
            row
            for row in open_transactions(cluster, [place], now_ms=_now_ms())
            if row.producer.open_from == from_offset
        ]
        if not found:
            raise FatalError(f"no transaction is open on {place} from offset {from_offset}")
        if execute:
            abort_hanging(cluster, found[0])
            typer.echo(f"aborted the transaction on {place} from offset {from_offset}")
        else:
            verdict = "hangs" if found[0].is_hanging else "does not hang, and will not be ended this way"
            typer.echo(f"the transaction on {place} from offset {from_offset} {verdict}; add --execute to abort it")
