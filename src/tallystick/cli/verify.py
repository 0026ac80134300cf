"""``tallystick verify``: a workload under faults against any cluster, judged by the oracle.

Owns: the options. Must not know: how the run is made.
"""

from __future__ import annotations

import re
from enum import Enum
from pathlib import Path
from typing import Annotated, Final

import typer

from tallystick.cli.operate.options import Bootstrap, CommandConfig
from tallystick.errors import ConfigurationError
from tallystick.pipeline import Guarantee
from tallystick.verify.faults.catalog import chosen, explained
from tallystick.verify.trial.site import SQLITE, On
from tallystick.verify.workloads import Shape

_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)(s|m|h)?")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, None: 1}

GuaranteeName = Enum("GuaranteeName", {one.name: one.value for one in Guarantee} | {"ALL": "all"})  # type: ignore[misc]
WorkloadName = Enum(  # type: ignore[misc]
    "WorkloadName", {one.name: one.value for one in Shape if one is not Shape.COPY}
)

_FAULTS_HELP: Final = (
    "Comma-separated; 'all' is every one that this cluster allows, 'none' none. NAME strikes at moments that the "
    "seed decides, NAME@30 30 seconds after the start, NAME/10 every 10 seconds."
)

verify: Final = typer.Typer(name="verify", invoke_without_command=True)


@verify.callback(
    epilog=f"The faults. One that is not possible on the given cluster is refused with the reason.\n\n{explained()}"
)
def run(
    context: typer.Context,
    bootstrap: Bootstrap = None,
    command_config: CommandConfig = None,
    on: Annotated[On, typer.Option(help="Without --bootstrap: which cluster is started for the run.")] = On.EMBEDDED,
    guarantee: Annotated[
        GuaranteeName, typer.Option(help="What is to be shown; 'all' runs the three one after the other.")
    ] = GuaranteeName.EXACTLY_ONCE,  # type: ignore[attr-defined]
    workload: Annotated[
        WorkloadName, typer.Option(help="What the application does with an event.")
    ] = WorkloadName.FAN_OUT,  # type: ignore[attr-defined]
    faults: Annotated[str, typer.Option(help=_FAULTS_HELP)] = "all",
    every: Annotated[str, typer.Option(help="How far faults are apart that the seed places, on average.")] = "5s",
    duration: Annotated[str, typer.Option(help="How long events are sent and faults strike: 90s, 10m, 1h.")] = "60s",
    rate: Annotated[int, typer.Option(min=1, help="Events a second.")] = 300,
    seed: Annotated[int, typer.Option(help="Decides the events, and which faults strike when.")] = 1,
    workers: Annotated[int, typer.Option(min=1, help="Worker processes.")] = 2,
    lanes: Annotated[int, typer.Option(min=1, help="Transactions that a worker has open at once.")] = 1,
    partitions: Annotated[int, typer.Option(min=1, help="Partitions of each topic.")] = 4,
    database: Annotated[
        str, typer.Option(help="For the workload sql: sqlite, postgresql (started for the run), or a URL.")
    ] = SQLITE,
    application: Annotated[
        str | None,
        typer.Option(
            help="Judge another application: a command that copies records from $VERIFY_SOURCE to $VERIFY_SINK on "
            "$VERIFY_BOOTSTRAP as the group $VERIFY_GROUP, in slot $VERIFY_SLOT. --workload has no use then."
        ),
    ] = None,
    prefix: Annotated[str, typer.Option(help="In front of every topic and group that the run makes.")] = "verify",
    keep: Annotated[bool, typer.Option("--keep", help="Leave the topics, groups and rows of the run.")] = False,
    folder: Annotated[Path, typer.Option(help="Reports and the workers' logs go in here.")] = Path("verify-report"),
) -> None:
    """Prove a guarantee on a cluster: known events, real workers, real faults, an independent judge.

    Producers send events of which every output is known. Workers are processes, and die. Readers of both isolation
    levels and an auditor look on. At the end everything is read again and compared: nothing lost, nothing repeated,
    nothing aborted seen, no transaction torn, order by key, offsets in step with outputs, rows in step with records.

    Without --bootstrap it starts a broker by itself. On a cluster of yours it makes its own topics, and removes them.

    Exit code 0: the guarantee held, and every fault struck. 1: it did not, and the shortest history that shows it is
    printed. 2: a wrong option.
    """
    if context.invoked_subcommand is not None:
        return
    from rich.console import Console

    from tallystick.verify.campaign import Campaign
    from tallystick.verify.trial.settings import TrialSettings
    from tallystick.verify.trial.site import SiteSettings

    shape = Shape.COPY if application else Shape(workload.value)
    bootstrap, client = _reach(bootstrap, command_config)
    site = SiteSettings(bootstrap=bootstrap, on=on, client=client, workload=shape, database=database)
    wanted = tuple(Guarantee) if guarantee.value == "all" else (Guarantee(guarantee.value),)
    settings = TrialSettings(
        workload=shape,
        guarantee=wanted[0],
        faults=chosen(faults, site.offers(foreign=application is not None)),
        seed=seed,
        duration_s=seconds(duration),
        rate_per_s=rate,
        every_s=seconds(every),
        workers=workers,
        lanes=lanes,
        partitions=partitions,
        prefix=prefix,
        keep=keep,
        application=application,
    )
    raise typer.Exit(
        Campaign(site=site, settings=settings, guarantees=wanted, folder=folder.resolve()).run(Console(highlight=False))
    )


def seconds(text: str) -> float:
    """``90s``, ``10m``, ``1h``, or a plain number of seconds. ``ConfigurationError``."""
    found = _DURATION.fullmatch(text.strip())
    if found is None or float(found[1]) <= 0:
        raise ConfigurationError(f"{text!r} is no time", remedy="For example 90s, 10m or 1h")
    return float(found[1]) * _SECONDS[found[2]]


def _reach(bootstrap: str | None, command_config: Path | None) -> tuple[str | None, dict[str, str]]:
    """The cluster's address, and librdkafka's settings for TLS and SASL out of a properties file."""
    if command_config is None:
        return bootstrap, {}
    from tallystick.operate.client_settings import ClientSettings, read_properties

    settings = ClientSettings.from_properties(bootstrap, read_properties(command_config))
    return settings.bootstrap, settings.for_librdkafka()


@verify.command()
def replay(capsule: Annotated[Path, typer.Argument(help="A capsule-*.zip that a run has left.")]) -> None:
    """Judge a recorded history again, without a cluster: the checkers of today over what was seen then.

    Exit code 1 if something is still found, 0 if nothing is.
    """
    from tallystick.verify.capsule import open_capsule
    from tallystick.verify.capsule.replay import told, violations

    opened = open_capsule(capsule)
    for line in told(opened):
        typer.echo(line)
    raise typer.Exit(1 if violations(opened) else 0)
