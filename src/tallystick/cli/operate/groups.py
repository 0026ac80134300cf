"""``tallystick groups``: consumer groups listed, described, reset, deleted."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Annotated, Final

import typer

from tallystick.cli.operate.options import AsJson, Bootstrap, CommandConfig, opened
from tallystick.cli.operate.screen import show
from tallystick.errors import ConfigurationError

if TYPE_CHECKING:
    from tallystick.operate.resets import Target

groups: Final = typer.Typer(name="groups", help="Consumer groups: list, describe, reset, delete.", no_args_is_help=True)

GroupName = Annotated[str, typer.Argument(help="The group.")]
Execute = Annotated[bool, typer.Option("--execute", help="Do it. Without this, only show what would be done.")]


@groups.command("list")
def list_groups_command(
    bootstrap: Bootstrap = None, command_config: CommandConfig = None, as_json: AsJson = False
) -> None:
    """List the groups of the cluster."""
    from tallystick.operate.groups import list_groups

    with opened(bootstrap, command_config) as cluster:
        rows = [(group.name, group.kind, group.state) for group in list_groups(cluster)]
    show(("Group", "Protocol", "State"), rows, as_json=as_json, empty="there are no groups")


@groups.command()
def describe(
    group: GroupName, bootstrap: Bootstrap = None, command_config: CommandConfig = None, as_json: AsJson = False
) -> None:
    """Show a group's state and members. Its offsets: tallystick lag GROUP."""
    from tallystick.operate.groups import describe_group

    with opened(bootstrap, command_config) as cluster:
        found = describe_group(cluster, group)
    rows = [(member.client_id, member.instance_id, member.host, member.member_id) for member in found.members]
    if not as_json:
        typer.echo(f"{found.name}: {found.kind}, {found.state}, {len(found.members)} members")
    show(("Client", "Instance id", "Host", "Member id"), rows, as_json=as_json, empty="nobody is in it")


@groups.command()
def reset(
    group: GroupName,
    topic: Annotated[str | None, typer.Option(help="Only this topic.")] = None,
    partition: Annotated[int | None, typer.Option(min=0, help="Only this partition.")] = None,
    to_offset: Annotated[int | None, typer.Option(min=0, help="To this offset.")] = None,
    to_time: Annotated[
        str | None, typer.Option(help="To the first record at or after, as 2026-03-01T00:00:00Z.")
    ] = None,
    to_earliest: Annotated[bool, typer.Option("--to-earliest", help="To the beginning of the log.")] = False,
    to_latest: Annotated[bool, typer.Option("--to-latest", help="To the last stable offset.")] = False,
    shift: Annotated[int | None, typer.Option(help="Back (negative) or forth by this many offsets.")] = None,
    execute: Execute = False,
    bootstrap: Bootstrap = None,
    command_config: CommandConfig = None,
    as_json: AsJson = False,
) -> None:
    """Move a stopped group to another place. Shows the plan; does it with --execute.

    Backwards repeats work: outputs are written again, under the same event ids; an inbox with unique ids refuses what
    it has seen, as far back as it remembers. Forwards skips records for ever.
    """
    from tallystick.operate.resets import carry_out, plan_reset

    target = _target(to_offset, to_time, shift, earliest=to_earliest, latest=to_latest)
    with opened(bootstrap, command_config) as cluster:
        moves = plan_reset(cluster, group, target, topic=topic, partition=partition)
        rows = [
            (str(move.place), move.old_offset, move.new_offset, move.repeats_records, move.skips_records)
            for move in moves
        ]
        show(("Partition", "From", "To", "Repeats", "Skips"), rows, as_json=as_json, empty="nothing to move")
        if execute:
            carry_out(cluster, group, moves)
    done = f"group {group} was moved" if execute else "nothing was changed: add --execute to do it"
    typer.echo(done, err=True)


@groups.command()
def delete(
    group: GroupName, execute: Execute = False, bootstrap: Bootstrap = None, command_config: CommandConfig = None
) -> None:
    """Forget a group without members, with all its offsets. Does it with --execute."""
    from tallystick.operate.groups import committed_offsets, delete_group, describe_group

    with opened(bootstrap, command_config) as cluster:
        found = describe_group(cluster, group)
        offsets = committed_offsets(cluster, group)
        if execute:
            delete_group(cluster, group)
            typer.echo(f"group {group} is forgotten, with {len(offsets)} offsets")
        else:
            typer.echo(f"group {group} is {found.state} and has {len(offsets)} offsets; add --execute to forget it")


def _target(to_offset: int | None, to_time: str | None, shift: int | None, *, earliest: bool, latest: bool) -> Target:
    from tallystick.operate.offsets import EARLIEST, LATEST
    from tallystick.operate.resets import Target

    times = [EARLIEST] * earliest + [LATEST] * latest + ([_milliseconds(to_time)] if to_time is not None else [])
    if len(times) > 1:
        raise ConfigurationError("a reset needs one target: an offset, a time, earliest, latest or a shift")
    return Target(offset=to_offset, time_ms=times[0] if times else None, shift=shift)


def _milliseconds(text: str) -> int:
    try:
        found = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise ConfigurationError(f"{text!r} is no time", remedy="For example 2026-03-01T00:00:00Z") from None
    if found.tzinfo is None:
        raise ConfigurationError(f"{text!r} has no time zone", remedy="End it with Z for UTC")
    return round(found.timestamp() * 1000)
