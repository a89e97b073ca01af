"""Column kinds that every table shares."""

from __future__ import annotations

from typing import Any

from tortoise import fields

#: Characters of an id of 16 bytes in lower-case hexadecimal; columns take a little more.
HEX_LENGTH = 64


def hex_id(**options: Any) -> fields.CharField[str]:
    """An id of 16 bytes as lower-case hexadecimal text; the empty string is "no id"."""
    return fields.CharField(max_length=HEX_LENGTH, **options)


def surrogate() -> fields.BigIntField:
    """The primary key of a table whose natural key has several columns; it means nothing."""
    return fields.BigIntField(primary_key=True)


def change_number(**options: Any) -> fields.BigIntField:
    """The number of the last write of this row, rising over the whole database in commit order."""
    return fields.BigIntField(db_index=True, **options)
