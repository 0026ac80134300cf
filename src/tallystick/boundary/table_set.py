"""The set that all tables of the boundary belong to.

Owns: the metadata object and the type of a row number. Must not know: any table.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Integer, MetaData

metadata = MetaData()

Sequence = BigInteger().with_variant(Integer(), "sqlite")
"""SQLite numbers rows by itself only under INTEGER."""
