"""Rows to columns and back, without a database."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caroni.core.rows import AGENT_ROWS, MANAGER_ROWS, Job, Row, Step
from caroni.model.mapping import escape, mapping, unescape
from caroni.model.sql import POSTGRESQL, SQLITE, Dialect
from caroni.model.statements import Statements
from caroni.model.unit import Unit
from tests.model.samples import Ids, full_unit, rows_of

ALL_ROWS = tuple(dict.fromkeys((*MANAGER_ROWS, *AGENT_ROWS)))


@given(st.text(st.characters(exclude_categories=())))
def test_any_text_is_escaped_and_comes_back(text: str) -> None:
    safe = escape(text)
    assert "\0" not in safe
    safe.encode()
    assert unescape(safe) == text


def test_plain_text_is_left_alone() -> None:
    assert escape("Ünïcode 𝄞 \n\t") == "Ünïcode 𝄞 \n\t"


@pytest.mark.parametrize("dialect", [SQLITE, POSTGRESQL], ids=lambda d: d.name)
@given(st.sampled_from(ALL_ROWS).flatmap(rows_of), st.integers(0, 2**40))
def test_every_row_is_encoded_and_comes_back(dialect: Dialect, row: Row, rev: int) -> None:
    table = mapping(type(row), dialect)
    ((*values, stamped),), last = table.encode([row], rev)
    assert stamped == last == rev + 1
    assert table.decode(values) == row
    for value in values:
        assert value is None or type(value) in (str, int, float, bool)
        if isinstance(value, str):
            assert "\0" not in value
            value.encode()


def test_keys_as_parameters_and_as_text() -> None:
    job = mapping(Job, SQLITE)
    assert job.key_parameters(("caroni://a", b"\1" * 16)) == ("caroni://a", "01" * 16)
    step = mapping(Step, SQLITE)
    assert step.key_text((b"\2" * 16, 4)) == f"{'02' * 16} 4"


def test_a_unit_is_one_statement_a_table_and_begins_with_a_write() -> None:
    for dialect in (SQLITE, POSTGRESQL):
        statements, rev = Statements(dialect).of(full_unit(Ids(), steps=50), 100, 0)
        assert len({sql for sql, _ in statements}) == len(statements) == 14
        assert statements[0][0].startswith('INSERT INTO "inbox"')
        assert rev == 100 + 1 + 6 * 50 + 50 + 3 * 50
    assert Statements(SQLITE).of(Unit(), 5, 0) == ([], 5)
