"""The faults that are set, and the decision which of them strikes a request.

Owns: the order of faults, their counts, the draws by the seed. Must not know: requests in Kafka's form, time, sockets;
how a fault is carried out.

The decision is a function of the seed and of the requests that came before: the same requests in the same order meet
the same faults. A draw depends on the fault's label and on how many matching requests *of that client id* came before,
so that what other clients do in between does not change it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

import msgspec

from tallystick.broker.faults.fault import Fault
from tallystick.broker.faults.subject import Subject
from tallystick.errors import ConfigurationError

MAX_FAULTS: Final = 1_000
MAX_CLIENTS: Final = 10_000
"""Client ids that are counted apart, for each fault; all further ones share one count."""

_OTHERS: Final = "\x00others"


class FaultCounts(msgspec.Struct, frozen=True):
    """One fault and how far it is: what a restarted broker goes on from."""

    fault: Fault
    matched: int = 0
    struck: int = 0
    by_client: dict[str, int] = msgspec.field(default_factory=dict)


class PlanState(msgspec.Struct, frozen=True):
    """A whole plan with its counts."""

    seed: int
    faults: tuple[FaultCounts, ...] = ()


@dataclass(slots=True)
class _Row:
    fault: Fault
    label: str
    matched: int = 0
    struck: int = 0
    by_client: dict[str, int] = field(default_factory=dict)

    @property
    def is_spent(self) -> bool:
        return self.fault.times is not None and self.struck >= self.fault.times


@dataclass(frozen=True, slots=True)
class Strike:
    """A fault strikes this request, which was number ``number`` of those that it matches."""

    fault: Fault
    number: int


class FaultPlan:
    """Faults in order: of those that would strike one request, the first does; all that match count it.

    ``FaultPlan([Fault(Cut(), times=None, probability=0.01)], seed=7)`` cuts one request in a hundred, always the same
    ones. ``str(plan)`` is the plan as text, with what struck so far.
    """

    def __init__(self, faults: Iterable[Fault] = (), *, seed: int = 0) -> None:
        self.seed = seed
        self._rows: list[_Row] = []
        self.add(*faults)

    def __iter__(self) -> Iterator[Fault]:
        return iter([row.fault for row in self._rows])

    @property
    def is_spent(self) -> bool:
        """Whether no fault can strike any more."""
        return all(row.is_spent for row in self._rows)

    def add(self, *faults: Fault) -> None:
        """Put faults behind the others. A spent one of the same name gives way; another raises ``ConfigurationError``.

        Nothing is added if one of them is refused.
        """
        rows = list(self._rows)
        for fault in faults:
            label = fault.label
            same = next((row for row in rows if row.label == label), None)
            if same is not None:
                if not same.is_spent:
                    raise ConfigurationError(
                        f"there is a fault {label!r} already", remedy="Raise its times, or give this one a name."
                    )
                rows.remove(same)
            rows.append(_Row(fault, label))
        if len(rows) > MAX_FAULTS:
            raise ConfigurationError(f"{len(rows)} faults; {MAX_FAULTS} are allowed")
        self._rows = rows

    def clear(self) -> None:
        """Take all faults away."""
        self._rows = []

    def may_choose(self, api: str, client_id: str | None) -> bool:
        """Whether a fault may match, by what is known without looking into the request."""
        return any(row.fault.on.may_hold(api, client_id) for row in self._rows if not row.is_spent)

    def choose(self, subject: Subject) -> Strike | None:
        """Count the request, and say what strikes it."""
        chosen: tuple[_Row, Strike] | None = None
        for row in self._rows:
            if row.is_spent or not row.fault.on.holds(subject):
                continue
            row.matched += 1
            if self._would_strike(row, subject.client_id) and chosen is None:
                chosen = row, Strike(row.fault, row.matched)
        if chosen is None:
            return None
        row, strike = chosen
        row.struck += 1
        return strike

    def _would_strike(self, row: _Row, client_id: str | None) -> bool:
        fault = row.fault
        if fault.probability < 1:
            client = client_id or ""
            if client not in row.by_client and len(row.by_client) >= MAX_CLIENTS:
                client = _OTHERS
            number = row.by_client[client] = row.by_client.get(client, 0) + 1
            if _share(self.seed, row.label, client, str(number)) >= fault.probability:
                return False
        return row.matched >= fault.nth

    def state(self) -> PlanState:
        """All of it, to go on elsewhere."""
        rows = (FaultCounts(row.fault, row.matched, row.struck, dict(row.by_client)) for row in self._rows)
        return PlanState(self.seed, tuple(rows))

    def restore(self, state: PlanState) -> None:
        """Become that plan."""
        self.seed = state.seed
        self._rows = [
            _Row(row.fault, row.fault.label, row.matched, row.struck, dict(row.by_client)) for row in state.faults
        ]

    def __str__(self) -> str:
        lines = [f"{number}. {row.fault}{_counts(row)}" for number, row in enumerate(self._rows, start=1)]
        return "\n".join([f"faults, seed {self.seed}:", *(lines or ["none"])])


def _counts(row: _Row) -> str:
    name = f" ({row.fault.name})" if row.fault.name else ""
    return f"{name}: {row.struck} of {row.matched}" if row.matched else name


def _share(seed: int, *parts: str) -> float:
    """A number in [0, 1), evenly spread, the same for the same arguments."""
    digest = hashlib.blake2b("\x1f".join((str(seed), *parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64
