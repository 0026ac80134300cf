"""Small applications whose every output is known in advance.

Owns: the workloads, the names of their topics, and what each one owes for a tick. They are written as a user would
write them, on the public names of the pipeline and the boundary. Must not know: faults.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from typing import Final

import msgspec

from tallystick.errors import ConfigurationError
from tallystick.ids import EventId, body_hash
from tallystick.pipeline import App, Context, Emit, Guarantee, Topic, emit
from tallystick.verify import counting
from tallystick.verify.events import Counted, Echo, TickValue
from tallystick.verify.oracle import Expected, Position
from tallystick.verify.ticks import Tick

ENV_WORKLOAD: Final = "TALLYSTICK_WORKLOAD"
STEP: Final = "count"
_GRACE: Final = timedelta(seconds=5)


class Shape(Enum):
    """What a workload does with a tick. The value is the name on the command line."""

    PASS_THROUGH = "pass-through"  # noqa: S105 - no password
    """One tick in, one out."""

    FAN_OUT = "fan-out"
    """One tick in; two out in one topic, under the same key, and one in another."""

    SQL_COUNT = "sql"
    """One tick in, one SQL row, one SQL balance moved, one out."""

    CHARGE = "charge"
    """One tick in; an intent beside its inbox row, which a dispatcher takes to a payment provider; one out."""

    COUNT = "count"
    """One tick in; its account's totals in keyed state moved, and written out."""

    JOIN = "join"
    """One tick in each of two topics, joined by key and time; one out for each pair."""

    COPY = "copy"
    """One tick in, the same bytes out: what an application that is not ours can be asked to do."""


class WorkloadSettings(msgspec.Struct, frozen=True, kw_only=True):
    """One workload of one run; crosses to the workers as JSON in ``TALLYSTICK_WORKLOAD``.

    ``name`` is the application's name and the prefix of its topics. ``state_dir`` keeps local copies of keyed
    state. ``pause_us`` is spent on each event, so that a kill finds work under way.
    """

    name: str
    shape: Shape
    guarantee: Guarantee
    partitions: int = 4
    database_url: str | None = None
    state_dir: str | None = None
    pause_us: int = 0

    @property
    def source(self) -> str:
        return f"{self.name}.ticks"

    @property
    def sources(self) -> tuple[str, ...]:
        """All topics that it reads; each tick is in each of them."""
        return (self.source, f"{self.name}.others") if self.shape is Shape.JOIN else (self.source,)

    @property
    def sinks(self) -> tuple[str, ...]:
        if self.shape is Shape.FAN_OUT:
            return (f"{self.name}.echoes", f"{self.name}.copies")
        return (f"{self.name}.echoes",)

    @property
    def changelog(self) -> str:
        """The topic of the counting workload's state."""
        return f"{self.group}.{counting.STORE}.changelog"

    @property
    def group(self) -> str:
        """The consumer group of the only step."""
        return f"{self.name}.{STEP}"

    def to_environment(self) -> dict[str, str]:
        return {ENV_WORKLOAD: msgspec.json.encode(self).decode()}

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> WorkloadSettings:
        """Raises ``ConfigurationError`` if the variable is missing or says nonsense."""
        try:
            return msgspec.json.decode(environment[ENV_WORKLOAD], type=cls)
        except (KeyError, msgspec.DecodeError) as error:
            raise ConfigurationError(
                f"{ENV_WORKLOAD} holds no workload: {error!r}", remedy="The harness sets it for the workers it starts"
            ) from error


@dataclass(frozen=True, slots=True)
class _Share:
    """One output that each tick has: in which of the sinks, and how it is named."""

    sink: int
    ordinal: int


_SHARES: Final[dict[Shape, tuple[_Share, ...]]] = {
    Shape.PASS_THROUGH: (_Share(0, 0),),
    Shape.FAN_OUT: (_Share(0, 0), _Share(0, 1), _Share(1, 2)),
    Shape.SQL_COUNT: (_Share(0, 0),),
    Shape.CHARGE: (_Share(0, 0),),
    Shape.COUNT: (_Share(0, 0),),
    Shape.JOIN: (_Share(0, 0),),
    Shape.COPY: (_Share(0, 0),),
}


WITH_STATE: Final = frozenset({Shape.COUNT, Shape.JOIN})
"""Workloads that keep keyed state."""
WITH_INBOX: Final = frozenset({Shape.SQL_COUNT, Shape.CHARGE})
"""Workloads whose effect is in a database, behind an inbox."""


def build_app(settings: WorkloadSettings) -> App:
    """The application that workers run."""
    app = App(settings.name, guarantee=settings.guarantee)
    source = Topic(settings.source, TickValue, partitions=settings.partitions)
    sinks = [Topic(name, Echo, partitions=settings.partitions) for name in settings.sinks]
    echo = _echo(settings, sinks)
    if settings.shape in WITH_INBOX:
        if settings.shape is Shape.CHARGE:
            from tallystick.verify.charging import effect_factory
        else:
            from tallystick.verify.sql_count import effect_factory
        if settings.database_url is None:
            raise ConfigurationError(f"workload {settings.shape.value} needs a database")
        app.add(STEP, [source], factory=effect_factory(settings.database_url, source, STEP, echo), emits=sinks)
    elif settings.shape is Shape.COUNT:
        totals = Topic(settings.sinks[0], Counted, partitions=settings.partitions)
        counting.declare(app, STEP, source, totals, pause_s=settings.pause_us / 1_000_000)
    elif settings.shape is Shape.JOIN:
        others = Topic(settings.sources[1], TickValue, partitions=settings.partitions)

        @app.join(left=source, right=others, within=timedelta(0), grace=_GRACE, name=STEP, emits=sinks)
        def pair(left: TickValue, right: TickValue, _: Context) -> Iterable[Emit]:
            return echo(left) if left == right else ()

    elif settings.shape is Shape.COPY:
        copies = [Topic(name, TickValue, partitions=settings.partitions) for name in settings.sinks]

        @app.step(source=source, name=STEP, emits=copies)
        def copy(tick: TickValue, context: Context) -> Iterable[Emit]:
            yield emit(copies[0], tick, key=context.key)

    else:

        @app.step(source=source, name=STEP, emits=sinks)
        def count(tick: TickValue, _: Context) -> Iterable[Emit]:
            return echo(tick)

    return app


def _echo(settings: WorkloadSettings, sinks: Sequence[Topic[Echo]]) -> Callable[[TickValue], Iterator[Emit]]:
    shares, pause_s = _SHARES[settings.shape], settings.pause_us / 1_000_000

    def echo(tick: TickValue) -> Iterator[Emit]:
        if pause_s:
            time.sleep(pause_s)
        for share in shares:
            value = Echo(
                _identity(settings.shape, tick.event, share), tick.event, tick.account, tick.number, tick.amount_minor
            )
            yield emit(sinks[share.sink], value, key=tick.account)

    return echo


def expected_outputs(
    settings: WorkloadSettings, ticks: Sequence[Tick], positions: Mapping[EventId, Position]
) -> list[Expected]:
    """What must be in the sinks, byte for byte, made without the workload's own code."""
    if settings.shape is Shape.COUNT:
        return counting.expected(settings.sinks[0], ticks, positions)
    shares = _SHARES[settings.shape]
    return [
        Expected(
            topic=settings.sinks[share.sink],
            identity=_identity(settings.shape, tick.event, share),
            key=tick.key,
            group=tick.event,
            sequence=tick.number * len(shares) + share.ordinal,
            source=positions[tick.event],
            body_hash=body_hash(_body(settings.shape, tick, share)),
        )
        for tick in ticks
        for share in shares
    ]


def identity_field(shape: Shape) -> str:
    """The field of an output's value that names it."""
    return "event" if shape is Shape.COPY else "identity"


def _identity(shape: Shape, event: EventId, share: _Share) -> str:
    return event if shape is Shape.COPY else f"{event}/{share.ordinal}"


def _body(shape: Shape, tick: Tick, share: _Share) -> bytes:
    return tick.body() if shape is Shape.COPY else tick.body(identity=_identity(shape, tick.event, share))
