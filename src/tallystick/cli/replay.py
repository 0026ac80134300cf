"""``tallystick replay``: a step's function run again over a span of its input; what would change, and corrections."""

from __future__ import annotations

import dataclasses
import datetime
import json
import sys
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Any, Final, Self

import typer

from tallystick.cli.operate.options import AsJson, Bootstrap, CommandConfig, librdkafka_settings
from tallystick.cli.operate.screen import Cell, show
from tallystick.cli.part_bars import PartBars
from tallystick.errors import ConfigurationError

if TYPE_CHECKING:
    from tallystick.pipeline.records import Record
    from tallystick.pipeline.replay import Finding, Replay, Survey, Verdict

_TEXT_CHARACTERS: Final = 100


def replay(
    app: Annotated[str, typer.Argument(metavar="MODULE:APP", help="The App, or a function that returns one.")],
    from_: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help="Records at or after, as 2026-03-01 (UTC).")
    ] = None,
    to: Annotated[str | None, typer.Option(metavar="TIME", help="Records before, as 2026-04-01T00:00+02:00.")] = None,
    step: Annotated[str | None, typer.Option(help="Which step; not needed if there is one only.")] = None,
    name: Annotated[
        str | None, typer.Option(help="Names the change, as march-prices; corrections' ids are made of it.")
    ] = None,
    group: Annotated[
        str | None, typer.Option(help="As given to tallystick run: in the place of the App's name.")
    ] = None,
    partition: Annotated[list[int] | None, typer.Option(min=0, help="Only these partitions of the input.")] = None,
    apply: Annotated[bool, typer.Option("--apply", help="Write it. Without this nothing is written.")] = False,
    despite: Annotated[
        list[str] | None, typer.Option(help="Write despite 'failures' or 'gaps', which the dry run tells of.")
    ] = None,
    samples: Annotated[int, typer.Option(min=0, max=1000, help="How many of each kind to show.")] = 3,
    report: Annotated[
        Path | None, typer.Option(help="All that is not the same, as JSON lines, into this file.")
    ] = None,
    bootstrap: Bootstrap = None,
    command_config: CommandConfig = None,
    as_json: AsJson = False,
) -> None:
    """Run a step's function again over a span of its input, and compare with what it wrote.

    For a mended function or a corrected price: which outputs of March would be different? The dry run, which is what
    happens without --apply, says for each output: same (nothing to do), changed, new, or gone (it was written and is
    not made any more). It joins no group, commits no offset and writes nothing.

    With --apply, and a --name, it writes the changed and the new ones, in transactions. A changed one is a correction:
    it has an event id of its own, made of the original's and of the name, and the headers tallystick-replaces (the
    original's id), tallystick-revision and tallystick-replay. A new one has the id that it would have had. What is the
    same is not written again, so nothing downstream happens twice. If it is killed, run it again: it goes on where it
    ended, and repeats nothing.

    The state of a step is built up again from the beginning of its input. Joins, and steps with effects outside Kafka,
    are refused, with what to do instead.

      tallystick replay shop:app --step rate --from 2026-03-01 --to 2026-04-01

      tallystick replay shop:app --step rate --from 2026-03-01 --to 2026-04-01 --name march-prices --apply
    """
    from tallystick.pipeline.replay import Replay, Span
    from tallystick.pipeline.replay.replaying import PARTS

    if apply and name is None:
        raise ConfigurationError("--apply needs a --name for the change", remedy="For example --name march-prices")
    span = Span(
        from_ms=_milliseconds(from_), to_ms=_milliseconds(to), partitions=frozenset(partition) if partition else None
    )
    run = Replay(
        _loaded(app),
        librdkafka_settings(bootstrap, command_config),
        name=name or "dry-run",
        span=span,
        step=step,
        group=group,
    )
    with _Seen(run, samples, report) as seen, PartBars(PARTS if apply else PARTS[:2]) as progress:
        found = run.apply(seen.take, progress, despite=_despite(despite)) if apply else run.survey(seen.take, progress)
    if as_json:
        typer.echo(json.dumps(_document(found, seen, applied=apply)))
    else:
        _print(found, seen, applied=apply)


def _loaded(reference: str) -> Any:
    sys.path.insert(0, str(Path.cwd()))
    from tallystick.pipeline.worker_main import load_app

    return load_app(reference)


def _despite(kinds: list[str] | None) -> frozenset[str]:
    from tallystick.pipeline.replay.obstacles import Obstacles

    if unknown := set(kinds or ()) - set(Obstacles.KINDS):
        raise ConfigurationError(f"--despite {sorted(unknown)}: there are {', '.join(Obstacles.KINDS)}")
    return frozenset(kinds or ())


def _milliseconds(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        found = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise ConfigurationError(f"{text!r} is no time", remedy="For example 2026-03-01 or 2026-03-01T00:00Z") from None
    return round((found if found.tzinfo else found.replace(tzinfo=datetime.UTC)).timestamp() * 1000)


class _Seen:
    """Keeps the first findings of each kind, and writes all of them to the report."""

    def __init__(self, run: Replay, samples: int, report: Path | None) -> None:
        self._run = run
        self._samples = samples
        self._path = report
        self.kept: dict[Verdict, list[Finding]] = {}

    def __enter__(self) -> Self:
        self._file = self._path.open("w") if self._path is not None else None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def take(self, finding: Finding) -> None:
        from tallystick.pipeline.replay import Verdict

        if finding.verdict is Verdict.SAME:
            return
        kept = self.kept.setdefault(finding.verdict, [])
        if len(kept) < self._samples:
            kept.append(finding)
        if self._file is not None:
            self._file.write(json.dumps(_row(finding)) + "\n")

    def was(self, finding: Finding) -> Record | None:
        """The record that stands."""
        return None if finding.standing is None else self._run.payload(finding.standing)


def _row(finding: Finding) -> dict[str, Any]:
    output = finding.output
    return {
        "verdict": finding.verdict.value,
        "event_id": finding.event_id,
        "from": finding.source,
        "topic": finding.topic,
        "written_at": None if finding.standing is None else finding.standing.place,
        "key": None if output is None else _text(output.key),
        "value": None if output is None else _text(output.value),
        "cause": finding.cause or None,
    }


def _document(found: Survey, seen: _Seen, *, applied: bool) -> dict[str, Any]:
    from tallystick.pipeline.replay import Verdict

    return {
        "replay": found.name,
        "step": found.step,
        "records": found.counts.records,
        "outputs": {verdict.value: found.counts[verdict] for verdict in Verdict},
        "by_topic": {
            topic: {verdict.value: counted[verdict] for verdict in Verdict}
            for topic, counted in sorted(found.counts.by_topic.items())
        },
        "applied": found.applied if applied else None,
        "obstacles": found.obstacles.sentences,
        "readers": [dataclasses.asdict(reader) for reader in found.readers],
        "notes": list(found.scope.notes),
        "samples": [_sample(finding, seen) for kept in seen.kept.values() for finding in kept],
    }


def _sample(finding: Finding, seen: _Seen) -> dict[str, Any]:
    was = seen.was(finding)
    return {**_row(finding), "was": None if was is None else _text(was.value)}


def _print(found: Survey, seen: _Seen, *, applied: bool) -> None:
    from tallystick.pipeline.replay import Verdict

    rows: list[list[Cell]] = [
        [topic, *(counted[verdict] for verdict in Verdict)] for topic, counted in sorted(found.counts.by_topic.items())
    ]
    columns = ("Topic", *(verdict.value.capitalize() for verdict in Verdict))
    show(columns, rows, as_json=False, empty="there are no records in this span")
    for verdict, kept in seen.kept.items():
        for finding in kept:
            was = seen.was(finding)
            typer.echo(f"{verdict.value:8} {finding.event_id}  from {finding.source}")
            if was is not None and finding.standing is not None:
                typer.echo(f"         was {_short(_text(was.value))}  at {finding.standing.place}")
            if finding.output is not None:
                typer.echo(f"         now {_short(_text(finding.output.value))}  for {finding.topic}")
            if finding.cause:
                typer.echo(f"         {_short(finding.cause)}")
    for reader in found.readers:
        what = "has effects outside Kafka and reads" if reader.has_effects else "reads"
        typer.echo(f"step {reader.step!r} {what} {reader.topic}: {reader.outputs} new events for it", err=True)
    for note in found.scope.notes:
        typer.echo(f"note: {note}", err=True)
    if applied:
        typer.echo(f"{found.counts.records} records read, {found.applied} outputs written", err=True)
        return
    for sentence in found.obstacles.sentences:
        typer.echo(f"in the way of --apply: {sentence}", err=True)
    count = found.counts[Verdict.CHANGED] + found.counts[Verdict.NEW]
    typer.echo(
        f"{found.counts.records} records read; nothing was written: --apply would write {count} outputs", err=True
    )


def _text(raw: bytes | None) -> str | None:
    return None if raw is None else raw.decode(errors="backslashreplace")


def _short(text: str | None) -> str:
    if text is None:
        return "(no value)"
    line = " ".join(text.split())
    return line if len(line) <= _TEXT_CHARACTERS else f"{line[: _TEXT_CHARACTERS - 1]}…"
