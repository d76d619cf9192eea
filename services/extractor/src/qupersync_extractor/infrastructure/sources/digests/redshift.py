"""Digests that Redshift computes."""

from collections.abc import Sequence
from typing import Final

from qupersync_extractor.application.ports import KeyRange
from qupersync_extractor.application.verifying.ports import Compared, KeyedDigest, SourceRange
from qupersync_extractor.infrastructure.sources.digests.statements import (
    ranges_statement,
    rows_statement,
    stretch_end_statement,
)
from qupersync_extractor.infrastructure.sources.paging_sql import Sql, describe_statement
from qupersync_extractor.infrastructure.sources.redshift import RedshiftSource
from qupersync_extractor.infrastructure.sources.redshift_connection import Fetched
from qupersync_extractor.infrastructure.sources.redshift_sql import RedshiftDialect
from qupersync_extractor.infrastructure.sources.redshift_values import Row, to_batch
from qupersync_shared.contracts.row_digests import BYTES_SEEN, DigestedColumn, Form, Sums
from qupersync_shared.contracts.schema import RowSchema
from qupersync_shared.contracts.slots import key_at
from qupersync_shared.contracts.types import Kind
from qupersync_shared.kernel.positions import Key

_GEOMETRIES: Final = frozenset({3000, 3001})
# Floats as text have 15 and 6 significant digits, whatever the user's default is.
_SETTINGS: Final = ("SET LOCAL extra_float_digits TO 0",)
_MOMENT: Final = "'YYYY-MM-DD HH24:MI:SS.US BC'"
_OF_DAY: Final = "'DD HH24:MI:SS.US'"
_FIRST_OF_2000: Final = "CAST('2000-01-01' AS DATE)"
_TEXT: Final = "CAST({} AS VARCHAR(65535))"

_CANONICAL: Final[dict[Kind, str]] = {
    Kind.REAL: "CAST({} + CAST(0 AS REAL) AS VARCHAR(64))",
    Kind.DOUBLE: "CAST({} + CAST(0 AS DOUBLE PRECISION) AS VARCHAR(64))",
    Kind.BOOLEAN: "CASE WHEN {} THEN 'true' ELSE 'false' END",
    Kind.DATE: "CAST({} AS VARCHAR(64))",
    Kind.TIMESTAMP: f"COALESCE(TO_CHAR({{}}, {_MOMENT}), CAST({{}} AS VARCHAR(64)))",
    Kind.TIMESTAMPTZ: f"COALESCE(TO_CHAR({{}} AT TIME ZONE 'UTC', {_MOMENT}), CAST({{}} AS VARCHAR(64)))",
    Kind.TIME: f"TO_CHAR({_FIRST_OF_2000} + {{}}, {_OF_DAY})",
    Kind.TIMETZ: f"TO_CHAR(({_FIRST_OF_2000} + {{}}) AT TIME ZONE 'UTC', {_OF_DAY})",
    Kind.VARBYTE: (
        f"CAST(LEN({{}}) AS VARCHAR(64)) || ':' || LOWER(FROM_VARBYTE(SUBSTRING({{}}, 1, {BYTES_SEEN}), 'hex'))"
    ),
}


class RedshiftDigestDialect(RedshiftDialect):
    """Redshift's spelling. MD5 takes text, BOOLEAN casts to none, and a text has at most 65,535 bytes."""

    def canonical(self, expression: str, one: DigestedColumn) -> str:
        logical = one.column.type
        if one.form is Form.TRIMMED:
            return f"RTRIM({_TEXT.replace('{}', self.selected(expression, one.column))}, ' ')"
        if logical.kind is Kind.NUMERIC:
            return f"CAST({self.computed(expression, logical)} AS VARCHAR(64))"
        if logical.is_text:
            return _TEXT.replace("{}", self.selected(expression, one.column))
        return _CANONICAL.get(logical.kind, "CAST({} AS VARCHAR(64))").replace("{}", expression)

    def part(self, digest: str, start: int, digits: int) -> str:
        return f"STRTOL(SUBSTRING({digest}, {start}, {digits}), 16)"

    def text(self, expression: str) -> str:
        return f"CAST({expression} AS VARCHAR(64))"


class RedshiftDigests:
    """The port `SourceDigests` over a source's sessions."""

    def __init__(self, source: RedshiftSource) -> None:
        self._source = source
        self._bytes = 0

    @property
    def bytes_moved(self) -> int:
        return self._bytes

    async def opaque(self, compared: Compared) -> frozenset[str]:
        described = await self._source.answer(describe_statement(compared.relation), compared.relation)
        return frozenset(column.name for column in described.columns if column.oid in _GEOMETRIES)

    async def stretch_end(self, compared: Compared, within: KeyRange, *, rows: int) -> Key | None:
        found = await self._fetch(
            stretch_end_statement(compared, within, rows, await self._dialect(compared)), compared
        )
        keys = _keys(found.rows, compared)
        return keys[0] if keys else None

    async def ranges(self, compared: Compared, within: KeyRange, *, keys: int) -> list[SourceRange]:
        found = await self._fetch(ranges_statement(compared, within, keys, await self._dialect(compared)), compared)
        width = len(compared.schema.key)
        return [
            SourceRange(
                last=key, sums=Sums(rows=int(row[width]), first=int(row[width + 1]), second=int(row[width + 2]))
            )
            for key, row in zip(_keys(found.rows, compared), found.rows, strict=True)
        ]

    async def rows(self, compared: Compared, within: KeyRange, *, limit: int) -> list[KeyedDigest]:
        found = await self._fetch(rows_statement(compared, within, limit, await self._dialect(compared)), compared)
        width = len(compared.schema.key)
        return [
            KeyedDigest(key=key, digest=str(row[width]))
            for key, row in zip(_keys(found.rows, compared), found.rows, strict=True)
        ]

    async def _dialect(self, compared: Compared) -> RedshiftDigestDialect:
        return RedshiftDigestDialect(await self._source.casts(compared.relation))

    async def _fetch(self, statement: Sql, compared: Compared) -> Fetched:
        found = await self._source.answer(statement, compared.relation, settings=_SETTINGS)
        self._bytes += len(statement.text) + sum(len(str(value)) for row in found.rows for value in row)
        return found


def _keys(rows: Sequence[Row], compared: Compared) -> list[Key]:
    keys = RowSchema(columns=compared.schema.key_columns, key=compared.schema.key)
    width = len(keys.columns)
    batch = to_batch([row[:width] for row in rows], keys)
    return [key_at(batch, keys, index) for index in range(batch.num_rows)]
