"""docs/operating.md tells the metrics that there are, and the unit of systemd starts the broker with options it has."""

from __future__ import annotations

import asyncio
import re
import shlex
from pathlib import Path

from tallystick.broker.instance import BrokerInstance
from tallystick.broker.main import options_from
from tallystick.broker.metrics.collector import NodeCollector
from tallystick.broker.metrics.log_counts import LogCounts
from tallystick.broker.metrics.meter import Meter
from tallystick.broker.options import BrokerOptions

ROOT = Path(__file__).parents[2]


def test_the_table_of_metrics_is_what_the_broker_tells(tmp_path: Path) -> None:
    async def names() -> set[str]:
        instance = await BrokerInstance.start(BrokerOptions(host="127.0.0.1", port=0, data=tmp_path))
        collector = NodeCollector(instance.node, Meter(), open_connections=lambda: 0, log_counts=LogCounts())
        found = {metric.name + ("_total" if metric.type == "counter" else "") for metric in collector.collect()}
        await instance.stop()
        return found

    document = (ROOT / "docs" / "operating.md").read_text()
    rows = [line for line in document.splitlines() if line.startswith("| `tallystick_")]
    told = {name for row in rows for name in re.findall(r"`(tallystick_\w+)`", row)}
    assert told == asyncio.run(names())


def test_the_unit_starts_the_broker_with_options_that_it_has(tmp_path: Path) -> None:
    unit = (ROOT / "examples" / "tallystick-broker.service").read_text()
    (command,) = re.findall(r"^ExecStart=(.*)$", unit, flags=re.MULTILINE)
    program, subcommand, *arguments = shlex.split(command)
    assert (Path(program).name, subcommand) == ("tallystick", "broker")
    settings = tmp_path / "server.properties"
    settings.write_text("num.partitions=3\n")
    arguments[arguments.index("--properties") + 1] = str(settings)
    options, _ = options_from(arguments)
    assert (options.node.num_partitions, options.metrics_address) == (3, ("127.0.0.1", 9404))
