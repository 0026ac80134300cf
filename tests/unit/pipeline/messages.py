"""Messages as a client hands them over, made by hand."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Message:
    at: int
    header_list: list[tuple[str, bytes]] | None = field(default=None)
    number: int = 0
    name: str = "t"

    def topic(self) -> str:
        return self.name

    def partition(self) -> int:
        return self.number

    def offset(self) -> int:
        return self.at

    def key(self) -> bytes | None:
        return b"k"

    def value(self) -> bytes | None:
        return b"v"

    def headers(self) -> list[tuple[str, bytes]] | None:
        return self.header_list

    def timestamp(self) -> tuple[int, int]:
        return (1, 1234)
