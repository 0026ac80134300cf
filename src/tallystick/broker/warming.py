"""What a broker's first client would wait for, done while it is on its way.

Owns: which requests come first. Must not know: how they are read.

kio's classes are imported when a message is first read or written, which takes milliseconds for each. A start does not
wait for them; in the moment between the ready line and the first request there is time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final

from tallystick.broker.api import Api
from tallystick.wire.frames import prepare

FIRST_REQUESTS: Final = (
    ("api_versions", 3),
    ("metadata", 13),
    ("init_producer_id", 4),
    ("produce", 10),
    ("find_coordinator", 2),
    ("fetch", 16),
    ("list_offsets", 7),
)
"""In the versions of librdkafka 2.16. Another client pays for its own at its first request."""


async def warm(apis: Iterable[Api]) -> None:
    """Prepare one request after the other, and let whoever comes meanwhile go first."""
    by_name = {api.name: api for api in apis}
    for name, version in FIRST_REQUESTS:
        api = by_name.get(name)
        if api is not None and api.min_version <= version <= api.max_version:
            prepare(api.key, version)
        await asyncio.sleep(0)
