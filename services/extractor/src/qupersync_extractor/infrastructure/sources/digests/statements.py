"""SELECT statements for digests: one builder for every SQL source, with what differs left to a dialect.

Subqueries keep the relation's alias q and the names of the key columns, so that one expression serves on every level.
"""

from collections.abc import Sequence
from typing import Final, Protocol

from qupersync_extractor.application.ports import KeyRange
from qupersync_extractor.application.verifying.ports import Compared
from qupersync_extractor.infrastructure.sources.paging_sql import Dialect, Sql, key_conditions, quoted, source_of
from qupersync_shared.contracts.row_digests import NULL, PART_BITS, UNTOLD, DigestedColumn, Form
from qupersync_shared.contracts.schema import Column

_DIGITS: Final = PART_BITS // 4


class DigestDialect(Dialect, Protocol):
    """What an engine spells in its own way beyond paging."""

    def canonical(self, expression: str, one: DigestedColumn) -> str:
        """The canonical text of a column whose form is not `PRESENCE`."""
        ...

    def part(self, digest: str, start: int, digits: int) -> str:
        """So many hexadecimal digits of a digest from this place on (counted from 1), as a BIGINT."""
        ...

    def text(self, expression: str) -> str:
        """A number as text."""
        ...


def stretch_end_statement(compared: Compared, within: KeyRange, rows: int, dialect: DigestDialect) -> Sql:
    """The key of the row at this place of the range."""
    keys = compared.schema.key_columns
    where = _where(compared, within, dialect)
    ordered = _ordered(keys, dialect)
    return Sql(
        f"SELECT {_selected(keys, dialect)} FROM (\n"  # noqa: S608  # quoted
        f"SELECT {_listed(keys)}, ROW_NUMBER() OVER (ORDER BY {ordered}) AS _qs_place FROM (\n"
        f"SELECT {_named(keys)} FROM {source_of(compared.relation)} WHERE {where.text} "
        f"ORDER BY {ordered} LIMIT {int(rows)}\n) AS q\n) AS q WHERE q._qs_place = {int(rows)}",
        where.values,
    )


def ranges_statement(compared: Compared, within: KeyRange, keys: int, dialect: DigestDialect) -> Sql:
    """The last key of each part of the range with count and sums, which are texts."""
    columns = compared.schema.key_columns
    where = _where(compared, within, dialect)
    rank = f"(DENSE_RANK() OVER (ORDER BY {_ordered(columns, dialect)}) - 1)"
    parts = ", ".join(
        f"{dialect.part('q._qs_digest', start, _DIGITS)} AS {name}"
        for name, start in (("_qs_first", 1), ("_qs_second", 1 + _DIGITS))
    )
    descending = ", ".join(dialect.comparable(_reference(c), c.type) + " DESC" for c in columns)
    over = "OVER (PARTITION BY q._qs_range)"
    sums = f"COUNT(*) {over} AS _qs_rows, SUM(q._qs_first) {over} AS _qs_first, SUM(q._qs_second) {over} AS _qs_second"
    told = ", ".join(dialect.text(f"q.{name}") for name in ("_qs_rows", "_qs_first", "_qs_second"))
    return Sql(
        f"SELECT {_selected(columns, dialect)}, {told} FROM (\n"  # noqa: S608  # quoted
        f"SELECT {_listed(columns)}, ROW_NUMBER() OVER (PARTITION BY q._qs_range ORDER BY {descending}) AS _qs_place, "
        f"{sums} FROM (\n"
        f"SELECT {_listed(columns)}, {rank} - MOD({rank}, {int(keys)}) AS _qs_range, {parts} FROM (\n"
        f"SELECT {_named(columns)}, {row_digest(compared.columns, dialect)} AS _qs_digest "
        f"FROM {source_of(compared.relation)} WHERE {where.text}\n) AS q\n) AS q\n) AS q "
        f"WHERE q._qs_place = 1 ORDER BY {_ordered(columns, dialect)}",
        where.values,
    )


def rows_statement(compared: Compared, within: KeyRange, limit: int, dialect: DigestDialect) -> Sql:
    """Key and digest of the range's first rows."""
    keys = compared.schema.key_columns
    where = _where(compared, within, dialect)
    return Sql(
        f"SELECT {_selected(keys, dialect)}, {row_digest(compared.columns, dialect)} "  # noqa: S608  # quoted
        f"FROM {source_of(compared.relation)} WHERE {where.text} "
        f"ORDER BY {_ordered(keys, dialect)} LIMIT {int(limit)}",
        where.values,
    )


def row_digest(columns: Sequence[DigestedColumn], dialect: DigestDialect) -> str:
    """The digest of a row of the relation."""
    return f"MD5({' || '.join(_column_digest(one, dialect) for one in columns)})"


def _column_digest(one: DigestedColumn, dialect: DigestDialect) -> str:
    place = _reference(one.column)
    if one.form is Form.PRESENCE:
        return f"CASE WHEN {place} IS NULL THEN '{NULL}' ELSE '+' END"
    return (
        f"CASE WHEN {place} IS NULL THEN '{NULL}' ELSE COALESCE(MD5({dialect.canonical(place, one)}), '{UNTOLD}') END"
    )


def _where(compared: Compared, within: KeyRange, dialect: DigestDialect) -> Sql:
    present = [Sql(_reference(column) + " IS NOT NULL") for column in compared.schema.key_columns]
    parts = [*present, *key_conditions(within, compared.schema, dialect)]
    return Sql(" AND ".join(part.text for part in parts), tuple(value for part in parts for value in part.values))


def _reference(column: Column) -> str:
    return "q." + quoted(column.name)


def _listed(columns: Sequence[Column]) -> str:
    return ", ".join(_reference(column) for column in columns)


def _named(columns: Sequence[Column]) -> str:
    return ", ".join(f"{_reference(column)} AS {quoted(column.name)}" for column in columns)


def _selected(columns: Sequence[Column], dialect: DigestDialect) -> str:
    return ", ".join(dialect.selected(_reference(column), column) for column in columns)


def _ordered(columns: Sequence[Column], dialect: DigestDialect) -> str:
    return ", ".join(dialect.comparable(_reference(column), column.type) for column in columns)
