"""``tallystick lag``: how far groups are behind, and whether a reader or a writer is the reason."""

from __future__ import annotations

from typing import Annotated

import typer

from tallystick.cli.operate.options import AsJson, Bootstrap, CommandConfig, opened
from tallystick.cli.operate.screen import duration, show


def lag(
    groups: Annotated[
        list[str] | None, typer.Argument(help="Groups; every group that has offsets, without one.")
    ] = None,
    bootstrap: Bootstrap = None,
    command_config: CommandConfig = None,
    as_json: AsJson = False,
) -> None:
    """Show how far groups are behind: to the last stable offset, which is all that they may read.

    "Withheld" is what open transactions keep back from read_committed readers. When it grows while "lag" is 0, no
    reader is slow: a transaction is open too long. Find it with: tallystick txn open TOPIC
    """
    from tallystick.clock import SystemClock
    from tallystick.operate.groups import list_groups
    from tallystick.operate.lag import group_lag

    now_ms = SystemClock().now_ms()
    with opened(bootstrap, command_config) as cluster:
        wanted = groups or [group.name for group in list_groups(cluster)]
        rows = [
            (
                group,
                row.place.topic,
                row.place.partition,
                row.committed_offset,
                row.last_stable_offset,
                row.lag_records,
                row.withheld_records,
                row.open_since_ms if as_json else duration(row.open_since_ms),
            )
            for group in wanted
            for row in group_lag(cluster, group, now_ms=now_ms)
        ]
    columns = ("Group", "Topic", "Partition", "Committed", "Last stable", "Lag", "Withheld", "Open since")
    show(columns, rows, as_json=as_json, empty="no group has offsets here")
