"""Billing as a pipeline application: validate, rate, collect, invoice.

Owns: the wiring. Must not know: where it runs. Each worker process opens its own database connections, in the thread
of the step that uses them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from sqlalchemy import Engine

from tallystick.billing import tables
from tallystick.billing.charges import PROVIDER, ChargeOrders
from tallystick.billing.collecting import CollectRatedItems
from tallystick.billing.events import (
    BILLING_COMMANDS,
    INVOICE_EVENTS,
    PAYMENT_COMMANDS,
    USAGE_ACCEPTED,
    USAGE_QUARANTINE,
    USAGE_RATED,
    USAGE_RAW,
    UsageAccepted,
)
from tallystick.billing.invoicing import IssueInvoices
from tallystick.billing.rating import PURCHASES, PricePlan
from tallystick.billing.rating import rate as rate_usage
from tallystick.billing.validation import judge
from tallystick.boundary import schema
from tallystick.boundary.database import open_database
from tallystick.boundary.effect_ledger import EffectLedger
from tallystick.boundary.sql_effect import SqlEffect
from tallystick.pipeline.app import App
from tallystick.pipeline.context import Context, Emit, emit
from tallystick.pipeline.guarantee import Guarantee

APPLICATION: Final = "billing"
COLLECT_SCOPE: Final = "billing.collect"
INVOICE_SCOPE: Final = "billing.invoice"
"""Inbox scopes. Frozen: a renamed scope would process everything again."""


def prepare_database(database_url: str) -> None:
    """Create the tables of boundary, ledger and billing where they are missing. Call it before workers start."""
    engine = open_database(database_url)
    try:
        schema.create_tables(engine)
        tables.create_tables(engine)
    finally:
        engine.dispose()


def build_app(
    database_url: str,
    *,
    plan: PricePlan = PURCHASES,
    provider: str = PROVIDER,
    guarantee: Guarantee = Guarantee.EXACTLY_ONCE,
) -> App:
    """The application over one database, which ``prepare_database`` has prepared.

    Steps: ``validate`` (usage.raw to usage.accepted or usage.quarantine), ``rate`` (to usage.rated), ``collect``
    (rated items into SQL), ``invoice`` (close commands: invoices, journal, charge orders).
    """
    app = App(APPLICATION, guarantee=guarantee)

    @app.step(source=USAGE_RAW, emits=(USAGE_ACCEPTED, USAGE_QUARANTINE))
    def validate(_value: bytes, context: Context) -> Emit:
        verdict = judge(context.record)
        if isinstance(verdict, UsageAccepted):
            return emit(USAGE_ACCEPTED, verdict, key=verdict.account)
        return emit(USAGE_QUARANTINE, verdict, key=context.key)

    @app.step(source=USAGE_ACCEPTED, emits=(USAGE_RATED,))
    def rate(usage: UsageAccepted, _context: Context) -> Iterator[Emit]:
        for item in rate_usage(usage, plan):
            yield emit(USAGE_RATED, item, key=item.account, event_id=item.rated_item_id)

    app.add("collect", (USAGE_RATED,), factory=_effect(database_url, COLLECT_SCOPE, lambda _: CollectRatedItems()))

    def invoice_handler(engine: Engine) -> IssueInvoices:
        return IssueInvoices(ChargeOrders(EffectLedger(engine), provider=provider))

    app.add(
        "invoice",
        (BILLING_COMMANDS,),
        factory=_effect(database_url, INVOICE_SCOPE, invoice_handler),
        emits=(INVOICE_EVENTS, PAYMENT_COMMANDS),
    )
    return app


def _effect(
    database_url: str, scope: str, handler: Callable[[Engine], CollectRatedItems | IssueInvoices]
) -> Callable[[], SqlEffect]:
    def factory() -> SqlEffect:
        engine = open_database(database_url)
        return SqlEffect(engine, handler(engine), name=scope)

    return factory
