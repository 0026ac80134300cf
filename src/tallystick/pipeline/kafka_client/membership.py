"""Who a consumer is in its group.

Owns: ``Membership`` and the layout of librdkafka's group metadata. Must not know: how it is fetched.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NewType

from tallystick.errors import FatalError

GroupMetadata = NewType("GroupMetadata", bytes)

_METADATA_MAGIC: Final = b"CGMDv2:"


@dataclass(frozen=True, slots=True)
class Membership:
    """Who this consumer is in its group, as the coordinator will check it.

    ``raw`` goes to ``send_offsets_to_transaction`` unchanged. Its layout is librdkafka's serialisation, which
    starts with a magic word that names its version; an unknown version is refused.
    """

    raw: GroupMetadata
    generation: int
    member_id: str

    @classmethod
    def parse(cls, raw: bytes) -> Membership:
        body = raw.removeprefix(_METADATA_MAGIC)
        if body == raw or len(body) < 4:
            raise FatalError(f"librdkafka's group metadata has an unknown layout: {raw[:8]!r}")
        _group, member_id, _rest = body[4:].split(b"\0", 2)
        return cls(GroupMetadata(raw), int.from_bytes(body[:4], "little", signed=True), member_id.decode())

    @property
    def is_fencing(self) -> bool:
        """Whether the coordinator will check anything at all: it skips the check without member or generation."""
        return self.generation >= 0 and bool(self.member_id)
