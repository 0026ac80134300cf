"""All faults by name, and which of them can be had in a given place.

Owns: the list. Must not know: when they strike.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from tallystick.errors import ConfigurationError
from tallystick.verify.faults import of_network, of_servers, of_workers
from tallystick.verify.faults.fault import Fault, Need
from tallystick.verify.faults.specs import FaultSpec

_ALL: Final[tuple[type[Fault], ...]] = (
    of_workers.KillWorker,
    of_workers.KillAt,
    of_workers.FreezeWorker,
    of_workers.Zombie,
    of_workers.RebalanceStorm,
    of_network.CutNetwork,
    of_network.BlockNetwork,
    of_network.DelayNetwork,
    of_network.LoseAnswer,
    of_network.LateEnd,
    of_servers.KillBroker,
    of_servers.FreezeBroker,
    of_servers.DropResponse,
    of_servers.SlowDisk,
    of_servers.FullDisk,
    of_servers.ClockJump,
    of_servers.KillDatabase,
    of_servers.ProviderOutage,
    of_servers.KillDispatcher,
)
FAULTS: Final[dict[str, Fault]] = {kind.name: kind() for kind in _ALL}

ALL: Final = "all"
NONE: Final = "none"


def chosen(texts: str, offers: Collection[Need]) -> tuple[FaultSpec, ...]:
    """The faults of a list with commas. ``all`` is every one that can be had here, ``none`` is none.

    ``ConfigurationError`` for an unknown name, and for a fault that cannot be had, with the reason.
    """
    specs: list[FaultSpec] = []
    for text in filter(None, (part.strip() for part in texts.split(","))):
        if text == ALL:
            specs += [FaultSpec(fault.name) for fault in FAULTS.values() if not missing(fault, offers)]
        elif text != NONE:
            specs.append(FaultSpec.parse(text))
    for spec in specs:
        if spec.name not in FAULTS:
            raise ConfigurationError(
                f"there is no fault {spec.name!r}", remedy=f"These are: {', '.join(FAULTS)}, all, none"
            )
        fault = FAULTS[spec.name]
        if spec.argument and spec.argument not in fault.arguments:
            raise ConfigurationError(
                f"{spec.name} has no {spec.argument!r}", remedy=f"It has: {', '.join(fault.arguments) or 'no argument'}"
            )
        if needs := missing(fault, offers, argument=spec.argument):
            raise ConfigurationError(f"{spec.name} is not possible here: {needs[0].value}")
    return tuple(specs)


def missing(fault: Fault, offers: Collection[Need], *, argument: str = "") -> Sequence[Need]:
    """What it needs and cannot have here."""
    return [need for need in Need if need in fault.needs_for(argument) and need not in offers]


def explained() -> str:
    """The list for ``--help``."""
    faults = [f"{fault.name}: {fault.meaning}" for fault in FAULTS.values()]
    places = [f"kill-at:{point}: {meaning}" for point, meaning in of_workers.POINTS.items()]
    return "\n\n".join(faults + places)
