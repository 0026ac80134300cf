"""What must be there beside what is there, at the end of a trial: made and judged part by part.

Owns: reading everything again, and the history of each part. Must not know: how the trial went.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

import msgspec
from confluent_kafka import KafkaException

from tallystick.ids import EventId, body_hash
from tallystick.pipeline import Guarantee
from tallystick.verify import counting, workloads
from tallystick.verify.oracle import Expected, History, Position, Seen, StableSample, StateCell, identity_from_payload
from tallystick.verify.oracle.read import committed_offsets, identity_from_header
from tallystick.verify.ticks import Tick, endless_ticks
from tallystick.verify.timeline import Moment
from tallystick.verify.trial.feed import Places
from tallystick.verify.trial.judging import Judgement, judged
from tallystick.verify.trial.outcome import Violation
from tallystick.verify.trial.settings import TRANSACTION_TIMEOUT_MS, TrialSettings
from tallystick.verify.trial.shelf import PARTS, Shelf, part_of
from tallystick.verify.trial.sightings import Sightings, Views, views_of
from tallystick.verify.trial.site import Site
from tallystick.verify.trial.witness import shortest
from tallystick.verify.workloads import WorkloadSettings

if TYPE_CHECKING:
    from tallystick.verify.charging import ChargeSide
    from tallystick.verify.sql_count import SqlSide

_READ_TIMEOUT_S: Final = 600.0
_STABLE_TIMEOUT_S: Final = 60.0
STABLE_LIMIT_MS: Final = 4 * TRANSACTION_TIMEOUT_MS + 20_000
"""A transaction times out, its coordinator looks every ten seconds, and a broker may have to start again."""


class _Sent(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A tick and its number in the feed."""

    feed_number: int
    event: EventId
    account: str
    number: int
    amount_minor: int


@dataclass(slots=True, kw_only=True)
class Comparison:
    """``placed`` says where each tick lies, ``sent`` how many there are; ``shown`` and ``raw`` are what two readers saw
    of the sinks. A context manager, for its files.
    """

    settings: TrialSettings
    workload: WorkloadSettings
    site: Site
    sql: SqlSide | ChargeSide | None
    folder: Path
    sent: int
    placed: Mapping[str, Places]
    shown: Sightings
    raw: Sightings
    known_aborted: frozenset[Position]
    samples: tuple[StableSample, ...]
    moments: Sequence[Moment]
    problems: list[Violation] = field(default_factory=list)
    _open: ExitStack = field(default_factory=ExitStack)
    _ticks: Shelf[_Sent] = field(init=False)

    def __enter__(self) -> Self:
        self._ticks = self._open.enter_context(Shelf(_Sent, self.folder))
        accounts = self.settings.accounts
        for number, tick in enumerate(self._made()):
            self._ticks.put(
                part_of(tick.event, accounts=accounts),
                _Sent(number, tick.event, tick.account, tick.number, tick.amount_minor),
            )
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def inputs(self) -> Judgement:
        """The input topics themselves: each acknowledged event is there once, as it was sent."""
        views = self._views(self.workload.sources)
        views.read(
            self.site.bootstrap, identify=identity_from_header, timeout_s=_READ_TIMEOUT_S, client=self.site.client
        )

        def part(number: int) -> History:
            return History(expected=tuple(self._owed_inputs(number)), views=views.part(number))

        whole = History(expected=(), views=views.ends())
        return self._judged("inputs", whole, part, Guarantee.EXACTLY_ONCE)

    def outputs(self) -> Judgement:
        """What the application made of them, in Kafka and outside."""
        workload, site = self.workload, self.site
        views = self._views(workload.sinks)
        identify = identity_from_payload(workloads.identity_field(workload.shape))
        views.read(site.bootstrap, identify=identify, timeout_s=_READ_TIMEOUT_S, client=site.client)
        rows = self._rows()
        next_offsets = self._next_offsets()

        def part(number: int) -> History:
            ticks = [(one, at) for one, at in self._part(number, workload.source) if at is not None]
            return History(
                expected=tuple(self._owed_outputs(ticks)),
                views=views.part(number),
                rows=tuple(rows.part(number)),
                next_offsets=next_offsets,
                known_aborted=self.known_aborted,
                earlier=views_of(workload.sinks, self.shown.part(number), self.raw.part(number)),
            )

        whole = History(
            expected=(),
            views=views.ends(),
            next_offsets=next_offsets,
            known_aborted=self.known_aborted,
            earlier=views_of(workload.sinks, (), ()),
            samples=self.samples,
            stable_limit_ms=STABLE_LIMIT_MS,
            states=self._states(),
        )
        return self._judged("outputs", whole, part, self.settings.guarantee)

    # -- what is owed

    def _made(self) -> Iterator[Tick]:
        """All ticks, made again."""
        return islice(endless_ticks(seed=self.settings.seed, accounts=self.settings.accounts), self.sent)

    def _acknowledged(self) -> Iterator[Tick]:
        places = self.placed[self.workload.source]
        return (tick for number, tick in enumerate(self._made()) if places.position(number) is not None)

    def _part(self, number: int, topic: str) -> Iterator[tuple[Tick, Position | None]]:
        """The ticks of a part, each with its place in ``topic``."""
        places = self.placed[topic]
        for one in self._ticks.part(number):
            yield Tick(one.event, one.account, one.number, one.amount_minor), places.position(one.feed_number)

    def _owed_inputs(self, number: int) -> Iterator[Expected]:
        for source in self.workload.sources:
            for tick, at in self._part(number, source):
                if at is not None:
                    yield Expected(
                        source,
                        tick.event,
                        tick.key,
                        group=f"{source} {tick.event}",
                        sequence=tick.number,
                        body_hash=body_hash(tick.body()),
                    )

    def _owed_outputs(self, placed: Sequence[tuple[Tick, Position]]) -> list[Expected]:
        ticks = [tick for tick, _ in placed]
        positions = {tick.event: at for tick, at in placed}
        owed = workloads.expected_outputs(self.workload, ticks, positions)
        return owed if self.sql is None else owed + self.sql.expected(ticks, positions)

    # -- what is there

    def _views(self, topics: Sequence[str]) -> Views:
        views = Views(self.folder, topics, accounts=self.settings.accounts)
        self._open.callback(views.close)
        return views

    def _rows(self) -> Sightings:
        rows = Sightings(self.folder, accounts=self.settings.accounts)
        self._open.callback(rows.close)
        found: Sequence[Seen] = () if self.sql is None else self.sql.rows(self._acknowledged())
        for row in found:
            rows.note(row)
        return rows

    def _next_offsets(self) -> dict[tuple[str, int], int] | None:
        """The group's stable offsets. Nobody commits any more: one that stays pending is a transaction that hangs."""
        workload, site = self.workload, self.site
        try:
            return committed_offsets(
                site.bootstrap, workload.group, workload.sources, timeout_s=_STABLE_TIMEOUT_S, client=site.client
            )
        except KafkaException as error:
            text = f"no stable offsets of {workload.group}: {error.args[0].str()}"
            self.problems.append(Violation("run", "pending-offsets", 1, (text,)))
            return None

    def _states(self) -> tuple[StateCell, ...]:
        if self.sql is not None:
            return self.sql.states(self._acknowledged())
        if self.workload.shape is not workloads.Shape.COUNT:
            return ()
        return counting.states(
            self.site.bootstrap,
            self.workload.changelog,
            self._acknowledged(),
            client=self.site.client,
            timeout_s=_READ_TIMEOUT_S,
        )

    def _judged(self, place: str, whole: History, part: Callable[[int], History], guarantee: Guarantee) -> Judgement:
        def witness(found: Violation, history: History, number: int) -> Violation:
            return shortest(found, history, self.moments, self.shown.first_seen(number))

        return judged(place, whole, range(PARTS), part, guarantee=guarantee, witness=witness)
