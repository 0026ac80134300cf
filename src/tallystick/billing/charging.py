"""The process that charges cards and publishes what came of it: ``python -m tallystick.billing.charging``.

Owns: one process with a dispatcher (effect ledger to provider), a relay (outbox to Kafka) and, if asked for, the
provider's webhooks; and their end on SIGTERM. Must not know: what is billed. It may be killed at any point: the next
one goes on from the committed rows.
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Sequence
from functools import partial
from types import FrameType

import structlog
from sqlalchemy import Engine

from tallystick.billing.charges import on_outcome, on_suspense, retry_absent
from tallystick.billing.environment import database_url
from tallystick.billing.webhooks_in import PATH, WebhookSettings, WebhooksIn
from tallystick.boundary.database import open_database
from tallystick.boundary.dispatcher import EffectDispatcher
from tallystick.boundary.effect_ledger import EffectLedger
from tallystick.boundary.outbox_relay import OutboxRelay
from tallystick.boundary.providers.stripe_like import StripeLike
from tallystick.errors import TallystickError
from tallystick.stopping import StopFlag

_log = structlog.get_logger(__name__)
_RETRY_ABSENT_S = 1.0


def run_charging(
    engine: Engine,
    *,
    bootstrap: str,
    provider_url: str,
    stop: threading.Event,
    timeout_ms: int,
    quiet_ms: int,
    concurrency: int,
    webhooks: WebhookSettings | None = None,
) -> None:
    """Charge and publish until ``stop`` is set. A failure in one part stops both and is raised: never half of it."""
    ledger = EffectLedger(engine, on_suspense=on_suspense)
    provider = partial(
        StripeLike, provider_url, timeout_ms=timeout_ms, quiet_ms=quiet_ms, connections=concurrency, margin_ms=600_000
    )
    dispatcher = EffectDispatcher(ledger, provider, on_outcome, concurrency=concurrency)
    taken_in = None if webhooks is None else WebhooksIn(engine, ledger, webhooks)
    relay = OutboxRelay(engine, bootstrap)
    failures: list[BaseException] = []

    def guarded(work: partial[object]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001  the edge of a thread: kept, and raised by the main one
            failures.append(error)
        finally:
            stop.set()

    threads = [
        threading.Thread(target=guarded, args=(partial(dispatcher.run, stop),), name="dispatcher"),
        threading.Thread(target=guarded, args=(partial(relay.run, stop),), name="outbox-relay"),
    ]
    if taken_in is not None:
        threads += [
            threading.Thread(target=guarded, args=(partial(taken_in.serve, stop),), name="webhooks-in"),
            threading.Thread(target=guarded, args=(partial(taken_in.process, stop),), name="webhook-processor"),
        ]
    for thread in threads:
        thread.start()
    while not stop.wait(_RETRY_ABSENT_S):
        retry_absent(engine, ledger)
    for thread in threads:
        thread.join()
    relay.close()
    if failures:
        raise failures[0]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT; what is in flight then is finished and recorded."""
    parser = argparse.ArgumentParser(prog="python -m tallystick.billing.charging", description=__doc__)
    parser.add_argument("--bootstrap", required=True, help="Kafka, host:port")
    parser.add_argument("--provider-url", required=True, help="base URL of the payment provider")
    parser.add_argument("--timeout-ms", type=int, default=10_000, help="after which an answer counts as UNKNOWN")
    parser.add_argument("--quiet-ms", type=int, default=60_000, help="how long after a send a listing is believed")
    parser.add_argument("--concurrency", type=int, default=64, help="requests in flight")
    parser.add_argument("--webhooks-listen", metavar="HOST:PORT", help=f"take Stripe's webhooks in at {PATH}")
    options = parser.parse_args(arguments)
    stop = StopFlag()

    def ask_to_stop(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, ask_to_stop)
    engine = open_database(database_url())
    try:
        webhooks = None if options.webhooks_listen is None else WebhookSettings.of(options.webhooks_listen)
        run_charging(
            engine,
            bootstrap=options.bootstrap,
            provider_url=options.provider_url,
            stop=stop,
            timeout_ms=options.timeout_ms,
            quiet_ms=options.quiet_ms,
            concurrency=options.concurrency,
            webhooks=webhooks,
        )
    except TallystickError as error:
        _log.error("charging.stopped", reason=str(error))
        return 1
    finally:
        engine.dispose()
    return 0


if __name__ == "__main__":
    sys.exit(main())
