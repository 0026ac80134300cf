"""``make run``: real purchases, billed and reconciled exactly once, while things are killed.

Owns: the order of the run, what is broken when, and the verdict. Must not know: how billing works inside.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final

import structlog
from sqlalchemy import Engine

from tallystick.billing.app import INVOICE_SCOPE, prepare_database
from tallystick.billing.environment import ENV_DATABASE
from tallystick.billing.events import INVOICE_EVENTS, USAGE_ACCEPTED, USAGE_QUARANTINE, USAGE_RATED
from tallystick.billing.ingest import close_outputs, usage_output, usage_outputs
from tallystick.billing.purchases import MASTER_SOURCE, SAMPLE_SOURCE
from tallystick.billing.reconciliation_source import FOLDED_TOPICS, Totals, collect_evidence, fold_topics
from tallystick.billing.settling import book_settlement
from tallystick.billing.transport import read_topics, send
from tallystick.boundary.database import open_database
from tallystick.demo.billing_progress import BillingProgress
from tallystick.demo.children import Child
from tallystick.demo.dataset import MASTER, SAMPLE, DirectTotals, cdnow_files, direct_totals
from tallystick.demo.hits import Hits, KillWatch, read_hits
from tallystick.demo.screen import Advance, Screen
from tallystick.demo.stack import Stack, apache, embedded, external
from tallystick.demo.vacancy import must_be_vacant
from tallystick.errors import FatalError
from tallystick.killpoints import ENV_KILL_AT, ENV_KILL_LOG
from tallystick.ledger.money import Money
from tallystick.ledger.statement import StatementLine, read_statement
from tallystick.pipeline.records import Output
from tallystick.reconciliation.reconcile import Reconciliation, reconcile
from tallystick.reconciliation.report import print_report
from tallystick.sandbox import SandboxProcess
from tallystick.verify.oracle.read import read_view

TENANT: Final = "cdnow"
LAST_PERIOD: Final = "1998-06"
"""The last month of the data."""
AS_OF: Final = date(1998, 7, 1)
WORKERS: Final = 2
BATCH_RECORDS: Final = 250
SENT_TWICE: Final = 7
TRANSACTIONAL_TOPICS: Final = (USAGE_ACCEPTED.name, USAGE_QUARANTINE.name, USAGE_RATED.name, INVOICE_EVENTS.name)
MALFORMED: Final = (
    b"00099 0999 19971301  1   10.00",
    b"00099 0999 19970115  one 10.00",
    b"00099 0999 19970115  1   10.005",
    b"00099 0999 19970115  1",
    b"\xff\xfe not a purchase",
)
WORKER_KILL: Final = "cycle.after-offsets"
INBOX_KILL: Final = "inbox.after-sql-commit"
CHARGING_KILL: Final = "effect.after-response"
WHO_DIED: Final = {
    WORKER_KILL: "a worker, its outputs and offsets sent, its transaction still open; its supervisor starts it again",
    INBOX_KILL: "a worker, its rows committed in SQL, its Kafka transaction not; its supervisor starts it again",
    CHARGING_KILL: "the charging process, between the provider's answer and its record in SQL",
}
BROKER_KILL_AT: Final = 0.5
"""Share of the purchases acknowledged when the broker is killed."""
FAULTS: Final = {
    "timeout_after_commit": 0.004,
    "timeout_before_commit": 0.002,
    "error_500_stored": 0.002,
    "error_500_not_stored": 0.01,
    "rate_limit_429": 0.01,
    "hang_ms": 2_000,
}
PROVIDER_TIMEOUT_MS: Final = 1_500
PROVIDER_QUIET_MS: Final = 2_000
STALLED_S: Final = 90.0
"""Nothing moved for so long: the run has failed, and says where."""
_POLL_S: Final = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """What ``make run`` was asked for. ``folder`` keeps everything of this run, ``cache`` what serves the next ones."""

    folder: Path
    cache: Path
    full: bool = False
    on_apache: bool = False
    bootstrap: str | None = None
    database_url: str | None = None


def run(options: RunOptions, screen: Screen) -> int:
    """Run everything; 0 only if every control holds, no break is open, and the kills hit."""
    started = time.monotonic()
    options.folder.mkdir(parents=True, exist_ok=True)
    _log_to(options.folder / "run.log")
    screen.heading("The data")
    dataset = cdnow_files(options.cache)[MASTER if options.full else SAMPLE]
    direct = direct_totals(dataset)
    screen.say(f"{dataset.name}: {direct.purchases:,} purchases, {Money(direct.cents, 'USD')} by a direct reading")
    screen.heading("The servers")
    with ExitStack() as exits:
        stack = exits.enter_context(_stack(options))
        screen.say(f"{stack.broker_name} at {stack.bootstrap}, with {stack.database_name}")
        prepare_database(stack.database_url)
        sandbox = exits.enter_context(SandboxProcess(options.folder / "provider", seed=1, faults=FAULTS))
        screen.say(f"payment provider at {sandbox.url}: it loses answers, answers 500 and 429")
        engine = open_database(stack.database_url)
        exits.callback(engine.dispose)
        progress = BillingProgress(engine)
        must_be_vacant(stack.bootstrap, FOLDED_TOPICS, progress)
        kills = KillWatch(options.folder / "kills.jsonl")
        billing = _BillingRun(options, stack, sandbox, screen, dataset, direct, progress, kills)
        billing.process()
        result = billing.settle_and_reconcile(engine)
    screen.say(f"{time.monotonic() - started:.0f} s in all. Everything of this run is in {options.folder}")
    return 0 if result.certificate.status == "COMPLETE" else 1


def _log_to(path: Path) -> None:
    """The screen is for the run; what the parts log in this process goes to a file, one JSON object a line."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.WriteLoggerFactory(file=path.open("a")),
    )


def _stack(options: RunOptions) -> AbstractContextManager[Stack]:
    if options.on_apache:
        return apache(options.folder, cache=options.cache)
    if options.bootstrap or options.database_url:
        return external(options.folder, bootstrap=options.bootstrap, database_url=options.database_url)
    return embedded(options.folder)


@dataclass(frozen=True, slots=True)
class _BillingRun:
    options: RunOptions
    stack: Stack
    sandbox: SandboxProcess
    screen: Screen
    dataset: Path
    direct: DirectTotals
    progress: BillingProgress
    kills: KillWatch

    @property
    def source(self) -> str:
        return MASTER_SOURCE if self.options.full else SAMPLE_SOURCE

    # -- the processes

    def process(self) -> None:
        """Everything from the first record to the last charge, with the kills in between."""
        with self._workers() as workers, self._charging() as charging:
            workers.start(extra={ENV_KILL_AT: f"{WORKER_KILL}:2@worker-0,{INBOX_KILL}:2@worker-1"})
            charging.start(extra={ENV_KILL_AT: f"{CHARGING_KILL}:150"})
            self._collect_usage(workers)
            self._invoice_and_charge(workers, charging)
        self._show_hits(read_hits(self.kills.path, self._stats))

    def _aborted_records(self) -> int:
        """Records that the killed left in open transactions: in the log, and visible to nobody who reads committed."""
        views = (read_view(self.stack.bootstrap, topic) for topic in TRANSACTIONAL_TOPICS)
        return sum(len(view.aborted) for view in views)

    @property
    def _stats(self) -> Path:
        return self.options.folder / "stats"

    def _environment(self) -> dict[str, str]:
        return {ENV_DATABASE: self.stack.database_url, ENV_KILL_LOG: str(self.kills.path)}

    def _workers(self) -> Child:
        command = [sys.executable, "-m", "tallystick.cli.main", "run", "tallystick.billing.service:app"]
        command += ["--workers", str(WORKERS), "--bootstrap", self.stack.bootstrap, "--stats-dir", str(self._stats)]
        command += ["--run-dir", str(self.options.folder / "slots"), "--batch-records", str(BATCH_RECORDS)]
        return Child("workers", command, log=self.options.folder / "workers.log", environment=self._environment())

    def _charging(self) -> Child:
        command = [sys.executable, "-m", "tallystick.billing.charging", "--bootstrap", self.stack.bootstrap]
        command += ["--provider-url", self.sandbox.url, "--timeout-ms", str(PROVIDER_TIMEOUT_MS)]
        command += ["--quiet-ms", str(PROVIDER_QUIET_MS)]
        return Child("charging", command, log=self.options.folder / "charging.log", environment=self._environment())

    # -- usage

    def _collect_usage(self, workers: Child) -> None:
        self.screen.heading(f"Usage: produced, then validated, rated and collected by {WORKERS} workers, exactly-once")
        records = self.direct.purchases + SENT_TWICE + len(MALFORMED)
        with self.screen.bars(purchases_produced=records, rated_items_in_SQL=self.direct.purchases) as bars:
            self._produce(records, bars["purchases_produced"])
            self._wait(
                "rated items", self.progress.rated_items, self.direct.purchases, bars["rated_items_in_SQL"], [workers]
            )

    def _produce(self, records: int, advance: Advance) -> None:
        killed = False

        def acknowledged(count: int) -> None:
            nonlocal killed
            advance(count)
            if not killed and count >= records * BROKER_KILL_AT:
                killed = True
                self._kill_broker()

        send(self.stack.bootstrap, self._usage(), on_sent=acknowledged)

    def _usage(self) -> Iterator[Output]:
        """The file's lines; a few of them twice; a few lines that no purchase has, under line numbers past the end."""
        outputs = usage_outputs(self.dataset, tenant=TENANT, source=self.source)
        last_line = 0
        for number, output in enumerate(outputs):
            yield output
            last_line = number
            if number < SENT_TWICE:
                yield output
        for extra, line in enumerate(MALFORMED, start=1):
            yield usage_output(line, tenant=TENANT, source=self.source, line_number=last_line + 1_000 + extra)

    def _kill_broker(self) -> None:
        if self.stack.kill_broker is None or self.stack.restart_broker is None:
            self.screen.say("the broker is not ours, so it is not killed")
            return
        started = time.monotonic()
        self.stack.kill_broker()
        self.screen.fault("kill -9: the broker, with half of the purchases acknowledged")
        self.stack.restart_broker()
        self.screen.recovered(f"the broker is back on its data after {time.monotonic() - started:.1f} s")

    # -- invoices and charges

    def _invoice_and_charge(self, workers: Child, charging: Child) -> None:
        self.screen.heading("Invoices by account and month, into SQL; charges at the provider")
        accounts = self.progress.accounts()
        with self.screen.bars(accounts_closed=len(accounts)) as bars:
            send(self.stack.bootstrap, close_outputs(accounts, through_period=LAST_PERIOD))

            def closed() -> int:
                self._revive(charging)
                return self.progress.inbox_rows(INVOICE_SCOPE)

            self._wait("closed accounts", closed, len(accounts), bars["accounts_closed"], [workers])
        charges = self.progress.charges()
        with self.screen.bars(charges_settled=charges) as bars:

            def settled() -> int:
                self._revive(charging)
                return self.progress.settled_charges()

            self._wait("settled charges", settled, charges, bars["charges_settled"], [workers])
        self._wait("published outcomes", lambda: -self.progress.outbox_backlog(), 0, lambda _: None, [charging])

    def _revive(self, charging: Child) -> None:
        """Start the charging process again after its one planned death; any other end is an error."""
        if charging.exit_code is None:
            return
        if not charging.was_killed:
            charging.must_run()
        charging.start()
        self.screen.recovered("the charging process is back; what was under way is UNKNOWN until it is settled")

    # -- the end

    def _show_hits(self, hits: Hits) -> None:
        hits.must_include([WORKER_KILL, INBOX_KILL, CHARGING_KILL])
        aborted = sum(number for _, number in hits.aborts)
        self.screen.heading("What the kills hit")
        for name, number in hits.kill_points:
            self.screen.say(f"kill -9 at {name}: {number} process(es)")
        replayed = self.progress.inbox_replays()
        if not replayed:
            raise FatalError("no inbox row was met again on replay: the kill missed, so that this run proves nothing")
        self.screen.say(f"transactions committed: {hits.commits:,}; aborted by the workers themselves: {aborted}")
        self.screen.say(
            f"records of aborted transactions, in the log and visible to nobody: {self._aborted_records():,}"
        )
        self.screen.say(f"inbox rows met again on replay, and skipped: {replayed:,}")
        self.screen.say(f"charges sent again under their own key: {self.progress.attempts_sent_again()}")

    def settle_and_reconcile(self, engine: Engine) -> Reconciliation:
        """Book the provider's settlement file, hold three sides against each other, write the certificate."""
        self.screen.heading("Reconciliation: topics, books, settlement")
        statement = self.sandbox.settlement()
        lines = _read(statement)
        book_settlement(engine, lines, statement_id=statement.name, settled_on=AS_OF)
        topics = fold_topics(read_topics(self.stack.bootstrap, FOLDED_TOPICS))
        direct = Totals(count=self.direct.purchases, amount_minor=self.direct.cents, currency="USD")
        result = reconcile(collect_evidence(engine, topics, direct=direct), lines, as_of=AS_OF)
        print_report(result, self.screen.console)
        path = self.options.folder / "certificate.json"
        path.write_bytes(result.certificate.canonical())
        self.screen.say(f"certificate: {path}")
        return result

    # -- waiting

    def _wait(self, what: str, count: Callable[[], int], target: int, advance: Advance, children: list[Child]) -> None:
        """Wait until ``count()`` reaches ``target``; an error if a child ends or nothing moves for ``STALLED_S``."""
        last, moved_at = None, time.monotonic()
        while True:
            for kill_point in self.kills.new():
                self.screen.fault(f"kill -9: {WHO_DIED[kill_point]}")
            now = count()
            advance(now)
            if now >= target:
                return
            for child in children:
                child.must_run()
            if now != last:
                last, moved_at = now, time.monotonic()
            elif time.monotonic() - moved_at > STALLED_S:
                raise FatalError(f"{what}: {now} of {target}, and nothing moved for {STALLED_S:.0f} s")
            time.sleep(_POLL_S)


def _read(statement: Path) -> list[StatementLine]:
    return list(read_statement(statement.read_text().splitlines(), place=str(statement)))
