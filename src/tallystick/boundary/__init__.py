"""External writes: each happens once, because the other side holds its id unique.

SQL: ``SqlEffect`` (a pipeline processor) and ``inbox.once`` (alone, in any program). HTTP: ``EffectLedger`` and
``EffectDispatcher``. Records that leave with a SQL transaction: ``add_to_outbox`` and ``OutboxRelay``.

Names are loaded on first use, so that ``inbox.once`` needs neither SQLAlchemy nor httpx.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tallystick.boundary.database import open_database, reading
    from tallystick.boundary.dispatcher import BreakerPolicy, DispatchReport, EffectDispatcher
    from tallystick.boundary.effect_ledger import (
        Attempt,
        EffectLedger,
        IntentConflict,
        Notice,
        OnOutcome,
        ProviderMismatch,
        Recorded,
        Told,
    )
    from tallystick.boundary.effects import Event, State
    from tallystick.boundary.handlers import BatchFunction, BatchHandler, Handler, PerBatch
    from tallystick.boundary.inbox import BodyConflict, once
    from tallystick.boundary.outbox import add_to_outbox
    from tallystick.boundary.outbox_relay import OutboxRelay
    from tallystick.boundary.owner_epoch import OwnerClaim, PartitionOwners, take_ownership
    from tallystick.boundary.provider import (
        CancelRequest,
        ChargeRequest,
        KeyReuseError,
        LookUp,
        LookUpRequest,
        Outcome,
        OutcomeKind,
        Provider,
        ProviderPolicy,
        ProviderRefusedError,
        Unsafe,
    )
    from tallystick.boundary.providers.stripe_like import StripeLike, charge_body
    from tallystick.boundary.schema import create_tables
    from tallystick.boundary.sinks import Append, InsertIfAbsent, UpsertNewest
    from tallystick.boundary.sql_batch import EffectCounts
    from tallystick.boundary.sql_effect import SqlEffect

_WHERE = {
    "Append": "sinks",
    "Attempt": "effect_ledger",
    "BatchFunction": "handlers",
    "BatchHandler": "handlers",
    "BodyConflict": "inbox",
    "BreakerPolicy": "dispatcher",
    "CancelRequest": "provider",
    "ChargeRequest": "provider",
    "DispatchReport": "dispatcher",
    "EffectCounts": "sql_batch",
    "EffectDispatcher": "dispatcher",
    "EffectLedger": "effect_ledger",
    "Event": "effects",
    "Handler": "handlers",
    "InsertIfAbsent": "sinks",
    "IntentConflict": "effect_ledger",
    "KeyReuseError": "provider",
    "LookUp": "provider",
    "LookUpRequest": "provider",
    "Notice": "effect_ledger",
    "OnOutcome": "effect_ledger",
    "Outcome": "provider",
    "OutcomeKind": "provider",
    "OutboxRelay": "outbox_relay",
    "OwnerClaim": "owner_epoch",
    "PartitionOwners": "owner_epoch",
    "PerBatch": "handlers",
    "Provider": "provider",
    "ProviderMismatch": "effect_ledger",
    "ProviderPolicy": "provider",
    "ProviderRefusedError": "provider",
    "Recorded": "effect_ledger",
    "SqlEffect": "sql_effect",
    "State": "effects",
    "StripeLike": "providers.stripe_like",
    "Told": "effect_ledger",
    "Unsafe": "provider",
    "UpsertNewest": "sinks",
    "add_to_outbox": "outbox",
    "charge_body": "providers.stripe_like",
    "create_tables": "schema",
    "once": "inbox",
    "open_database": "database",
    "reading": "database",
    "take_ownership": "owner_epoch",
}

__all__ = [
    "Append",
    "Attempt",
    "BatchFunction",
    "BatchHandler",
    "BodyConflict",
    "BreakerPolicy",
    "CancelRequest",
    "ChargeRequest",
    "DispatchReport",
    "EffectCounts",
    "EffectDispatcher",
    "EffectLedger",
    "Event",
    "Handler",
    "InsertIfAbsent",
    "IntentConflict",
    "KeyReuseError",
    "LookUp",
    "LookUpRequest",
    "Notice",
    "OnOutcome",
    "OutboxRelay",
    "Outcome",
    "OutcomeKind",
    "OwnerClaim",
    "PartitionOwners",
    "PerBatch",
    "Provider",
    "ProviderMismatch",
    "ProviderPolicy",
    "ProviderRefusedError",
    "Recorded",
    "SqlEffect",
    "State",
    "StripeLike",
    "Told",
    "Unsafe",
    "UpsertNewest",
    "add_to_outbox",
    "charge_body",
    "create_tables",
    "once",
    "open_database",
    "reading",
    "take_ownership",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
