"""The name in a client's certificate, written as Java writes it, so that ``super.users`` and ACLs may be shared.

Owns: reading the subject out of a DER certificate (RFC 5280), writing it by RFC 2253. Must not know: whether the
certificate is to be trusted; TLS has seen to that.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from tallystick.broker.security.principal import ANONYMOUS, Principal, user

_SEQUENCE: Final = 0x30
_SET: Final = 0x31
_OID: Final = 0x06
_VERSION: Final = 0xA0
_SUBJECT: Final = 4
"""Fields of a certificate before its subject: serial number, algorithm, issuer, validity."""

_TEXTS: Final = {0x0C: "utf-8", 0x13: "ascii", 0x14: "latin-1", 0x16: "ascii", 0x1C: "utf-32-be", 0x1E: "utf-16-be"}
_KEYWORDS: Final = {
    "2.5.4.3": "CN",
    "2.5.4.6": "C",
    "2.5.4.7": "L",
    "2.5.4.8": "ST",
    "2.5.4.9": "STREET",
    "2.5.4.10": "O",
    "2.5.4.11": "OU",
    "0.9.2342.19200300.100.1.1": "UID",
    "0.9.2342.19200300.100.1.25": "DC",
}
"""What RFC 2253 has a short name for. Anything else is written by its number, its value in hexadecimal."""


class MalformedCertificate(ValueError):
    """The bytes are no certificate."""


def principal_of(certificate: bytes | None) -> Principal:
    """``User:CN=...,O=...`` of a DER certificate; ``ANONYMOUS`` if the client showed none."""
    return ANONYMOUS if not certificate else user(subject_of(certificate))


def subject_of(certificate: bytes) -> str:
    """The subject's distinguished name, the last part first, as RFC 2253 has it."""
    (_, body, _) = next(_elements(certificate), (0, b"", b""))
    (_, signed, _) = next(_elements(body), (0, b"", b""))
    fields = [element for element in _elements(signed) if element[0] != _VERSION]
    if len(fields) <= _SUBJECT:
        raise MalformedCertificate("there is no subject")
    parts = []
    for tag, name_set, _ in _elements(fields[_SUBJECT][1]):
        if tag != _SET:
            raise MalformedCertificate("a relative name is no set")
        parts.append("+".join(_attribute(pair) for _, pair, _ in _elements(name_set)))
    return ",".join(reversed(parts))


def _attribute(pair: bytes) -> str:
    elements = list(_elements(pair))
    if len(elements) != 2 or elements[0][0] != _OID:
        raise MalformedCertificate("an attribute is not a type and a value")
    oid = _oid(elements[0][1])
    tag, value, raw = elements[1]
    keyword = _KEYWORDS.get(oid)
    if keyword is None or tag not in _TEXTS:
        return f"{keyword or oid}=#{raw.hex()}"
    return f"{keyword}={_escaped(value.decode(_TEXTS[tag], errors='replace'))}"


def _escaped(text: str) -> str:
    out = "".join(f"\\{char}" if char in ',+"\\<>;' else char for char in text)
    if out.startswith(("#", " ")):
        out = f"\\{out}"
    return f"{out[:-1]}\\ " if out.endswith(" ") and len(out) > 1 and not out.endswith("\\ ") else out


def _oid(raw: bytes) -> str:
    if not raw:
        raise MalformedCertificate("an empty attribute type")
    numbers, value = [], 0
    for byte in raw:
        value = (value << 7) | (byte & 0x7F)
        if byte < 0x80:
            numbers.append(value)
            value = 0
    first = min(numbers[0] // 40, 2) if numbers else 0
    return ".".join(str(number) for number in (first, numbers[0] - 40 * first, *numbers[1:])) if numbers else ""


def _elements(data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Tag, content and whole encoding of one DER element after the other."""
    at = 0
    while at < len(data):
        if at + 2 > len(data):
            raise MalformedCertificate("it ends inside an element")
        tag, length, start = data[at], data[at + 1], at + 2
        if length >= 0x80:
            size = length & 0x7F
            length = int.from_bytes(data[start : start + size], "big")
            start += size
        end = start + length
        if end > len(data):
            raise MalformedCertificate("an element is longer than what holds it")
        yield tag, data[start:end], data[at:end]
        at = end
