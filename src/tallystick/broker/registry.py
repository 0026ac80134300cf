"""Which APIs this broker answers, and in which versions: ApiVersions is answered from here, so that it cannot lie.

Owns: the list of handler modules. Must not know: what they do. Handler modules import ``Api`` from ``broker.api``,
never from here.
"""

from __future__ import annotations

from typing import Final

from tallystick.broker.api import Api

APIS: Final[tuple[Api, ...]] = ()

BY_KEY: Final[dict[int, Api]] = {api.key: api for api in APIS}
