"""A step's function run again over a range: the dry run, and the corrections.

Owns: ``Replay``: what is refused, the passes, and that nothing is written twice. Must not know: the command line.

What a replay has written stands in the output topics, and nowhere else: each run reads them first, up to their high
watermarks, once its transactional id is initialised. So a run that was killed is gone on with by running it again: it
finds what is committed already, and whatever it left open was aborted before it looked.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Final

from tallystick.clock import SystemClock
from tallystick.errors import ConfigurationError, TallystickError
from tallystick.pipeline.app import App
from tallystick.pipeline.batch import EventIds
from tallystick.pipeline.kafka_client import Cluster, Partition, read_range, read_ranges
from tallystick.pipeline.patience import Patience
from tallystick.pipeline.polled import Message
from tallystick.pipeline.ports import Poisoned, Processor
from tallystick.pipeline.records import Output, Record
from tallystick.pipeline.replay.corrections import correction, told_late
from tallystick.pipeline.replay.findings import Counts, Finding, Standing, Verdict, compare
from tallystick.pipeline.replay.obstacles import Obstacles
from tallystick.pipeline.replay.rebuilding import Rebuilt
from tallystick.pipeline.replay.scope import Scope, Span, scope
from tallystick.pipeline.replay.writer import Writer
from tallystick.pipeline.replay.written import Written
from tallystick.pipeline.starts import TopicFacts
from tallystick.pipeline.step import Step

Progress = Callable[[str, int, int], None]
"""``progress(what, done, of)``: ``done`` more of ``of`` offsets are read in the part ``what``."""

PARTS: Final = ("read what was written", "run again", "write")
_PATIENCE_MS: Final = 60_000
_BATCH: Final = 500

Tell = Callable[[Finding], None]


@dataclass(frozen=True, slots=True)
class Reader:
    """A step of the application that reads a topic into which a replay would write ``outputs`` records.

    ``has_effects``: it may do something outside Kafka. What is the same is not written, so that it does not act again.
    """

    step: str
    topic: str
    outputs: int
    has_effects: bool


@dataclass(slots=True)
class Survey:
    """What a run found, and what stands in the way of ``apply``. ``applied`` are records written."""

    name: str
    step: str
    scope: Scope
    counts: Counts = field(default_factory=Counts)
    obstacles: Obstacles = field(default_factory=Obstacles)
    applied: int = 0
    readers: tuple[Reader, ...] = ()
    """Who of the application reads what would be written."""


class Replay:
    """One step of an application, and a span of its input.

    ``name`` names the change; it is in the ids and headers of corrections. ``settings`` are librdkafka's,
    ``bootstrap.servers`` among them. ``group`` stands for the application's name if it runs under another
    (``tallystick run --group``).
    """

    def __init__(
        self,
        app: App,
        settings: Mapping[str, Any],
        *,
        name: str,
        span: Span,
        step: str | None = None,
        group: str | None = None,
    ) -> None:
        self._app = app
        self._step = chosen(app, step)
        self._group = f"{group or app.name}.{self._step.name}"
        self._settings = dict(settings)
        self._name = name
        self._span = span
        self._cluster = Cluster(self._settings)
        self._cluster_id: str | None = None
        self._patience = Patience(SystemClock(), threading.Event(), _PATIENCE_MS)

    def survey(self, tell: Tell = lambda _finding: None, progress: Progress = lambda *_: None) -> Survey:
        """The dry run: runs the function, compares, and writes nothing. ``tell`` gets each finding."""
        with ExitStack() as closing:
            return self._look(closing.enter_context(Written()), tell, progress)

    def apply(
        self,
        tell: Tell = lambda _finding: None,
        progress: Progress = lambda *_: None,
        *,
        despite: frozenset[str] = frozenset(),
    ) -> Survey:
        """A dry run, and then corrections and new outputs in transactions; ``ConfigurationError`` if one must not be.

        ``despite`` names obstacles that a person has decided about (``Obstacles.KINDS``).
        """
        with ExitStack() as closing:
            writer = closing.enter_context(Writer(self._settings, group=self._group))
            written = closing.enter_context(Written())
            found = self._look(written, tell, progress)
            found.obstacles.raise_unless(despite)
            self._write(found, written, writer, progress)
        return found

    def payload(self, standing: Standing) -> Record | None:
        """The record that stands, to be shown."""
        place = (standing.topic, standing.partition)
        found = read_range(self._settings, place, standing.offset, standing.offset + 1)
        return found[0] if found else None

    # -- passes

    def _look(self, written: Written, tell: Tell, progress: Progress) -> Survey:
        sources, targets = self._topics()
        rebuilds = self._step.state is not None
        within = scope(self._span, self._group, sources, self._cluster, self._patience, from_beginning=rebuilds)
        found = Survey(self._name, self._step.name, within)
        bounds = self._bounds(targets)
        self._index(written, targets, bounds, progress)
        for finding in self._findings(found, sources, frozenset(targets), written, progress, PARTS[1]):
            found.obstacles.look_at(finding)
            found.counts.add(finding)
            tell(finding)
        settings = self._topic_settings(targets)
        found.obstacles.look_at_topics(bounds, settings, now_ms=time.time_ns() // 1_000_000)
        found.readers = tuple(readers(self._app, found.counts))
        return found

    def _write(self, found: Survey, written: Written, writer: Writer, progress: Progress) -> None:
        sources, targets = self._topics()
        outputs: list[Output] = []
        again = Survey(self._name, self._step.name, found.scope)
        for finding in self._findings(again, sources, frozenset(targets), written, progress, PARTS[2]):
            output = self._to_write(finding)
            if output is not None and written.is_first(output.event_id):
                outputs.append(output)
            if len(outputs) >= writer.most_records:
                found.applied += writer.write(outputs)
                outputs = []
        found.applied += writer.write(outputs)

    def _to_write(self, finding: Finding) -> Output | None:
        if finding.output is None:
            return None
        if finding.verdict is Verdict.CHANGED and finding.standing is not None:
            return correction(finding.output, replay=self._name, revision=finding.standing.revision + 1)
        return told_late(finding.output, replay=self._name) if finding.verdict is Verdict.NEW else None

    # -- reading

    def _topics(self) -> tuple[dict[str, TopicFacts], dict[str, TopicFacts]]:
        """Sources, and those topics that the step may write to and that are there."""
        step = self._step
        facts = self._patience.call("topics", lambda: self._cluster.topics(step.topics))
        absent = sorted(set(step.sources) - facts.keys())
        if absent:
            raise ConfigurationError(f"the cluster has no topics {absent}, which step {step.name!r} reads")
        sources = {name: facts[name] for name in step.sources}
        return sources, {name: found for name, found in facts.items() if name not in sources}

    def _bounds(self, topics: Mapping[str, TopicFacts]) -> dict[Partition, tuple[int, int]]:
        places = [(name, number) for name, facts in topics.items() for number in range(facts.partitions)]
        return self._patience.call("ends", lambda: self._cluster.bounds(places)) if places else {}

    def _topic_settings(self, topics: Mapping[str, TopicFacts]) -> Mapping[str, Mapping[str, str]]:
        return self._patience.call("topics' settings", lambda: self._cluster.topic_settings(topics)) if topics else {}

    def _index(
        self,
        written: Written,
        targets: Mapping[str, TopicFacts],
        bounds: Mapping[Partition, tuple[int, int]],
        progress: Progress,
    ) -> None:
        of = sum(end - first for first, end in bounds.values())
        ids = self._ids(targets)
        for messages in read_ranges(self._settings, bounds):
            written.add(ids.batch(messages).records)
            progress(PARTS[0], len(messages), of)

    def _ids(self, topics: Mapping[str, TopicFacts]) -> EventIds:
        if self._cluster_id is None:
            self._cluster_id = self._patience.call("cluster", self._cluster.cluster_id)
        return EventIds(self._cluster_id, {name: facts.topic_id for name, facts in topics.items()})

    def _findings(
        self,
        survey: Survey,
        sources: Mapping[str, TopicFacts],
        targets: frozenset[str],
        written: Written,
        progress: Progress,
        part: str,
    ) -> Iterator[Finding]:
        ids, within, span = self._ids(sources), survey.scope, self._span
        with ExitStack() as closing:
            state = self._state(within)
            if state is not None:
                closing.enter_context(state)
            processor = self._processor(state)
            closing.callback(processor.close)
            for messages in read_ranges(self._settings, within.ranges):
                going = messages if state is not None else [one for one in messages if span.holds(one.timestamp()[1])]
                for start in range(0, len(going), _BATCH):
                    for record, outputs in _results(processor, ids, going[start : start + _BATCH], state):
                        if not span.holds(record.timestamp_ms):
                            continue  # it was needed for the state
                        survey.counts.records += 1
                        if isinstance(outputs, BaseException):
                            yield Finding(Verdict.FAILED, record, record.event_id, cause=repr(outputs))
                            continue
                        self._check(outputs, targets)
                        yield from compare(record, outputs, self._step.name, written.standing)
                    if state is not None:
                        state.keep()
                progress(part, len(messages), within.offsets)

    def _state(self, within: Scope) -> Rebuilt | None:
        plan = self._step.state
        numbers = {number for _, number in within.ranges}
        return None if plan is None else Rebuilt(plan, group=self._group, numbers=numbers)

    def _processor(self, state: Rebuilt | None) -> Processor:
        plan = self._step.state
        return self._step.factory() if plan is None or state is None else plan.factory(state.lane)

    def _check(self, outputs: Sequence[Output], targets: frozenset[str]) -> None:
        for output in outputs:
            if output.topic not in targets:
                raise ConfigurationError(
                    f"step {self._step.name!r} writes to {output.topic!r}, which its emits=[...] do not name, or which "
                    "is not there: what was written to it cannot be compared",
                    remedy="Name the topic in the step's emits=[...], and create it if it is new",
                )


def chosen(app: App, name: str | None) -> Step:
    """The step to replay; ``ConfigurationError`` says why one cannot be."""
    steps = {step.name: step for step in app.steps}
    if name is None and len(steps) > 1:
        raise ConfigurationError(f"application {app.name!r} has several steps", remedy=f"Choose one: {sorted(steps)}")
    step = steps.get(name) if name is not None else next(iter(steps.values()), None)
    if step is None:
        raise ConfigurationError(f"application {app.name!r} has no step {name!r}", remedy=f"There are {sorted(steps)}")
    if step.state is not None and len(step.sources) > 1:
        raise ConfigurationError(
            f"step {step.name!r} keeps state and reads {list(step.sources)}: what it made of a record depends on how "
            "far it had read the other topics, and that does not come back",
            remedy="Replay the step before it, whose corrections this one then reads; or run it under another --group "
            "and name from the beginning of its input, into topics of its own, and compare those",
        )
    if not step.is_function:
        raise ConfigurationError(
            f"step {step.name!r} has effects outside Kafka: its inbox knows the events, and a replay would change "
            "nothing, or do it in earnest",
            remedy="Replay the step before it: corrections come to this one as new events, and outputs that are the "
            "same do not come again",
        )
    return step


def readers(app: App, counts: Counts) -> Iterator[Reader]:
    """The steps that would see what is written, in the order of their declaration."""
    for step in app.steps:
        for topic in step.sources:
            counted: Counter[Verdict] = counts.by_topic.get(topic, Counter())
            outputs = counted[Verdict.CHANGED] + counted[Verdict.NEW]
            if outputs:
                yield Reader(step.name, topic, outputs, not step.is_function)


def _results(
    processor: Processor, ids: EventIds, messages: Sequence[Message], state: Rebuilt | None
) -> Iterator[tuple[Record, Sequence[Output] | BaseException]]:
    """Each record with its outputs, or why it has none."""
    batch = ids.batch(messages)
    good = [record for index, record in enumerate(batch.records) if index not in batch.rejected]
    results = iter(_processed(processor, good, state))
    for index, record in enumerate(batch.records):
        if index in batch.rejected:
            yield record, batch.rejected[index]
            continue
        result = next(results)
        if isinstance(result, Poisoned):
            yield record, result.cause
        else:
            yield record, result


def _processed(
    processor: Processor, records: Sequence[Record], state: Rebuilt | None
) -> Sequence[Sequence[Output] | Poisoned]:
    """A batch function that fails gets the records one by one, as it does in a worker."""
    if not records:
        return []
    try:
        return processor.process(records)
    except TallystickError:
        raise
    except Exception as error:  # noqa: BLE001  # the edge of user code: a verdict about a record
        if len(records) == 1:
            return [Poisoned(records[0], error, 1)]
    if state is not None:
        state.lane.drop()  # what the batch had changed before it failed
    return [result for record in records for result in _processed(processor, [record], state)]
