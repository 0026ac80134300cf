"""The first step: a raw line becomes an accepted event or goes into quarantine with the reason.

Owns: the judgement over one raw record. Must not know: what was seen before. A line that is sent twice passes here
twice; the unique id drops the second at the inbox (``billing.collecting``), where "seen before" is a committed fact.
"""

from __future__ import annotations

import msgspec

from tallystick.billing.events import UsageAccepted, UsageQuarantined, UsageRaw, account_of, usage_event_id
from tallystick.billing.purchases import UnusableLine, parse_purchase
from tallystick.pipeline.records import Record

_decoder = msgspec.json.Decoder(UsageRaw)


def judge(record: Record) -> UsageAccepted | UsageQuarantined:
    """The verdict over one record of ``usage.raw``; never raises for anything that the record may hold."""
    try:
        return _accept(record)
    except UnusableLine as reason:
        return UsageQuarantined(
            usage_event_id=record.event_id,
            reason=str(reason),
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            body=(record.value or b"").decode(errors="backslashreplace"),
        )


def _accept(record: Record) -> UsageAccepted:
    if record.value is None:
        raise UnusableLine("no value")
    try:
        raw = _decoder.decode(record.value)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UnusableLine(f"not a raw usage event: {error}") from error
    event_id = usage_event_id(tenant=raw.tenant, source=raw.source, line_number=raw.line_number)
    if event_id != record.event_id:
        raise UnusableLine(f"the event id in the header is missing or names another line than {event_id}")
    purchase = parse_purchase(raw.line, source=raw.source)
    account = account_of(tenant=raw.tenant, customer=purchase.customer)
    if record.key != account.encode():
        # another key is another partition: the order of the account's records would be lost
        raise UnusableLine(f"the record's key is not the account {account}")
    return UsageAccepted(
        usage_event_id=event_id,
        tenant=raw.tenant,
        source=raw.source,
        line_number=raw.line_number,
        account=account,
        occurred_on=purchase.made_on.isoformat(),
        quantity=purchase.quantity,
        amount_minor=purchase.amount.minor,
        currency=purchase.amount.currency,
    )
