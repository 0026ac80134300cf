"""The APIs of a node as its clients meet them: behind their checks, and telling what may be done.

Owns: whether there are checks at all. Must not know: which (``table``), what is told (``told``).
"""

from __future__ import annotations

from tallystick.broker.access.told import telling
from tallystick.broker.api import Api
from tallystick.broker.security.authorizer import Authorizer


def secured(apis: tuple[Api, ...], authorizer: Authorizer | None) -> tuple[Api, ...]:
    """The APIs, each behind what it needs. Without an authorizer there is nothing in a request's way."""
    if authorizer is not None:
        from tallystick.broker.access.table import guarded_by_table  # a start without one need not import the checks

        apis = guarded_by_table(apis, authorizer)
    return tuple(telling(api, authorizer) for api in apis)
