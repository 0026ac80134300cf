"""``tallystick migrate``: from the embedded broker to Apache Kafka, or between any two clusters."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tallystick.cli.operate.screen import show
from tallystick.cli.part_bars import PartBars

if TYPE_CHECKING:
    from tallystick.migration import Certificate, Side, Survey


def migrate(
    from_: Annotated[str, typer.Option("--from", metavar="HOST:PORT", help="The cluster that is left.")],
    to: Annotated[str, typer.Option("--to", metavar="HOST:PORT", help="The cluster that is moved to.")],
    topic: Annotated[list[str] | None, typer.Option(help="Topics, as a shell's pattern. Default: all.")] = None,
    group: Annotated[list[str] | None, typer.Option(help="Groups, as a shell's pattern. Default: all.")] = None,
    from_config: Annotated[Path | None, typer.Option(help="Client settings of --from, for TLS and SASL.")] = None,
    to_config: Annotated[Path | None, typer.Option(help="Client settings of --to, for TLS and SASL.")] = None,
    wait: Annotated[float, typer.Option(min=0, help="Seconds that groups may take to be empty.")] = 60.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be moved, and change nothing.")] = False,
    report: Annotated[Path | None, typer.Option(help="Write the certificate here, as JSON.")] = None,
) -> None:
    """Copy topics, event ids and the positions of groups, and prove that nothing repeats.

    Stop the applications first: a group with members and an open transaction are refused. Records are copied exactly
    once, also when this command is killed and run again: it goes on where it ended. Then both sides are read beside
    each other, record by record, and only when they are the same are the groups moved. Each goes on at the record that
    it would have read next; a record without an event id is stamped with that of its old position, so that inboxes
    and outputs know it.

    The source is not changed. When the applications work on the target, tallystick doctor looks at their databases.
    """
    from tallystick.migration import Migration

    migration = Migration(
        _side(from_, from_config), _side(to, to_config), topics=topic or ["*"], groups=group or ["*"], wait_s=wait
    )
    if dry_run:
        _show(migration.survey())
        return
    with PartBars(("copy", "compare")) as progress:
        certificate = migration.run(progress)
    if report is not None:
        report.write_bytes(certificate.encode())
    _conclude(certificate, report)


def _side(bootstrap: str, properties: Path | None) -> Side:
    from tallystick.migration import Side
    from tallystick.operate import ClientSettings
    from tallystick.operate.client_settings import read_properties

    return Side(ClientSettings.from_properties(bootstrap, read_properties(properties) if properties else {}))


def _show(found: Survey) -> None:
    rows = [
        (topic.name, topic.partitions, sum(topic.ends[number] - topic.begins[number] for number in topic.ends))
        for topic in found.topics
    ]
    show(("Topic", "Partitions", "Offsets"), rows, as_json=False, empty="no topics")
    held = [
        (name, str(place), one.offset) for name, places in found.groups.items() for place, one in sorted(places.items())
    ]
    show(("Group", "Partition", "Committed"), held, as_json=False, empty="no groups have offsets in these topics")
    typer.echo("nothing was changed", err=True)


def _conclude(certificate: Certificate, report: Path | None) -> None:
    rows = [
        (move.group, f"{move.topic}-{move.partition}", move.from_offset, move.to_offset, move.next_event_id or "(end)")
        for move in certificate.groups
    ]
    show(("Group", "Partition", "From", "To", "Next event"), rows, as_json=False, empty="no groups were moved")
    places = len(certificate.partitions)
    typer.echo(
        f"{certificate.records} records in {places} partitions are the same on both sides, in the same order. "
        f"{len(certificate.groups)} positions moved." + (f" Certificate: {report}" if report else "")
    )
