"""From a file's lines to ``usage.raw``: nothing is judged here, and every line gets the id of its place.

Owns: reading lines as bytes, the raw event and its key. Must not know: Kafka's client (the caller sends what it gets),
what a valid line is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from tallystick.billing.events import BILLING_COMMANDS, USAGE_RAW, CloseAccount, UsageRaw, account_of, usage_event_id
from tallystick.billing.purchases import FIRST_DATA_LINE
from tallystick.errors import ConfigurationError
from tallystick.pipeline.records import Output
from tallystick.pipeline.topics import Topic

_RAW: Final = Topic(USAGE_RAW.name, UsageRaw)


def read_lines(path: Path, *, source: str) -> Iterator[tuple[int, bytes]]:
    """Line number (from 1, header included) and bytes of each data line, without its line end."""
    if source not in FIRST_DATA_LINE:
        raise ConfigurationError(f"unknown source {source!r}", remedy=f"Use one of {', '.join(FIRST_DATA_LINE)}")
    with path.open("rb") as file:
        for line_number, line in enumerate(file, start=1):
            if line_number >= FIRST_DATA_LINE[source]:
                yield line_number, line.rstrip(b"\r\n")


def usage_output(line: bytes, *, tenant: str, source: str, line_number: int) -> Output:
    """The record of ``usage.raw`` for one line, keyed by account (what the first field says, good or bad)."""
    text = line.decode("latin-1")  # every byte is a character and back: a bad line reaches quarantine as it came
    customer = (text.split(maxsplit=1) or [""])[0][:100]
    raw = UsageRaw(tenant=tenant, source=source, line_number=line_number, line=text)
    return Output(
        topic=_RAW.name,
        key=account_of(tenant=tenant, customer=customer).encode(),
        value=_RAW.encode(raw),
        event_id=usage_event_id(tenant=tenant, source=source, line_number=line_number),
    )


def usage_outputs(path: Path, *, tenant: str, source: str) -> Iterator[Output]:
    """One record for each data line of the file, in its order."""
    for line_number, line in read_lines(path, source=source):
        yield usage_output(line, tenant=tenant, source=source, line_number=line_number)


def close_outputs(accounts: Iterable[str], *, through_period: str, ordinal: int = 0) -> Iterator[Output]:
    """One command for each account: invoice what is unbilled up to and including the month ``through_period``."""
    for account in accounts:
        command = CloseAccount(account=account, through_period=through_period, ordinal=ordinal)
        yield Output(
            topic=BILLING_COMMANDS.name,
            key=account.encode(),
            value=BILLING_COMMANDS.encode(command),
            event_id=command.command_id,
        )
