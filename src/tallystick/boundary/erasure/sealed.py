"""Bytes that only their subject's data key opens, and hashes that only it can compute. Frozen formats.

Owns: the envelope and the keyed hash. Pure but for the nonce. Must not know: where keys and bytes are kept.

The envelope is ``C1 54 53 01``, the key's id (8 bytes, big-endian), a random nonce (12 bytes), and AES-256-GCM over the
plain bytes, with the envelope's first 12 bytes and the row's place as associated data, so that nobody moves bytes from
one row to another. No stored outputs (MessagePack never uses C1), no JSON and no form begin like this.

The hash is ``k``, the key's id (15 hexadecimal digits) and BLAKE2b-192 keyed with the subject's key. The plain hash of
a body of low entropy (an amount, a postcode, a date of birth) is found by trying, and so it is personal data itself.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from typing import Final

from tallystick.errors import CorruptData

KEY_BYTES: Final = 64
"""32 for AES-256, 32 for BLAKE2b."""
_MAGIC: Final = b"\xc1TS\x01"
_HEAD_BYTES: Final = len(_MAGIC) + 8
_NONCE_BYTES: Final = 12
_HASH_MARK: Final = "k"
_HASH_HEAD: Final = 16


@dataclass(frozen=True, slots=True)
class DataKey:
    """The live key of one subject."""

    key_id: int
    secret: bytes = field(repr=False)


def seal(key: DataKey, plain: bytes, *, place: str) -> bytes:
    """The envelope of ``plain``, which opens only under the same ``place``."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    head = sealed_prefix(key.key_id)
    nonce = os.urandom(_NONCE_BYTES)
    return head + nonce + AESGCM(key.secret[:32]).encrypt(nonce, plain, head + place.encode())


def unseal(key: DataKey, sealed: bytes, *, place: str) -> bytes:
    """The plain bytes; ``CorruptData`` naming ``place`` if they were changed, or moved here from another row."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    head, nonce = sealed[:_HEAD_BYTES], sealed[_HEAD_BYTES : _HEAD_BYTES + _NONCE_BYTES]
    try:
        return AESGCM(key.secret[:32]).decrypt(nonce, sealed[_HEAD_BYTES + _NONCE_BYTES :], head + place.encode())
    except (InvalidTag, ValueError) as error:
        raise CorruptData("sealed bytes do not open under their key", place=place) from error


def sealed_prefix(key_id: int) -> bytes:
    """What everything that this key sealed begins with."""
    return _MAGIC + key_id.to_bytes(8, "big")


def key_id_of(raw: bytes) -> int | None:
    """The key that sealed these bytes; None for bytes that are not sealed."""
    return int.from_bytes(raw[len(_MAGIC) : _HEAD_BYTES], "big") if raw.startswith(_MAGIC) else None


def keyed_hash(key: DataKey, body: bytes) -> str:
    """What ``ids.body_hash`` is for bytes that can be erased; 64 characters too."""
    return hash_prefix(key.key_id) + hashlib.blake2b(body, key=key.secret[32:], digest_size=24).hexdigest()


def hash_prefix(key_id: int) -> str:
    """What every hash under this key begins with."""
    return f"{_HASH_MARK}{key_id:015x}"


def key_id_of_hash(digest: str) -> int | None:
    """The key of a keyed hash; None for a plain one."""
    return int(digest[1:_HASH_HEAD], 16) if digest.startswith(_HASH_MARK) else None
